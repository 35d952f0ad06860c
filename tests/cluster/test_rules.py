"""What each rule decides in situations small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made_clusters import line, run, workload

from sortie_cluster.cluster import Cluster
from sortie_cluster.recipes import RECIPES, recipe
from sortie_cluster.reports import Reports
from sortie_cluster.rules import rule
from sortie_core.config import UserError


def star(*speeds: float, cores: float = 1.0) -> Cluster:
    """The first node hears all others, which hear it alone."""
    n_nodes = len(speeds)
    linked = np.zeros((n_nodes, n_nodes), bool)
    linked[0, 1:] = linked[1:, 0] = True
    return Cluster(np.full(n_nodes, cores), np.ones(n_nodes), np.array(speeds), linked)


def test_fifo_and_its_local_form() -> None:
    tasks = workload([4.0, 4.0, 4.0])
    assert run(line(1.0, 1.0, 1.0), tasks, rule("fifo")).begin_s == [0.0, 0.0, 0.0]
    assert run(line(1.0, 1.0, 1.0), tasks, rule("fifo_local")).begin_s == [0.0, 4.0, 8.0]


def test_round_robin_deals_tasks_out() -> None:
    assert run(line(1.0, 1.0), workload([4.0] * 4), rule("round_robin")).node == [0, 1, 0, 1]


def test_the_clairvoyant_starts_the_shortest_first_and_the_predicting_what_it_takes_for_it() -> None:
    tasks = workload([9.0, 5.0, 1.0], arrival_s=[0.0, 1.0, 1.0], predicted_s=[9.0, 1.0, 5.0])
    assert run(line(1.0), tasks, rule("clairvoyant")).begin_s == [0.0, 10.0, 9.0]
    assert run(line(1.0), tasks, rule("fifo+sjf")).begin_s == [0.0, 9.0, 14.0]
    assert run(line(1.0), tasks, rule("fifo")).begin_s == [0.0, 9.0, 14.0]


def test_weighted_keys_prefer_small_tasks() -> None:
    tasks = workload([9.0, 4.0, 5.0], arrival_s=[0.0, 1.0, 1.0], cpu=[2.0, 2.0, 0.5])
    assert run(line(1.0, cores=2.0), tasks, rule("fifo+sjf")).begin_s == [0.0, 9.0, 13.0]
    assert run(line(1.0, cores=2.0), tasks, rule("fifo+wsjf")).begin_s == [0.0, 14.0, 9.0]


def test_drf_serves_the_job_that_has_least() -> None:
    tasks = workload([20.0, 9.0, 9.0, 9.0], job=[0, 0, 0, 1], arrival_s=[0.0, 0.0, 1.0, 2.0])
    assert run(line(1.0, cores=2.0), tasks, rule("drf")).begin_s == [0.0, 0.0, 18.0, 9.0]
    assert run(line(1.0, cores=2.0), tasks, rule("fifo")).begin_s == [0.0, 0.0, 9.0, 18.0]


def test_tetris_packs_what_uses_both_resources() -> None:
    tasks = workload([9.0, 9.0, 9.0], arrival_s=[0.0, 1.0, 1.0], cpu=[2.0, 0.5, 1.5], memory=[1.0, 0.1, 0.9])
    assert run(line(1.0, cores=2.0), tasks, rule("tetris")).begin_s == [0.0, 9.0, 9.0]
    tasks = workload([9.0, 9.0, 9.0], arrival_s=[0.0, 1.0, 1.0], cpu=[2.0, 0.6, 1.5], memory=[1.0, 0.1, 0.9])
    assert run(line(1.0, cores=2.0), tasks, rule("tetris")).begin_s == [0.0, 18.0, 9.0]


def test_best_fit_leaves_the_larger_room() -> None:
    cluster = Cluster(np.array([2.0, 1.0]), np.ones(2), np.ones(2), line(1.0, 1.0).linked)
    assert run(cluster, workload([4.0]), rule("best_fit")).node == [1]


def test_jsq_sees_as_far_as_it_is_told() -> None:
    cluster = line(1.0, 1.0, 1.0)
    tasks = workload([9.0, 9.0, 9.0], entry=[0, 1, 0], arrival_s=[0.0, 0.0, 1.0])
    assert run(cluster, tasks, rule("jsq")).node == [0, 1, 2]
    assert run(cluster, tasks, rule("jsq_neighbours")).node == [0, 1, 0]


def test_expected_completion_waits_for_the_fast_where_that_is_sooner() -> None:
    cluster = star(10.0, 1.0)
    tasks = workload([20.0, 20.0, 1.0], arrival_s=[0.0, 0.1, 0.2])
    log = run(cluster, tasks, rule("expected_completion_neighbours"))
    assert log.node[:2] == [0, 0]


def test_rec_goes_to_the_fastest_that_has_room_else_to_the_least_load() -> None:
    log = run(star(1.0, 2.0, 4.0), workload([8.0, 8.0, 8.0, 8.0]), rule("rec"))
    assert log.node[:3] == [2, 1, 0]
    assert log.workload.work_s[3] == 8.0 and log.node[3] == 2, "two at speed 4 are less than one more at speed 1"


def test_stealing_is_for_the_idle_and_pulling_for_all() -> None:
    """Node 0 has one long and one short task waiting; node 1 has a middling one of its own when it becomes free."""
    tasks = workload(
        [9.0, 3.0, 2.0, 5.0], entry=[0, 1, 0, 1], arrival_s=[0.0, 0.0, 1.0, 1.0], predicted_s=[9.0, 3.0, 2.0, 5.0]
    )
    steals = run(line(1.0, 1.0), tasks, rule("work_stealing+sjf"))
    assert steals.begin_s[3] == 3.0, "its own comes first"
    pulls = run(line(1.0, 1.0), tasks, rule("work_stealing+pull+sjf"))
    assert pulls.begin_s[2] == 3.0 and pulls.begin_s[3] == 5.0, "the shortest comes first, wherever it waits"


def test_with_late_reports_rec_counts_what_it_has_sent() -> None:
    """A burst at node 0, whose report of an idle fast neighbour is old."""
    tasks, reports = workload([30.0] * 8, arrival_s=[5.0] * 8), Reports(period_s=1.0, delay_s=3.0)
    cluster = star(1.0, 3.0, 2.9)
    counts, blind = (run(cluster, tasks, rule(name), reports) for name in ("rec", "rec_blind"))
    first_target = [move.target for move in counts.moves[:3] if not move.pulled]
    assert first_target[:2] == [1, 2]
    assert [move.target for move in blind.moves[:2] if not move.pulled] == [1, 1]


def test_names_are_put_together() -> None:
    assert recipe("jsq+steal+sjf").order == "sjf"
    assert recipe("rec+again").again
    for name in RECIPES:
        assert recipe(name) == RECIPES[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [("jqs", "did you mean jsq"), ("jsq+fly", "no addition"), ("tetris+steal", "one central queue"), ("", "there are")],
)
def test_what_is_no_name_is_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        rule(name)
