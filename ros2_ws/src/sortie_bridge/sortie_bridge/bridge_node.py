"""The bridge to a compute cluster: the world of agents that schedule.

It plays the part that `sortie_nodes.world_node` plays for drones: each queue is a consumer, what is free on a node its
agent's stock, and a claim says which tasks the node takes. It decides nothing.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sortie_interfaces.msg import Claim, ConsumerArray, Fault, Stock, WorldStatus
from sortie_interfaces.srv import StartWorld

from sortie_bridge.backends import SimulatedBackend
from sortie_bridge.cluster_messages import node_odometry, queues_message, ready_status, stock_message
from sortie_bridge.cluster_run import Claimed, ClusterRun
from sortie_bridge.outcome import outcome
from sortie_core.config import UserError
from sortie_nodes import qos
from sortie_nodes.conversions import hand_overs_from, stamp_of, tick_of
from sortie_nodes.managed_node import ManagedNode
from sortie_nodes.spinning import run

if TYPE_CHECKING:
    from sortie_bridge.backends import Backend
    from sortie_cluster.live_config import LiveConfig

_ODOMETRY_READERS = 2
"""The node's agent and the radio."""
_STATUS_READERS = 2
"""The radio and the mission's manager."""
_WATCH_PERIOD_S = 0.1
_LATE = 0.5
"""A tick is late that begins more than this share of a tick after its time."""


