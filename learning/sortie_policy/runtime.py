"""One agent: its inbox in, packets and a command out. Needs NumPy and onnxruntime, no torch.

The runtime walks through the rounds of `sortie_core.packets` and computes from the packets it hears what the batched
pass (`actor_critic.LGTCPolicy.forward`) computes by matrix products; both give the same decision. A packet that does
not arrive is an edge missing from that round's graph.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sortie_core.action import REMEMBERED_TICKS, Neighbours, make_way, velocity_command
from sortie_core.exploration import Exploration
from sortie_core.observation import Observation, observation, pair_features
from sortie_core.packets import Decision, LocalView, Packet, n_rounds
from sortie_policy.checkpoint import check_compatible, load_metadata, load_stages
from sortie_policy.demand_table import DemandTable
from sortie_policy.intent_table import IntentTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sortie_core.config import Config
    from sortie_core.packets import Consumers

Array = np.ndarray
Rounds = Generator[Array, dict[int, Packet], None]
"""Yields the payload of each round and is sent what was heard in it, by sender."""


class Beacon(NamedTuple):
    """What of a neighbour's beacon steers: [D] m and [D] m/s when it was sent, and the ticks of sending and hearing."""

    position: Array
    velocity: Array
    sent: int
    heard: int


class Stages(Protocol):
    """The policy's local stages on NumPy arrays, shapes as in `actor_critic.LGTCPolicy`."""

    @property
    def encode(self) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
        """What the agent and the consumers are, as features."""
        ...

    @property
    def mix(self) -> Callable[[Array], Array]:
        """Features of the agent and of those around it, as one."""
        ...

    @property
    def attend(self) -> Callable[[Array, Array, Array, Array], Array]:
        """The logarithm of the attention to each consumer, and to waiting."""
        ...

    @property
    def advance(self) -> Callable[[Array, Array], Array]:
        """The next state of the recurrent cell."""
        ...

    @property
    def act(self) -> Callable[[Array, Array, Array, Array, Array, Array], tuple[Array, Array]]:
        """Log probabilities of the choices, and the mean correction of the velocity."""
        ...


