"""A live run, tick by tick: the ledger and the backend together; and a rehearsal of it all in one process. No ROS.

The rehearsal does what the graph does in lockstep, message for message, and ends in the same schedule. It tells how
much of the gap between a live run and the cluster world is due to ticks and radio, and how much to real workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_bridge.backends import NodeBack, NodeGone, SimulatedBackend
from sortie_bridge.task_ledger import TaskLedger
from sortie_core.packets import Consumers, LocalView
from sortie_nodes.radio import Radio
from sortie_policy.agents import runtime_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sortie_bridge.backends import Backend
    from sortie_bridge.task_ledger import Start
    from sortie_cluster.live_config import LiveConfig
    from sortie_cluster.schedule import Schedule
    from sortie_core.config import Config
    from sortie_core.packets import HandOver
    from sortie_policy.agents import Runtime


class Claimed(NamedTuple):
    """What an agent's claim asks for, see `sortie_core.packets.Decision`."""

    hand_overs: tuple[HandOver, ...]
    asks: tuple[int, ...]


class ClusterRun:
    """One run.

    Args:
        config: of the run.
        backend: where tasks run; it begins now.

    Attributes:
        ledger: its tasks.
        now_s: when the current tick began, s of the trace.
    """

    def __init__(self, config: LiveConfig, backend: Backend) -> None:
        """At time zero."""
        self.ledger = TaskLedger(config.nodes, config.scenario.workload, config.agents.max_hops)
        self.now_s = 0.0
        self._backend, self._tick_s, self._tick = backend, config.agents.tick_s, 0
        self._to_kill = list(config.failures)
        backend.begin()

    def begin_tick(self, tick: int) -> list[str]:
        """Take in what has happened since the last tick.

        Returns:
            What people should know of the workers, in words.
        """
        self._tick = tick
        self.ledger.begin_tick()
        now_s = self.now_s = self._backend.now_s(tick * self._tick_s)
        told = []
        while self._to_kill and self._to_kill[0][1] <= now_s:
            node, _, _ = self._to_kill.pop(0)
            told.append(f"the worker of node {node} is killed, as live.kill_node has it ({now_s:.1f} s)")
            self._backend.kill(node, now_s)
        for event in self._backend.events(now_s):
            self.ledger.note(event)
            if isinstance(event, NodeGone | NodeBack):
                how = "is gone; its tasks run again" if isinstance(event, NodeGone) else "is back"
                told.append(f"the worker of node {event.node} {how} ({event.at_s:.1f} s)")
        self.ledger.release(now_s)
        return told

    def serve(self, node: int, claim: Claimed) -> None:
        """Carry out a claim, and start what the node has been given."""
        now_s = self._backend.now_s(self._tick * self._tick_s)
        self._start(self.ledger.settle(node, claim.hand_overs, claim.asks, now_s), now_s)

    def _start(self, starts: list[Start], now_s: float) -> None:
        ledger = self.ledger
        for task, node in starts:
            work_s = float(ledger.workload.work_s[task])
            self._backend.submit(task, node, work_s, ledger.cpu[task], ledger.memory[task], now_s)

    def serve_all(self, claims: Mapping[int, Claimed]) -> None:
        """Carry out the claims of a tick together: all place their new tasks, then all take, then all hand on."""
        nodes, now_s = sorted(claims), self.now_s
        for node in nodes:
            self.ledger.place(node, claims[node].hand_overs, now_s)
        for node in nodes:
            self._start(self.ledger.take(node, claims[node].asks, now_s), now_s)
        for node in nodes:
            self.ledger.hand_on(node, claims[node].hand_overs, now_s)


def rehearse(config: LiveConfig) -> Schedule:
    """What the graph does in lockstep with the simulated backend, in this process.

    Args:
        config: of the run; its checkpoint is flown.

    Raises:
        UserError: as `sortie_policy.agents.runtime_of` and `LiveConfig.scenario`.
    """
    graph: Config = config  # type: ignore[assignment]  # has what the graph reads of one
    run = ClusterRun(config, SimulatedBackend(config.nodes, restart_s=config.live.restart_s))
    agents = [runtime_of(graph, node) for node in range(len(config.nodes))]
    radio = Radio(config.comm, config.world.dt_s, len(agents), config.seed)
    position, alive = config.nodes.position.astype(np.float32), np.ones(len(agents), bool)
    for tick in range(config.n_steps + 1):
        run.begin_tick(tick)
        if run.ledger.done or tick == config.n_steps:
            break
        packets = {node: agent.start_tick(_view(run, node, tick)) for node, agent in enumerate(agents)}
        heard = radio.exchange(tick, 0, packets, position, alive)
        for agent, landed in zip(agents, heard, strict=True):
            agent.finish_round(landed)
        run.serve_all({node: _claimed(agent) for node, agent in enumerate(agents)})
    run.ledger.log.end_s = run.now_s
    return run.ledger.log


def _claimed(agent: Runtime) -> Claimed:
    if agent.decision is None:
        raise RuntimeError("a tick is over without a decision")
    return Claimed(agent.decision.hand_overs, agent.decision.asks)


def _view(run: ClusterRun, node: int, tick: int) -> LocalView:
    """What the messages of a tick tell an agent; of the queues it looks at its own alone."""
    ledger, n_nodes = run.ledger, len(run.ledger.cluster)
    queues = tuple(ledger.queue(node, run.now_s) if j == node else () for j in range(n_nodes))
    nothing, nobody, still = np.zeros((n_nodes, 2)), np.zeros(n_nodes, bool), np.zeros(2)
    consumers = Consumers(nothing, nothing, nothing, ~nobody, nobody, nobody, np.zeros(2, bool), queues)
    stock = np.array(ledger.stock(node), np.float32)
    running_s, taken_from = ledger.running_s(node, run.now_s), ledger.taken_from[node]
    return LocalView(tick, run.now_s, still, still, stock, consumers, running_s, taken_from)
