"""A fire drill: commands that are disturbed at random moments, and what records, Optuna and MLflow have afterwards.

    python benchmarks/fire.py --rounds 60 --seed 0 --out benchmarks/results/fire.json
    python benchmarks/fire.py --rounds 3 --only "proxy drop"          # one fault alone
    python benchmarks/fire.py --list

A round gives `tune`, `train --workers 2`, `scale` or `report` in an empty folder. A fault begins at a random moment:
`kill -9`, SIGTERM or Ctrl-C, a full disk, a lock on a database, a tracking server that is frozen, killed or without
its PostgreSQL, or a proxy that answers wrongly. Then the fault is ended, `supercm-ray sync` is given where the command
said so, and the same command again. Each end is compared with the documented exit statuses and last lines, and what is
left with an undisturbed study: every metric of every epoch once, nothing open, nothing doubled, the same winner.

Half of what can go either way is tracked in `mlflow.db` of the folder, the rest by a real `mlflow server` with basic
auth over a PostgreSQL of its own (over SQLite where that is not installed, as the table then says). Full disks need
root. One line is printed for each round, and at last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fire_backends import Server
from fire_checks import Reference, broken, left_open
from fire_commands import COMMANDS, Done, Place, wrong_end
from fire_faults import NAMES, Arsenal, Fault, FullDisk, Moment, Signal, deck, draw_command
from fire_proxy import Proxy
from provenance import provenance

PACKAGES = ("torch", "ray", "optuna", "mlflow", "psycopg")
"""The packages whose versions are written down."""

_LIMIT_S = 300.0
_EXPERIMENT = "supercm_ray"


@dataclass
class Round:
    """One round, as it is printed."""

    number: int
    command: str
    backend: str
    fault: str
    moment: str
    at_s: float | None = None
    first: int | None = None
    second: int | None = None
    seconds: float = 0.0
    last_line: str = ""
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Returns the row of the table."""
        ends = f"{self.first!s:>5} {self.second!s:>4} {self.seconds:6.1f}"
        result = "ok" if not self.broken else "BROKEN " + "; ".join(dict.fromkeys(self.broken))
        moment = f"{self.moment}" + (
            " (too late)" if self.at_s is None else f" = {self.at_s:.3f} s" * ("+" in self.moment)
        )
        return f"{self.number:>3}  {self.command:8} {self.backend:25} {self.fault:18} {moment:42} {ends}  {result}"


HEAD = f"{'#':>3}  {'command':8} {'backend':25} {'fault':18} {'moment':42} first then seconds"


class Drill:
    """The server, the proxy and the references that all rounds share."""

    def __init__(self, folder: Path, seed: int, commands: Sequence[str], held: ExitStack) -> None:
        """Starts what the rounds need."""
        self.folder, self._seed, self._commands = folder, seed, commands
        self.server = Server(folder / "server")
        held.callback(self.server.close)
        self.server.make()
        self.proxy = Proxy(self.server.uri, seed)
        held.callback(self.proxy.stop)
        self._references: dict[str, Reference] = {}

    def round(self, number: int, name: str) -> Round:
        """Runs one round; all that it draws follows from the seed and its number."""
        rng = random.Random(f"{self._seed} {number}")
        command = draw_command(rng, name, self._commands)
        fault = Arsenal(self.server, self.proxy, rng).make(name)
        moment = Moment(0.0) if fault.needs_proxy and rng.random() < 0.3 else Moment.draw(rng, command)
        is_served = name != "locked mlflow.db" and (fault.needs_server or rng.random() < 0.5)
        backend = ("proxy, " if fault.needs_proxy else "") + self.server.name if is_served else "SQLite"
        made = Round(number, command, backend, name, str(moment))
        began = time.monotonic()
        with self._place(number, fault, is_served) as place:
            self._disturb(made, place, fault, moment)
        made.seconds = time.monotonic() - began
        return made

    def _disturb(self, made: Round, place: Place, fault: Fault, moment: Moment) -> None:
        if made.command == "report":
            shutil.copytree(self._finished("tune") / "results", place.path / "results", dirs_exist_ok=True)
        first = self._first(made, place, fault, moment)
        made.first, made.last_line = first.status, first.last_line
        made.broken += [f"first: {one}" for one in self._wrong(first, fault.allowed, not fault.is_of_tracker)]
        if first.status == 0:
            made.broken += self._after_success(made, place, first)
        elif isinstance(fault, Signal) and fault.is_closed(first.status):
            made.broken += [f"first: {one}" for one in left_open(*self._tracker(made, place))]
        second = place.run(*COMMANDS[made.command], limit_s=_LIMIT_S)
        made.second = second.status
        made.broken += [f"then: {one}" for one in self._wrong(second)]
        made.broken += [f"then: {one}" for one in self._check(made, place)]
        _keep(place, "then", second)

    def _first(self, made: Round, place: Place, fault: Fault, moment: Moment) -> Done:
        """Gives the command and brings the fault about."""
        process = place.start(*COMMANDS[made.command])
        try:
            moment.wait(process, made.command)
            made.at_s = None if process.ended() else time.monotonic() - process.began
            fault.begin(process, made.command)
            if fault.hold_s is not None:
                process.wait(fault.hold_s)
                fault.end()
            first = process.finish(_LIMIT_S)
        finally:
            process.kill()
            fault.end()
        _keep(place, "first", first)
        return first

    def _after_success(self, made: Round, place: Place, first: Done) -> list[str]:
        """What is wrong after a command that ended well: nothing may be missing that it did not tell of."""
        when = "silently"
        if first.is_told_to_sync:
            when, study = "after sync", place.study(made.command)
            synced = place.run("sync", str(study), limit_s=_LIMIT_S)
            _keep(place, "sync", synced)
            wrong = self._wrong(synced)
            if wrong:
                return [f"sync: {one}" for one in wrong]
        return [f"{when}: {one}" for one in self._check(made, place)]

    def _wrong(self, done: Done, allowed: frozenset[int] = frozenset({0}), has_tracker: bool = True) -> list[str]:
        return wrong_end(done, allowed, self.server.passwords, has_tracker=has_tracker)

    def _check(self, made: Round, place: Place) -> list[str]:
        verb = made.command.split()[0]
        reference = None if verb == "scale" else self.reference("tune" if verb == "report" else verb)
        return broken(place.path / "results", made.command, *self._tracker(made, place), reference)

    def _tracker(self, made: Round, place: Place) -> tuple[str, str]:
        """Returns the address of the tracker, past the proxy, and the name of the experiment there."""
        uri = self.server.uri if made.backend != "SQLite" else f"sqlite:///{place.path}/mlflow.db"
        return uri, place.variables.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)

    @contextmanager
    def _place(self, number: int, fault: Fault, is_served: bool) -> Iterator[Place]:
        """A folder for a round, with nothing left of it afterwards unless it is to be looked at."""
        path = self.folder / f"round-{number}"
        path.mkdir()
        variables = {}
        if is_served:
            uri = self.proxy.uri if fault.needs_proxy else self.server.uri
            variables = {
                "MLFLOW_TRACKING_URI": uri,
                "MLFLOW_EXPERIMENT_NAME": f"round-{number}",
                **self.server.credentials,
            }
        try:
            fault.prepare(path)
            place = Place(path, variables)
            yield place
        finally:
            fault.end()
            Place(path).sweep()
            if isinstance(fault, FullDisk):
                _copy_out(path)
                fault.unmount()

    def reference(self, verb: str) -> Reference:
        """Returns the undisturbed study of a command."""
        if verb not in self._references:
            study = Place(self._finished(verb)).study(verb)
            assert study is not None
            self._references[verb] = Reference.read(study)
        return self._references[verb]

    def _finished(self, verb: str) -> Path:
        path = self.folder / f"reference-{verb}"
        if not path.exists():
            place = Place(path, {"SUPERCM_TRACKING": "none"})
            done = place.run(*COMMANDS[verb], limit_s=_LIMIT_S)
            place.sweep()
            if done.status != 0:
                shutil.rmtree(path)
                raise RuntimeError(f"the undisturbed {verb} failed: {done.stderr}")
        return path


