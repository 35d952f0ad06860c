"""What both gates have in common: the only publishers of setpoints, in simulation and in flight."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sortie_interfaces.msg import Fault, Setpoint
from std_srvs.srv import Empty, Trigger

from sortie_nodes import qos
from sortie_nodes.managed_node import ManagedNode
from sortie_safety.safety_gate import Command, Intervention, Kinematics, SafetyGate
from sortie_safety.team_gate import others_near

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_safety.shield import Others


class DroneChannel:
    """What a gate last heard of one drone.

    Attributes:
        gate: its checks.
        command: velocity wanted; before the first one, to stay where it is.
        own: where it says it is, and how it moves; None before that is known.
        seen: the last of these that makes sense.
        told: to land or to stop its motors, by somebody; then a mode of Setpoint.msg.
        passed_s: time of the last setpoint.
        count: interventions while it took part.
        setpoints: how many there were while it took part.
    """

    def __init__(self, gate: SafetyGate, since_s: float) -> None:
        """As if hover had been commanded at `since_s`."""
        self.gate = gate
        self.command = Command(since_s, np.zeros(3))
        self.own: Kinematics | None = None
        self.seen: Kinematics | None = None
        self.told: int | None = None
        self.passed_s = since_s
        self.count: Counter[Intervention] = Counter()
        self.setpoints = 0

    def hear(self, own: Kinematics) -> None:
        """Take in where it says it is."""
        self.own = own
        if own.finite:
            self.seen = own


class GateNode(ManagedNode):
    """One gate per drone, and the services by which people land drones or cut their motors.

    `/all/emergency` and `/drone_k/emergency` (std_srvs/Empty, which is what Crazyswarm2 offers under the first name, so
    that one call reaches both) stop motors at once, for good. `/all/land` and `/drone_k/land` (std_srvs/Trigger) land.
    Both work whatever the gate is doing, and count as faults: a drone that is told so takes no further part.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics and services.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__("safety_gate", **options)
        self.drones = range(self.config.team.n_agents)
        self.setpoints = [self.speak(Setpoint, f"drone_{k}/setpoint", qos.COMMAND, drone=k) for k in self.drones]
        self.follow_faults()
        self._offer("all", self.drones)
        for k in self.drones:
            self._offer(f"drone_{k}", (k,))
        self.begin()

    def _offer(self, whom: str, drones: range | tuple[int, ...]) -> None:
        self.create_service(Empty, f"/{whom}/emergency", partial(self._on_emergency, drones))
        self.create_service(Trigger, f"/{whom}/land", partial(self._on_land, drones))

    @abstractmethod
    def make_channel(self) -> DroneChannel:
        """As a mission begins."""

    @abstractmethod
    def act(self, drone: int) -> None:
        """Somebody has told this drone something: publish a setpoint now."""

    def begin(self) -> None:
        """Start every gate from hover; whose motors were cut stays cut."""
        cut = [channel.told == Setpoint.EMERGENCY for channel in getattr(self, "channels", ())]
        self.channels = [self.make_channel() for _ in self.drones]
        for channel, was_cut in zip(self.channels, cut, strict=False):
            channel.told = Setpoint.EMERGENCY if was_cut else None

    def vital_signs(self) -> dict[str, object]:
        """Interventions of all gates by reason, and the number of setpoints."""
        total = sum((channel.count for channel in self.channels), Counter())
        signs: dict[str, object] = {reason.value: total[reason] for reason in Intervention}
        return signs | {"setpoints": sum(channel.setpoints for channel in self.channels)}

    # What people say.

    def tell(self, drone: int, mode: int, kind: str, text: str) -> None:
        """Have a drone land (or its motors cut), for good, and report it as lost; an emergency is never taken back."""
        channel = self.channels[drone]
        if channel.told == Setpoint.EMERGENCY:
            return
        channel.told = mode
        self.act(drone)
        if drone not in self.lost:
            self.report_fault(kind, drone, text)

    def _on_emergency(
        self, drones: range | tuple[int, ...], _: Empty.Request, response: Empty.Response
    ) -> Empty.Response:
        for drone in drones:
            self.tell(drone, Setpoint.EMERGENCY, Fault.EMERGENCY, f"the motors of drone {drone} are cut: emergency")
        return response

    def _on_land(
        self, drones: range | tuple[int, ...], _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        for drone in drones:
            self.tell(drone, Setpoint.LAND, Fault.TOLD_TO_LAND, f"drone {drone} is told to land")
        response.success = True
        return response

    # What drones do.

    def checked(self, drone: int, now_s: float, command: Command, others: Others) -> NDArray[np.float64]:
        """The velocity that a drone may fly, [3] m/s; interventions are counted while it takes part."""
        channel = self.channels[drone]
        velocity, reasons = channel.gate.setpoint(now_s, command, channel.own, others)
        if drone not in self.lost:
            channel.count.update(reasons)
            channel.setpoints += 1
        return velocity

    def others_of(self, drone: int, flying: NDArray[np.bool_], now_s: float) -> Others:
        """Who flies near a drone; of all, `flying` [N] bool says who is in the air."""
        cooperative = np.array([k not in self.lost for k in self.drones])
        known = [channel.seen for channel in self.channels]
        since_s = now_s - self.config.safety.stale_after_s
        return others_near(drone, known, flying, cooperative, self.config.task.dimensions, since_s)
