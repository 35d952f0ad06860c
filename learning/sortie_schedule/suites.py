"""The evaluation of schedulers over several settings: what sources report beside ours, bounds, and claims decided.

A folder gets ``report.md``, ``rows.json`` and ``rows.csv`` (a row per suite, policy and seed), ``claims.json``, and
``runs``, one file per run, written as it ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sortie_cluster.bounds import closed_loop_bounds
from sortie_cluster.config import ClusterConfig
from sortie_cluster.flows_config import FlowsConfig
from sortie_core.config import UserError
from sortie_core.csv_rows import as_csv
from sortie_core.files import write_atomically
from sortie_schedule import comparison, flows
from sortie_schedule.kept_runs import Row, run_all
from sortie_schedule.summary import RELATIVE, Summary
from sortie_train.table import console_for_tables

if TYPE_CHECKING:
    from pathlib import Path

    from sortie_cluster.config import Claim
    from sortie_schedule.kept_runs import Run

Kind = ClusterConfig | FlowsConfig


@dataclass(frozen=True)
class Verdict:
    """What the figures say about a claim.

    Attributes:
        claim: what is said.
        value: the figure, or the difference, mean over seeds.
        low: of its 95 % interval.
        high: of its 95 % interval.
    """

    claim: Claim
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """Whether it holds; "probably" where the interval contains the bound."""
        claim = self.claim
        if claim.at_most is not None:
            held, sure = self.value <= claim.at_most, self.high <= claim.at_most or self.low > claim.at_most
        else:
            least = float(claim.at_least or 0.0)
            held, sure = self.value >= least, self.low >= least or self.high < least
        return ("" if sure else "probably ") + ("holds" if held else "fails")

    @property
    def bound(self) -> str:
        """What the figure must not exceed, or must reach."""
        return f"<= {self.claim.at_most:g}" if self.claim.at_most is not None else f">= {self.claim.at_least:g}"

    def cells(self) -> list[str]:
        """For tables."""
        figure = f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"
        return [self.claim.says, self.claim.suite, self.bound, figure, self.text]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        found = {"value": self.value, "ci95": [self.low, self.high], "verdict": self.text}
        return self.claim.model_dump(exclude_none=True) | found


def chosen(config: Kind) -> Kind:
    """The configuration with the suites that `comparison.suites` names, if any, and the claims about them.

    Raises:
        UserError: there are no suites, or not these.
    """
    if not config.suites:
        raise UserError(
            "suites: this configuration has none; configs/evaluate/source_a.yaml and source_b.yaml have, or compare "
            "by `sortie cluster` or `sortie flows`"
        )
    names = config.comparison.suites or list(config.suites)
    if unknown := [name for name in names if name not in config.suites]:
        raise UserError(f"comparison.suites: there is no {unknown[0]}; there are {', '.join(config.suites)}")
    suites = {name: suite for name, suite in config.suites.items() if name in names}
    return config.model_copy(
        update={"suites": suites, "claims": [claim for claim in config.claims if claim.suite in names]}
    )


def configurations(config: Kind) -> dict[str, Kind]:
    """The configuration of each suite that is `chosen`.

    Raises:
        UserError: there is none; or one changes what cannot be changed, or names a policy that there is not.
    """
    config = chosen(config)
    found: dict[str, Kind] = {}
    for name, suite in config.suites.items():
        source = f"suites.{name}"
        changed = config.changed(suite.keys, source)
        if suite.policies:
            changed = changed.changed({"comparison.policies": suite.policies}, source)
        assert isinstance(changed, ClusterConfig | FlowsConfig)
        running = policies(changed)
        for policy in suite.reported:
            if policy not in running:
                raise UserError(f"{source}.reported: {policy} does not run in this suite")
        found[name] = changed
    for claim in config.claims:
        for policy in filter(None, (claim.policy, claim.than)):
            if policy not in policies(found[claim.suite]):
                raise UserError(f"claims: {claim.says!r} is about {policy}, which does not run in suite {claim.suite}")
    return found


def policies(config: Kind) -> list[str]:
    """Who runs; refuses what cannot be made."""
    return flows.policies(config) if isinstance(config, FlowsConfig) else comparison.with_reference(config)


def _plan(config: Kind, folder: Path) -> list[Run]:
    if isinstance(config, FlowsConfig):
        return flows.plan(config, folder)
    return comparison.plan(config, folder, comparison.with_reference(config), details=False)


def _summary(config: Kind, rows: list[Row], suite: str) -> Summary:
    own = [row for row in rows if row["suite"] == suite]
    if isinstance(config, FlowsConfig):
        return flows.summarise(config, own, suite)
    return comparison.summarise(config, own, suite)


def evaluate_suites(config: Kind, folder: Path, jobs: int = 1, json_only: bool = False) -> list[Row]:
    """Run every suite, write and print the report.

    Args:
        config: with suites and claims, of which `chosen` is taken.
        folder: where results go; runs that are kept there are taken over.
        jobs: processes.
        json_only: print {"rows": [...], "claims": [...]} instead of tables.

    Returns:
        A row per suite, policy and seed.
    """
    suites, config = configurations(config), chosen(config)
    plans = {name: _plan(each, folder) for name, each in suites.items()}
    flat = iter(run_all([run for runs in plans.values() for run in runs], jobs))
    rows = [{"suite": name} | next(flat) for name, runs in plans.items() for _ in runs]
    summaries = {name: _summary(each, rows, name) for name, each in suites.items()}
    verdicts = [decide(claim, summaries[claim.suite]) for claim in config.claims]
    plain = [each.to_json() for each in verdicts]
    write_atomically(folder / "rows.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(folder / "rows.csv", as_csv([{k: v for k, v in row.items() if k != flows.CURVE} for row in rows]))
    write_atomically(folder / "claims.json", json.dumps(plain, indent=1) + "\n")
    write_atomically(folder / "report.md", _report(config, suites, summaries, verdicts))
    if json_only:
        print(json.dumps({"rows": rows, "claims": plain}))
        return rows
    console = console_for_tables()
    for summary in summaries.values():
        console.print(summary.table())
    table = Table(title="claims", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading)
    for each in verdicts:
        table.add_row(*each.cells())
    if verdicts:
        console.print(table)
    console.print(f"{folder}: report.md, rows.csv, claims.json")
    return rows


def decide(claim: Claim, summary: Summary) -> Verdict:
    """Hold a claim against the figures of its suite.

    Raises:
        UserError: there is no such figure.
    """
    if RELATIVE.get(claim.figure, claim.figure) not in summary.rows[0]:
        raise UserError(f"claims: {claim.says!r} is about {claim.figure}, which is no figure of {claim.suite}")
    return Verdict(claim, *summary.figure(claim.policy, claim.figure, claim.than))


_HEADINGS = ("claim", "suite", "bound", "ours [95 %]", "verdict")


def _report(config: Kind, suites: dict[str, Kind], summaries: dict[str, Summary], verdicts: list[Verdict]) -> str:
    lines: list[str] = []
    for name, summary in summaries.items():
        lines += [f"## {name}", "", summary.markdown()]
        suite = suites[name]
        if isinstance(suite, ClusterConfig) and suite.arrivals.mode == "closed":
            most_per_h, least_s = closed_loop_bounds(suite)
            lines += [f"No schedule can exceed {most_per_h:.0f} tasks/h, or be quicker than {least_s:.2f} s.", ""]
        lines += _reported(config.suites[name].reported, summary)
    if verdicts:
        lines += ["## Claims", "", f"| {' | '.join((*_HEADINGS, 'why'))} |", f"|{' --- |' * (len(_HEADINGS) + 1)}"]
        lines += [f"| {' | '.join([*each.cells(), each.claim.reason])} |" for each in verdicts]
    return "\n".join(lines).rstrip() + "\n"


def _reported(reported: dict[str, dict[str, float]], summary: Summary) -> list[str]:
    """What a source reports beside ours."""
    if not reported:
        return []
    figures = list(dict.fromkeys(figure for row in reported.values() for figure in row))
    headings = [f"{figure}, {what}" for figure in figures for what in ("reported", "ours")]
    lines = [f"| policy | {' | '.join(headings)} |", f"| --- |{' ---: |' * len(headings)}"]
    for policy, values in reported.items():
        cells = []
        for figure in figures:
            cells += [f"{values[figure]:g}" if figure in values else "", f"{summary.figure(policy, figure)[0]:.4g}"]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return [*lines, ""]
