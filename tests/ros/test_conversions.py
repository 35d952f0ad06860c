"""What goes into a message comes out of it again, in the units and frames that the messages promise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rclpy.serialization import deserialize_message, serialize_message
from sortie_interfaces.msg import Frame

from sortie_core.config import load_config
from sortie_core.delivery import presence_settled
from sortie_core.packets import Decision, Packet
from sortie_nodes import conversions
from sortie_sim.mission_world import MissionWorld

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
finite = st.floats(-100, 100)


@given(
    sender=st.integers(0, 2**16 - 1),
    tick=st.integers(0, 2**32 - 1),
    round_=st.integers(0, 255),
    payload=arrays(np.float32, st.integers(0, 200), elements=st.floats(width=32)),
)
def test_packets_survive_the_wire(sender: int, tick: int, round_: int, payload: np.ndarray) -> None:
    message = conversions.packet_message(Packet(sender, tick, round_, payload))
    frame = conversions.frame_message(tick, round_, [message])
    back = conversions.packet_from(deserialize_message(serialize_message(frame), Frame).packets[0])
    assert (back.sender, back.tick, back.round) == (sender, tick, round_)
    np.testing.assert_array_equal(back.payload, payload)
    assert back.payload.dtype == np.float32


@given(tick=st.integers(0, 10**6), dt_s=st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.25, 1 / 3]))
def test_a_stamp_names_its_tick(tick: int, dt_s: float) -> None:
    stamp = conversions.stamp_of(tick, dt_s)
    assert conversions.tick_of(stamp, dt_s) == tick
    assert conversions.seconds_of(stamp) == pytest.approx(tick * dt_s, abs=1e-6)


@given(
    position=arrays(float, 3, elements=finite),
    velocity=arrays(float, 3, elements=finite),
    turn=arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1),
)
def test_odometry_holds_the_twist_in_the_child_frame(
    position: np.ndarray, velocity: np.ndarray, turn: np.ndarray
) -> None:
    turn = turn / np.linalg.norm(turn)
    message = conversions.odometry_message("drone_0/base_link", conversions.stamp_of(1, 0.1), position, velocity, turn)
    where, how_fast = conversions.motion_of(message)
    np.testing.assert_array_equal(where, position)
    np.testing.assert_allclose(how_fast, velocity, atol=1e-11 * (1 + np.abs(velocity).max()))
    linear = message.twist.twist.linear
    x, y, z, w = turn
    body_to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(body_to_world @ [linear.x, linear.y, linear.z], velocity, atol=1e-10)


def test_a_drone_flying_east_with_its_nose_to_the_north_moves_to_its_right() -> None:
    north = np.array([0.0, 0.0, math.sin(math.pi / 4), math.cos(math.pi / 4)])
    message = conversions.odometry_message("d", conversions.stamp_of(0, 0.1), np.zeros(3), np.array([1.0, 0, 0]), north)
    linear = message.twist.twist.linear
    # x forward, y left, z up
    np.testing.assert_allclose([linear.x, linear.y, linear.z], [0, -1, 0], atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_local_view_is_the_state_of_the_world(dimensions: int) -> None:
    config = load_config(YAML, [f"task.dimensions={dimensions}", "world.backend=point", "task.n_presence=1"])
    world = MissionWorld(config)
    world.reset(3)
    rng = np.random.default_rng(0)
    for tick in range(1, 6):
        world.step(rng.normal(size=(config.team.n_agents, dimensions)))
        state, motion, stamp = world.state, world.motion, conversions.stamp_of(tick, config.world.dt_s)
        consumers = conversions.consumers_message(tick, stamp, state, config)
        for k in range(config.team.n_agents):
            odometry = conversions.odometry_message(
                f"drone_{k}", stamp, motion.position[k], motion.velocity[k], motion.attitude[k]
            )
            stock = conversions.stock_message(tick, stamp, state.stock[0, k])
            view = conversions.local_view(odometry, stock, consumers, config)
            assert view.tick == tick
            assert view.time_s == pytest.approx(float(state.time_s[0]), abs=1e-5)
            np.testing.assert_allclose(view.position, state.position[0, k], atol=1e-6)
            np.testing.assert_allclose(view.velocity, state.velocity[0, k], atol=1e-6)
            np.testing.assert_array_equal(view.stock, state.stock[0, k])
            np.testing.assert_allclose(view.consumers.position, state.consumer_position[0], atol=1e-6)
            for name in ("demand", "unmet", "active", "completed", "presence"):
                np.testing.assert_array_equal(getattr(view.consumers, name), getattr(state, name)[0])
            np.testing.assert_array_equal(view.consumers.settled, presence_settled(state, config)[0])


def test_commands_and_claims_keep_their_numbers() -> None:
    stamp = conversions.stamp_of(7, 0.1)
    message = conversions.command_message(np.array([1.5, -0.25], np.float32), stamp)
    np.testing.assert_array_equal(conversions.velocity_from(message), [1.5, -0.25, 0.0])
    assert message.header.frame_id == conversions.WORLD_FRAME
    claim = conversions.claim_message(Decision(np.zeros(2), 2, np.array([0.25, 0.0, 0.75], np.float32)), stamp)
    assert (claim.choice, list(claim.attention)) == (2, [0.25, 0.0, 0.75])
