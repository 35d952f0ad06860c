"""The motion controller: it arrives, brakes in time, keeps its distance, and never exceeds the speed limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sortie_core.action import Neighbours, team_command, velocity_command
from sortie_core.comm_graph import adjacency
from sortie_core.config import load_config
from sortie_core.dynamics import follow_velocity
from sortie_core.layout import sample_layout

if TYPE_CHECKING:
    from sortie_core.state import WorldState

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")


def flown(state: WorldState, choice: np.ndarray, seconds: float) -> list[WorldState]:
    history = [state]
    for _ in range(round(seconds / CONFIG.world.dt_s)):
        linked = adjacency(state.position, state.alive, CONFIG.comm.radius_m)
        command = team_command(state, choice, linked, None, CONFIG)
        position, velocity = follow_velocity(state.position, state.velocity, command, state.alive, CONFIG.world)
        state = state.replace(position=position, velocity=velocity)
        history.append(state)
    return history


def placed(position: list[list[float]], consumers: list[list[float]]) -> WorldState:
    state = sample_layout(CONFIG, [0], len(position), len(consumers), 1)
    return state.replace(position=np.array([position], np.float32), consumer_position=np.array([consumers], np.float32))


def test_a_drone_arrives_and_stays() -> None:
    history = flown(placed([[-4, -4]], [[4, 4]]), np.array([[0]]), 12)
    away = [float(np.linalg.norm(state.position[0, 0] - state.consumer_position[0, 0])) for state in history]
    assert max(away[90:]) < CONFIG.task.service_radius_m
    assert min(away) > 0.1, "it stops in time instead of overshooting"
    assert float(np.linalg.norm(history[-1].velocity)) < 0.05


def test_waiting_holds_the_place() -> None:
    history = flown(placed([[1, 2]], [[4, 4]]), np.array([[1]]), 3)
    np.testing.assert_allclose(history[-1].position, history[0].position, atol=1e-6)


def test_who_waits_at_a_consumer_makes_way_for_others() -> None:
    """Straight away from it, as far as a crowd needs, and only where something is needed still."""
    state = placed([[0.3, 0.4], [-2.0, 0.0]], [[0, 0]])
    history = flown(state, np.array([[1, 1]]), 4)
    np.testing.assert_allclose(history[-1].position[0, 0], [0.72, 0.96], atol=0.05)
    np.testing.assert_allclose(history[-1].position[0, 1], [-2.0, 0.0], atol=1e-6)
    done = state.replace(completed=np.array([[True]]))
    np.testing.assert_allclose(flown(done, np.array([[1, 1]]), 4)[-1].position, state.position, atol=1e-6)


def test_head_on_drones_pass_each_other_without_contact() -> None:
    for angle in np.linspace(0, np.pi, 7):
        end = 3 * np.array([np.cos(angle), np.sin(angle)])
        history = flown(
            placed([end.tolist(), (-end).tolist()], [(-end).tolist(), end.tolist()]), np.array([[0, 1]]), 10
        )
        gap = [float(np.linalg.norm(state.position[0, 0] - state.position[0, 1])) for state in history]
        assert min(gap) > CONFIG.world.collision_distance_m
        assert np.linalg.norm(history[-1].position - history[-1].consumer_position, axis=-1).max() < 0.6


def test_a_crowd_at_one_consumer_does_not_collide() -> None:
    ring = [[3 * np.cos(a), 3 * np.sin(a)] for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
    history = flown(placed(ring, [[0, 0]]), np.zeros((1, 8), int), 10)
    for state in history:
        gap = np.linalg.norm(state.position[0, :, None] - state.position[0], axis=-1) + 9 * np.eye(8)
        assert gap.min() > CONFIG.world.collision_distance_m


def test_dead_agents_and_consumers_out_of_the_game_get_no_command() -> None:
    state = placed([[0, 0], [2, 0]], [[4, 4]])
    linked = np.zeros((1, 2, 2), bool)
    alive = team_command(state, np.array([[0, 0]]), linked, None, CONFIG)
    assert (np.abs(alive).sum(-1) > 0).all()
    failed = state.replace(failure_time_s=np.array([[0.0, np.inf]], np.float32))
    assert (np.abs(team_command(failed, np.array([[0, 0]]), linked, None, CONFIG)).sum(-1) > 0).tolist() == [
        [False, True]
    ]
    for change in ({"completed": np.array([[True]])}, {"demand_time_s": np.array([[9.0]], np.float32)}):
        assert not team_command(state.replace(**change), np.array([[0, 0]]), linked, None, CONFIG).any()


def test_commands_keep_the_speed_limit_and_are_the_same_in_numpy_and_torch() -> None:
    random = np.random.default_rng(3)
    drawn = random.normal(0, 3, (4, 5, 6, 2)).astype(np.float32)
    position, velocity, target, correction = drawn[:, :, 0], drawn[:, :, 1], drawn[:, :, 2], np.tanh(drawn[:, :, 3])
    mask, going = random.random((4, 5, 5)) < 0.6, random.random((4, 5)) < 0.8
    arguments = (position, velocity, target, going, position[:, None], velocity[:, None], mask, correction)
    command = velocity_command(*arguments[:4], Neighbours(*arguments[4:7]), arguments[7], CONFIG)
    assert np.linalg.norm(command, axis=-1).max() <= CONFIG.world.max_speed_mps * (1 + 1e-5)
    tensors = [torch.as_tensor(argument) for argument in arguments]
    other = velocity_command(*tensors[:4], Neighbours(*tensors[4:7]), tensors[7], CONFIG)
    np.testing.assert_allclose(other.numpy(), command, atol=1e-5)
