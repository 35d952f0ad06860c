"""What the policy sees, built by the same functions for a batch of missions and for one agent.

Positions are divided by the arena's half side, relative positions by a fixed length, so that one policy flies in arenas
of any size. Resources are padded with zeros to `policy.max_resources`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace

from sortie_core.delivery import MET, outstanding

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.demand_knowledge import DemandKnowledge
    from sortie_core.state import Array, WorldState

USEFUL = 0
"""Index of `pair_features` that holds the whole amount that the agent could bring, regardless of others."""
RELATIVE = 1
"""Index of `pair_features` from which on the D relative coordinates lie, in units of `LENGTH_SCALE_M`."""
LENGTH_SCALE_M = 5.0
TIME_SCALE_S = 10.0
_STOP_S = 0.5
"""What braking, handing over and setting off again takes."""


@dataclass
class Observation:
    """The network's inputs; a leading batch axis B may stand for environments or be 1.

    What is about consumers is the same for all agents where demands are broadcast. Where they are not, it is what each
    agent knows, with an axis N more, after B; `places`, `needs` and `open` have that axis in both cases.

    Attributes:
        own: [B, N, Fo] own position, velocity, stock, remaining time.
        consumers: [B, M, Fc] position, need, demand for presence.
        consumer_mask: [B, M] bool, True where a consumer may be chosen.
        position: [B, N, D] m.
        velocity: [B, N, D] m/s.
        stock: [B, N, R*] padded to max_resources; zero for agents that are not alive.
        consumer_position: [B, M, D] m.
        need: [B, M, R*] what is still asked, padded.
        remaining_s: [B] mission time left, s.
    """

    own: Array
    consumers: Array
    consumer_mask: Array
    position: Array
    velocity: Array
    stock: Array
    consumer_position: Array
    need: Array
    remaining_s: Array

    @property
    def places(self) -> Array:
        """[B, 1 or N, M, D] m, where each agent knows the consumers to be."""
        return self.consumer_position if self.consumer_position.ndim == 4 else self.consumer_position[:, None]

    @property
    def needs(self) -> Array:
        """[B, 1 or N, M, R*] what each agent knows to be asked still."""
        return self.need if self.need.ndim == 4 else self.need[:, None]

    @property
    def open(self) -> Array:
        """[B, 1 or N, M] bool, which consumers each agent may choose."""
        return self.consumer_mask if self.consumer_mask.ndim == 3 else self.consumer_mask[:, None]

    def map(self, function: Any) -> Observation:
        """An observation with `function` applied to every array."""
        return Observation(**{name: function(value) for name, value in vars(self).items()})


def own_size(dimensions: int, max_resources: int) -> int:
    """Fo of `Observation.own`."""
    return 2 * dimensions + max_resources + 1


def consumer_size(dimensions: int, max_resources: int) -> int:
    """Fc of `Observation.consumers`."""
    return dimensions + 2 * max_resources


def pair_size(dimensions: int, max_resources: int) -> int:
    """Fp of `pair_features`."""
    return dimensions + 3 + 5 * max_resources + 10


def layout(config: Config) -> dict[str, Any]:
    """What a checkpoint must agree on with the configuration that deploys it, by configuration key."""
    return {
        "task.dimensions": config.task.dimensions,
        "policy.max_resources": config.policy.max_resources,
        "world.max_speed_mps": config.world.max_speed_mps,
    }


def observe(state: WorldState, config: Config, knowledge: DemandKnowledge | None = None) -> Observation:
    """The observation of every agent of a batch of missions.

    Args:
        state: the missions.
        config: for the scales and the padding.
        knowledge: what each agent knows of the demands; None where they are broadcast.
    """
    if knowledge is None:
        place, need, mask = state.consumer_position, outstanding(state, config), state.active & ~state.completed
    else:
        known = array_namespace(state.position).astype(knowledge.known, state.position.dtype)[..., None]
        place, need = state.consumer_position[:, None] * known, knowledge.need * known
        mask = to_be_chosen(need)
    return observation(
        position=state.position,
        velocity=state.velocity,
        stock=state.stock * array_namespace(state.stock).astype(state.alive, state.stock.dtype)[..., None],
        time_s=state.time_s,
        consumer_position=place,
        need=need,
        consumer_mask=mask,
        presence=state.presence,
        config=config,
    )


def to_be_chosen(need: Array) -> Array:
    """[..., M] bool, which consumers of need [..., M, R] an agent may choose that knows no more of them."""
    return array_namespace(need).any(need > MET, axis=-1)


def observation(
    position: Array,
    velocity: Array,
    stock: Array,
    time_s: Array,
    consumer_position: Array,
    need: Array,
    consumer_mask: Array,
    presence: Array,
    config: Config,
) -> Observation:
    """Assemble the inputs from their parts.

    Args:
        position: [B, N, D] m.
        velocity: [B, N, D] m/s.
        stock: [B, N, R].
        time_s: [B] s.
        consumer_position: [B, M, D] m; or [B, N, M, D], as each agent knows it.
        need: [B, M, R], zero where the consumer may not be chosen; or [B, N, M, R].
        consumer_mask: [B, M] bool; or [B, N, M].
        presence: [B, R] bool.
        config: for the scales and the padding.
    """
    xp = array_namespace(position)
    most, dtype = config.policy.max_resources, position.dtype
    half, speed = config.arena_half_m, config.world.max_speed_mps
    stock, need = pad(stock, most), pad(need, most)
    remaining = config.duration_s - time_s
    batch, n_agents = position.shape[0], position.shape[1]
    clock = xp.broadcast_to((remaining / TIME_SCALE_S)[:, None, None], (batch, n_agents, 1))
    kinds = pad(xp.astype(presence, dtype), most)
    kinds = xp.broadcast_to(xp.reshape(kinds, (batch, *[1] * (need.ndim - 2), most)), need.shape)
    return Observation(
        own=xp.concat([position / half, velocity / speed, stock, xp.astype(clock, dtype)], axis=-1),
        consumers=xp.concat([consumer_position / half, need, kinds], axis=-1),
        consumer_mask=consumer_mask,
        position=position,
        velocity=velocity,
        stock=stock,
        consumer_position=consumer_position,
        need=need,
        remaining_s=remaining,
    )


def pad(amount: Array, size: int) -> Array:
    """Zeros appended to the last axis up to `size`."""
    missing = size - amount.shape[-1]
    if missing == 0:
        return amount
    xp = array_namespace(amount)
    zeros = xp.zeros((*amount.shape[:-1], missing), dtype=amount.dtype, device=getattr(amount, "device", None))
    return xp.concat([amount, zeros], axis=-1)


def worth(stock: Array, need: Array, distance_m: Array, max_speed_mps: float) -> Array:
    """What a visit brings per time, ``sum_r min(stock_r, need_r) / (distance / speed + 1 s)`` (this project's design).

    Args:
        stock: [..., R*].
        need: [..., R*] of the consumer.
        distance_m: [...] m.
        max_speed_mps: m/s.
    """
    xp = array_namespace(stock)
    return xp.sum(xp.minimum(stock, need), axis=-1) / (distance_m / max_speed_mps + 1.0)


def pair_features(
    seen: Observation, supply: Array, stronger_supply: Array, habit: Array, known: Array, max_speed_mps: float
) -> Array:
    """What an agent knows about itself with respect to each consumer (this project's design).

    The useful amount of agent i at consumer m is ``min(stock_i, (need_m - supply_im)+)``, where the supply is what
    others intend to bring there: sums, because a mean cannot count. Its worth over time is the useful amount times the
    mission time left at arrival, and with it that of the best consumer to go on to with what is left of the stock.

    Args:
        seen: the observation.
        supply: [B, N, M, R*] what others intend to bring to m, as far as i knows.
        stronger_supply: [B, N, M, R*] the same, of those whose visit to m is worth more than that of i.
        habit: [B, N, M] what i itself announced last.
        known: [B, N, R*] stock of all others that i knows of. What is needed beyond that, others must be bringing.
        max_speed_mps: for travel times, m/s.

    Returns:
        [B, N, M, Fp].
    """
    xp = array_namespace(supply)
    relative = (seen.places - seen.position[:, :, None, :]) / LENGTH_SCALE_M
    distance = xp.sqrt(xp.sum(relative * relative, axis=-1, keepdims=True))
    travel_s = distance * (LENGTH_SCALE_M / max_speed_mps)
    spare_s = (seen.remaining_s[:, None, None, None] - travel_s) / TIME_SCALE_S
    need, stock = seen.needs, seen.stock[:, :, None, :]
    zero = xp.zeros_like(supply)
    left, stronger_left = (xp.maximum(need - brought, zero) for brought in (supply, stronger_supply))
    useful = [xp.minimum(stock, need + zero), xp.minimum(stock, left), xp.minimum(stock, stronger_left)]
    totals = [xp.sum(amount, axis=-1, keepdims=True) for amount in useful]
    values = [total / (travel_s + 1.0) for total in totals]
    for remaining, amount in zip((left, stronger_left), useful[1:], strict=True):
        values += _over_time(seen, amount, stock - amount, remaining, travel_s, max_speed_mps)
    asked = xp.sum(need, axis=2)
    unknown = xp.maximum(asked - seen.stock - known, xp.zeros_like(known))[:, :, None, :] + zero
    parts = [totals[0], relative, distance, spare_s, left, unknown, *useful, *totals[1:], *values, habit[..., None]]
    return xp.concat(parts, axis=-1)


def _over_time(
    seen: Observation, amount: Array, kept: Array, left: Array, travel_s: Array, max_speed_mps: float
) -> tuple[Array, Array]:
    """Amounts delivered times the mission time left then, [B, N, M, 1] each: at m alone, and with the best next stop.

    Args:
        seen: the observation.
        amount: [B, N, M, R*] what agent i would hand over at m.
        kept: [B, N, M, R*] its stock thereafter.
        left: [B, N, M, R*] what others leave over at m.
        travel_s: [B, N, M, 1] s, from i to m.
        max_speed_mps: m/s.
    """
    xp = array_namespace(amount)
    remaining_s = seen.remaining_s[:, None, None, None]
    first = xp.sum(amount, axis=-1, keepdims=True) * xp.clip(remaining_s - travel_s, min=0.0)
    away = seen.places[:, :, :, None, :] - seen.places[:, :, None, :, :]
    onward_s = xp.sqrt(xp.sum(away * away, axis=-1)) / max_speed_mps + _STOP_S
    second = xp.sum(xp.minimum(kept[:, :, :, None, :], left[:, :, None, :, :]), axis=-1)
    second = second * xp.clip(remaining_s - travel_s - onward_s, min=0.0)
    elsewhere = onward_s > _STOP_S
    best = xp.max(second * xp.astype(elsewhere, second.dtype), axis=-1, keepdims=True)
    return first / TIME_SCALE_S, (first + best) / TIME_SCALE_S
