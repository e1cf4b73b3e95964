"""What happens to hosts at random, from a seed, while one study runs on them."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from supercm_ray.records import read_study
from supercm_ray.search import StudyView

from .bench import QUICK, Bench
from .hosts import Host, Process

CUT_S = 30.0
ENDINGS = {0, 75, 137, -signal.SIGKILL}
"""Exit statuses of a command to which the infrastructure has happened; but for 0 the same command is given again."""
_LOST_S = 20.0  # after which a cut node may learn that it was taken for lost
_MOST_NODES = 3
_DELAY_S = 10.0  # at most, from the progress at which an event is due to the event


@dataclass
class Clock:
    """How long each node had Ray, in seconds; each has one core."""

    since: dict[str, float] = field(default_factory=dict)
    total_s: float = 0.0

    def on(self, *names: str) -> None:
        """Counts from now on."""
        self.since |= {name: time.monotonic() for name in names if name not in self.since}

    def off(self, *names: str) -> None:
        """Counts no longer."""
        self.total_s += sum(time.monotonic() - self.since.pop(name) for name in names if name in self.since)


class Disturbance:
    """A study on a bench to which so many events happen, spread over its progress.

    The first node is the head, on which the driver runs. A crashed host stays away until a host joins, a new one takes
    the place of a host that was cut for good.
    """

    def __init__(self, bench: Bench, *, seed: int, num_events: int) -> None:
        """Draws nothing yet.

        Args:
            seed: of what happens, to which host, and when.
            num_events: how many events happen.
        """
        self.bench = bench
        self.rng = random.Random(seed)
        self.num_events = self.left = num_events
        self.happened: Counter[str] = Counter()
        self.endings: list[int] = []
        self.away: list[Host] = []
        self.clock = Clock()
        self._driver: Process | None = None

    def run(self, timeout_s: float) -> None:
        """Gives the command `tune` again and again until it succeeds, while the events happen."""
        until = time.monotonic() + timeout_s
        self.clock.on(*(node.name for node in self.bench.nodes))
        due = self._next()
        while not self._is_done():
            assert time.monotonic() < until, f"{self.happened}, {self.endings}: {self._output()}"
            if self.left and self._progress() >= due:
                time.sleep(self.rng.uniform(0, _DELAY_S))
                self._happen()
                due = self._next()
            time.sleep(1)
        self.clock.off(*list(self.clock.since))

    def _next(self) -> float:
        """Returns the progress at which the next event is due."""
        return (self.num_events - self.left + self.rng.random()) / (self.num_events + 1)

    def _progress(self) -> float:
        """Returns the share of the epochs of all trials, from 0 to 1, that is recorded."""
        if not (self.bench.folder / "study.yaml").exists():
            return 0.0
        study = read_study(self.bench.folder)
        lines = sum(path.read_text().count("\n") for path in self.bench.folder.glob("trials/*/metrics.jsonl"))
        return lines / (study.budget.num_trials * study.base.training.num_epochs)

    def _is_done(self) -> bool:
        """Takes note of an ending and gives the command again, unless the study is complete."""
        if self._driver is not None and self._driver.is_running:
            return False
        if self._driver is not None:
            status = self._driver.popen.returncode
            self.endings.append(status)
            assert status in ENDINGS, self._output()
            if status == 0:
                return True
        self._driver = self.bench.start_tune("--wait", "120")
        return False

    def _output(self) -> str:
        return self._driver.output if self._driver else ""

    def _happen(self) -> None:
        nodes = self.bench.nodes[1:]
        some = {"crash": self._crash, "cut_short": self._cut_short, "cut_for_good": self._cut_for_good}
        some |= {"power_cycle": self._power_cycle}
        always = {"head_lost": self._head_lost, "driver_killed": self._driver_killed}
        possible = {**(some if nodes else {}), **always}
        if len(self.bench.nodes) < _MOST_NODES:
            possible["join"] = self._join
        fewest = min(self.happened[name] for name in possible)  # so that each happens before any happens again
        name = self.rng.choice(sorted(name for name in possible if self.happened[name] == fewest))
        self.left -= 1
        self.happened[name] += 1
        possible[name]()

    def _lose(self) -> Host:
        """Takes a node, other than the head, off the list."""
        host = self.bench.nodes.pop(self.rng.randrange(1, len(self.bench.nodes)))
        self.clock.off(host.name)
        return host

    def _crash(self) -> None:
        host = self._lose()
        host.crash()
        self.away.append(host)

    def _cut_short(self) -> None:
        host = self.rng.choice(self.bench.nodes[1:])
        host.cut()
        time.sleep(CUT_S)
        host.heal()
        time.sleep(_LOST_S)
        if host.address not in self.bench.alive():
            host.start_ray_node(self.bench.head)

    def _cut_for_good(self) -> None:
        self._lose().cut()

    def _power_cycle(self) -> None:
        host = self.rng.choice(self.bench.nodes[1:])
        self.clock.off(host.name)
        host.off()
        time.sleep(self.rng.uniform(0, 5))
        host.on()
        host.start_ray_node(self.bench.head)
        self.clock.on(host.name)

    def _join(self) -> None:
        if self.away:
            host = self.away.pop()
            host.on()
        else:
            (host,) = self.bench.hosts.up(f"new{self.happened['join']}")
        host.start_ray_node(self.bench.head)
        self.bench.nodes.append(host)
        self.clock.on(host.name)

    def _head_lost(self) -> None:
        """Its power fails, or Ray's own process dies; the cluster is then started anew."""
        names = [node.name for node in self.bench.nodes]
        self.clock.off(*names)
        head = self.bench.head
        if self.rng.random() < 0.5:
            head.off()
            head.on()
        else:
            head.exec("pkill", "-9", "-x", "gcs_server")
            if self._driver is not None and self._driver.is_running:
                self._driver.wait()  # it ends by itself
        head.start_ray_head(**QUICK)
        for node in self.bench.nodes[1:]:
            node.start_ray_node(head)
        self.clock.on(*names)

    def _driver_killed(self) -> None:
        if self._driver is not None and self._driver.is_running:
            self._driver.signal(signal.SIGKILL)
            self._driver.popen.wait()

    def trained_share(self, view: StudyView) -> float:
        """Returns the share of the nodes' time, from 0 to 1, that went into the epochs of the study's runs."""
        trained_s = sum(metrics["epoch_seconds"] for run in view.runs.values() for metrics in run.history)
        return trained_s / self.clock.total_s