class BridgeNode(ManagedNode):
    """Shows a cluster to its agents tick by tick, and carries out what they claim.

    In real time the wall clock paces the ticks, and each claim is served when it comes. In lockstep a tick ends once
    the claims of all agents are there, and they are served in the order of their numbers; an agent whose claim is
    ros.command_timeout_s behind the first one is lost, and the others take over its queue.
    """

    def __init__(self, **options: Any) -> None:
        """Make the topics; the backend is started on configuring.

        Raises:
            UserError: the configuration cannot be read, or is a delivery mission's.
        """
        super().__init__("world", **options)
        if not hasattr(self.config, "live"):
            raise UserError(
                "bridge_node: config_file is a delivery mission's; name one such as configs/cluster_live.yaml"
            )
        self._live = cast("LiveConfig", self.config)
        n_nodes, self._dt_s = self._live.team.n_agents, self.config.world.dt_s
        self._loaded: Backend | None = None
        self._running = False
        self._clock_publisher = self.speak(Clock, "/clock", qos.CLOCK, subscriptions=0)
        self._status = self.speak(WorldStatus, "team_status", qos.TEAM_STATUS, _STATUS_READERS)
        self._consumers = self.speak(ConsumerArray, "consumers", qos.TICK_STATE, n_nodes + 1, by_drones=True)
        self._odometry, self._stock = [], []
        for k in range(n_nodes):
            self._odometry.append(self.speak(Odometry, f"drone_{k}/odom", qos.TICK_STATE, _ODOMETRY_READERS, k))
            self._stock.append(self.speak(Stock, f"drone_{k}/stock", qos.TICK_STATE, drone=k))
            # a node of a cluster stays where it is
            self.hear(TwistStamped, f"drone_{k}/cmd_vel", lambda _: None, qos.COMMAND, drone=k)
            self.hear(Claim, f"drone_{k}/claim", partial(self._on_claim, k), qos.COMMAND, drone=k)
        self.follow_faults()
        self.create_service(StartWorld, "~/start", self._on_start)
        lockstep = self.config.ros.lockstep
        self._period_s = _WATCH_PERIOD_S if lockstep else self._dt_s / self.config.ros.real_time_factor
        self._timer = self.wall_timer(self._period_s, self._watch if lockstep else self._pace)
        self._timer.cancel()

    # Lifecycle.

    def prepare(self) -> None:
        """Start the backend, and draw the tasks so that nobody waits for them later.

        Raises:
            UserError: the tasks cannot be read, or the backend cannot be reached.
        """
        live, cluster = self._live.live, self._live.scenario.cluster
        if live.backend == "simulated":
            self._loaded = SimulatedBackend(cluster, restart_s=live.restart_s)
            return
        from sortie_bridge.dask_backend import DaskBackend

        self._loaded = DaskBackend(cluster, live.time_scale, live.core_share, live.memory_mb, live.address)

    def end(self) -> None:
        """Stop the ticks."""
        self._running = False
        self._timer.cancel()

    def release(self) -> None:
        """Give the backend back."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def destroy_node(self) -> None:
        """Leave no workers behind, however the process ends."""
        self.release()
        super().destroy_node()

    @property
    def _backend(self) -> Backend:
        if self._loaded is None:
            raise RuntimeError("configure the bridge before using it")
        return self._loaded

    def vital_signs(self) -> dict[str, object]:
        """How the ticks and the tasks go."""
        if not self._running:
            return {}
        ledger = self._ledger
        return {
            "tick": self._tick,
            "late_ticks": self._late_ticks,
            "tasks_ended": ledger.n_ended,
            "tasks_running": sum(map(len, ledger.running)),
            "tasks_waiting": sum(map(len, ledger.queues)) + sum(map(len, ledger.unplaced)),
            "workers_alive": sum(ledger.alive),
        }

    # A run.

    def _on_start(self, request: StartWorld.Request, response: StartWorld.Response) -> StartWorld.Response:
        if not self.active or self._running:
            response.message = "the bridge is not active" if not self.active else "a run is under way"
            return response
        if request.seed != self._live.seed:  # the agents know the nodes of the configuration's
            response.message = f"seed {request.seed} has other nodes than these of seed {self._live.seed}; ask for that"
            return response
        self._seed, self._tick, self._late_ticks, self._running = request.seed, 0, 0, True
        self._served = [-1] * self._live.team.n_agents
        limit_s = request.time_limit or math.inf
        self._last_tick = min(self.config.n_steps, math.ceil(min(limit_s, 1e9) / self._dt_s))
        self._run = ClusterRun(self._live, self._backend)
        self._ledger = self._run.ledger
        for drone in self.lost:
            self._ledger.abandon(drone, 0.0)
        self._began_s = self._due_s = time.monotonic()
        self._timer.reset()
        self._announce()
        response.success = True
        return response

    def _announce(self) -> None:
        """Tell everyone how the new tick begins."""
        self._claims: dict[int, Claimed] = {}
        self._announced_s, self._first_claim_s = time.monotonic(), math.inf
        for text in self._run.begin_tick(self._tick):
            self.get_logger().warning(text)
        ledger, now_s, stamp = self._ledger, self._run.now_s, stamp_of(self._tick, self._dt_s)
        self._clock_publisher.publish(Clock(clock=stamp))
        attended = [node not in self.lost for node in range(len(ledger.cluster))]
        status = ready_status(self._tick, stamp, ledger, attended)
        status.seed, status.late_ticks = self._seed, self._late_ticks
        status.done = ledger.done or self._tick >= self._last_tick or not any(attended)
        if status.done:
            wall_s = time.monotonic() - self._began_s
            status.metrics = outcome(ledger, now_s, self._live, wall_s, self._tick * self._dt_s, self._late_ticks)
            self.end()
        self._status.publish(status)
        if status.done:
            return
        self._consumers.publish(queues_message(self._tick, stamp, ledger, now_s))
        for k, (odometry, stock) in enumerate(zip(self._odometry, self._stock, strict=True)):
            stock.publish(stock_message(self._tick, stamp, ledger, k, now_s))
            odometry.publish(node_odometry(k, stamp, ledger.cluster.position[k]))

    def _advance(self) -> None:
        self._tick += 1
        self._announce()

    # What ends a tick.

    def _on_claim(self, node: int, claim: Claim) -> None:
        if not self._running or node in self.lost:
            return
        tick, claimed = tick_of(claim.header.stamp, self._dt_s), Claimed(hand_overs_from(claim), tuple(claim.asks))
        if not self.config.ros.lockstep:
            # one that is late is served all the same: what it can no longer have is refused anyway
            if tick > self._served[node]:
                self._served[node] = tick
                self._run.serve(node, claimed)
        elif tick == self._tick:
            self._claims[node] = claimed
            self._first_claim_s = min(self._first_claim_s, time.monotonic())
            self._advance_if_complete()

    def on_lost(self, drone: int) -> None:
        """The others take over its queue, and nobody waits for it."""
        if self._running:
            self._ledger.abandon(drone, self._run.now_s)
            self._claims.pop(drone, None)
            self._advance_if_complete()

    def _awaited(self) -> set[int]:
        return set(range(self._live.team.n_agents)) - set(self._claims) - self.lost

    def _advance_if_complete(self) -> None:
        if self.config.ros.lockstep and self._running and not self._awaited():
            self._run.serve_all(self._claims)
            self._advance()

    def _watch(self) -> None:
        """Lockstep: nobody waits for a silent agent forever."""
        now_s, patience_s = time.monotonic(), self.config.ros.command_timeout_s
        # The radio may have waited for somebody before the first claim comes.
        if now_s > self._first_claim_s + patience_s or now_s > self._announced_s + 2 * patience_s:
            for node in sorted(self._awaited()):
                text = f"the agent of node {node} sent no claim for tick {self._tick} in {patience_s:.1f} s"
                self.report_fault(Fault.SILENT, node, text)

    def _pace(self) -> None:
        """Real time: the wall clock ends the tick; lateness is counted, and the mission's clock waits."""
        now_s = time.monotonic()
        self._due_s += self._period_s
        if now_s > self._due_s + _LATE * self._period_s:
            self._late_ticks += 1
            self._due_s = now_s
        self._advance()


def main() -> int:
    """Run the bridge."""
    return run(lambda: [BridgeNode()])
