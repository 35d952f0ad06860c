"""The evaluation over several settings: claims are decided by paired figures, and what makes no sense is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sortie_cluster.config import Claim, ClusterConfig
from sortie_cluster.flows_config import FlowsConfig
from sortie_core.config import UserError, load
from sortie_schedule.suites import configurations, decide, evaluate_suites
from sortie_schedule.summary import Summary

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
COLUMNS = {"completion_mean_s": ("completion, s", 2)}


def rows(**figures: list[float]) -> list[dict[str, Any]]:
    return [
        {"policy": policy, "seed": seed, "completion_mean_s": value}
        for policy, values in figures.items()
        for seed, value in enumerate(values)
    ]


def verdict(figure: str = "completion_mean_s", **bound: Any) -> str:
    table = rows(ours=[9.0, 19.0, 29.0], other=[10.0, 20.0, 30.0])
    claim = Claim(says="it is so", suite="s", policy="ours", figure=figure, **bound)
    return decide(claim, Summary(table, COLUMNS, 500, "", "other")).text


def test_claims_are_decided_by_paired_differences() -> None:
    assert verdict(than="other", at_most=0.0) == "holds"
    assert verdict(than="other", at_least=0.0) == "fails"
    assert verdict(at_most=20.0) == "probably holds"
    assert verdict(at_most=18.0) == "probably fails"


def test_relative_figures_are_ratios_of_means() -> None:
    assert verdict("relative", at_most=0.97) == "holds"
    assert verdict("relative", at_least=0.97) == "fails"


def test_a_claim_about_no_figure_is_refused() -> None:
    with pytest.raises(UserError, match="no figure of s"):
        verdict("luck", at_most=1.0)


def write(tmp_path: Path, text: str, base: str = "task_flows.yaml") -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {CONFIGS / base}\n{text}", encoding="utf-8")
    return path


SMALL = ["flows.steps=2400", "comparison.topologies=2", "comparison.bootstrap_samples=50"]
FLOWS = """
suites: {one: {policies: [random, pull]}, late: {keys: {reports.period_s: 1, reports.delay_s: 3}, policies: [pull]}}
claims: [{says: pull is better, suite: one, policy: pull, than: random, figure: throughput_per_100, at_least: 0}]
"""


def test_suites_run_and_the_report_tells_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(FlowsConfig, write(tmp_path, FLOWS), SMALL)
    found = evaluate_suites(config, tmp_path / "out", json_only=True)
    told = json.loads(capsys.readouterr().out)
    assert [(row["suite"], row["policy"], row["seed"]) for row in found] == [
        (suite, policy, seed)
        for suite, policies in (("one", ["random", "pull"]), ("late", ["pull"]))
        for seed in (0, 1)
        for policy in policies
    ]
    assert told["rows"] == found
    assert [claim["verdict"] for claim in told["claims"]] == ["holds"]
    report = (tmp_path / "out/report.md").read_text()
    assert "## late" in report and "| pull is better | one | >= 0 |" in report


def test_some_suites_run_alone_with_the_claims_about_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(FlowsConfig, write(tmp_path, FLOWS), [*SMALL, "comparison.suites=[late]"])
    found = evaluate_suites(config, tmp_path / "out", json_only=True)
    assert {row["suite"] for row in found} == {"late"}
    assert json.loads(capsys.readouterr().out)["claims"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("suites: {one: {policies: [pul]}}", "did you mean pull"),
        ("suites: {one: {keys: {flows.n_flow: 3}}}", "suites.one: unknown key flows.n_flow"),
        ("suites: {one: {reported: {nobody: {cost_mean: 1}}}}", "suites.one.reported: nobody does not run"),
        ("{}", "has none"),
        ("suites: {one: {}}\ncomparison: {suites: [two]}", "there is no two; there are one"),
    ],
)
def test_suites_that_make_no_sense_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, "" if text == "{}" else text)
    with pytest.raises(UserError, match=words):
        configurations(load(FlowsConfig, path))


def test_a_claim_needs_its_suite_and_one_bound(tmp_path: Path) -> None:
    claim = "{says: so, suite: other, policy: pull, figure: cost_mean, at_most: 1}"
    with pytest.raises(UserError, match="is about suite 'other'"):
        load(FlowsConfig, write(tmp_path, f"suites: {{one: {{}}}}\nclaims: [{claim}]"))
    with pytest.raises(UserError, match="either at_most or at_least"):
        load(FlowsConfig, write(tmp_path, "suites: {a: {}}\nclaims: [{says: x, suite: a, policy: pull, figure: b}]"))


def test_a_closed_loop_is_shown_with_what_no_schedule_can_exceed(tmp_path: Path) -> None:
    text = """
suites:
  loop:
    keys: {cluster.topology: ring, cluster.n_nodes: 6, cluster.cores: [1], cluster.memory: [1], cluster.speed: [1, 1],
      arrivals.mode: closed, arrivals.whole_slots: true, trace.duration_s: [1, 17], arrivals.duration_s: 600}
    policies: [fifo, random]
    reported: {fifo: {completion_mean_s: 12.7}}
"""
    path = write(tmp_path, text, "cluster.yaml")
    config = load(ClusterConfig, path, ["trace.n_jobs=3000", "comparison.seeds=2", "comparison.bootstrap_samples=50"])
    evaluate_suites(config, tmp_path / "out", json_only=True)
    report = (tmp_path / "out/report.md").read_text()
    assert "No schedule can exceed 43" in report or "No schedule can exceed 44" in report
    assert "| fifo | 12.7 |" in report