def _keep(place: Place, name: str, done: Done) -> None:
    (place.logs / f"{name}.log").write_text(f"{done.stdout}\n--- stderr, exit status {done.status}\n{done.stderr}")


def _copy_out(path: Path) -> None:
    """Copies a round from its small disk, to be looked at."""
    shutil.copytree(
        path, path.with_name(f"{path.name}-copy"), dirs_exist_ok=True, ignore=shutil.ignore_patterns("ballast")
    )


def drill(arguments: argparse.Namespace, folder: Path) -> list[Round]:
    """Runs all rounds, and prints each."""
    names = [name for name in NAMES if arguments.only in (None, name) and (os.geteuid() == 0 or "full" not in name)]
    faults = deck(random.Random(arguments.seed), names, arguments.first + arguments.rounds)
    rounds = []
    with ExitStack() as held:
        made = Drill(folder, arguments.seed, arguments.commands.split(","), held)
        os.environ.update(made.server.credentials)
        print(HEAD, flush=True)
        for number in range(arguments.first, arguments.first + arguments.rounds):
            rounds.append(made.round(number, faults[number]))
            print(rounds[-1].line(), flush=True)
            write(rounds, arguments)
    return rounds


def summary(rounds: list[Round], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the counts and all rounds, with their provenance."""
    kinds = Counter(kind for one in rounds for kind in set(one.broken))
    return {
        "rounds": len(rounds),
        "ok": sum(not one.broken for one in rounds),
        "broken": dict(sorted(kinds.items())),
        "seconds": sum(one.seconds for one in rounds),
        "table": [asdict(one) for one in rounds],
        "seeds": [arguments.seed],
        **provenance(PACKAGES),
    }


def write(rounds: list[Round], arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes the results so far, if they are asked for, and returns them."""
    result = summary(rounds, arguments)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="number of the first round, to repeat one of a series")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=NAMES, metavar="FAULT", help="one fault alone; --list names them")
    parser.add_argument("--commands", default=",".join(COMMANDS), help="the commands to draw from, with commas")
    parser.add_argument("--list", action="store_true", help="print the names of the faults and end")
    parser.add_argument("--keep", type=Path, help="folder that stays, with what each round left")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


@contextmanager
def folder_of(arguments: argparse.Namespace) -> Iterator[Path]:
    """A folder for all that is made, which PostgreSQL's own user can enter."""
    path = arguments.keep or Path(tempfile.mkdtemp(prefix="supercm-fire-"))
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o711)
    try:
        yield path.resolve()
    finally:
        if not arguments.keep:
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """Drills, prints and writes the results."""
    arguments = parse()
    for sig in (signal.SIGINT, signal.SIGTERM):  # also in the background of a shell, which ignores SIGINT there
        signal.signal(sig, signal.default_int_handler)
    if arguments.list:
        print("\n".join(NAMES))
        return
    try:
        with folder_of(arguments) as folder:
            result = write(drill(arguments, folder), arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps({name: result[name] for name in ("rounds", "ok", "broken")}))


if __name__ == "__main__":
    main()
