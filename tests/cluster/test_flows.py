"""Flows of tasks: the networks that are drawn, the bound of the throughput, and the comparison of policies."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_cluster.cluster import Cluster
from sortie_cluster.flows import capacity, make_flows, offered_rates, throughput_bound
from sortie_cluster.flows_config import FlowsConfig
from sortie_cluster.schedule import Schedule
from sortie_cluster.workload import Workload
from sortie_core.config import UserError, load
from sortie_schedule.flows import figures, run_flows

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = Path(__file__).parents[2] / "configs" / "task_flows.yaml"
INF = float("inf")


def configured(*overrides: str) -> FlowsConfig:
    return load(FlowsConfig, FILE, overrides)


def network(service_s: list[list[float]], links: list[tuple[int, int]]) -> Cluster:
    n_agents = len(service_s)
    linked = np.zeros((n_agents, n_agents), bool)
    for i, j in links:
        linked[i, j] = linked[j, i] = True
    ones = np.ones(n_agents)
    return Cluster(ones, 0 * ones, ones, linked, np.array(service_s), hop_s=1.0)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("flows.n_flows=21", "flows.n_flows"),
        ("network.n_neighbours=20", "n_neighbours"),
        ("network.kinds_per_agent=6", "kinds_per_agent"),
        ("network.n_kinds=61", "n_kinds"),
        ("network.fast_s=6", "fast_s"),
        ("comparison.curve_steps=20000", "curve_steps"),
        ("reports.loss=0.5", "period_s"),
        ("comparison.policies=[pull, pull]", "pull is named twice"),
        ("learning.learning_rate=0", "learning_rate"),
        ("flows.speed=1", "unknown key flows.speed"),
    ],
)
def test_what_cannot_be_is_refused_by_name(override: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as refused:
        configured("network.kinds_per_agent=3", override)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kinds_per_agent", [1, 3, 5])
def test_a_network_is_as_configured(kinds_per_agent: int) -> None:
    config = configured(f"network.kinds_per_agent={kinds_per_agent}", "flows.n_flows=8", "flows.steps=2000")
    fast = 0
    for seed in range(10):
        cluster, workload = make_flows(config, seed)
        able = np.isfinite(cluster.service_s)
        assert (able.sum(1) == kinds_per_agent).all()
        assert able.any(0).all(), "somebody serves each kind"
        assert set(cluster.service_s[able]) <= {3.0, 5.0}
        fast += (cluster.service_s == 3.0).sum() / able.sum() / 10
        assert (cluster.linked == cluster.linked.T).all() and not cluster.linked.diagonal().any()
        assert cluster.linked.sum(1).min() >= 3
        assert (workload.arrival_s == np.round(workload.arrival_s)).all() and (np.diff(workload.arrival_s) >= 0).all()
        assert len({*zip(workload.arrival_s, workload.entry, strict=True)}) == len(workload), "one per step and flow"
        assert set(workload.entry.tolist()) == set(range(8))
    assert fast == pytest.approx(0.33, abs=0.1)
    assert len(workload) == pytest.approx(8 * 0.3 * 2000, rel=0.05)
    assert np.bincount(workload.kind, minlength=5) == pytest.approx(len(workload) / 5, rel=0.12)


def test_the_same_seed_draws_the_same() -> None:
    config = configured("flows.steps=100", "comparison.curve_steps=100")
    one, same, other = (make_flows(config, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.cluster.service_s, same.cluster.service_s)
    assert np.array_equal(one.workload.kind, same.workload.kind)
    assert not np.array_equal(one.cluster.linked, other.cluster.linked)


def test_the_bound_of_two_agents_is_what_the_hand_computes() -> None:
    service_s = [[3.0, 5.0], [INF, 3.0]]
    offered = np.array([[0.3, 0.4], [0.0, 0.0]])
    # The second server takes a third of a task of kind 1 per step; the first one takes all of kind 0 in 0.9 of its
    # time, and in the rest 0.1 / 5 of kind 1.
    assert throughput_bound(network(service_s, [(0, 1)]), offered) == pytest.approx(0.3 + 1 / 3 + 0.02)
    assert throughput_bound(network(service_s, []), offered) == pytest.approx(0.3 + 0.02)
    assert throughput_bound(network(service_s, [(0, 1)]), offered / 10) == pytest.approx(0.07), "no more than offered"


def by_brute_force(service_s: NDArray[np.float64], offered: NDArray[np.float64], grid: int) -> float:
    """The best of all shares of the servers' time, in steps of 1 / grid, where all can reach each other; two kinds."""
    first = np.linspace(0, 1, grid + 1)
    best = 0.0
    for shares in product(first, repeat=len(service_s)):
        share = np.stack([shares, 1 - np.array(shares)], -1)
        best = max(best, float(np.minimum((share / service_s).sum(0), offered.sum(0)).sum()))
    return best


