"""One mission over a motion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_core.config import load_config
from sortie_sim.mission_world import MissionWorld
from sortie_sim.point_motion import PointMotion
from sortie_sim.point_world import PointWorld

if TYPE_CHECKING:
    from sortie_core.state import WorldState

CONFIG_FILE = Path(__file__).parents[2] / "configs" / "delivery.yaml"
POINT = load_config(CONFIG_FILE, ["world.backend=point"])


def heading(state: WorldState):
    targets = np.arange(state.position.shape[1]) % state.demand.shape[1]
    return 1.5 * (state.consumer_position[0, targets] - state.position[0])


def test_a_mission_over_points_is_the_point_world():
    mission, batch = MissionWorld(POINT), PointWorld(POINT, "numpy")
    state, other = mission.reset(5), batch.reset([5])
    while not mission.done:
        command = heading(state)
        state, other = mission.step(command), batch.step(command[None]).state
    for name, array in vars(state).items():
        np.testing.assert_allclose(array, getattr(other, name), 1e-3, 1e-3, err_msg=name)
    figures = mission.metrics.summary()
    assert figures["delivered_fraction"] > 0.5 and figures["elapsed_s"] == pytest.approx(20, abs=0.01)


def test_missions_repeat_by_seed():
    mission, ends = MissionWorld(POINT), []
    for seed in (1, 2, 1):
        state = mission.reset(seed)
        for _ in range(30):
            state = mission.step(heading(state))
        ends.append((state.position, mission.metrics.summary()))
    np.testing.assert_array_equal(ends[0][0], ends[2][0])
    np.testing.assert_equal(ends[0][1], ends[2][1])
    assert not np.array_equal(ends[0][0], ends[1][0])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_team_flies_above_the_ground_and_the_state_is_in_the_arena(dimensions: int):
    config = load_config(CONFIG_FILE, ["world.backend=point", f"task.dimensions={dimensions}", "world.altitude_m=1.5"])
    mission = MissionWorld(config)
    state = mission.reset(2)
    assert state.position.shape == (1, 8, dimensions)
    for _ in range(20):
        state = mission.step(heading(state))
        np.testing.assert_allclose(mission.motion.position[:, :dimensions][:, :2], state.position[0, :, :2], atol=1e-5)
    if dimensions == 2:
        np.testing.assert_allclose(mission.motion.position[:, 2], 1.5)
    else:
        np.testing.assert_allclose(mission.motion.position[:, 2], state.position[0, :, 2] + 6.5, atol=1e-5)


def test_altitude_is_regained_after_a_disturbance():
    mission = MissionWorld(POINT)
    state = mission.reset(2)
    lifted = mission.motion.position + np.array([0, 0, 0.7])
    mission.motion.reset(lifted)
    heights = []
    for _ in range(40):
        state = mission.step(np.zeros_like(state.position[0]))
        heights.append(mission.motion.position[:, 2].copy())
    np.testing.assert_allclose(heights[-1], POINT.world.altitude_m, atol=0.01)
    assert np.max(heights) < 1.7 + 1e-9


def test_a_failed_agent_hovers_and_delivers_nothing():
    mission = MissionWorld(POINT)
    state = mission.reset(4)
    for _ in range(5):
        state = mission.step(heading(state))
    mission.fail_agent(0)
    assert not mission.state.alive[0, 0] and mission.state.alive[0, 1:].all()
    before = mission.state
    for _ in range(60):
        state = mission.step(heading(state))
    np.testing.assert_array_equal(state.delivered[0, 0], before.delivered[0, 0])
    assert np.linalg.norm(state.velocity[0, 0]) < 1e-3
    assert np.linalg.norm(state.position[0, 0] - before.position[0, 0]) < 0.5
    assert state.delivered[0, 1:].sum() > before.delivered[0, 1:].sum()
    mission.fail_agent(0)
    assert mission.state.failure_time_s[0, 0] == before.failure_time_s[0, 0]


def test_bad_commands_are_refused():
    mission = MissionWorld(POINT)
    state = mission.reset(1)
    with pytest.raises(ValueError):
        mission.step(np.full_like(state.position[0], np.nan))
    with pytest.raises(ValueError):
        mission.step(np.zeros((3, 2)))
    for shape in ((2,), (1, 2), (8, 1), ()):
        with pytest.raises(ValueError, match="shape"):
            mission.step(np.zeros(shape))


def test_point_motion_follows_commands_in_space():
    motion = PointMotion(POINT, 2)
    motion.reset(np.array([[0, 0, 1], [1, 1, 1]]))
    for _ in range(20):
        motion.step(np.array([[1, 0, 0.5], [0, 0, 0]]), 0.1)
    np.testing.assert_allclose(motion.velocity, [[1, 0, 0.5], [0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(motion.position[1], [1, 1, 1])
    assert motion.position[0, 0] == pytest.approx(1.9, abs=0.05)
    np.testing.assert_array_equal(motion.attitude, [[0, 0, 0, 1]] * 2)
    with pytest.raises(ValueError, match="shape"):
        motion.reset(np.zeros((3, 3)))
    motion.close()


@pytest.mark.parametrize("backend", ["pybullet", "point"])
def test_drones_are_landed_or_cut_and_the_others_fly_on(backend: str):
    mission = MissionWorld(load_config(CONFIG_FILE, [f"world.backend={backend}", "team.n_agents=3"]))
    state = mission.reset(2)
    mission.land(0)
    mission.cut(1)
    for _ in range(40):
        state = mission.step(heading(state))
    assert state.alive[0].tolist() == [False, False, True]
    height = mission.motion.position[:, 2]
    assert height[0] < 0.06
    assert height[1] == pytest.approx(1.0 if backend == "point" else 0.013, abs=0.01)
    assert height[2] == pytest.approx(1.0, abs=0.05)
    mission.reset(2)
    mission.step(np.zeros((3, 2)))
    np.testing.assert_allclose(mission.motion.position[:, 2], 1.0, atol=0.05)
    mission.close()
