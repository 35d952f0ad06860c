"""What all nodes that a mission manages have in common: a configuration, links that must stand, faults, diagnostics."""

from __future__ import annotations

import time
import traceback
from abc import abstractmethod
from collections.abc import Callable  # noqa: TC003
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sortie_interfaces.msg import Fault

from sortie_core.config import UserError
from sortie_nodes import qos
from sortie_nodes.params import declare_config

if TYPE_CHECKING:
    from rclpy.publisher import Publisher
    from rclpy.qos import QoSProfile
    from rclpy.timer import Timer

_DIAGNOSTICS_PERIOD_S = 1.0
_LINK_POLL_S = 0.01
_LINK_PATIENCE_S = 1.0
"""How long one attempt to become active waits for links; the mission's manager tries again."""


@dataclass(frozen=True)
class Link:
    """Something that a topic must have before its node is active.

    Attributes:
        topic: full name.
        side: what is counted.
        count: how many there are.
        wanted: how many there must be.
        drone: the drone that it leads to; such a link is not waited for once the drone is lost.
        by_drones: every drone is one of those wanted, as long as it is not lost.
    """

    topic: str
    side: str
    count: Callable[[], int]
    wanted: int
    drone: int | None
    by_drones: bool

    def __str__(self) -> str:
        return f"{self.topic} ({self.count()} of {self.wanted} {self.side})"


Transit = Callable[["ManagedNode", LifecycleState], TransitionCallbackReturn]


def _outspoken(transit: Transit) -> Transit:
    """Log why a transition fails; rclpy takes an exception in it for an error without a word."""

    @wraps(transit)
    def spoken(node: ManagedNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transit(node, state)
        except UserError as error:
            node.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            node.get_logger().error(traceback.format_exc().rstrip())
            return TransitionCallbackReturn.ERROR

    return spoken


class ManagedNode(LifecycleNode):
    """A lifecycle node that becomes active only once its topics have found their other ends.

    Nothing that matters is published before that, so that no first message is lost on a link that does not stand yet.
    Topics are made when the node is, for discovery to go on while other processes still start.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Declare the configuration's parameters and read it.

        Raises:
            UserError: the configuration cannot be read.
        """
        super().__init__(name, **options)
        self.config = declare_config(self)
        self.active = False
        self.lost: set[int] = set()
        self._failed: set[int] = set()  # those of `lost` whose failure ends with the mission
        self._links: list[Link] = []
        self._diagnostics = self.create_publisher(DiagnosticArray, self.team_topic("diagnostics"), qos.DIAGNOSTICS)
        self._faults = self.create_publisher(Fault, self.team_topic("faults"), qos.FAULTS)
        self.wall_timer(_DIAGNOSTICS_PERIOD_S, self._publish_vital_signs)

    @abstractmethod
    def vital_signs(self) -> dict[str, object]:
        """What diagnostics show of this node, by name with unit."""

    def prepare(self) -> None:
        """Load what a mission needs; called on configuring.

        Raises:
            UserError: it cannot be loaded.
        """

    def begin(self) -> None:
        """Forget the last mission; called on activating, once the links stand."""

    def end(self) -> None:
        """Say what there is to say after a mission; called on deactivating."""

    def release(self) -> None:
        """Give back what `prepare` loaded; called on cleaning up and shutting down."""

    # Topics.

    def team_topic(self, topic: str) -> str:
        """A topic in the team's namespace, from a node in it or in one drone's."""
        own = self.get_namespace().rstrip("/")
        team = own.rsplit("/", 1)[0] if own.rsplit("/", 1)[-1].startswith("drone_") else own
        return f"{team}/{topic}"

    def hear(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: QoSProfile,
        publishers: int = 1,
        drone: int | None = None,
    ) -> None:
        """Subscribe to a topic that must have so many publishers before this node is active."""
        subscription = self.create_subscription(kind, topic, callback, profile)
        self._links.append(
            Link(subscription.topic_name, "publishers", subscription.get_publisher_count, publishers, drone, False)
        )

    def speak(
        self,
        kind: type,
        topic: str,
        profile: QoSProfile,
        subscriptions: int = 1,
        drone: int | None = None,
        *,
        by_drones: bool = False,
    ) -> Publisher:
        """Make the publisher of a topic that must have so many subscriptions before this node is active."""
        publisher = self.create_publisher(kind, topic, profile)
        self._links.append(
            Link(
                publisher.topic_name, "subscriptions", publisher.get_subscription_count, subscriptions, drone, by_drones
            )
        )
        return publisher

    def wall_timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """A timer that neither mission time nor a change of the system's time can stop."""
        return self.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def report_fault(self, kind: str, drone: int, text: str) -> None:
        """Tell everyone, this node included, that a drone is lost; see Fault.msg for kinds."""
        self.get_logger().warning(text)
        self._faults.publish(Fault(kind=kind, drone=drone, lost=True, text=text))
        self.lose(drone, failed=kind == Fault.FAILED)

    def follow_faults(self) -> None:
        """Keep `lost` up to date, from whoever reports a drone as lost."""
        self.create_subscription(Fault, self.team_topic("faults"), self._on_fault, qos.FAULTS)

    def on_lost(self, drone: int) -> None:
        """A drone has just been added to `lost`."""

    def lose(self, drone: int, *, failed: bool = False) -> None:
        """Count a drone as lost from now on; one that `failed` only until the next mission."""
        if failed:
            self._failed.add(drone)
        if drone not in self.lost:
            self.lost.add(drone)
            self.on_lost(drone)

    def _on_fault(self, message: Fault) -> None:
        if message.lost:
            self.lose(message.drone, failed=message.kind == Fault.FAILED)

    # Lifecycle.

    @_outspoken
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load what a mission needs."""
        self.prepare()
        return TransitionCallbackReturn.SUCCESS

    @_outspoken
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start if the links stand."""
        deadline_s = time.monotonic() + _LINK_PATIENCE_S
        # The middleware's own threads keep the counts, so waiting here does not keep them from rising.
        while missing := self._missing_links():
            if time.monotonic() > deadline_s:
                # One second of waiting is usual on a busy machine.
                self.get_logger().info(f"waiting for the other ends of {', '.join(map(str, missing))}", skip_first=True)
                return TransitionCallbackReturn.FAILURE
            time.sleep(_LINK_POLL_S)
        self.lost -= self._failed
        self._failed.clear()
        self.begin()
        self.active = True
        return super().on_activate(state)

    @_outspoken
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and report."""
        self.end()
        self.active = False
        self._publish_vital_signs()
        return super().on_deactivate(state)

    @_outspoken
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back what was loaded."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @_outspoken
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back what was loaded."""
        self.active = False
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def _missing_links(self) -> list[Link]:
        gone = len(self.lost)
        return [
            link
            for link in self._links
            if link.drone not in self.lost and link.count() < link.wanted - gone * link.by_drones
        ]

    def _publish_vital_signs(self) -> None:
        values = [KeyValue(key=key, value=str(value)) for key, value in self.vital_signs().items()]
        values.append(KeyValue(key="active", value=str(self.active)))
        lost = ", ".join(map(str, sorted(self.lost)))
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if lost else DiagnosticStatus.OK,
            name=self.get_fully_qualified_name(),
            message=f"drones lost: {lost}" if lost else "",
            values=values,
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
