"""What the bridge tells, agents understand; what agents claim, the bridge understands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sortie_interfaces.msg", reason="run `make test`, which builds and uses the ROS workspace")

from sortie_bridge.backends import SimulatedBackend
from sortie_bridge.cluster_messages import node_odometry, queues_message, stock_message
from sortie_bridge.cluster_run import ClusterRun
from sortie_cluster.live_config import load_graph_config
from sortie_core.packets import Decision, HandOver
from sortie_nodes.conversions import claim_message, hand_overs_from, local_view, stamp_of

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "cluster_live.yaml"


def test_a_view_survives_the_wire() -> None:
    config = load_graph_config(YAML, ["live.backend=simulated"])
    run = ClusterRun(config, SimulatedBackend(config.nodes))  # type: ignore[arg-type,attr-defined]
    run.begin_tick(40)
    ledger, stamp = run.ledger, stamp_of(40, config.world.dt_s)
    node = next(node for node, tasks in enumerate(ledger.unplaced) if tasks)
    first = ledger.unplaced[node][0]
    ledger.settle(node, [HandOver(first, node, 0.1 + 0.2)], (node,), run.now_s)
    view = local_view(
        node_odometry(node, stamp, ledger.cluster.position[node]),
        stock_message(40, stamp, ledger, node, run.now_s),
        queues_message(40, stamp, ledger, run.now_s),
        config,
    )
    assert view.tick == 40
    np.testing.assert_allclose(view.position, ledger.cluster.position[node], atol=1e-6)
    np.testing.assert_array_equal(view.stock, np.float32(ledger.stock(node)))
    assert view.running_s == ledger.running_s(node, run.now_s)
    assert view.consumers.tasks == tuple(ledger.queue(j, run.now_s) for j in range(len(ledger.cluster)))
    assert view.consumers.unmet.shape == (len(ledger.cluster), 2)


def test_a_claim_survives_the_wire() -> None:
    hand_overs = (HandOver(3, 1, 0.1 + 0.2), HandOver(4, 2, 0.0))
    decision = Decision(np.zeros(2), 1, np.array([0.0, 1.0, 0.0]), (1, 1, 0), hand_overs)
    message = claim_message(decision, stamp_of(1, 0.1))
    assert hand_overs_from(message) == hand_overs
    assert tuple(message.asks) == (1, 1, 0)
    assert message.choice == 1
