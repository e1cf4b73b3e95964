"use strict";
// Draws the figures of the page, and makes its tables sortable by a heading and filterable by text.

const options = { responsive: true, displaylogo: false };

for (const script of document.querySelectorAll("script[data-plot]")) {
  const figure = JSON.parse(script.textContent);
  Plotly.newPlot(script.dataset.plot, figure.data, figure.layout, options);
}

const number = (text) => {
  const found = text.replace("−", "-").match(/^[<+]?-?\d[\d.]*(e[+-]?\d+)?/i);
  return found ? parseFloat(found[0].replace("<", "").replace("+", "")) : NaN;
};

const order = (one, other) => {
  const [a, b] = [number(one), number(other)];
  if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
  return isNaN(a) ? one.localeCompare(other) : a - b;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((heading, column) => {
    heading.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => order(a.cells[column].textContent, b.cells[column].textContent));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const body = document.getElementById(input.dataset.filters).tBodies[0];
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}

const trials = JSON.parse(document.getElementById("trials-json").textContent);
const [x, y, entry] = ["x", "y", "entry"].map((name) => document.getElementById("contour-" + name));

const drawContour = () => {
  const kept = trials.entry.map((_, i) => i).filter((i) => !entry.value || trials.entry[i] === entry.value);
  const take = (values) => kept.map((i) => values[i]);
  const [across, up, accuracy] = [trials.columns[x.value], trials.columns[y.value], trials.accuracy].map(take);
  const axis = (path) => ({
    title: { text: path },
    type: trials.log.includes(path) ? "log" : typeof trials.columns[path][0] === "string" ? "category" : "linear",
  });
  const contour = {
    type: "contour", x: across, y: up, z: accuracy, connectgaps: true, colorscale: "Viridis",
    line: { width: 0 }, colorbar: { title: { text: "%" } }, hoverinfo: "skip",
  };
  const dots = {
    type: "scatter", mode: "markers", x: across, y: up, showlegend: false,
    text: kept.map((i) => `${trials.entry[i]}: ${trials.accuracy[i].toFixed(1)} %`),
    hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>",
    marker: { size: 8, color: take(trials.entry).map((letter) => trials.colors[letter]), line: { width: 1, color: "white" } },
  };
  const layout = { margin: { l: 60, r: 20, t: 20, b: 50 }, xaxis: axis(x.value), yaxis: axis(y.value) };
  Plotly.react("contour", [contour, dots], layout, options);
};

if (x) {
  for (const path of trials.paths) [x, y].forEach((select) => select.add(new Option(path, path)));
  y.selectedIndex = 1;
  entry.add(new Option("all", ""));
  [...new Set(trials.entry)].forEach((letter) => entry.add(new Option(letter, letter)));
  [x, y, entry].forEach((select) => select.addEventListener("change", drawContour));
  drawContour();
}
