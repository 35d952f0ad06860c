"""What the MAVLink adapter is made of, without an autopilot: links, clocks, and what telemetry means."""

from __future__ import annotations

import math
import socket
import time
from functools import partial

import numpy as np
import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.frames import attitude_to_ned
from sortie_flight.mavlink_link import Clock
from sortie_flight.mavlink_telemetry import Telemetry
from sortie_flight.mavlink_vehicle import MavlinkVehicle
from sortie_flight.vehicle import PoseFilter, VehicleError


def test_a_port_that_is_taken():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        vehicle = MavlinkVehicle(f"udpin:127.0.0.1:{other.getsockname()[1]}", (0.0, 0.0, 0.0), 0)
        with pytest.raises(VehicleError, match="flight.first_port"):
            vehicle.open()
        vehicle.close()


def test_two_vehicles_at_one_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first, second = (MavlinkVehicle(f"udpin:127.0.0.1:{port}", (0.0, 0.0, 0.0), drone) for drone in (0, 1))
    first.open()
    with pytest.raises(VehicleError, match="flight.first_port"):
        second.open()
    first.close()
    first.close()


@pytest.mark.parametrize(
    "address",
    ["nonsense", "udpin:here", "udpin:127.0.0.1:x", "udpin:127.0.0.1:99999", "radio://0/80/2M", "", "/dev/none,57600"]
    + [
        "udpout:",
        "udpout:no.such.host.invalid:14540",
        "udpout:127.0.0.1:14540:1",
        "tcp:127.0.0.1:1",
        "udpin:no.such.host.invalid:14540",
    ],
)
def test_a_wrong_address(address: str):
    with pytest.raises(VehicleError) as error:
        MavlinkVehicle(address, (0.0, 0.0, 0.0), 0).open()
    assert "flight.address" in str(error.value) and "\n" not in str(error.value)


def test_a_tcp_link_that_breaks_is_opened_again():
    codec = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)
    beat = mavlink.MAVLink_heartbeat_message(2, 12, 0, 6 << 16, 3, 3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        vehicle = MavlinkVehicle(f"tcp:127.0.0.1:{server.getsockname()[1]}", (0.0, 0.0, 0.0), 0)
        vehicle.open()
        heard_s = -math.inf
        for _ in range(2):
            with server.accept()[0] as other:
                end_s = time.monotonic() + 20
                while vehicle.state().heard_s <= heard_s and time.monotonic() < end_s:
                    other.send(beat.pack(codec))
                    time.sleep(0.05)
            assert vehicle.state().heard_s > heard_s
            heard_s = time.monotonic()
        vehicle.close()


def test_clocks_are_compared_over_the_shortest_round_trip(monkeypatch: pytest.MonkeyPatch):
    """Also after one of them has jumped."""
    clock, ahead_s, now_s = Clock(), 100.0, 1000.0
    assert math.isnan(clock.ours(1.0))
    for trip_s, jump_s in [(0.2, 0.0), (0.01, 0.0), (0.3, 0.0), (0.05, 40.0), (0.05, 0.0)]:
        now_s, ahead_s = now_s + 1, ahead_s + jump_s
        monkeypatch.setattr(time, "monotonic_ns", partial(round, now_s * 1e9))
        request = clock.ask()
        answered_s = now_s + 0.8 * trip_s  # one way takes longer than the other
        reply = mavlink.MAVLink_timesync_message(round((answered_s - ahead_s) * 1e9), request.ts1)
        clock.take(reply, now_s + trip_s)
        clock.take(mavlink.MAVLink_timesync_message(12345, 6789), now_s)  # somebody else's
        assert abs(clock.ours(0.0) - ahead_s) <= 0.3 * trip_s + 1e-6


def test_a_pose_is_new_if_it_is_finite_and_later_and_moves_while_the_drone_flies():
    poses, here = PoseFilter(), np.array([1.0, 2.0, 3.0])
    assert poses.takes(1.0, here, airborne=True)
    assert not poses.takes(1.0, here + 1, airborne=True)
    assert not poses.takes(1.1, here.copy(), airborne=True)
    assert not poses.takes(1.2, np.array([1.0, math.nan, 3.0]), airborne=True)
    assert poses.takes(1.3, here + 1e-12, airborne=True)
    assert poses.takes(1.4, here + 1e-12, airborne=False)


def test_ned_becomes_enu():
    """A level drone that looks east, 1 m north, 2 m east of and 3 m above its origin, and flies north."""
    told = Telemetry(np.array([10.0, 20.0, 30.0]))
    told.hear(mavlink.MAVLink_attitude_quaternion_message(5, *attitude_to_ned([0, 0, 0, 1]), 0, 0, 0), 7.0)
    told.hear(mavlink.MAVLink_local_position_ned_message(5, 1.0, 2.0, -3.0, 0.5, 0.0, 0.0), 7.0)
    np.testing.assert_allclose(told.pose.position, [12.0, 21.0, 33.0])
    np.testing.assert_allclose(told.pose.velocity, [0.0, 0.5, 0.0])
    np.testing.assert_allclose(told.pose.attitude, [0, 0, 0, 1], atol=1e-6)
    assert told.pose.measured_s == 7.0 and math.isnan(told.pose.latency_s)


def test_numbers_that_are_none_are_left_out():
    told, nan = Telemetry(np.zeros(3)), math.nan
    told.hear(mavlink.MAVLink_local_position_ned_message(5, 1.0, 2.0, -3.0, 0.0, 0.0, 0.0), 7.0)
    for place in [(nan, 2.0, -3.0, 0.0, 0.0, 0.0), (1.0, 2.0, -3.0, 0.0, math.inf, 0.0)]:
        told.hear(mavlink.MAVLink_local_position_ned_message(30, *place), 8.0)
    told.hear(mavlink.MAVLink_attitude_quaternion_message(30, nan, nan, nan, nan, 0, 0, 0), 8.0)
    told.hear(mavlink.MAVLink_attitude_quaternion_message(30, 0, 0, 0, 0, 0, 0, 0), 8.0)
    told.hear(mavlink.MAVLink_local_position_ned_message(50, 1.0, 2.0, -3.5, 0.0, 0.0, 0.0), 9.0)
    np.testing.assert_array_equal(told.pose.position, [2.0, 1.0, 3.5])
    np.testing.assert_array_equal(told.pose.attitude, [0.0, 0.0, 0.0, 1.0])
    assert told.pose.measured_s == 9.0 and told.boots == 0
