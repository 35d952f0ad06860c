"""Learned routers: networks that relabelled nodes do not change, training that learns, checkpoints that tell damage."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml

from sortie_cluster.config import ClusterConfig
from sortie_cluster.rules import rule
from sortie_cluster.scheduler import Scheduler
from sortie_core.config import UserError
from sortie_schedule.q_schedulers import Options, QScheduler, load_q_scheduler
from sortie_schedule.train_q_scheduler import LOSSES, QTraining, evaluate, play, train
from sortie_schedule.value_networks import (
    NODE_FEATURES,
    TASK_FEATURES,
    ClusterMixer,
    Decisions,
    Graph,
    Memory,
    QNetwork,
    recorded,
    with_rewards,
)

PROJECT = Path(__file__).resolve().parents[2]
GRAPHS = get_args(Graph)
N_NODES = 6
QUICK = QTraining(
    mixer="dqn", graph="none", reward="local", epochs=6, evaluated_epochs=(3, 6), updates_per_epoch=60, episode_s=300.0,
    evaluation_seeds=2, evaluation_s=600.0, hidden=16, exploring=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def config() -> ClusterConfig:
    whole = ClusterConfig.model_validate(yaml.safe_load((PROJECT / "configs" / "cluster.yaml").read_text()))
    changes = (
        "trace.n_jobs=800 trace.duration_s=[1,17] cluster.topology=ring cluster.n_nodes=6 cluster.cores=[1] "
        "cluster.memory=[1] cluster.speed=[1,1] arrivals.mode=closed arrivals.whole_slots=true arrivals.duration_s=600"
    )
    return whole.override(changes.split())


@pytest.fixture(scope="module")
def trained(config: ClusterConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(config, QUICK, tmp_path_factory.mktemp("trained"))


def ring(n_nodes: int = N_NODES) -> torch.Tensor:
    linked = torch.zeros(n_nodes, n_nodes, dtype=torch.bool)
    for node in range(n_nodes):
        linked[node, (node + 1) % n_nodes] = linked[(node + 1) % n_nodes, node] = True
    return linked


def drawn(batch: int = 5) -> Decisions:
    """Random decisions on a ring."""
    random = torch.Generator().manual_seed(3)
    agent = torch.randint(N_NODES, (batch,), generator=random)
    return Decisions(
        nodes=torch.rand(batch, N_NODES, len(NODE_FEATURES), generator=random),
        linked=ring().expand(batch, -1, -1),
        agent=agent,
        near=torch.stack([agent, (agent - 1) % N_NODES, (agent + 1) % N_NODES], 1),
        allowed=torch.ones(batch, 3, dtype=torch.bool),
        fits=torch.randint(2, (batch, 3), generator=random).float(),
        task=torch.rand(batch, len(TASK_FEATURES), generator=random),
    )


def network(graph: Graph, seed: int = 0, **options: bool | str) -> QNetwork:
    torch.manual_seed(seed)
    return QNetwork(16, graph, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("graph", GRAPHS)
def test_values_are_of_candidates_and_of_nodes_without_a_task(graph: Graph) -> None:
    seen = drawn()
    barred = replace(seen, allowed=torch.tensor([True, True, False]).expand(5, 3))
    values, idle = network(graph)(barred)
    assert values.shape == (5, 3) and idle.shape == (5, N_NODES)
    assert torch.isinf(values[:, 2]).all() and torch.isfinite(values[:, :2]).all() and torch.isfinite(idle).all()


@pytest.mark.parametrize("relay", [False, True])
@pytest.mark.parametrize("graph", GRAPHS)
def test_relabelled_nodes_have_relabelled_values(graph: Graph, relay: bool) -> None:
    seen, of = drawn(), network(graph, relay=relay)
    order = torch.tensor([3, 0, 5, 1, 4, 2])  # new node n is old node order[n]
    place = torch.argsort(order)
    other = replace(
        seen,
        nodes=seen.nodes[:, order],
        linked=seen.linked[:, order][:, :, order],
        agent=place[seen.agent],
        near=place[seen.near][:, [0, 2, 1]],
        fits=seen.fits[:, [0, 2, 1]],
    )
    (values, idle), (values_after, idle_after) = of(seen), of(other)
    assert torch.allclose(values[:, [0, 2, 1]], values_after, atol=1e-6)
    assert torch.allclose(idle[:, order], idle_after, atol=1e-6)


def change(graph: Graph, hops: int, **options: bool | str) -> bool:
    """Whether a node that is so many hops away changes what a node's choices are worth."""
    seen, of = drawn(), network(graph, seed=1, **options)
    nodes = seen.nodes.clone()
    nodes[torch.arange(len(nodes)), (seen.agent + hops) % N_NODES] += 1.0
    return not torch.equal(of(seen)[0], of(replace(seen, nodes=nodes))[0])