class AgentRuntime:
    """The policy of one agent.

    Call `start_tick`, broadcast the packet it returns, and call `finish_round` with what was heard in that round; as
    long as that returns a packet, broadcast it and go on. When it returns None, `decision` is that of the tick.

    Args:
        stages: the policy's local stages.
        config: the mission's configuration.
        index: this agent's number, the sender of its packets.
        contraction_rate: c of the checkpoint, 1/s.

    Attributes:
        state: [F] the cell's state x.
        decision: of the last tick; None before the first.
    """

    def __init__(self, stages: Stages, config: Config, index: int, contraction_rate: float = float("nan")) -> None:
        """Begin without memory."""
        self.config, self.index, self.contraction_rate = config, index, contraction_rate
        self.state = np.zeros(config.policy.hidden, np.float32)
        self.decision: Decision | None = None
        self._stages = stages
        self._random = np.random.default_rng([config.seed, index])
        self._table = IntentTable(index, config)
        self._demands, self._relayed = DemandTable(config), config.task.demand_sensing == "relayed"
        self._exploration: Exploration | None = None
        self._beacons: dict[int, Beacon] = {}
        self._tick: Rounds | None = None
        self._sent = Packet(index, -1, 0, np.zeros(0, np.float32))
        # What was chosen last, and holds until the next deliberation: "wait" (None) for an agent that has just joined.
        self._choice: int | None = None
        self._attention: Array | None = None
        self._correction = np.zeros(config.task.dimensions, np.float32)

    @classmethod
    def from_checkpoint(cls, config: Config, index: int) -> AgentRuntime:
        """The runtime of `policy.checkpoint`, by its exported stages.

        Raises:
            UserError: the checkpoint is missing, broken, or of another configuration.
        """
        path = config.policy.checkpoint
        metadata = load_metadata(path)
        config = check_compatible(metadata, config, path)
        return cls(load_stages(path), config, index, metadata["contraction_rate"])

    def start_tick(self, view: LocalView) -> Packet:
        """Begin a tick with what the agent knows by itself; returns the beacon to broadcast."""
        self._tick = self._rounds(view)
        self._sent = Packet(self.index, view.tick, 0, next(self._tick))
        return self._sent

    def finish_round(self, packets: Sequence[Packet]) -> Packet | None:
        """Close the current round with the packets heard in it.

        Args:
            packets: heard from neighbours, in any order; those of another round do not count.

        Returns:
            The packet of the next round, or None where the tick is over.

        Raises:
            RuntimeError: no tick was begun.
        """
        if self._tick is None:
            raise RuntimeError("finish_round before start_tick, or after the tick was over")
        # Of two packets of one sender, of which one is late, the fresher one counts.
        packets = sorted(packets, key=lambda each: (each.sender, each.tick))
        heard = {
            packet.sender: packet
            for packet in packets
            if packet.round == self._sent.round and packet.sender != self.index
        }
        try:
            payload = self._tick.send(heard)
        except StopIteration:
            self._tick = None
            return None
        self._sent = Packet(self.index, self._sent.tick, self._sent.round + 1, payload)
        return self._sent

    def _rounds(self, view: LocalView) -> Rounds:
        """A tick: yields the payload of each round, and is sent the payloads heard in it by sender."""
        dimensions, deciding = self.config.task.dimensions, n_rounds(view.tick, self.config.policy) > 1
        told = np.zeros(0, np.float32)
        if deciding and self._relayed:
            told = self._demands.begin(view, asked(view.consumers))
        beacons = yield np.concatenate([view.position, view.velocity, view.stock, told]).astype(np.float32)
        for sender, beacon in beacons.items():
            parts = [dimensions, 2 * dimensions, 2 * dimensions + len(view.stock)]
            position, velocity, _, told = np.split(beacon.payload, parts)
            self._demands.hear(told, now=deciding)
            self._beacons[sender] = Beacon(position, velocity, beacon.tick, view.tick)
        neighbours = self._neighbours(view.tick)
        if deciding and self._relayed:
            self._explore(view, neighbours)
        if deciding:
            yield from self._deliberate(view)
        self.decision = self._decision(view, neighbours)

    def _explore(self, view: LocalView, neighbours: Neighbours) -> None:
        place = _single(view.position)
        before = self._exploration or Exploration.beginning(place, self.config)
        self._exploration = before.looked(place, neighbours, self.config)

    def _neighbours(self, tick: int) -> Neighbours:
        """Who repels, as beacons tell: from where they were sent, others should have gone straight on."""
        oldest = tick - (REMEMBERED_TICKS if self.config.comm.loss else 0)
        self._beacons = {sender: beacon for sender, beacon in self._beacons.items() if beacon.heard >= oldest}
        known, shape = self._beacons.values(), (1, 1, -1, self.config.task.dimensions)
        late_s = np.array([tick - beacon.sent for beacon in known], np.float32) * np.float32(self.config.world.dt_s)
        place = np.array([beacon.position for beacon in known], np.float32).reshape(shape)
        velocity = np.array([beacon.velocity for beacon in known], np.float32).reshape(shape)
        return Neighbours(place + late_s[:, None] * velocity, velocity, np.ones((1, 1, len(late_s)), bool))

    def _deliberate(self, view: LocalView) -> Rounds:
        """`LGTCPolicy.forward` for one agent, with radio rounds in place of matrix products."""
        stages, policy = self._stages, self.config.policy
        seen = see(view, self.config, self._demands if self._relayed else None)
        psi, embedding = stages.encode(seen.own, seen.consumers, seen.consumer_mask)
        taps = [psi[0, 0]]
        for _ in range(policy.hops):
            heard = yield taps[-1]
            known = [packet.payload for packet in heard.values()] if policy.graph_filter else []
            taps.append(np.stack([taps[-1], *known]).mean(axis=0, dtype=np.float32))
        mixed = stages.mix(np.stack(taps)[None, None])
        habit, known_stock = self._table.begin(len(embedding[0]))

        def attend() -> tuple[Array, Array]:
            supply, stronger = self._table.supply(seen)
            pair = pair_features(
                seen, supply[None, None], stronger[None, None], habit[None, None], known_stock[None, None],
                self.config.world.max_speed_mps,
            )  # fmt: skip
            return pair, stages.attend(mixed, embedding, pair, seen.consumer_mask)

        pair, log_attention = attend()
        others: dict[int, Array] = {}
        for exchange in range(max(1, policy.exchanges)):
            last = exchange >= policy.exchanges - 1
            attention = np.exp(log_attention[0, 0])
            taps = [np.concatenate([attention[:-1] @ embedding[0], self.state])]
            announced = self._table.announce(attention, view) if policy.exchanges else attention
            heard = yield np.concatenate([taps[0], announced]) if last else announced
            told = {sender: packet.payload for sender, packet in heard.items()}
            if last:
                shared = 2 * policy.hidden
                others = {sender: payload[shared : shared + len(attention)] for sender, payload in told.items()}
                carried = {sender: payload[:shared] for sender, payload in told.items()}
                told = {sender: payload[shared:] for sender, payload in told.items()}
            if policy.exchanges:
                self._table.hear(told, self._rounds_ago(heard))
                pair, log_attention = attend()
        for hop in range(policy.hops):
            if hop:
                heard = yield taps[-1]
                carried = {sender: packet.payload for sender, packet in heard.items()}
            taps.append(self._tap(attention, others, taps[-1], carried))

        input_taps, state_taps = np.split(np.stack(taps)[None, None], 2, axis=-1)
        state = stages.advance(state_taps, input_taps)
        log_choice, correction = stages.act(state, mixed, seen.own, embedding, pair, log_attention)
        self.state, self._attention = state[0, 0], np.exp(log_attention[0, 0])
        self._choice, self._correction = self._choose(log_choice[0, 0]), np.tanh(correction[0, 0])

    def _rounds_ago(self, heard: dict[int, Packet]) -> dict[int, int]:
        """How many exchange rounds ago each packet was sent; a slow radio delivers those of earlier decisions."""
        policy = self.config.policy
        decisions_ago = {
            sender: (self._sent.tick - packet.tick) // policy.decision_steps for sender, packet in heard.items()
        }
        return {sender: policy.exchanges * count for sender, count in decisions_ago.items()}

    def _tap(self, attention: Array, others: dict[int, Array], own: Array, heard: dict[int, Array]) -> Array:
        """One round through the cell's support; who was not heard before, with its attention, has no weight in it."""
        senders = [sender for sender in heard if sender in others]
        shared = [attention @ attention, *(attention @ others[sender] for sender in senders)]
        weights = np.array(shared if self.config.policy.cluster_mask else np.ones(len(shared)), np.float32)
        return (weights / weights.sum()) @ np.stack([own, *(heard[sender] for sender in senders)])

    def _choose(self, log_choice: Array) -> int:
        if self.config.policy.deterministic:
            return int(np.argmax(log_choice))
        chances = np.exp(log_choice.astype(np.float64))
        return int(self._random.choice(len(chances), p=chances / chances.sum()))

    def _decision(self, view: LocalView, neighbours: Neighbours) -> Decision:
        consumers = view.consumers
        wait = len(consumers.position)
        choice = wait if self._choice is None else self._choice
        open_ = consumers.active & ~consumers.completed
        going = choice < wait and (self._relayed or bool(open_[choice]))
        target = _single(consumers.position[choice] if going else view.position)
        moving = np.array([[going]])
        if self._exploration:
            target, moving = self._exploration.lead(target, moving)
        target, moving = make_way(
            _single(view.position),
            target,
            moving,
            np.asarray(consumers.position, np.float32)[None],
            open_[None],
            self.config,
        )
        velocity = velocity_command(
            _single(view.position),
            _single(view.velocity),
            target,
            moving,
            neighbours,
            self._correction[None, None],
            self.config,
        )
        nothing = np.eye(wait + 1, dtype=np.float32)[wait]
        return Decision(velocity[0, 0], choice, nothing if self._attention is None else self._attention)


