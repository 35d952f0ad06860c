"""One drone's way through a flight: from the ground, by a checklist, into the air and down again. No ROS in here.

Whatever goes wrong ends in one of two safe states, which a drone does not leave in the same mission: it lands where it
is, or its motors are off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sortie_interfaces.msg import Fault

from sortie_flight.vehicle import Mode

if TYPE_CHECKING:
    from sortie_core.flight_config import FlightConfig

ARMING_S = 5.0
"""A drone that has not armed after so long stays out of the mission, s."""
_SELF_ARMED_S = 0.5
"""For so long a drone that arms itself is told that it may fly, s: before that, its adapter lets nothing start it."""
_STOOD_S = 1.0
"""A drone that is told to land is down once it has stood for so long, s: it may just be leaving the ground."""
_UP_SHARE = 0.85
"""A drone is up once it has climbed this share of its altitude, with its autopilot content to be there."""


@dataclass(frozen=True)
class Sight:
    """What decides a drone's phase.

    Attributes:
        pose_age_s: since its pose was measured; inf before it is known.
        silent_s: since anything was heard of it; inf before.
        policy_silent_s: since its policy has commanded anything.
        height_m: above the ground; nan where it is not known.
        armed, airborne, locked, can_arm, boots, battery_v, failsafe: as in VehicleStatus.msg.
    """

    pose_age_s: float = math.inf
    silent_s: float = math.inf
    policy_silent_s: float = 0.0
    height_m: float = math.nan
    armed: bool = False
    airborne: bool = False
    locked: bool = False
    can_arm: bool = True
    boots: int = 0
    battery_v: float = math.nan
    failsafe: str = ""

    @property
    def stands(self) -> bool:
        """It is on the ground, and its motors may not turn; where it arms by itself, that cannot be asked for."""
        return not self.airborne and not (self.armed and self.can_arm)


class DroneFlight:
    """What one drone should be doing.

    Args:
        config: of the flight.
        drone: its number.

    Attributes:
        mode: what it should be doing.
        fault: kind of Fault.msg and words, once it is out of the mission; None before.
    """

    def __init__(self, config: FlightConfig, drone: int) -> None:
        """On the ground."""
        self._battery_land_v = config.place(drone).battery_land_v
        self._flight, self._safety = config.flight, config.safety
        self._altitude_m = config.world.altitude_m
        self.mode = Mode.GROUND
        self.fault: tuple[str, str] | None = None
        self._since_s = 0.0
        self._stands_since_s = math.inf
        self._boots = 0

    @property
    def flying(self) -> bool:
        """It is following setpoints."""
        return self.mode is Mode.FOLLOW

    def arm(self, now_s: float, sight: Sight) -> None:
        """Leave the ground; the checklist has been read."""
        if self.mode is Mode.GROUND and self.fault is None:
            self._go(Mode.ARM, now_s)
            self._boots = sight.boots

    def land(self, kind: str = "", text: str = "") -> None:
        """Go down for good; with a reason, that is a fault."""
        if self.mode in (Mode.ARM, Mode.TAKE_OFF, Mode.FOLLOW):
            self.mode = Mode.LAND
        if kind and self.fault is None:
            self.fault = kind, text

    def emergency(self) -> None:
        """Motors off, for good."""
        self.mode = Mode.EMERGENCY
        self.fault = self.fault or (Fault.EMERGENCY, "its motors are cut")

    def update(self, now_s: float, sight: Sight) -> None:
        """Go on to the next phase, or to a safe state."""
        heard = sight.silent_s < self._flight.link_timeout_s
        if self.mode is not Mode.LAND or not (sight.stands and heard):
            self._stands_since_s = math.inf
        else:
            self._stands_since_s = min(self._stands_since_s, now_s)
        if now_s - self._stands_since_s > _STOOD_S:
            self.mode = Mode.GROUND
        if self.mode in (Mode.ARM, Mode.TAKE_OFF, Mode.FOLLOW) and (trouble := self._trouble(now_s, sight)):
            self.land(*trouble)
        elif self.mode is Mode.ARM and (sight.armed if sight.can_arm else now_s - self._since_s > _SELF_ARMED_S):
            self._go(Mode.TAKE_OFF, now_s)
        elif self.mode is Mode.TAKE_OFF and sight.height_m >= _UP_SHARE * self._altitude_m:
            self._go(Mode.FOLLOW, now_s)

    def _go(self, mode: Mode, now_s: float) -> None:
        self.mode, self._since_s = mode, now_s

    def _trouble(self, now_s: float, sight: Sight) -> tuple[str, str] | None:
        """Kind and words of what ends the flight of this drone."""
        flight, safety, here_s = self._flight, self._safety, now_s - self._since_s
        if sight.boots > self._boots:
            return Fault.LINK, "it has started anew"
        if sight.silent_s > flight.link_timeout_s:
            return Fault.LINK, f"nothing was heard of it for {sight.silent_s:.1f} s"
        if sight.locked:
            return Fault.FAILSAFE, f"it is locked{f': {sight.failsafe}' if sight.failsafe else ''}"
        if sight.battery_v < self._battery_land_v:
            return Fault.BATTERY, f"its battery has {sight.battery_v:.2f} V"
        if sight.pose_age_s > safety.land_after_s:
            kind = Fault.LINK if sight.silent_s > safety.stale_after_s else Fault.POSE
            return kind, f"its pose has not been measured for {sight.pose_age_s:.1f} s"
        if self.mode is Mode.ARM:
            return (Fault.TAKE_OFF, "it did not arm") if here_s > ARMING_S else None
        if sight.can_arm and not sight.armed:
            return Fault.FAILSAFE, "it has disarmed by itself"
        if sight.failsafe:
            return Fault.FAILSAFE, f"its autopilot acts by itself: {sight.failsafe}"
        if self.mode is Mode.TAKE_OFF:
            late = here_s > flight.climb_timeout_s
            return (Fault.TAKE_OFF, f"it was not up after {flight.climb_timeout_s:g} s") if late else None
        if sight.policy_silent_s > safety.land_after_s:
            return Fault.LANDING, f"it got no command for {sight.policy_silent_s:.1f} s"
        return None
