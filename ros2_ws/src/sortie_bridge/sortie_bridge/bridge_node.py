"""The bridge to a compute cluster: the world of agents that schedule.

It plays the part that `sortie_nodes.world_node` plays for drones: each queue is a consumer, what is free on a node its
agent's stock, and a claim says which tasks the node takes. It decides nothing.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sortie_interfaces.msg import Claim, ConsumerArray, Stock, TaskRuns, WorldStatus
from sortie_interfaces.srv import StartWorld

from sortie_bridge.backends import SimulatedBackend
from sortie_bridge.cluster_messages import node_odometry, queues_message, ready_status, runs_message, stock_message
from sortie_bridge.cluster_run import Claimed, ClusterRun
from sortie_bridge.outcome import outcome
from sortie_core.config import UserError
from sortie_nodes import qos
from sortie_nodes.conversions import hand_overs_from, stamp_of, tick_of
from sortie_nodes.spinning import run
from sortie_nodes.ticking_node import TickingNode

if TYPE_CHECKING:
    from sortie_bridge.backends import Backend
    from sortie_cluster.live_config import LiveConfig

_ODOMETRY_READERS = 2
"""The node's agent and the radio."""
_STATUS_READERS = 2
"""The radio and the mission's manager."""


class BridgeNode(TickingNode):
    """Shows a cluster to its agents tick by tick, and carries out what they claim.

    In real time each claim is served when it comes; in lockstep once the claims of all agents are there, in the order
    of their numbers. Of an agent that is lost, the others take over the queue.
    """

    ANSWER = "claim"

    def __init__(self, **options: Any) -> None:
        """Make the topics; the backend is started on configuring.

        Raises:
            UserError: the configuration cannot be read, or is a delivery mission's.
        """
        super().__init__(**options)
        if not hasattr(self.config, "live"):
            raise UserError(
                "bridge_node: config_file is a delivery mission's; name one such as configs/cluster_live.yaml"
            )
        self._live = cast("LiveConfig", self.config)
        n_nodes = self._live.team.n_agents
        self._loaded: Backend | None = None
        self._clock_publisher = self.speak(Clock, "/clock", qos.CLOCK, subscriptions=0)
        self._status = self.speak(WorldStatus, "team_status", qos.TEAM_STATUS, _STATUS_READERS)
        self._consumers = self.speak(ConsumerArray, "consumers", qos.TICK_STATE, n_nodes + 1, by_drones=True)
        self._runs = self.create_publisher(TaskRuns, "task_runs", qos.TEAM_STATUS)
        self._odometry, self._stock = [], []
        for k in range(n_nodes):
            self._odometry.append(self.speak(Odometry, f"drone_{k}/odom", qos.TICK_STATE, _ODOMETRY_READERS, k))
            self._stock.append(self.speak(Stock, f"drone_{k}/stock", qos.TICK_STATE, drone=k))
            # a node of a cluster stays where it is
            self.hear(TwistStamped, f"drone_{k}/cmd_vel", lambda _: None, qos.COMMAND, drone=k)
            self.hear(Claim, f"drone_{k}/claim", partial(self._on_claim, k), qos.COMMAND, drone=k)
        self.follow_faults()
        self.create_service(StartWorld, "~/start", self._on_start)

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
        if not self.running:
            return {}
        ledger = self._ledger
        return {
            "tick": self.tick,
            "late_ticks": self.late_ticks,
            "tasks_ended": ledger.n_ended,
            "tasks_running": sum(map(len, ledger.running)),
            "tasks_waiting": sum(map(len, ledger.queues)) + sum(map(len, ledger.unplaced)),
            "workers_alive": sum(ledger.alive),
        }

    # A run.

    def _on_start(self, request: StartWorld.Request, response: StartWorld.Response) -> StartWorld.Response:
        if refusal := self.refusal("bridge"):
            response.message = refusal
            return response
        if request.seed != self._live.seed:  # the agents know the nodes of the configuration's
            response.message = f"seed {request.seed} has other nodes than these of seed {self._live.seed}; ask for that"
            return response
        self._served = [-1] * self._live.team.n_agents
        self._run = ClusterRun(self._live, self._backend)
        self._ledger = self._run.ledger
        for drone in self.lost:
            self._ledger.abandon(drone, 0.0)
        self.begin_mission(request)
        self.announce()
        response.success = True
        return response

    def tell(self) -> None:
        """Tell everyone how the new tick begins."""
        self._claims: dict[int, Claimed] = {}
        for text in self._run.begin_tick(self.tick):
            self.get_logger().warning(text)
        ledger, now_s, stamp = self._ledger, self._run.now_s, stamp_of(self.tick, self.dt_s)
        self._clock_publisher.publish(Clock(clock=stamp))
        self._runs.publish(runs_message(self.tick, stamp, ledger))
        attended = [node not in self.lost for node in range(len(ledger.cluster))]
        status = ready_status(self.tick, stamp, ledger, attended)
        status.seed, status.late_ticks = self.seed, self.late_ticks
        status.done = ledger.done or self.tick >= self.last_tick or not any(attended)
        if status.done:
            wall_s = time.monotonic() - self.began_s
            status.metrics = outcome(ledger, now_s, self._live, wall_s, self.tick * self.dt_s, self.late_ticks)
            self.end()
        self._status.publish(status)
        if status.done:
            return
        self._consumers.publish(queues_message(self.tick, stamp, ledger, now_s))
        for k, (odometry, stock) in enumerate(zip(self._odometry, self._stock, strict=True)):
            stock.publish(stock_message(self.tick, stamp, ledger, k, now_s))
            odometry.publish(node_odometry(k, stamp, ledger.cluster.position[k]))

    def advance(self) -> None:
        """Serve the claims that lockstep has waited for."""
        if self.config.ros.lockstep:
            self._run.serve_all(self._claims)
        self.tick += 1
        self.announce()

    # What ends a tick.

    def _on_claim(self, node: int, claim: Claim) -> None:
        if not self.running or node in self.lost:
            return
        tick, claimed = tick_of(claim.header.stamp, self.dt_s), Claimed(hand_overs_from(claim), tuple(claim.asks))
        if not self.config.ros.lockstep:
            # one that is late is served all the same: what it can no longer have is refused anyway
            if tick > self._served[node]:
                self._served[node] = tick
                self._run.serve(node, claimed)
        elif tick == self.tick:
            self._claims[node] = claimed
            self.answered()

    def on_lost(self, drone: int) -> None:
        """The others take over its queue, and nobody waits for it."""
        if self.running:
            self._ledger.abandon(drone, self._run.now_s)
            self._claims.pop(drone, None)
            self.advance_if_complete()

    def awaited(self) -> set[int]:
        """Agents whose claim is not there."""
        return set(range(self._live.team.n_agents)) - set(self._claims) - self.lost

    @property
    def n_rounds(self) -> int:
        """One beacon each."""
        return 1


def main() -> int:
    """Run the bridge."""
    return run(lambda: [BridgeNode()])
