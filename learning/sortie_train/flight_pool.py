"""Flights of an evaluation, flown one after the other or in several processes; each is kept as it ends."""

from __future__ import annotations

from concurrent.futures import as_completed
from functools import partial
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sortie_core.config import UserError
from sortie_core.processes import follow_parent, pool_of
from sortie_train.one_core import compute_on_one_core
from sortie_train.play import fly
from sortie_train.results import keep, recall, result_path
from sortie_train.teams import make_team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from sortie_train.flights import Flight
    from sortie_train.play import Figures


def fly_all(flights: list[Flight], out: Path, jobs: int, console: Console) -> dict[Flight, Figures]:
    """The figures of flights, those taken over that have been flown into the folder before.

    Args:
        flights: what is to be flown.
        out: the evaluation's folder.
        jobs: processes.
        console: where progress is shown.
    """
    paths = {flight: result_path(out, flight) for flight in flights}
    missing = [flight for flight in flights if not paths[flight].exists()]
    if len(missing) < len(flights):
        console.print(f"{len(flights) - len(missing)} of {len(flights)} flights are taken over from {out}")
    _fly({flight: paths[flight] for flight in missing}, jobs, console)
    return {flight: recall(path) for flight, path in paths.items()}


def _fly(flights: dict[Flight, Path], jobs: int, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=sum(map(_effort, flights)))
        if jobs == 1 or len(flights) < 2:
            compute_on_one_core()
            for flight, path in flights.items():

                def advance(count: int, flight: Flight = flight) -> None:
                    progress.advance(bar, count / flight.config.evaluation.n_layouts * _effort(flight))

                progress.update(bar, description=flight.name)
                fly_one(flight, path, advance)
        else:
            for done, flight in enumerate(_fly_beside_each_other(flights, jobs), start=1):
                progress.update(bar, description=f"{done} of {len(flights)} flights", advance=_effort(flight))


def _fly_beside_each_other(flights: dict[Flight, Path], jobs: int) -> Iterator[Flight]:
    """Flights as they end."""
    with pool_of(min(jobs, len(flights)), _begin_worker) as pool:
        # The longest first, so that none of them is left alone at the end.
        flown = {
            pool.submit(fly_one, flight, flights[flight], _ignore): flight
            for flight in sorted(flights, key=_effort, reverse=True)
        }
        for future in as_completed(flown):
            future.result()
            yield flown[future]


def _begin_worker() -> None:
    follow_parent()
    compute_on_one_core()


def fly_one(flight: Flight, path: Path, advance: Callable[[int], None]) -> None:
    """Fly, and keep the figures under the name that the evaluation began with.

    Raises:
        UserError: that is no longer what would be flown.
    """
    if result_path(path.parent.parent, flight) != path:
        raise UserError(f"{flight.name}: its checkpoint, or the program, has changed meanwhile; go on with --resume")
    keep(path, fly(flight.config, partial(make_team, flight.method), advance))


def _ignore(_: int) -> None:
    """Progress of a flight in another process."""


def _effort(flight: Flight) -> int:
    return flight.config.evaluation.n_layouts * flight.config.n_steps * flight.n_agents
