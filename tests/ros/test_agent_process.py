"""One agent's process is small: a team of them fits on one small computer, one of them on a drone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from lifecycle_msgs.msg import State, Transition

from sortie_bringup.fleet import NodeDescription

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import ManagedProcess

pytestmark = pytest.mark.ros

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
MOST_MEMORY_BYTES, MOST_START_S = 150e6, 2.0
HEAVY = ("torch", "pybullet", "cvxpy", "matplotlib", "scipy", "pyscipopt", "highspy", "_pytest")


def test_an_agent_starts_fast_and_stays_small(
    managed: Callable[[NodeDescription], ManagedProcess], checkpoint: Path
) -> None:
    parameters = {"config_file": str(YAML), "overrides": [f"policy.checkpoint={checkpoint}"], "index": 2}
    agent = managed(NodeDescription("sortie_nodes", "agent_node", "agent", "/drone_2", parameters, drones=(2,)))
    agent.step(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
    process = psutil.Process(agent.process.pid)
    times = process.cpu_times()
    assert process.memory_info().rss < MOST_MEMORY_BYTES
    # Processor time, which does not depend on what else the machine does.
    assert times.user + times.system < MOST_START_S
    mapped = {Path(entry.path).as_posix() for entry in process.memory_maps()}
    assert any("onnxruntime" in path for path in mapped)
    assert not [path for path in mapped if any(f"/{name}/" in path or f"/{name}." in path for name in HEAVY)]
