"""A Crazyflie, flown by cflib alone: over a Crazyradio, USB or UDP."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.frames import yaw_from_attitude
from sortie_flight.crazyflie_heard import (
    ARMED,
    AUTO_ARM,
    FLYING,
    LOCKED,
    PLANNED,
    Heard,
)
from sortie_flight.crazyflie_link import PID, CrazyflieLink, check_address
from sortie_flight.vehicle import Capabilities, Mode, Repeat, Setpoint, Vehicle, VehicleState

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

_TICK_S = 0.2
"""How often the link is looked after where nobody commands, s."""
_ECHO_S = 1.0
_REOPEN_S = 0.5
_HANDSHAKE_S = 2.5
"""A connection that is being set up has broken down after so long without a packet, s."""
_POSELESS_S = 2.0
"""A drone that answers and sends no poses for so long has rebooted, s."""
_REPEAT_S = 0.3
_HANDOVER_S = 0.5
"""Longest time until the firmware has told that it has a plan, s; it cuts the motors 2 s after the last setpoint."""
_STATUS_AGE_S = 0.15
_CLIMB_MPS, _DESCENT_MPS = 0.6, 0.4
_NEAR_M, _LOW_M = 0.2, 0.15
_RESTING_M = 0.3
"""Who should have landed and is no higher than that stands on something."""


class CrazyflieVehicle(Vehicle):
    """One Crazyflie.

    All that is sent is sent from one thread, since a radio that gets no answer keeps its callers waiting for seconds.
    Setpoints that wait there are overtaken by the next one.

    Its firmware has two commanders. A streamed setpoint makes the high-level one, which takes off and lands, forget its
    plan; and when the stream is declared ended, it stops the motors if it has none. So after a stream the plan is sent
    first, until the firmware tells that it has it, and the end of the stream after it.

    `VehicleState.latency_s` is a pose's age when it came: its delay against the fastest one, and half of the shortest
    echo for that.

    Args:
        address: radio://..., usb://... or udp://host:port.
        origin: [3] m, where the origin of the drone's local frame lies in the world; the ground is at z = 0.
        drone: its number.
    """

    def __init__(self, address: str, origin: tuple[float, float, float], drone: int) -> None:
        """Open nothing yet."""
        self._address, self._origin, self._drone = address, np.array(origin, np.float64), drone
        self._ground_m = -float(origin[2])
        self._heard = Heard()
        self._link: CrazyflieLink | None = None
        self._why, self._reopen_s = "not opened", -math.inf
        self._repeat, self._regularly = Repeat(_REPEAT_S), Repeat(_ECHO_S)
        self._cleared_boot = -1
        self._emergency = False
        # What the thread is told, and what it does.
        self._bell = threading.Condition()
        self._order: Setpoint | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._mode, self._mode_s, self._from_air = Mode.GROUND, -math.inf, False
        self._start = np.zeros(3)
        self._streaming, self._streamed_s = False, -math.inf

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """See `Vehicle`."""
        info, link = self._heard.info, self._link
        remarks: tuple[str, ...] = ()
        if link is not None and link.connected_s > -math.inf and link.controller != PID:
            found = "is not known yet" if link.controller is None else f"is {link.controller}"
            remarks = (f"stabilizer.controller {found}; it is set to {PID} (PID) before it is armed",)
        if info is not None and info & AUTO_ARM:
            remarks += ("it arms itself when it is switched on: keep away from its rotors",)
        return Capabilities(
            arm=info is not None and not info & AUTO_ARM,
            status=link is None or link.connected_s == -math.inf or link.tells_status,
            remarks=remarks,
        )

    @staticmethod
    def check(address: str) -> None:
        """See `Vehicle`."""
        check_address(address)

    def open(self) -> None:
        """See `Vehicle`."""
        check_address(self._address)
        if self._thread is None:
            self._why = "nobody has answered yet"
            self._thread = threading.Thread(target=self._work, name=f"crazyflie {self._drone}", daemon=True)
            self._thread.start()

    def state(self) -> VehicleState:
        """See `Vehicle`."""
        heard, pose = self._heard, self._heard.pose
        armed = self._cleared_boot == heard.clock.boots if heard.info is None else bool(heard.info & ARMED)
        known: dict[str, Any] = {}
        if pose is not None:
            known = {
                "measured_s": pose.measured_s,
                "latency_s": pose.latency_s,
                "position": pose.position + self._origin,
                "velocity": pose.velocity,
                "attitude": pose.attitude,
            }
        return VehicleState(
            heard_s=heard.heard_s,
            armed=armed,
            airborne=heard.airborne(self._ground_m),
            locked=heard.locked,
            battery_v=heard.battery_v,
            link=heard.share,
            boots=heard.clock.boots,
            mode=f"no link: {self._why}" if self._why else heard.mode,
            failsafe="" if self._emergency else heard.failsafe,
            **known,
        )

    def command(self, setpoint: Setpoint) -> None:
        """See `Vehicle`; a velocity that is not finite is none at all."""
        if setpoint.mode is Mode.EMERGENCY:
            self._emergency = True
        with self._bell:
            self._order = setpoint
            self._bell.notify()

    def close(self) -> None:
        """See `Vehicle`."""
        with self._bell:
            self._closing = True
            self._bell.notify()

    # The thread.

    def _work(self) -> None:
        closing = False
        while not closing:
            with self._bell:
                self._bell.wait_for(lambda: self._order is not None or self._closing, _TICK_S)
                (order, self._order), closing = (self._order, None), self._closing
            try:
                if self._link is not None:
                    self._obey(self._link, order)
                if not closing:
                    self._look_after()
            except Exception as error:  # cflib's drivers raise what they like; the link is opened anew
                _logger.warning("drone %d: %s", self._drone, error)
                if self._link is not None:
                    self._link.lost = self._link.lost or str(error)
        self._drop("closed")

    def _look_after(self) -> None:
        """Open the link, or close one that is none any more."""
        now_s, link, heard = time.monotonic(), self._link, self._heard
        if link is None:
            if self._reopen_s <= now_s:
                self._link = CrazyflieLink(self._address, heard, self._ground_m)
        elif link.lost:
            self._drop(link.lost)
        elif link.connected_s == -math.inf:
            if now_s - max(link.opened_s, heard.heard_s) > _HANDSHAKE_S:
                self._drop("no answer")
        elif now_s - heard.heard_s < _ECHO_S and now_s - max(link.connected_s, link.pose_s) > _POSELESS_S:
            self._drop("it sends no poses")
        else:
            self._why = "" if link.ready else self._why
            if self._regularly.due("echo"):
                link.echo()

    def _drop(self, why: str) -> None:
        self._why = why
        link, self._link = self._link, None
        self._reopen_s = time.monotonic() + _REOPEN_S
        if link is not None:
            link.close()

    # What it does.

    def _obey(self, link: CrazyflieLink, order: Setpoint | None) -> None:
        if self._emergency:
            self._cut(link, at_once=order is not None)
            return
        if order is None or not link.ready:
            return
        if order.mode is not self._mode:
            self._enter(link, order.mode)
        if order.mode is Mode.ARM:
            self._arm(link)
        elif order.mode in (Mode.GROUND, Mode.LAND) and not self._airborne:
            self._disarm(link)
        elif order.mode is Mode.LAND:
            self._land(link)
        elif self._airborne or self._cleared_boot == self._heard.clock.boots:
            if order.mode is Mode.FOLLOW:
                self._stream(link, order.velocity if np.isfinite(order.velocity).all() else np.zeros(3))
            elif order.mode is Mode.TAKE_OFF:
                self._take_off(link, order.height_m + self._ground_m)

    def _enter(self, link: CrazyflieLink, mode: Mode) -> None:
        self._mode, self._mode_s, self._from_air = mode, time.monotonic(), self._airborne
        self._repeat = Repeat(_REPEAT_S)
        if self._heard.pose is not None:
            self._start = self._heard.pose.position
        if self._streaming and self._airborne and mode in (Mode.TAKE_OFF, Mode.LAND):
            # it flies on at its last velocity until the plan is in force
            self._stream(link, np.zeros(3))

    @property
    def _airborne(self) -> bool:
        return self._heard.airborne(self._ground_m)

    @property
    def _height_m(self) -> float:
        return math.nan if self._heard.pose is None else float(self._heard.pose.position[2]) - self._ground_m

    def _cut(self, link: CrazyflieLink, at_once: bool) -> None:
        locked = (self._heard.info or 0) & LOCKED
        if (at_once and not locked) or self._repeat.due("emergency"):
            link.cf.supervisor.send_emergency_stop()
            link.cf.commander.send_stop_setpoint()

    def _arm(self, link: CrazyflieLink) -> None:
        if link.controller != PID:
            if not self._airborne and self._repeat.due("controller"):
                link.choose_pid()
            return
        self._cleared_boot = self._heard.clock.boots
        info = self._heard.info or 0
        if not info & (ARMED | AUTO_ARM | LOCKED) and self._repeat.due("arm"):
            link.cf.supervisor.send_arming_request(True)

    def _disarm(self, link: CrazyflieLink) -> None:
        """Disarm on the ground; in the air the firmware would stop the motors."""
        self._cleared_boot = -1
        info = self._heard.info or 0
        if info & ARMED and not info & (AUTO_ARM | FLYING) and self._repeat.due("disarm"):
            link.cf.supervisor.send_arming_request(False)

    def _stream(self, link: CrazyflieLink, velocity: Any) -> None:
        link.cf.commander.send_velocity_world_setpoint(*map(float, velocity), 0.0)
        self._streaming, self._streamed_s = True, time.monotonic()

    def _take_off(self, link: CrazyflieLink, height_m: float) -> None:
        high, pose = link.cf.high_level_commander, self._heard.pose
        if pose is None:
            return
        way_m = height_m - float(pose.position[2])
        duration_s = max(1.0, abs(way_m) / _CLIMB_MPS)
        if not self._from_air:
            self._plan(link, lambda: high.takeoff(height_m, duration_s, yaw=None), needed=not self._airborne)
            return
        yaw, (x, y) = yaw_from_attitude(pose.attitude), self._start[:2]
        moving = pose.velocity[2] * way_m > 0 and abs(pose.velocity[2]) > 0.05
        needed = abs(way_m) > _NEAR_M and not moving
        self._plan(link, lambda: high.go_to(float(x), float(y), height_m, yaw, duration_s), needed=needed)

    def _land(self, link: CrazyflieLink) -> None:
        duration_s = max(1.5, self._height_m / _DESCENT_MPS)
        falling = self._heard.pose is not None and self._heard.pose.velocity[2] < -0.05
        # a plan that is made anew close to the ground would keep the motors turning
        late = time.monotonic() - self._mode_s > max(1.5, (self._start[2] - self._ground_m) / _DESCENT_MPS) + 1.0
        resting = late and self._height_m < _RESTING_M
        self._plan(
            link,
            lambda: link.cf.high_level_commander.land(self._ground_m, duration_s, yaw=None),
            needed=not falling and not resting and self._height_m > _LOW_M,
        )

    def _plan(self, link: CrazyflieLink, send: Callable[[], None], needed: bool) -> None:
        """Have the high-level commander do something, and hand over to it.

        Args:
            link: to the drone.
            send: sends what it shall do.
            needed: the drone does not do it yet.
        """
        now_s, info = time.monotonic(), self._heard.info or 0
        has_plan = bool(info & PLANNED) and link.status_s > self._streamed_s + _STATUS_AGE_S
        handing_over = self._airborne and not has_plan and now_s - self._mode_s < _HANDOVER_S
        if handing_over or (needed and self._repeat.due("plan")):
            send()
        if not handing_over and (self._streaming or self._repeat.due("end of stream")):
            self._streaming = False
            link.cf.commander.send_notify_setpoint_stop()