def test_the_bound_is_the_best_of_all_shares_of_time() -> None:
    random = np.random.default_rng(3)
    for _ in range(6):
        service_s = random.choice([3.0, 5.0, INF], (3, 2))
        offered = random.uniform(0, 0.3, (3, 2))
        bound = throughput_bound(network(service_s.tolist(), [(0, 1), (1, 2)]), offered)
        found = by_brute_force(service_s, offered, 24)
        assert found <= bound + 1e-9
        assert found >= bound - 3 * 0.5 / 24 / 3, "half a step of the grid of each server"


def test_the_capacity_of_the_published_setting() -> None:
    config = configured()
    bounds = [capacity(make_flows(config, seed).cluster, config) for seed in range(12)]
    assert 560 < np.mean(bounds) < 590
    assert max(bounds) <= 100 * offered_rates(config).sum() + 1e-6 == pytest.approx(600)


def test_figures_count_what_is_dropped_with_its_time_and_the_payoff() -> None:
    config = configured("flows.steps=20", "comparison.curve_steps=10")
    n = 4
    workload = Workload(np.array([0.0, 0, 2, 3]), *(np.ones(n),) * 2, np.zeros(n), np.zeros(n, int), np.ones(n),
                        *(np.zeros(n, int),) * 2)  # fmt: skip
    schedule = Schedule.empty(network([[3.0]], []), workload, 10)
    schedule.end_s_of[0], schedule.end_s_of[1] = 4.0, 14.0
    schedule.hand_over(2, 0, 1, 2.0)
    schedule.hand_over(2, 1, 0, 3.0)
    schedule.dropped[2] = True
    row = figures(schedule, config, 10.0)
    assert [row[key] for key in ("offered", "completed", "dropped", "backlog")] == [4, 2, 1, 1]
    assert row["throughput_per_100"] == 10.0 and row["share_of_bound"] == 1.0
    assert row["cost_mean"] == 9.0
    assert row["cost_with_drops_mean"] == pytest.approx((4 + 14 + 2 + 20) / 3)
    assert row["curve_per_100"] == [10.0, 10.0]


SMALL = ("flows.steps=400", "comparison.curve_steps=100", "comparison.topologies=2", "comparison.bootstrap_samples=50")


def test_a_comparison_writes_its_rows_and_takes_finished_runs_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(*SMALL, "comparison.policies=[random, single_flow_q, pull]")
    rows = run_flows(config, tmp_path)
    assert "pull" in capsys.readouterr().out
    assert [(row["policy"], row["seed"]) for row in rows[:3]] == [("random", 0), ("single_flow_q", 0), ("pull", 0)]
    assert len(rows) == 6 and json.loads((tmp_path / "rows.json").read_text()) == rows
    assert all(row["offered"] == row["completed"] + row["dropped"] + row["backlog"] for row in rows)
    assert len({row["offered"] for row in rows[:3]}) == 1, "the same tasks for all"
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 7
    assert "| pull |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")

    runs = sorted((tmp_path / "runs").iterdir())
    written = {path: path.stat().st_mtime_ns for path in runs}
    runs[0].unlink()
    again = run_flows(config, tmp_path, json_only=True)
    assert again == rows
    assert json.loads(capsys.readouterr().out) == {"rows": rows}
    assert [path for path in runs if path.stat().st_mtime_ns != written[path]] == runs[:1]
    runs[0].write_text("{")
    with pytest.raises(UserError, match="damaged"):
        run_flows(config, tmp_path)


def test_a_policy_that_does_not_exist_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="comparison.policies: no policy 'pul'; did you mean pull?"):
        run_flows(configured(*SMALL, "comparison.policies=[random, pul]"), tmp_path)
    assert not list(tmp_path.iterdir())
