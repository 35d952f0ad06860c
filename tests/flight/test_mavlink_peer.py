"""The simulated PX4 as a ground station sees it."""

from __future__ import annotations

import math
import socket
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sortie_core.config import UserError
from sortie_peers.flight_stack import PX4, Autopilot, Phase
from sortie_peers.mavlink_peer import MavlinkPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

VELOCITY, POSITION = 0b110111000111, 0b110111111000


class Station:
    """A ground station and the drone that it looks at, which nothing moves."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self._codec = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
        self.autopilot = Autopilot(PX4)
        self.peer = MavlinkPeer(self.autopilot, f"udpin:127.0.0.1:{self._socket.getsockname()[1]}", 2)
        self.peer.send(0.0)
        self._address = self._socket.recvfrom(4096)[1]

    def close(self) -> None:
        self.peer.close()
        self._socket.close()

    def tell(self, message: Any) -> None:
        self._socket.sendto(message.pack(self._codec), self._address)
        self.peer.receive(0.0)

    def hear(self, kind: str) -> Any:
        """The next message of a kind."""
        while True:
            for message in self._codec.parse_buffer(self._socket.recv(4096)) or ():
                if message.get_type() == kind:
                    return message

    def do(self, command: int, *numbers: float, system: int = 3) -> int:
        """The result of a command."""
        self.tell(mavlink.MAVLink_command_long_message(system, 1, command, 0, *numbers, *[0.0] * (7 - len(numbers))))
        return self.hear("COMMAND_ACK").result

    def aim(self, mask: int, *numbers: float) -> None:
        place = (*numbers, 0, 0, 0, 0, 0)
        self.tell(mavlink.MAVLink_set_position_target_local_ned_message(0, 3, 1, 1, mask, *place))


@pytest.fixture
def station() -> Iterator[Station]:
    station = Station()
    yield station
    station.close()


def test_what_a_ground_station_asks_for(station: Station):
    for name, value in (("COM_OF_LOSS_T", PX4.act_after_s), ("MIS_TAKEOFF_ALT", 2.5)):
        station.tell(mavlink.MAVLink_param_request_read_message(3, 1, name.encode(), -1))
        answer = station.hear("PARAM_VALUE")
        assert (answer.param_id, answer.param_value) == (name, pytest.approx(value))
    station.tell(mavlink.MAVLink_param_request_list_message(3, 1))
    assert [station.hear("PARAM_VALUE").param_index for _ in range(answer.param_count)] == [*range(answer.param_count)]
    assert station.do(mavlink.MAV_CMD_REQUEST_MESSAGE, mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION) == 0
    station.tell(mavlink.MAVLink_mission_request_list_message(3, 1))
    assert station.hear("MISSION_COUNT").count == 0
    assert station.do(mavlink.MAV_CMD_DO_SET_HOME) == mavlink.MAV_RESULT_UNSUPPORTED


def test_rates_are_what_is_asked_for(station: Station):
    for number in (mavlink.MAVLINK_MSG_ID_LOCAL_POSITION_NED, mavlink.MAVLINK_MSG_ID_ATTITUDE_QUATERNION):
        assert station.do(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, number, -1) == 0
    assert station.do(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, mavlink.MAVLINK_MSG_ID_SYS_STATUS, 20_000) == 0
    assert station.do(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, 12345, 20_000) == mavlink.MAV_RESULT_DENIED
    end_s = time.monotonic() + 0.3
    while time.monotonic() < end_s:
        station.peer.send(0.0)
        time.sleep(0.002)
    voltages = [station.hear("SYS_STATUS").voltage_battery for _ in range(5)]
    assert voltages == [round(4000 * station.autopilot.battery_v)] * 5


def test_offboard_wants_a_stream_of_finite_setpoints(station: Station):
    """And takes positions and velocities, in NED."""
    offboard = (mavlink.MAV_CMD_DO_SET_MODE, 1, 6, 0)
    assert station.do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1) == 0
    for numbers in [(math.nan, 0.0, 0.0), (0.1, 0.2, 0.3)]:
        assert station.do(*offboard) == mavlink.MAV_RESULT_TEMPORARILY_REJECTED
        for _ in range(12):
            station.aim(VELOCITY, 0.0, 0.0, 0.0, *numbers)
            time.sleep(0.1)
    assert station.do(*offboard) == 0 and station.autopilot.phase is Phase.READY
    station.aim(VELOCITY, 0.0, 0.0, 0.0, 0.1, 0.2, -0.3)
    assert station.autopilot.phase is Phase.FOLLOWING
    np.testing.assert_allclose(station.autopilot.command(0.1, 0.1), [0.2, 0.1, 0.3], atol=1e-6)
    station.aim(POSITION, 0.0, 0.0, -0.2, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(station.autopilot.command(0.1, 0.1), [0.0, 0.0, 0.4], atol=1e-6)


def test_it_does_not_arm_in_land(station: Station):
    assert station.do(mavlink.MAV_CMD_NAV_LAND) == 0
    assert station.do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1) == mavlink.MAV_RESULT_TEMPORARILY_REJECTED
    assert station.do(mavlink.MAV_CMD_DO_SET_MODE, 1, 4, 3) == 0
    assert station.do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1) == 0
    assert station.do(mavlink.MAV_CMD_NAV_TAKEOFF) == 0 and station.autopilot.phase is Phase.TAKING_OFF
    assert station.do(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 0, 21196) == 0 and station.autopilot.locked


def test_others_are_not_obeyed(station: Station):
    station.tell(
        mavlink.MAVLink_command_long_message(1, 1, mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 0, 1, 0, 0, 0, 0, 0, 0)
    )
    assert not station.autopilot.armed


@pytest.mark.parametrize(
    "address", ["udpout:127.0.0.1:14540", "tcp:127.0.0.1:5760", "udpin:14540", "/dev/ttyUSB0,57600"]
)
def test_an_address_that_is_no_place_for_a_peer(address: str):
    with pytest.raises(UserError, match="udpin:host:port"):
        MavlinkPeer(Autopilot(PX4), address, 0)
