"""The world: what it does is worked out by hand, and every schedule it makes is proved feasible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_made_clusters import RING, configuration, line, run, workload

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.recipes import RECIPES
from sortie_cluster.reports import Reports
from sortie_cluster.rules import rule
from sortie_cluster.scenario import make_scenario
from sortie_cluster.scheduler import Scheduler
from sortie_cluster.validator import validate

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig

LATE = ["reports.period_s=2", "reports.delay_s=30"]


def test_one_core_runs_one_task_after_the_other() -> None:
    log = run(line(2.0), workload([4.0, 2.0]), Scheduler())
    assert log.begin_s == [0.0, 2.0]
    assert log.end_s_of == [2.0, 3.0]


def test_memory_holds_a_task_back_that_has_a_core() -> None:
    log = run(line(1.0, cores=2.0), workload([4.0, 2.0], memory=[0.7, 0.7]), Scheduler())
    assert log.begin_s == [0.0, 4.0]


def test_a_small_task_passes_one_that_does_not_fit() -> None:
    log = run(line(1.0, cores=2.0), workload([4.0, 5.0, 1.0], cpu=[1.0, 2.0, 1.0]), Scheduler())
    assert log.begin_s == [0.0, 4.0, 0.0]


def test_a_task_waits_for_all_that_it_depends_on() -> None:
    tasks = workload([3.0, 5.0, 1.0], parents=((), (), (0, 1)))
    log = run(line(1.0, cores=3.0), tasks, Scheduler())
    assert (log.ready_s[2], log.begin_s[2]) == (5.0, 5.0)


def test_a_child_that_is_registered_late_does_not_begin_before() -> None:
    tasks = workload([3.0, 1.0], arrival_s=[0.0, 8.0], parents=((), (0,)))
    assert run(line(1.0), tasks, Scheduler()).begin_s == [0.0, 8.0]


def test_a_pulled_task_changes_its_node_and_pays_for_the_hop() -> None:
    cluster = line(1.0, 1.0)
    log = run(cluster, workload([4.0, 4.0]), rule("work_stealing"))
    assert (log.node, log.begin_s) == ([0, 1], [0.0, 0.0])
    assert [(move.task, move.source, move.target, move.pulled) for move in log.moves] == [(1, 0, 1, True)]
    slow = type(cluster)(cluster.cpu, cluster.memory, cluster.speed, cluster.linked, hop_s=0.5)
    assert run(slow, workload([4.0, 4.0]), rule("work_stealing")).begin_s == [0.0, 0.5]


def test_a_pushed_task_is_passed_on_until_it_is_kept() -> None:
    log = run(line(1.0, 1.0, 1.0), workload([9.0] * 4), rule("jsq_neighbours"))
    assert log.node == [0, 1, 0, 2]  # node 0 does not see that node 2 is idle, node 1 does
    assert all(not move.pulled for move in log.moves)


def test_tasks_that_were_handed_over_too_often_stay() -> None:
    log = run(line(1.0, 1.0, 1.0), workload([9.0] * 4), rule("jsq_neighbours"), max_hops=1)
    assert log.node == [0, 1, 0, 1]


def test_a_source_of_a_closed_loop_waits_for_its_task() -> None:
    tasks = workload([2.0, 3.0, 4.0], source=[0, 0, 0], think_s=[1.0, 1.0, 1.0])
    log = run(line(1.0), tasks, Scheduler(), until_s=100.0)
    assert log.ready_s == [1.0, 4.0, 8.0]
    assert log.end_s_of == [3.0, 7.0, 12.0]


def test_what_a_failed_node_ran_is_run_again_elsewhere_once() -> None:
    log = run(line(1.0, 1.0), workload([10.0]), rule("work_stealing"), failures=((0, 4.0, 1e9),))
    assert (log.node, log.begin_s, log.end_s_of) == ([1], [4.0], [14.0])
    assert [(each.task, each.node, each.began_s, each.at_s) for each in log.lost] == [(0, 0, 0.0, 4.0)]


def test_a_task_on_its_way_to_a_node_that_fails_is_placed_anew() -> None:
    cluster = line(1.0, 1.0)
    slow = type(cluster)(cluster.cpu, cluster.memory, cluster.speed, cluster.linked, hop_s=2.0)
    log = run(slow, workload([10.0, 5.0]), rule("work_stealing"), failures=((1, 1.0, 1e9),))
    assert (log.node, log.begin_s, log.ready_s) == ([0, 0], [0.0, 12.0], [0.0, 0.0])
    assert not log.lost


def test_waiting_counts_from_the_first_arrival_of_a_task_that_was_lost() -> None:
    log = run(line(1.0), workload([10.0], arrival_s=[1.0]), Scheduler(), failures=((0, 4.0, 6.0),))
    assert log.ready_s == [1.0]


def test_a_node_that_is_back_works_again() -> None:
    log = run(line(1.0), workload([10.0]), Scheduler(), failures=((0, 4.0, 6.0),))
    assert (log.begin_s, log.end_s_of) == ([6.0], [16.0])


def test_late_reports_show_what_was() -> None:
    class Spy(Scheduler):
        def woken_by_reports(self) -> tuple[()]:
            seen.append((self.world.now, self.world.heard(1, 0).n_running[0], self.world.heard(0, 0).n_running[0]))
            return ()

    seen: list[tuple[float, int, int]] = []
    run(line(1.0, 1.0), workload([3.0], arrival_s=[0.5]), Spy(), Reports(period_s=1.0, delay_s=2.0))
    assert [own for at, _, own in seen if 0.5 < at < 3.5] == [1, 1, 1]
    assert [heard for at, heard, _ in seen if at in (1.0, 2.0, 3.0)] == [0, 0, 1]


def test_lost_reports_leave_what_was_heard_before() -> None:
    class Spy(Scheduler):
        def woken_by_reports(self) -> tuple[()]:
            ages.append(self.world.now - self.world.heard(1, 0).at_s)
            return ()

    ages: list[float] = []
    reports = Reports(period_s=1.0, delay_s=1.0, loss=0.5)
    run(line(1.0, 1.0), workload([400.0]), Spy(), reports, seed=3)
    assert min(ages[5:]) == 1.0
    assert 1.7 < float(np.mean(ages[5:])) < 2.4  # 1 s, and as many periods as reports are lost in a row: 1 on average


def test_a_run_with_reports_ends_though_a_task_can_never_run() -> None:
    log = run(line(1.0, 1.0), workload([1.0, 1.0], cpu=[1.0, 5.0]), Scheduler(), Reports(period_s=1.0))
    assert np.isnan(log.end_s_of[1])


def test_a_task_finds_its_way_to_the_only_node_that_can_run_it() -> None:
    cluster = line(1.0, 1.0, 1.0, 1.0)
    cluster.cpu[3] = 2.0
    log = run(cluster, workload([1.0], cpu=[2.0]), rule("rec"), max_hops=1)
    assert log.node == [3]


@pytest.mark.parametrize("name", [*RECIPES, "jsq+steal+sjf", "jsq_neighbours+pull+wsjf", "random+steal"])
@pytest.mark.parametrize("overrides", [[], RING, ["arrivals.dependencies=true"], LATE])
def test_every_rule_makes_feasible_schedules_that_lose_nothing(name: str, overrides: list[str]) -> None:
    config = configuration(*overrides)
    cluster, tasks, _ = make_scenario(config, 0)
    until_s = config.arrivals.duration_s if tasks.closed else np.inf
    log = run(cluster, tasks, rule(name), config.heard, until_s=until_s)
    if not tasks.closed:
        assert not np.isnan(log.end_s_of).any()


def test_runs_are_the_same_by_seed(config: ClusterConfig) -> None:
    cluster, tasks, _ = make_scenario(config, 1)
    reports = Reports(period_s=2.0, delay_s=5.0, loss=0.3)
    one, other = (ClusterWorld(cluster, tasks, rule("rec"), reports, seed=4).run() for _ in range(2))
    assert (one.end_s_of, one.moves) == (other.end_s_of, other.moves)
    another = ClusterWorld(cluster, tasks, rule("rec"), reports, seed=5).run()
    assert another.moves != one.moves
    validate(another, 1)


def test_a_task_whose_only_node_is_out_of_reach_waits_instead_of_wandering() -> None:
    cluster = line(1.0, 1.0, 1.0)
    cluster.cpu[2] = 2.0
    cluster.linked[1, 2] = cluster.linked[2, 1] = False
    log = run(cluster, workload([1.0], cpu=[2.0]), rule("rec"), max_hops=1)
    assert log.node == [-1]


def test_a_waiting_task_goes_where_there_is_room_by_now() -> None:
    """When it arrives nobody has room; two seconds later node 1 has."""
    tasks = workload([9.0, 1.0, 9.0], arrival_s=[0.0, 0.0, 0.5], entry=[0, 1, 0])
    stays = run(line(1.0, 1.0), tasks, rule("jsq_neighbours"))
    assert (stays.node, stays.begin_s[2]) == ([0, 1, 0], 9.0)
    moves = run(line(1.0, 1.0), tasks, rule("jsq_neighbours+again"))
    assert (moves.node, moves.begin_s[2]) == ([0, 1, 1], 2.0)
    assert [move.again for move in moves.moves] == [True]
