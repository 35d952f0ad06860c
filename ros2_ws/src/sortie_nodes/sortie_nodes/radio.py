"""The radio between drones: range, loss, latency and bandwidth. No ROS in here."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.comm_graph import adjacency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sortie_core.config_sections import Comm
    from sortie_core.packets import Packet

_BURST_S = 1.0
"""A drone that was silent may send what it saved up in this time at once."""


@dataclass
class RadioCount:
    """What the radio has carried; fields as in RadioStatistics.msg."""

    messages_sent: int = 0
    messages_delivered: int = 0
    messages_lost: int = 0
    messages_refused: int = 0
    messages_late: int = 0
    bytes_sent: int = 0


class Radio:
    """Takes the packets of a round and says who hears which of them.

    A packet reaches those who are in range where the sender and they are when it is sent, unless the link loses it.
    Losses are independent per link and round, and are a function of (seed, tick, round, sender, receiver) alone, so
    that a mission can be flown again exactly. A packet of tick t is heard once, in the receiver's first frame of the
    same round at a tick of at least ``t + latency_steps``. Bandwidth is a token bucket per sender, one second deep.

    Args:
        comm: the radio's section of the configuration.
        dt_s: duration of a tick, s.
        n_agents: N.
        seed: of the losses.
    """

    def __init__(self, comm: Comm, dt_s: float, n_agents: int, seed: int) -> None:
        """Start with an empty ether and full buckets."""
        self.count = RadioCount()
        self._comm, self._dt_s, self._n_agents, self._seed = comm, dt_s, n_agents, seed
        self._tokens = np.full(n_agents, comm.bandwidth_bytes_per_s * _BURST_S)
        self._refilled_at = 0
        self._flying: dict[tuple[int, int], list[tuple[int, Packet]]] = defaultdict(list)

    def exchange(
        self,
        tick: int,
        round_: int,
        packets: Mapping[int, Packet],
        position: NDArray[np.floating],
        alive: NDArray[np.bool_],
    ) -> list[list[Packet]]:
        """Close one round.

        Args:
            tick: the round's tick.
            round_: its number within the tick.
            packets: by sender; those who are not alive are not heard.
            position: [N, D] m, true positions at the tick.
            alive: [N].

        Returns:
            For each of the N receivers what it hears, by sender.
        """
        on_air = {sender: packets[sender] for sender in sorted(packets) if alive[sender]}
        on_air = {sender: packet for sender, packet in on_air.items() if self._afford(tick, packet)}
        linked = adjacency(position[None], alive[None], self._comm.radius_m)[0]
        kept = linked & ~self._lost(tick, round_)
        for sender, packet in on_air.items():
            self.count.messages_lost += int((linked & ~kept)[sender].sum())
            for receiver in np.flatnonzero(kept[sender]):
                self._flying[int(receiver), round_].append((tick + self._comm.latency_steps, packet))
        return [self._land(receiver, round_, tick, bool(alive[receiver])) for receiver in range(self._n_agents)]

    def _land(self, receiver: int, round_: int, tick: int, hears: bool) -> list[Packet]:
        flying = self._flying[receiver, round_]
        landed = [packet for due, packet in flying if due <= tick] if hears else []
        self._flying[receiver, round_] = [(due, packet) for due, packet in flying if due > tick]
        self.count.messages_delivered += len(landed)
        return landed

    def _afford(self, tick: int, packet: Packet) -> bool:
        if math.isinf(self._comm.bandwidth_bytes_per_s):
            affordable = True
        else:
            rate = self._comm.bandwidth_bytes_per_s
            saved = rate * self._dt_s * max(0, tick - self._refilled_at)
            self._tokens = np.minimum(self._tokens + saved, rate * _BURST_S)
            self._refilled_at = max(self._refilled_at, tick)
            affordable = bool(self._tokens[packet.sender] >= packet.n_bytes)
            self._tokens[packet.sender] -= packet.n_bytes * affordable
        self.count.messages_refused += not affordable
        self.count.messages_sent += affordable
        self.count.bytes_sent += packet.n_bytes * affordable
        return affordable

    def _lost(self, tick: int, round_: int) -> NDArray[np.bool_]:
        """[N, N] sender, receiver: links that lose this round's packet."""
        shape = (self._n_agents, self._n_agents)
        if self._comm.loss == 0.0:
            return np.zeros(shape, bool)
        # A counter-based generator gives the same draw whatever was drawn before.
        draw = np.random.Generator(np.random.Philox(key=[self._seed, 0], counter=[0, 0, tick, round_])).random(shape)
        return draw < self._comm.loss
