"""What a node remembers of its dealings with another one, until a report tells of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sortie_cluster.scheduler import CAME, NO_DEALINGS, REFUSED, TAKEN, Dealings, DealingsSince


def test_totals_are_those_of_what_went_after_the_report() -> None:
    random = np.random.default_rng(0)
    n_tasks = 200
    cpu, memory, predicted_s = random.uniform(0, 2, (3, n_tasks)).tolist()
    world = SimpleNamespace(now=0.0, cpu=cpu, memory=memory, predicted_s=predicted_s)
    dealings = DealingsSince(world)  # type: ignore[arg-type]
    since_s, log = {pair: 0.0 for pair in ((0, 1), (0, 2), (1, 0))}, []
    for task in range(n_tasks):
        world.now += float(random.exponential())
        node, target = list(since_s)[int(random.integers(3))]
        if random.random() < 0.4:
            what = (CAME, TAKEN, REFUSED)[task % 3]
            dealings.add(node, target, what)
        else:
            what = Dealings(1, cpu[task], memory[task], predicted_s[task])
            dealings.send(task, node, target)
        log.append(((node, target), world.now, what))
        pair = list(since_s)[int(random.integers(3))]
        if random.random() < 0.3:
            since_s[pair] += float(random.uniform(0, world.now - since_s[pair]))
        expected = np.sum([np.array(each) for of, at_s, each in log if of == pair and at_s > since_s[pair]], axis=0)
        assert tuple(dealings.total(*pair, since_s[pair])) == pytest.approx(tuple(expected + np.zeros(7)))
    assert dealings.total(2, 0, 0.0) == NO_DEALINGS
