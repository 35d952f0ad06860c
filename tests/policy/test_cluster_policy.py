"""The policy of a cluster's node: its cell is that of the drones, it begins as the rule, late news cost time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.config import ClusterConfig
from sortie_cluster.reports import Reports
from sortie_cluster.rules import rule
from sortie_cluster.scenario import make_scenario
from sortie_cluster.validator import validate
from sortie_core.config import UserError, load
from sortie_policy.cluster_checkpoint import load_cluster_policy, write_cluster_policy
from sortie_policy.cluster_policy import OWN_FEATURES, PULL_FEATURES, PUSH_FEATURES, ClusterPolicy, Heard
from sortie_policy.contraction import contraction_rate
from sortie_policy.lgtc_cell import LGTCCell
from sortie_policy.lgtc_scheduler import LGTCScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_cluster.scheduler import Scheduler

CONFIG = load(
    ClusterConfig,
    Path(__file__).resolve().parents[2] / "configs/cluster.yaml",
    ["trace.n_jobs=2000", "arrivals.n_tasks=300"],
)


def torch_cell(policy: ClusterPolicy) -> LGTCCell:
    cell = LGTCCell(policy.hidden, len(OWN_FEATURES), 1, 0.1, 1.0).double()
    parts = {name: torch.tensor(part) for name, part in policy.parts.items()}
    with torch.no_grad():
        cell.log_rate.copy_(parts["log_rate"])
        cell.state_bias.copy_(parts["state_bias"])
        cell.input_bias.copy_(parts["input_bias"])
        cell.coupling.weight.copy_(parts["coupling"][None])
        for mine, name in ((cell.state_gate, "state_gate"), (cell.input_gate, "input_gate"), (cell.target, "target")):
            mine.weight.copy_(parts[name].reshape(mine.weight.shape))
    return cell


@pytest.mark.parametrize("seed", range(3))
def test_the_cell_is_that_of_the_drones(seed: int) -> None:
    policy, random = ClusterPolicy(5, 4, seed), np.random.default_rng(seed)
    state_taps = random.uniform(-1, 1, (7, 2, 5))
    input_taps = random.standard_normal((7, 2, len(OWN_FEATURES)))
    cell = torch_cell(policy)
    mine = policy.step(state_taps.reshape(7, -1), input_taps.reshape(7, -1), 0.7)
    theirs = cell(torch.tensor(state_taps), torch.tensor(input_taps), 0.7).detach().numpy()
    assert np.abs(mine - theirs).max() < 1e-12
    assert policy.contraction_rate == pytest.approx(contraction_rate(cell).item(), abs=1e-12)


def random_heard(n_nodes: int, policy: ClusterPolicy, random: np.random.Generator) -> Heard:
    attention = random.uniform(0, 1, (n_nodes, n_nodes))
    state, load_ = random.uniform(-1, 1, (n_nodes, policy.hidden)), random.standard_normal((n_nodes, len(OWN_FEATURES)))
    return Heard(state, load_, attention / attention.sum(1, keepdims=True))


def test_each_node_by_itself_computes_what_all_together_do() -> None:
    policy, random = ClusterPolicy(seed=2), np.random.default_rng(0)
    own = random_heard(6, policy, random)
    linked = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) == 1
    together = policy.advance(own, own, linked, 0.5)
    for node in range(6):
        alone = Heard(*(part[node : node + 1] for part in own))
        heard = Heard(*(part[None] for part in own))
        by_itself = policy.advance(alone, heard, linked[node : node + 1], 0.5)
        assert np.abs(by_itself - together[node]).max() < 1e-12


def test_who_is_not_heard_does_not_matter() -> None:
    policy, random = ClusterPolicy(seed=2), np.random.default_rng(0)
    own = random_heard(4, policy, random)
    linked = np.zeros((4, 4), bool)
    linked[0, 1] = linked[1, 0] = True
    before = policy.advance(own, own, linked, 0.5)
    own.state[3] += 0.5
    assert (policy.advance(own, own, linked, 0.5)[:2] == before[:2]).all()


def test_states_stay_in_the_cube_and_forget_where_they_began() -> None:
    policy, random = ClusterPolicy(seed=1), np.random.default_rng(0)
    policy.project()
    assert policy.contraction_rate > 0
    one, other = random_heard(5, policy, random), random_heard(5, policy, random)
    linked = ~np.eye(5, dtype=bool)
    other = other._replace(load=one.load, attention=one.attention)
    apart = np.abs(one.state - other.state).max()
    for _ in range(200):
        one = one._replace(state=policy.advance(one, one, linked, 5.0))
        other = other._replace(state=policy.advance(other, other, linked, 5.0))
    assert max(np.abs(one.state).max(), np.abs(other.state).max()) <= 1.0
    assert np.abs(one.state - other.state).max() < 1e-3 * apart


def mean_s(make: Callable[[], Scheduler], reports: Reports | None) -> float:
    runs = []
    for seed in range(3):
        cluster, tasks, _ = make_scenario(CONFIG, seed)
        runs.append(ClusterWorld(cluster, tasks, make(), reports).run().completion_s.mean())
    return float(np.mean(runs))


def new() -> Scheduler:
    return LGTCScheduler(ClusterPolicy())


def rec() -> Scheduler:
    return rule("rec")


def test_a_new_policy_is_about_as_good_as_rec_and_better_where_news_are_old() -> None:
    assert mean_s(new, None) == pytest.approx(mean_s(rec, None), rel=0.08)
    assert mean_s(new, Reports(2.0, 30.0)) < 0.95 * mean_s(rec, Reports(2.0, 30.0))


@pytest.mark.parametrize("reports", [None, Reports(2.0, 10.0), Reports(2.0, 10.0, 0.4)])
@pytest.mark.parametrize(("scope", "hop_s"), [(1, 0.0), (2, 0.0), (1, 0.5)])
def test_schedules_are_feasible_and_the_same_by_seed(reports: Reports | None, scope: int, hop_s: float) -> None:
    cluster, tasks, _ = make_scenario(CONFIG.changed({"cluster.hop_s": hop_s}, "test"), 0)
    policy = ClusterPolicy(seed=4)
    policy.parts["push_noise"][:] = policy.parts["pull_noise"][:] = 0.3
    with np.errstate(all="raise", under="ignore"):
        logs = [ClusterWorld(cluster, tasks, LGTCScheduler(policy, scope), reports, seed=9).run() for _ in range(2)]
    validate(logs[0], scope)
    assert not np.isnan(logs[0].end_s_of).any()
    assert (logs[0].end_s_of, logs[0].moves) == (logs[1].end_s_of, logs[1].moves)


def test_late_news_cost_time_and_fresh_ones_do_not() -> None:
    assert mean_s(new, Reports(2.0, 60.0)) > 1.05 * mean_s(new, None)


def test_every_feature_has_its_place() -> None:
    cluster, tasks, _ = make_scenario(CONFIG, 0)
    agents = LGTCScheduler(ClusterPolicy())
    ClusterWorld(cluster, tasks, agents, Reports(2.0, 10.0)).run()
    near = agents.reach[0]
    assert agents.features.push(0, 0, near).shape == (len(near), len(PUSH_FEATURES))
    assert agents.features.pull(0, [(j, None, 1.0) for j in near]).shape == (len(near), len(PULL_FEATURES))


def test_what_a_policy_is_without_has_no_say() -> None:
    policy, random = ClusterPolicy(seed=2), np.random.default_rng(0)
    policy.vector[:] = random.standard_normal(policy.vector.size)
    for verb, features in (("push", PUSH_FEATURES), ("pull", PULL_FEATURES)):
        pair, own, states = random.standard_normal((4, len(features))), random.random(8), random.random((4, 8))
        linear = policy.without("network").scores(verb, pair, own, states)
        assert np.allclose(linear, pair @ policy.parts[f"{verb}_linear"])
        stateless = policy.without("states")
        assert np.allclose(stateless.scores(verb, pair, own, states), stateless.scores(verb, pair, 0 * own, -states))
        whole = policy.scores(verb, pair, own, states)
        assert not np.allclose(whole, linear)
        assert not np.allclose(whole, policy.scores(verb, pair, 0 * own, -states))


def test_a_checkpoint_keeps_everything(tmp_path: Path) -> None:
    policy = ClusterPolicy(5, 7, seed=3)
    write_cluster_policy(tmp_path / "a.ckpt", CONFIG, policy, seed=3)
    found = load_cluster_policy(tmp_path / "a.ckpt")
    assert (found.hidden, found.width) == (5, 7)
    assert (found.vector == policy.vector).all()


def test_bad_checkpoints_are_refused_in_a_line(tmp_path: Path) -> None:
    policy = ClusterPolicy()
    policy.parts["key"][0] = np.nan
    write_cluster_policy(tmp_path / "nan.ckpt", CONFIG, policy)
    with pytest.raises(UserError, match="not finite"):
        load_cluster_policy(tmp_path / "nan.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "nan.ckpt").read_bytes()[:300])
    with pytest.raises(UserError, match="truncated or damaged"):
        load_cluster_policy(tmp_path / "cut.ckpt")
    with pytest.raises(UserError, match="of a drone"):
        load_cluster_policy("configs/checkpoints/lgtc-1.ckpt")


def test_a_search_moves_every_parameter_by_a_size_of_its_own() -> None:
    policy = ClusterPolicy()
    assert policy.scale.shape == policy.is_linear.shape == policy.vector.shape
    assert (policy.scale > 0).all()
    n_linear = len(PUSH_FEATURES) + len(PULL_FEATURES) + 2 + 1 + 2
    assert policy.is_linear.sum() == n_linear
