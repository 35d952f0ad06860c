"""What a Crazyflie's firmware makes of the setpoints and commands it is sent, in front of a simulated autopilot.

As in commander.c, planner.c and supervisor.c: a streamed setpoint makes the high-level commander forget its plan; a
plan made while setpoints are streamed takes over when the stream is declared ended; an end without a plan stops the
motors, in the air too, and so does disarming. Setpoints of attitude and thrust do nothing here, but for thrust 0.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np
from cflib.crazyflie import commander, supervisor
from cflib.crazyflie.high_level_commander import HighLevelCommander

from sortie_core.frames import metres_of, yaw_from_attitude
from sortie_peers.flight_stack import FLYING, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sortie_peers.flight_stack import Autopilot

    Vector = NDArray[np.float64]

_TAKEOFF, _LAND = 1, 2
"""The first versions of these commands, which cflib sends no more."""


class CrazyflieCommander:
    """The commanders and the supervisor of one simulated Crazyflie.

    Args:
        autopilot: what flies it.

    Attributes:
        pid: its controller is PID; the other one, Mellinger, takes a velocity for a place at the height 0.
        floor_m: where that is, m.
    """

    def __init__(self, autopilot: Autopilot, floor_m: float = 0.0) -> None:
        """Just booted."""
        self._pilot = autopilot
        self.pid, self.floor_m = True, floor_m
        self._now_s = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget everything: a reboot."""
        self._streamed = False
        self._plan: Callable[[], object] | None = None
        self._course: tuple[float, float, Vector, Vector] | None = None

    @property
    def info(self) -> int:
        """The bits of the log variable supervisor.info."""
        pilot = self._pilot
        flags = {
            supervisor.BIT_CAN_BE_ARMED: pilot.phase is Phase.OFF and not pilot.locked and not pilot.tumbled,
            supervisor.BIT_IS_ARMED: pilot.armed,
            supervisor.BIT_CAN_FLY: pilot.armed and not pilot.locked,
            supervisor.BIT_IS_FLYING: pilot.phase in FLYING,
            supervisor.BIT_IS_TUMBLED: pilot.tumbled,
            supervisor.BIT_IS_LOCKED: pilot.locked,
            supervisor.BIT_HL_CONTROL_ACTIVE: self._plan is not None or self._planned,
            supervisor.BIT_HL_TRAJ_FINISHED: pilot.phase is Phase.HOLDING,
        }
        return sum(flag << bit for bit, flag in flags.items())

    @property
    def _planned(self) -> bool:
        return self._course is not None or self._pilot.phase in (Phase.TAKING_OFF, Phase.HOLDING, Phase.LANDING)

    def arm(self, wanted: bool) -> None:
        """Arm or disarm; the latter in the air too."""
        if wanted:
            self._pilot.arm()
        elif not self._pilot.disarm():
            self.stop()

    def stop(self) -> None:
        """Stop the motors, wherever it is; it is locked from now on."""
        self._plan, self._course = None, None
        self._pilot.cut()

    def _stop_if_flying(self) -> None:
        if self._pilot.phase in FLYING:
            self.stop()

    # Streamed setpoints.

    def attitude(self, data: bytes) -> None:
        """Take a setpoint of the oldest kind: roll, pitch, yaw rate, thrust."""
        if struct.unpack("<fffH", data)[3] == 0:
            self._stop_if_flying()

    def stream(self, kind: int, data: bytes) -> None:
        """Take one setpoint of a stream.

        Args:
            kind: cflib.crazyflie.commander.TYPE_*.
            data: what comes after it.
        """
        here, place = self._pilot.position, None
        match kind:
            case commander.TYPE_STOP:
                self._stop_if_flying()
                return
            case commander.TYPE_VELOCITY_WORLD | commander.TYPE_VELOCITY_WORLD_LEGACY:
                velocity = np.array(struct.unpack("<ffff", data)[:3])
            case commander.TYPE_HOVER | commander.TYPE_HOVER_LEGACY:
                ahead, left, _, height = struct.unpack("<ffff", data)
                yaw = yaw_from_attitude(self._pilot.attitude)
                sine, cosine = math.sin(yaw), math.cos(yaw)
                velocity = np.array([cosine * ahead - sine * left, sine * ahead + cosine * left, 0.0])
                place = np.array([here[0], here[1], height])
            case commander.TYPE_ZDISTANCE | commander.TYPE_ZDISTANCE_LEGACY:
                velocity, place = np.zeros(3), np.array([here[0], here[1], struct.unpack("<ffff", data)[3]])
            case commander.TYPE_POSITION:
                velocity, place = np.zeros(3), np.array(struct.unpack("<ffff", data)[:3])
            case commander.TYPE_FULL_STATE:
                packed = struct.unpack("<hhhhhhhhhIhhh", data)
                velocity, place = metres_of(packed[3:6]), metres_of(packed[:3])
            case _:
                return
        self.follow(velocity, place)

    def follow(self, velocity: Vector, place: Vector | None = None) -> None:
        """Take one setpoint of a stream.

        Args:
            velocity: [3] m/s.
            place: [3] m; None where only a velocity is streamed.
        """
        if place is None and not self.pid:
            velocity, place = np.zeros(3), np.array([*self._pilot.position[:2], self.floor_m])
        if self._pilot.follow(velocity, place):
            self._streamed, self._plan, self._course = True, None, None

    def end_stream(self) -> None:
        """Leave it to the high-level commander, which wants the motors off where it has no plan."""
        streamed, self._streamed = self._streamed, False
        if self._plan is not None:
            plan, self._plan = self._plan, None
            plan()
        elif streamed:
            self._stop_if_flying()

    # The high-level commander.

    def high_level(self, data: bytes) -> None:
        """Take a command of the high-level commander; those it does not have do nothing."""
        match data[0]:
            case HighLevelCommander.COMMAND_TAKEOFF_2:
                height, _, _, duration = struct.unpack("<ff?f", data[2:])
                self.take_off(height, duration)
            case HighLevelCommander.COMMAND_LAND_2:
                self.land()
            case kind if kind == _TAKEOFF:
                height, duration = struct.unpack("<ff", data[2:])
                self.take_off(height, duration)
            case kind if kind == _LAND:
                self.land()
            case HighLevelCommander.COMMAND_GO_TO:
                relative, *goal, _, duration = struct.unpack("<?fffff", data[2:])
                self._make_plan(lambda: self._go_to(np.array(goal), duration, relative), new=True)
            case HighLevelCommander.COMMAND_GO_TO_2:
                relative, _, *goal, _, duration = struct.unpack("<??fffff", data[2:])
                self._make_plan(lambda: self._go_to(np.array(goal), duration, relative), new=True)
            case HighLevelCommander.COMMAND_STOP:
                self._plan, self._course = None, None
                if not self._streamed:
                    self._stop_if_flying()

    def take_off(self, height_m: float, duration_s: float) -> None:
        """Plan to climb to a height, m, within a time, s."""
        self._make_plan(lambda: self._take_off(height_m, duration_s), new=not self._planned)

    def land(self) -> None:
        """Plan to go down."""
        self._make_plan(self._land, new=self._pilot.phase is not Phase.LANDING)

    def _make_plan(self, plan: Callable[[], object], new: bool) -> None:
        """Do something now, or when the stream of setpoints has ended; nothing if it is being done already."""
        if self._streamed:
            self._plan = plan
        elif new:
            plan()

    def _take_off(self, height_m: float, duration_s: float) -> None:
        self._course = None
        self._pilot.hold()
        self._pilot.take_off(height_m, duration_s)

    def _land(self) -> None:
        self._course = None
        self._pilot.land()

    def _go_to(self, goal: Vector, duration_s: float, relative: bool) -> None:
        if self._pilot.phase in FLYING and np.isfinite(goal).all():
            start = self._pilot.position.copy()
            self._course = (self._now_s, max(duration_s, 0.1), start, start + goal if relative else goal)

    def fly(self, now_s: float) -> None:
        """Fly on along the course of a go-to; what it is on board, where it needs no setpoints from outside.

        Args:
            now_s: time of the simulation, s.
        """
        self._now_s = now_s
        if self._course is None:
            return
        start_s, duration_s, start, goal = self._course
        done = (now_s - start_s) / duration_s
        velocity = (goal - start) / duration_s if done < 1 else np.zeros(3)
        if not self._pilot.follow(velocity, start + min(done, 1.0) * (goal - start)):
            self._course = None
