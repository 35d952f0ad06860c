"""One agent: its inbox in, packets and a command out. Needs NumPy and onnxruntime, no torch.

The runtime walks through the rounds of `sortie_core.packets` and computes from the packets it hears what the batched
pass (`actor_critic.LGTCPolicy.forward`) computes by matrix products; both give the same decision. A packet that does
not arrive is an edge missing from that round's graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from sortie_core.action import velocity_command
from sortie_core.observation import LENGTH_SCALE_M, Observation, observation, pad, pair_features
from sortie_core.packets import Decision, LocalView, Packet, n_rounds
from sortie_policy.checkpoint import check_compatible, load_metadata, load_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config

Array = np.ndarray


class Stages(Protocol):
    """The policy's local stages on NumPy arrays, shapes as in `actor_critic.LGTCPolicy`."""

    def encode(self, own: Array, consumers: Array, mask: Array) -> tuple[Array, Array]: ...  # noqa: D102
    def mix(self, taps: Array) -> Array: ...  # noqa: D102
    def attend(self, mixed: Array, embedding: Array, pair: Array, mask: Array) -> Array: ...  # noqa: D102
    def advance(self, state_taps: Array, input_taps: Array) -> Array: ...  # noqa: D102
    def act(  # noqa: D102
        self, state: Array, mixed: Array, own: Array, embedding: Array, pair: Array, log_attention: Array
    ) -> tuple[Array, Array]: ...