def test_what_a_node_knows_ends_where_its_options_say() -> None:
    assert not change("none", 1, observation="local")
    assert change("none", 1) and not change("none", 2)
    for graph in ("mean", "attention"):
        assert change(graph, 1, observation="local") and change(graph, 1) and not change(graph, 2)  # type: ignore[arg-type]
        assert change(graph, 2, relay=True) and not change(graph, 3, relay=True)  # type: ignore[arg-type]
    assert change("full", 3)


def test_the_mixer_rises_with_every_value_and_forgets_labels() -> None:
    torch.manual_seed(0)
    seen, mixer = drawn(), ClusterMixer(16)
    values = torch.randn(5, N_NODES, requires_grad=True)
    mixed = mixer(values, seen)
    (slope,) = torch.autograd.grad(mixed.sum(), values)
    assert (slope >= 0).all() and (slope > 0).any()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    relabelled = replace(seen, nodes=seen.nodes[:, order], agent=torch.argsort(order)[seen.agent])
    assert torch.allclose(mixer(values[:, order], relabelled), mixed, atol=1e-5)


@pytest.mark.parametrize("observation", ["local", "neighbours"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_nodes_decide_as_the_network_has_it(config: ClusterConfig, graph: Graph, observation: str) -> None:
    relay = observation == "neighbours" and graph != "none"
    of = network(graph, observation=observation, relay=relay)
    weights = {name: value.numpy() for name, value in of.state_dict().items()}
    scheduler = QScheduler(weights, Options(graph, observation, relay), recording=True)
    played = recorded(scheduler, play(config, scheduler, 0))
    memory = Memory([with_rewards(played, QTraining(), (10.0, 1.0))])
    everything = torch.arange(len(memory.choice))
    with torch.no_grad():
        values = of(memory.seen(everything))[0]
    # nodes that are alike are worth the same, up to rounding
    assert torch.allclose(values.gather(1, memory.choice[:, None])[:, 0], values.max(1).values, atol=1e-5)
    schedule = play(config, scheduler, 0)
    assert schedule.moves and not any(move.pulled for move in schedule.moves)
    assert len({move.task for move in schedule.moves}) == len(schedule.moves), "a task is handed over once"


def test_rewards_are_completion_times_and_tasks_in_the_system(config: ClusterConfig) -> None:
    weights = {name: value.numpy() for name, value in network("none").state_dict().items()}
    scheduler = QScheduler(weights, Options(), exploration=1.0, recording=True)
    schedule = play(config, scheduler, 0)
    played = recorded(scheduler, schedule)
    training = QTraining(mixer="qmix", reward="local", gamma=0.9, lookahead_s=0.0)
    local = with_rewards(played, training, (0.0, 0.0))
    assert np.allclose(local["reward"][:-1], -played["completion_s"][:-1] / 10, atol=1e-4)
    assert local["following"].tolist() == [*range(1, len(played["at_s"])), -1]
    summed = with_rewards(played, training.model_copy(update={"reward": "global"}), (0.0, 0.0))
    span = slice(0, len(played["at_s"]) - 1)
    ready, end = np.array(schedule.ready_s), np.array(schedule.end_s_of)
    a, b = played["at_s"][0], played["at_s"][-1]
    inside = np.clip(np.where(np.isnan(end), b, end), a, b) - np.clip(np.where(np.isnan(ready), b, ready), a, b)
    assert -float(summed["reward"][span].sum()) == pytest.approx(inside.sum() / N_NODES, rel=1e-3)
    alone = with_rewards(played, training.model_copy(update={"mixer": "dqn"}), (0.0, 0.0))
    known = alone["following"] >= 0
    assert (alone["agent"][alone["following"][known]] == alone["agent"][known]).all()


def test_training_beats_random_routing_by_far(config: ClusterConfig, trained: Path) -> None:
    test = config.override(["trace.window=test", "arrivals.duration_s=1800"])
    learned = evaluate(test, load_q_scheduler(trained), range(3))
    chance = evaluate(test, rule("random"), range(3))
    assert learned["completion_mean_s"] < 0.8 * chance["completion_mean_s"]
    assert learned["throughput_per_h"] > chance["throughput_per_h"]


def test_qmix_learns_too(config: ClusterConfig, tmp_path: Path) -> None:
    changes = {"mixer": "qmix", "graph": "attention", "relay": True, "reward": "both"}
    training = QTraining(**QUICK.model_dump() | changes)
    assert training.method == "qmix+attention+relay"
    test = config.override(["trace.window=test", "arrivals.duration_s=1800"])
    learned = evaluate(test, load_q_scheduler(train(config, training, tmp_path)), range(3))
    assert learned["completion_mean_s"] < 0.85 * evaluate(test, rule("random"), range(3))["completion_mean_s"]


def test_nodes_of_any_kind_and_number_of_neighbours_are_trained(config: ClusterConfig, tmp_path: Path) -> None:
    changes = (
        "cluster.topology=scattered cluster.n_nodes=8 cluster.mean_degree=3 cluster.cores=[1,2] cluster.memory=[1.2,2] "
        "cluster.speed=[0.5,2] arrivals.mode=open arrivals.n_tasks=150 arrivals.whole_slots=false"
    )
    other = config.override(changes.split())
    short = {"epochs": 2, "evaluated_epochs": (2,), "mixer": "qmix", "updates_per_epoch": 5, "graph": "attention"}
    router = load_q_scheduler(train(other, QTraining(**QUICK.model_dump() | short), tmp_path))
    assert set(router.metadata["epochs"]) == {"2"}
    assert not np.isnan(play(other, router, 0).completion_s).any()
    # and one cluster's router runs on another
    assert evaluate(config, router, range(1))["completion_mean_s"] > 0


def test_the_same_seed_trains_the_same_router(config: ClusterConfig, tmp_path: Path) -> None:
    short = QUICK.model_copy(update={"epochs": 2, "evaluated_epochs": (2,), "mixer": "qmix", "updates_per_epoch": 10})

    def trained_with(seed: int, name: str) -> bytes:
        train(config, short.model_copy(update={"seed": seed}), tmp_path / name)
        return (tmp_path / name / LOSSES).read_bytes()

    first = trained_with(1, "a")
    assert trained_with(1, "b") == first
    assert trained_with(2, "c") != first


def test_a_training_tells_of_every_epoch_and_keeps_those_asked_for(trained: Path) -> None:
    rows = list(csv.DictReader((trained.parent / LOSSES).open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(float(row["training_loss"]) > 0 and float(row["validation_loss"]) > 0 for row in rows)
    assert [bool(row["validation_completion_mean_s"]) for row in rows] == [False, False, True] * 2
    metadata = load_q_scheduler(trained).metadata
    assert metadata["method"] == "dqn" and metadata["seed"] == 0
    figures = metadata["epochs"]["6"]
    assert figures["completion_mean_s"] == pytest.approx(float(rows[-1]["validation_completion_mean_s"]))


def test_a_checkpoint_holds_the_router(config: ClusterConfig, trained: Path) -> None:
    last, third = load_q_scheduler(trained), load_q_scheduler(trained, 3)
    assert play(config, last, 5).moves == play(config, load_q_scheduler(trained, 6), 5).moves
    assert play(config, last, 5).moves != play(config, third, 5).moves


def test_tasks_that_may_go_further_are_decided_on_again(config: ClusterConfig, trained: Path) -> None:
    test = config.override(["trace.window=test", "arrivals.duration_s=1800"])
    once, often = (load_q_scheduler(trained, max_hops=hops) for hops in (1, 6))
    moves = play(test, often, 0).moves
    assert len({move.task for move in moves}) < len(moves)
    once_s, often_s = (evaluate(test, each, range(4))["completion_mean_s"] for each in (once, often))
    assert often_s < once_s


def test_nothing_is_overwritten(config: ClusterConfig, trained: Path) -> None:
    before = trained.read_bytes()
    with pytest.raises(UserError, match="exists already; name another folder"):
        train(config, QUICK, trained.parent)
    assert trained.read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed", "other", "epoch"])
def test_what_cannot_be_loaded_is_told_in_one_line(trained: Path, tmp_path: Path, damage: str) -> None:
    whole, path = trained.read_bytes(), tmp_path / "q.ckpt"
    middle = len(whole) // 2
    content = {
        "empty": b"", "cut": whole[:middle], "changed": whole[:middle] + bytes(64) + whole[middle + 64 :],
        "other": b"no checkpoint", "epoch": whole,
    }  # fmt: skip
    if damage != "missing":
        path.write_bytes(content[damage])
    with pytest.raises(UserError) as told:
        load_q_scheduler(path, 4 if damage == "epoch" else None)
    assert "\n" not in str(told.value) and str(path) in str(told.value) and ";" in str(told.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"relay": True, "graph": "none"},
        {"relay": True, "observation": "local"},
        {"epochs": 100, "evaluated_epochs": (125,)},
        {"hiden": 8},
    ],
)
def test_options_that_do_not_fit_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QTraining(**wrong)  # type: ignore[arg-type]


def test_nodes_with_late_reports_decide_by_what_they_have_heard(config: ClusterConfig, trained: Path) -> None:
    late = config.override(["reports.period_s=5", "reports.delay_s=2", "reports.loss=0.2"])
    router = load_q_scheduler(trained)
    assert isinstance(router, Scheduler)
    stale, fresh = (evaluate(each, router, range(3))["completion_mean_s"] for each in (late, config))
    assert fresh < stale < 1.5 * fresh
    recording = QScheduler(router._weights, router.options, recording=True)
    with pytest.raises(UserError, match=r"reports\.period_s"):
        play(late, recording, 0)
