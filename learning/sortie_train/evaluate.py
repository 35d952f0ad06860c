"""Evaluation: the same unseen layouts for every method, intervals, and paired differences to the trained policy.

A folder gets ``rows.json`` and ``rows.csv`` (a row per suite, team size and method), ``table.md``, ``layouts.csv`` (the
figures of every single mission), ``plots``, and ``results``, one file per flight, written as it ends; with questions
also ``report.md``, ``questions.json`` and ``questions.csv``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from sortie_core.config import UserError
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_train.flight_pool import fly_all
from sortie_train.intervals import Bootstrap
from sortie_train.play import fly
from sortie_train.plots import plot
from sortie_train.policy_team import PolicyTeam
from sortie_train.question_report import report
from sortie_train.table import Contest, as_markdown, console_for_tables, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sortie_core.config import Config
    from sortie_train.flights import Flight
    from sortie_train.play import Figures
    from sortie_train.questions import Asked


def evaluate(
    config: Config,
    flights: list[Flight],
    out: Path,
    jobs: int = 1,
    as_json: bool = False,
    asked: Sequence[Asked] = (),
) -> list[dict]:
    """Fly what has not been flown yet, write all files, and print the tables.

    Args:
        config: a whole configuration.
        flights: from `flights.plan`.
        out: the evaluation's folder.
        jobs: processes.
        as_json: print rows for machines instead of tables.
        asked: questions, from `questions.ask`.

    Returns:
        The rows, see `Contest.rows`, and those of the questions, see `Answer.rows`.
    """
    console = Console(stderr=True)
    flown = out / "results"
    if not flown.is_dir() and out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} holds something else than an evaluation; name a new folder")
    flown.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "config.yaml", config.to_yaml())
    of_questions = [flight for each in asked for flown in each.flights.values() for flight in flown]
    figures = fly_all(list(dict.fromkeys([*flights, *of_questions])), out, jobs, console)
    results = {flight: figures[flight] for flight in flights}
    contests = list(_contests(config, results))
    rows = [row for contest in contests for row in contest.rows()]
    write_atomically(out / "rows.json", json.dumps(rows, indent=2, allow_nan=False))
    write_atomically(out / "rows.csv", as_csv(rows))
    write_atomically(out / "table.md", as_markdown(rows))
    write_atomically(out / "layouts.csv", as_csv(_layout_rows(results)))
    plot(out / "plots", contests, rows, config.world.dt_s)
    shown = tables(rows)
    if asked:
        more, claims = report(out, list(asked), figures)
        rows, shown = rows + more, [*shown, claims] if claims.row_count else shown
        console.print(f"answers are in {out / 'report.md'}")
    console.print(f"rows, figures of every layout and plots are in {out}")
    if as_json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        shown_on = console_for_tables()
        for table in shown:
            shown_on.print(table)
    return rows


def fly_policy(config: Config, advance: Callable[[int], None]) -> dict[str, Any]:
    """The policy of `policy.checkpoint` by itself over the evaluation's layouts, as a row without suite and method.

    Args:
        config: the missions'.
        advance: called with the number of missions that have just ended.
    """
    flown = fly(config, PolicyTeam, advance)
    contest = Contest(
        suite="",
        n_agents=config.team.n_agents,
        backend=config.world.backend,
        figures={"": {name: values[None] for name, values in flown.items()}},
        train_seeds={"": 1},
        bootstrap=Bootstrap(config.evaluation.bootstrap_samples, config.seed),
    )
    return {key: value for key, value in contest.rows()[0].items() if key not in ("suite", "method")}


def _contests(config: Config, results: dict[Flight, Figures]) -> Iterator[Contest]:
    groups: dict[tuple[str, int], dict[str, list[Flight]]] = {}
    for flight in results:
        groups.setdefault((flight.suite, flight.n_agents), {}).setdefault(flight.method, []).append(flight)
    for (suite, n_agents), methods in groups.items():
        first = next(iter(methods.values()))[0]
        yield Contest(
            suite=suite,
            n_agents=n_agents,
            backend=first.config.world.backend,
            figures={
                method: {name: np.stack([results[each][name] for each in own]) for name in results[own[0]]}
                for method, own in methods.items()
            },
            train_seeds={method: len(own) for method, own in methods.items() if own[0].learned},
            bootstrap=Bootstrap(config.evaluation.bootstrap_samples, config.seed),
        )


def _layout_rows(results: dict[Flight, Figures]) -> Iterator[dict[str, Any]]:
    for flight, figures in results.items():
        what = {
            "suite": flight.suite, "n_agents": flight.n_agents, "method": flight.method, "train_seed": flight.train_seed
        }  # fmt: skip
        columns = {name: values.tolist() for name, values in figures.items() if values.ndim == 1}
        for index in range(flight.config.evaluation.n_layouts):
            layout = {"layout_seed": flight.config.evaluation.first_seed + index}
            yield what | layout | {name: values[index] for name, values in columns.items()}