class AgentRuntime:
    """The policy of one agent.

    Call `start_tick`, broadcast the packet it returns, and call `finish_round` with what was heard in that round; as
    long as that returns a packet, broadcast it and go on. When it returns None, `decision` is that of the tick.

    Args:
        stages: the policy's local stages.
        config: the mission's configuration.
        index: this agent's number, the sender of its packets.
        contraction_rate: c of the checkpoint, 1/s.
    """

    def __init__(self, stages: Stages, config: Config, index: int, contraction_rate: float = float("nan")) -> None:
        self.config, self.index, self.contraction_rate = config, index, contraction_rate
        self.state = np.zeros(config.policy.hidden, np.float32)
        self.decision: Decision | None = None
        self._stages = stages
        self._random = np.random.default_rng([config.seed, index])
        self._choice: int | None = None
        self._log_attention: Array | None = None
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
        self._view, self._round, self._heard = view, 0, {}
        self._rounds = n_rounds(view.tick, self.config.policy.decision_steps, self.config.policy.hops)
        beacon = np.concatenate([view.position, view.velocity, view.stock]).astype(np.float32)
        return Packet(self.index, view.tick, 0, beacon)

    def finish_round(self, packets: Sequence[Packet]) -> Packet | None:
        """Close the current round with the packets heard in it.

        Args:
            packets: of the current round, from neighbours; their order does not matter.

        Returns:
            The packet of the next round, or None where the tick is over.
        """
        packets = sorted((packet for packet in packets if packet.round == self._round), key=lambda each: each.sender)
        heard = {packet.sender: packet.payload for packet in packets if packet.sender != self.index}
        payload = self._after_beacon(heard) if self._round == 0 else self._after_round(heard)
        self._round += 1
        if self._round < self._rounds:
            return Packet(self.index, self._view.tick, self._round, payload)
        self._command()
        return None

    # What happens after each round.

    def _after_beacon(self, heard: dict[int, Array]) -> Array | None:
        dimensions = self.config.task.dimensions
        self._neighbours = {
            sender: (beacon[:dimensions], beacon[dimensions : 2 * dimensions], beacon[2 * dimensions :])
            for sender, beacon in heard.items()
        }
        if self._rounds == 1:
            return None
        view = self._view
        self._seen = see(view, self.config)
        psi, self._embedding = self._stages.encode(self._seen.own, self._seen.consumers, self._seen.consumer_mask)
        self._distance = _distance(self._seen.position[0, 0], view.consumers.position)
        self._taps = [psi[0, 0]]
        return self._taps[0]

    def _after_round(self, heard: dict[int, Array]) -> Array | None:
        hops = self.config.policy.hops
        if self._round <= hops:
            self._taps.append(_mean([self._taps[-1], *heard.values()]))
            if self._round < hops:
                return self._taps[-1]
            self._mixed = self._stages.mix(np.stack(self._taps)[None, None])
            self._attend({})
            return self._attention()
        if self._round == hops + 1:
            self._attend(heard)
            self._shared = self._attention()
            inputs = self._shared[:-1] @ self._embedding[0]
            self._state_taps, self._input_taps = [self.state], [inputs]
            return np.concatenate([self._shared, inputs, self.state])
        return self._after_cell_round(heard)

    def _after_cell_round(self, heard: dict[int, Array]) -> Array | None:
        hops, features = self.config.policy.hops, self.config.policy.hidden
        first = self._round == hops + 2
        if first:
            wide = len(self._shared)
            self._weights = {sender: self._shared @ payload[:wide] for sender, payload in heard.items()}
            self._attend({sender: payload[:wide] for sender, payload in heard.items()})
            heard = {sender: payload[wide:] for sender, payload in heard.items()}
        # A neighbour whose attention was lost has no weight in the cell's support.
        senders = [sender for sender in heard if sender in self._weights]
        weights = np.array([self._shared @ self._shared, *(self._weights[sender] for sender in senders)], np.float32)
        weights /= weights.sum()
        rows = np.stack([np.concatenate([self._input_taps[-1], self._state_taps[-1]]), *(heard[s] for s in senders)])
        tap = weights @ rows
        self._input_taps.append(tap[:features])
        self._state_taps.append(tap[features:])
        if self._round < 2 * hops + 1:
            return tap
        self._decide()
        return None

    def _attend(self, attention: dict[int, Array]) -> None:
        """Log attention given the neighbours' attention, weighed by their stocks."""
        view, most = self._view, self.config.policy.max_resources
        supply = np.zeros((2, len(self._distance), most), np.float32)
        for sender, xi in attention.items():
            if sender in self._neighbours:
                position, _, stock = self._neighbours[sender]
                intent = xi[:-1, None] * pad(stock, most)
                supply[0] += intent
                supply[1] += intent * (_distance(position, view.consumers.position) < self._distance)[:, None]
        all_of_them, closer = supply[0, None, None], supply[1, None, None]
        self._pair = pair_features(self._seen, all_of_them, closer, self.config.world.max_speed_mps)
        seen = self._seen
        self._log_attention = self._stages.attend(self._mixed, self._embedding, self._pair, seen.consumer_mask)

    def _attention(self) -> Array:
        return np.exp(self._log_attention[0, 0])

    def _decide(self) -> None:
        state = self._stages.advance(np.stack(self._state_taps)[None, None], np.stack(self._input_taps)[None, None])
        log_choice, correction = self._stages.act(
            state, self._mixed, self._seen.own, self._embedding, self._pair, self._log_attention
        )
        self.state = state[0, 0]
        self._correction = np.tanh(correction[0, 0])
        if self.config.policy.deterministic:
            self._choice = int(np.argmax(log_choice[0, 0]))
        else:
            chances = np.exp(log_choice[0, 0].astype(np.float64))
            self._choice = int(self._random.choice(len(chances), p=chances / chances.sum()))

    def _command(self) -> None:
        view, dimensions = self._view, self.config.task.dimensions
        others = list(self._neighbours.values())
        consumers = view.consumers
        wait = len(consumers.position)
        choice = wait if self._choice is None else self._choice
        going = choice < wait and bool(consumers.active[choice] & ~consumers.completed[choice])
        target = consumers.position[choice] if going else view.position
        velocity = velocity_command(
            _batch(view.position),
            _batch(view.velocity),
            _batch(target),
            np.array([[going]]),
            np.array([other[0] for other in others], np.float32).reshape(1, 1, -1, dimensions),
            np.array([other[1] for other in others], np.float32).reshape(1, 1, -1, dimensions),
            np.ones((1, 1, len(others)), bool),
            self._correction[None, None],
            self.config,
        )
        # An agent that joins between two decisions waits, and has attended to nothing yet.
        nothing = np.eye(wait + 1, dtype=np.float32)[wait]
        self.decision = Decision(velocity[0, 0], choice, nothing if self._log_attention is None else self._attention())


def see(view: LocalView, config: Config) -> Observation:
    """The observation [B = 1, N = 1] of one agent."""
    consumers = view.consumers
    mask = consumers.active & ~consumers.completed
    need = np.where(consumers.presence[None], consumers.demand, consumers.unmet) * mask[:, None]
    return observation(
        position=_batch(view.position),
        velocity=_batch(view.velocity),
        stock=_batch(view.stock),
        time_s=np.array([view.time_s], np.float32),
        consumer_position=np.asarray(consumers.position, np.float32)[None],
        need=need.astype(np.float32)[None],
        consumer_mask=mask[None],
        presence=consumers.presence[None],
        config=config,
    )


def _batch(vector: Array) -> Array:
    return np.asarray(vector, np.float32)[None, None]


def _mean(rows: list[Array]) -> Array:
    return np.mean(np.stack(rows), axis=0, dtype=np.float32)


def _distance(position: Array, consumers: Array) -> Array:
    return np.linalg.norm(np.asarray(consumers, np.float32) - np.asarray(position, np.float32), axis=-1)