def see(view: LocalView, config: Config, demands: DemandTable | None = None) -> Observation:
    """The observation [B = 1, N = 1] of one agent.

    Args:
        view: what it knows by itself.
        config: for the scales and the padding.
        demands: what it knows of them where they are not broadcast.
    """
    consumers = view.consumers
    if demands is None:
        place, need, mask = consumers.position, asked(consumers), consumers.active & ~consumers.completed
    else:
        place, need, mask = demands.known(len(consumers.position))
    return observation(
        position=_single(view.position),
        velocity=_single(view.velocity),
        stock=_single(view.stock),
        time_s=np.array([view.time_s], np.float32),
        consumer_position=np.asarray(place, np.float32)[None],
        need=need.astype(np.float32)[None],
        consumer_mask=mask[None],
        presence=consumers.presence[None],
        config=config,
    )


def asked(consumers: Consumers) -> Array:
    """What agents may still be sent for, [M, R], as `sortie_core.delivery.outstanding` has it."""
    whole = consumers.demand * ~consumers.settled[:, None]
    wanted = np.where(consumers.presence[None], whole, consumers.unmet)
    return wanted * (consumers.active & ~consumers.completed)[:, None]


def _single(vector: Array) -> Array:
    return np.asarray(vector, np.float32)[None, None]
