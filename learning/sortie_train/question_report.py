"""The report on an evaluation's questions: ``report.md``, a plot for each, and the rows behind them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_train.answers import Answer, value_label
from sortie_train.question_plots import plot_answer
from sortie_train.questions import OVER_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sortie_train.flights import Flight
    from sortie_train.play import Figures
    from sortie_train.questions import Asked


def report(out: Path, asked: list[Asked], results: dict[Flight, Figures]) -> tuple[list[dict[str, Any]], Table]:
    """Write ``report.md``, ``questions.json``, ``questions.csv`` and ``plots/<question>.png``.

    Args:
        out: the evaluation's folder.
        asked: the questions.
        results: figures of all their flights.

    Returns:
        The rows, one for each point of each question; and a printable table of the claims.
    """
    answers = [Answer(each, results) for each in asked]
    rows = [row for answer in answers for row in answer.rows()]
    write_atomically(out / "questions.json", json.dumps(rows, indent=2, allow_nan=False))
    write_atomically(out / "questions.csv", as_csv(rows))
    for answer in answers:
        plot_answer(out / "plots" / f"{answer.asked.name}.png", answer)
    write_atomically(out / "report.md", "\n".join(line for answer in answers for line in _section(answer)))
    return rows, _table(answers)


def _section(answer: Answer) -> Iterator[str]:
    question, name = answer.question, answer.asked.name
    flights = [flight for each in answer.asked.flights.values() for flight in each]
    seeds = len({flight.train_seed for flight in flights if flight.learned}) or 0
    yield f"## {name}: {question.asks}\n"
    yield f"![{name}](plots/{name}.png)\n"
    yield (
        f"Varied: `{question.vary}`. {flights[0].config.evaluation.n_layouts} unseen layouts, the same at every point; "
        f"{_seeds(seeds)} Mean [95 % interval].\n"
    )
    if answer.verdicts:
        yield "| claim | measured | verdict |\n|---|---|---|"
        for verdict in answer.verdicts:
            measured = "<br>".join(f"{label}: {estimate}" for label, estimate in verdict.measured.items())
            yield f"| {verdict.claim.says} | {measured} | **{verdict}** |"
        yield ""
    for figure in question.figures:
        if figure not in OVER_TIME:
            yield from _figure_table(answer, figure)


def _seeds(count: int) -> str:
    if count == 1:
        return "One training seed, so that intervals tell what other layouts would change, not another training."
    return f"{count} training seeds."


def _figure_table(answer: Answer, figure: str) -> Iterator[str]:
    """Values across, lines down."""
    question = answer.question
    by_line: dict[tuple[str, str, int], dict[int, str]] = {}
    for point in answer.asked.flights:
        size = point.n_agents if answer.has_sizes else 0
        method = "" if question.vary == "method" else point.method
        by_line.setdefault((method, point.case, size), {})[point.value] = str(answer.estimate(point, figure))
    yield f"| {figure} | " + " | ".join(value_label(value) for value in question.values) + " |"
    yield "|---" * (1 + len(question.values)) + "|"
    for (method, case, size), cells in by_line.items():
        parts = [method] * bool(method) + [case] * (len(question.cases) > 1) + [f"{size} drones"] * bool(size)
        yield f"| {', '.join(parts)} | " + " | ".join(cells[index] for index in range(len(question.values))) + " |"
    yield ""


def _table(answers: list[Answer]) -> Table:
    table = Table(title="claims", title_justify="left", show_lines=True)
    for heading in ("question", "claim", "measured", "verdict"):
        table.add_column(heading, no_wrap=heading == "question")
    for answer in answers:
        for verdict in answer.verdicts:
            measured = "\n".join(f"{label}: {estimate}" for label, estimate in verdict.measured.items())
            table.add_row(answer.asked.name, verdict.claim.says, measured, str(verdict))
    return table
