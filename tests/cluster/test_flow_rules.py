"""Rules for flows of tasks: what holds of every run, what each decides, and how far each gets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sortie_cluster.cluster import Cluster
from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.flow_rules import FLOW_RULES, InstantOptimal, PricePush, Pull, flow_rule
from sortie_cluster.flows import make_flows, throughput_bound, world_of
from sortie_cluster.flows_config import FlowsConfig
from sortie_cluster.reports import Reports
from sortie_cluster.workload import Workload
from sortie_core.config import UserError, load
from sortie_schedule.q_learning import FLOW_POLICIES, flow_policy

FILE = Path(__file__).parents[2] / "configs" / "task_flows.yaml"
STEPS = 1500
LATE = ("reports.period_s=1", "reports.delay_s=5", "reports.loss=0.5")
INF = float("inf")
EVERY_RUN = [(name, late) for name in FLOW_POLICIES for late in (False, True)]


def configured(late: bool = False) -> FlowsConfig:
    return load(FlowsConfig, FILE, [f"flows.steps={STEPS}", *(LATE if late else ())])


@cache
def run(name: str, late: bool, seed: int = 0) -> ClusterWorld:
    config = configured(late)
    world = world_of(config, make_flows(config, seed), flow_policy(name, config), seed)
    world.run(STEPS)
    return world


def throughput(name: str, late: bool = False) -> float:
    """Completed per 100 steps, over two networks."""
    return sum(np.isfinite(run(name, late, seed).log.end_s_of).sum() for seed in (0, 1)) / 2 / STEPS * 100


@pytest.mark.parametrize(("name", "late"), EVERY_RUN)
def test_every_task_is_somewhere(name: str, late: bool) -> None:
    world = run(name, late)
    log = world.log
    completed = set(np.nonzero(np.isfinite(log.end_s_of))[0].tolist())
    dropped = {task for task, gone in enumerate(log.dropped) if gone}
    waiting = [task for queue in world.queues for _, task in queue]
    running = [task for tasks in world.running for task in tasks]
    last = {move.task: move.at_s for move in log.moves}
    under_way = [task for task, at_s in last.items() if at_s + world.cluster.hop_s > STEPS and task not in dropped]
    counts = len(completed) + len(dropped) + len(waiting) + len(running) + len(under_way)
    assert counts == len(world.workload)
    assert completed | dropped | {*waiting, *running, *under_way} == set(range(counts))


@pytest.mark.parametrize(("name", "late"), EVERY_RUN)
def test_tasks_move_along_links_and_servers_serve_one_at_a_time(name: str, late: bool) -> None:
    log = run(name, late).log
    cluster, kind = log.cluster, log.workload.kind
    place, handed = log.workload.entry.tolist(), np.zeros(len(kind), int)
    for move in log.moves:
        assert cluster.linked[move.source, move.target] and place[move.task] == move.source
        place[move.task] = move.target
        handed[move.task] += not move.pulled
    assert handed.max() <= 10
    began = np.isfinite(log.begin_s)
    begin_s, end_s, node = np.array(log.begin_s), np.array(log.end_s_of), np.array(log.node)
    assert (node[began] == np.array(place)[began]).all(), "it ran where it had gone"
    done = np.isfinite(end_s)
    assert np.allclose((end_s - begin_s)[done], cluster.service_s[node[done], kind[done]])
    for each in range(len(cluster)):
        order = np.argsort(begin_s[done & (node == each)])
        begins, ends = begin_s[done & (node == each)][order], end_s[done & (node == each)][order]
        assert (begins[1:] >= ends[:-1] - 1e-9).all()


@pytest.mark.parametrize(("name", "late"), EVERY_RUN)
def test_no_schedule_beats_the_bound(name: str, late: bool) -> None:
    for seed in (0, 1) if not late else (0,):
        log = run(name, late, seed).log
        offered = np.zeros(log.cluster.service_s.shape)
        np.add.at(offered, (log.workload.entry, log.workload.kind), 1 / STEPS)
        assert np.isfinite(log.end_s_of).sum() / STEPS <= throughput_bound(log.cluster, offered) + 1e-9


@pytest.mark.parametrize("name", FLOW_POLICIES)
def test_a_run_is_the_same_again(name: str) -> None:
    config = configured(late=True)
    again = world_of(config, make_flows(config, 0), flow_policy(name, config), 0).run(STEPS)
    assert np.array_equal(again.end_s_of, run(name, True).log.end_s_of, equal_nan=True)
    assert again.moves == run(name, True).log.moves


def test_the_order_of_the_rules() -> None:
    assert throughput("random") < 420
    assert 480 < throughput("instant_optimal") < 545
    assert throughput("price_push") > throughput("instant_optimal") + 30
    assert throughput("pull") > throughput("instant_optimal") + 30
    for learner in ("single_flow_q", "shared_value_q"):
        assert 250 < throughput(learner) < throughput("instant_optimal") - 50


def test_price_push_and_pull_drop_nothing() -> None:
    for seed in (0, 1):
        for name in ("price_push", "pull"):
            assert not any(run(name, False, seed).log.dropped)
        assert not any(run("pull", True, seed).log.dropped)


def test_late_and_lost_reports_cost_little() -> None:
    for name in ("price_push", "pull"):
        assert throughput(name, late=True) > 0.97 * throughput(name)


def test_admission_keeps_queues_short_and_refuses_at_the_door() -> None:
    config = configured().changed({"network.fast_probability": 0.0}, "test")
    completion_s = {}
    for name in ("price_push", "price_push_admission"):
        log = world_of(config, make_flows(config, 0), flow_rule(name), 0).run(STEPS)
        completion_s[name] = np.nanmean(log.completion_s)
    assert completion_s["price_push_admission"] < 0.5 * completion_s["price_push"]
    refused = {task for task, gone in enumerate(log.dropped) if gone}
    assert len(refused) > 0.2 * len(log.workload), "servers of 5 s cannot do 600 tasks in 100 s"
    assert not refused & {move.task for move in log.moves}


# By hand.


def world(
    scheduler: PricePush | InstantOptimal | Pull,
    service_s: list[list[float]],
    links: list[tuple[int, int]],
    tasks: list[tuple[float, int, int]],
    reports: Reports | None = None,
) -> ClusterWorld:
    """Tasks are (arrival, entry, kind)."""
    n_agents, n = len(service_s), len(tasks)
    linked = np.zeros((n_agents, n_agents), bool)
    for i, j in links:
        linked[i, j] = linked[j, i] = True
    ones = np.ones(n_agents)
    arrival_s, entry, kind = (np.array([task[column] for task in tasks]) for column in range(3))
    workload = Workload(
        arrival_s=arrival_s.astype(float),
        work_s=np.full(n, 4.0),
        cpu=np.ones(n),
        memory=np.zeros(n),
        entry=entry,
        predicted_s=np.full(n, 4.0),
        job=np.arange(n),
        kind=kind,
    )
    cluster = Cluster(ones, 0 * ones, ones, linked, np.array(service_s), hop_s=1.0)
    return ClusterWorld(cluster, workload, scheduler, reports, max_hops=10, drop=True)


def test_prices_spread_one_hop_per_broadcast() -> None:
    rule = PricePush()
    world(rule, [[INF], [INF], [3.0]], [(0, 1), (1, 2)], [(0, 0, 0)])
    first = rule._told = rule.announce()
    assert [told.value[0] for told in first] == pytest.approx([40, 40, 3**1.5 * 5]), "nobody has said anything yet"
    second = rule._told = rule.announce()
    assert [told.value[0] for told in second] == pytest.approx([80, 40 + 3**1.5 * 5, 3**1.5 * 5])
    third = rule.announce()
    assert third[0].value[0] == pytest.approx(80 + 3**1.5 * 5)


def test_a_task_goes_to_the_fast_server_and_stays_there() -> None:
    log = world(PricePush(), [[INF], [5.0], [3.0]], [(0, 1), (0, 2)], [(0, 0, 0)]).run(20)
    assert [(move.source, move.target) for move in log.moves] == [(0, 2)]
    assert log.end_s_of == [4.0]


def test_own_sends_count_until_the_next_broadcast_is_heard() -> None:
    rule = PricePush()
    reports = Reports(period_s=1.0, delay_s=5.0)
    tasks = [(0.5, 0, 0)] * 6
    log = world(rule, [[INF], [3.0], [3.0]], [(0, 1), (0, 2)], tasks, reports).run(40)
    assert sorted(log.node) == [1, 1, 1, 2, 2, 2], "not all to the one that was idle when it spoke last"


def test_instant_optimal_weighs_the_way_the_load_and_the_service() -> None:
    tasks = [(0, 0, 0)] * 3
    # Alone it would take 5, 10 and 15 s; the neighbour takes 1 + 3, and, as it hears of none under way, 1 + 3 again.
    log = world(InstantOptimal(), [[5.0], [3.0]], [(0, 1)], tasks).run(40)
    assert log.node[:2] == [1, 1]
    assert log.end_s_of[:2] == [4.0, 7.0]
    # Once the first has come, its 3 s count: 1 + 3 + 3 there, 5 here.
    log = world(InstantOptimal(), [[5.0], [3.0]], [(0, 1)], [(0, 0, 0), (1, 0, 0)]).run(40)
    assert log.node == [1, 0] and log.end_s_of == [4.0, 6.0]


def test_an_idle_server_takes_a_neighbours_task_and_waits_for_its_way() -> None:
    rule = Pull()
    # Two tasks for agent 0, which alone can be reached at time 0; its neighbour serves the kind as fast, and takes one.
    log = world(rule, [[3.0], [3.0]], [(0, 1)], [(0, 0, 0), (0, 0, 0)]).run(40)
    assert sorted(log.end_s_of) == [3.0, 4.0]
    assert [(move.source, move.target) for move in log.moves] == [(0, 1)]


def test_an_idle_server_prefers_the_quicker_of_two_waiting_kinds() -> None:
    tasks = [(0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 1)]
    log = world(Pull(), [[5.0, 3.0]], [], tasks).run(40)
    order = np.argsort(log.begin_s).tolist()
    assert order == [0, 1, 3, 2], "the one that came first was alone; then those of 3 s"


@pytest.mark.parametrize(("name", "hint"), [("pul", "did you mean pull?"), ("xyz", "there are random")])
def test_an_unknown_rule_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UserError, match="no policy") as refused:
        flow_rule(name)
    assert hint in str(refused.value)
    assert set(FLOW_RULES) < set(FLOW_POLICIES)
