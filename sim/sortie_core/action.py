"""From a chosen consumer to a velocity command: the motion controller that every policy and baseline shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.exploration import Exploration
    from sortie_core.state import Array, WorldState

_ARRIVAL_SHARE = 0.5
"""A drone has arrived once within this share of the service radius."""
_INFLUENCE_SHARE = 2.0
"""Neighbours repel from this multiple of the safe distance on."""
_LOOKAHEAD_S = 0.3
"""Neighbours repel from where they will be then, which damps head-on approaches."""
_CLEARANCE_SHARE = 2.0
"""Who waits stays this many service radii away from consumers, for those who have something to bring to come near."""
_SWIRL = 0.5
"""Share of the repulsion that turns right, so that drones that meet head on pass each other; only as fast as they
approach, or a crowd at rest would circle."""


REMEMBERED_TICKS = 3
"""Where packets get lost, a neighbour counts that was last heard this many ticks ago."""


@dataclass(frozen=True)
class Neighbours:
    """What agents know of the motion of others.

    Attributes:
        position: [B, 1 or N, J, D] m, as agent i takes it to be.
        velocity: [B, 1 or N, J, D] m/s.
        linked: [B, N, J] bool, whether i knows of j.
    """

    position: Array
    velocity: Array
    linked: Array

    @classmethod
    def seen(cls, state: WorldState, linked: Array) -> Neighbours:
        """As they are now, of those that `linked`, [B, N, N] bool, says."""
        return cls(state.position[:, None], state.velocity[:, None], linked)


def velocity_command(
    position: Array,
    velocity: Array,
    target: Array,
    going: Array,
    neighbours: Neighbours,
    correction: Array,
    config: Config,
) -> Array:
    """Velocity toward a target, braking in time, repelled by neighbours (this project's design).

    Args:
        position: [B, N, D] m.
        velocity: [B, N, D] m/s.
        target: [B, N, D] m, any value where `going` is False.
        going: [B, N] bool, False to wait in place.
        neighbours: who repels.
        correction: [B, N, D] in [-1, 1], the network's addition in units of policy.correction_mps.
        config: for speeds, distances and the service radius.

    Returns:
        [B, N, D] m/s, never faster than world.max_speed_mps, and no farther from the drone's velocity than
        world.max_accel_mps2 can follow.
    """
    xp = array_namespace(position)
    world = config.world
    offset = target - position
    distance = _norm(offset)
    beyond = xp.clip(distance - _ARRIVAL_SHARE * config.task.service_radius_m, min=0.0)
    # Brake at half the acceleration limit: v^2 = 2 a s; the rest is left for the tracking lag and for avoidance.
    speed = xp.clip(xp.sqrt(world.max_accel_mps2 * beyond), max=world.max_speed_mps)
    speed = xp.minimum(speed, beyond / (2 * world.velocity_time_constant_s))
    heading = offset / xp.clip(distance, min=1e-6)
    goal = heading * speed * xp.astype(going, position.dtype)[..., None]
    push = _repulsion(position, velocity, neighbours, config)
    command = _limited(goal + push + config.policy.correction_mps * correction, world.max_speed_mps)
    # A command farther from the velocity than this is not followed any faster.
    ahead = _limited(command - velocity, world.max_accel_mps2 * world.velocity_time_constant_s)
    return _limited(velocity + ahead, world.max_speed_mps)


def _repulsion(position: Array, velocity: Array, neighbours: Neighbours, config: Config) -> Array:
    xp = array_namespace(position)
    world = config.world
    reach = _INFLUENCE_SHARE * world.safe_distance_m
    away = position[:, :, None, :] - neighbours.position
    closing = velocity[:, :, None, :] - neighbours.velocity
    gap = _norm(away)
    ahead = _norm(away + _LOOKAHEAD_S * closing)
    near = xp.clip((reach - xp.minimum(gap, ahead)) / (reach - world.collision_distance_m), min=0.0, max=1.0)
    weight = near * near * xp.astype(neighbours.linked, position.dtype)[..., None]
    push = away / xp.clip(gap, min=1e-6) * weight
    approach = -xp.sum(away * closing, axis=-1, keepdims=True) / xp.clip(gap, min=1e-6)
    swirl = _SWIRL * xp.clip(approach / world.max_speed_mps, min=0.0, max=1.0)
    turned = xp.stack([push[..., 1], -push[..., 0]] + [0 * push[..., k] for k in range(2, push.shape[-1])], axis=-1)
    return world.max_speed_mps * xp.sum(push + swirl * turned, axis=-2)


def _limited(vector: Array, most: float) -> Array:
    """The vector [..., D], shortened where it is longer than `most`."""
    xp = array_namespace(vector)
    return vector * xp.clip(most / xp.clip(_norm(vector), min=1e-6), max=1.0)


def _norm(vector: Array) -> Array:
    xp = array_namespace(vector)
    return xp.sqrt(xp.sum(vector * vector, axis=-1, keepdims=True))


def make_way(
    position: Array, target: Array, going: Array, consumer_position: Array, wanted: Array, config: Config
) -> tuple[Array, Array]:
    """Send those who wait near a consumer straight away from it, to where they are in nobody's way.

    Args:
        position: [B, N, D] m.
        target: [B, N, D] m.
        going: [B, N] bool.
        consumer_position: [B, M, D] m.
        wanted: [B, M] bool, consumers that need something still.
        config: for the service radius.

    Returns:
        Target and going, as for `velocity_command`.
    """
    xp = array_namespace(position)
    radius_m = config.task.service_radius_m
    away = position[:, :, None, :] - consumer_position[:, None, :, :]
    distance = _norm(away)
    inside = xp.clip(_CLEARANCE_SHARE * radius_m - distance, min=0.0)
    inside = inside * xp.astype(wanted, position.dtype)[:, None, :, None]
    out = xp.sum(away / xp.clip(distance, min=1e-6) * inside, axis=2)
    length = _norm(out)
    leaving = ~going & (length[..., 0] > 0)
    # As far beyond as counts as having arrived.
    goal = position + out * (1.0 + _ARRIVAL_SHARE * radius_m / xp.clip(length, min=1e-6))
    return xp.where(leaving[..., None], goal, target), going | leaving


def team_command(
    state: WorldState,
    choice: Array,
    linked: Array | Neighbours,
    correction: Array | None,
    config: Config,
    exploration: Exploration | None = None,
) -> Array:
    """Velocity commands of whole teams, for batched worlds and centralised references.

    Args:
        state: the missions.
        choice: [B, N] int, the chosen consumer; M means "wait". Where demands are broadcast, an agent also waits once
            its consumer needs nothing any more.
        linked: what agents know of the motion of others; or [B, N, N] bool, whose motion they know as it is.
        correction: [B, N, D] in [-1, 1], or None.
        config: for speeds and distances.
        exploration: where those who wait go; None to wait in place.

    Returns:
        [B, N, D] m/s; zero for agents that are not alive.
    """
    xp = array_namespace(state.position)
    n_consumers = state.consumer_position.shape[1]
    wanted = state.active & ~state.completed
    index = xp.clip(choice, max=n_consumers - 1)
    going = choice < n_consumers
    if config.task.demand_sensing == "broadcast":
        going = going & xp.take_along_axis(wanted, index, axis=1)
    target = xp.stack(
        [xp.take_along_axis(state.consumer_position[..., k], index, axis=1) for k in range(state.position.shape[2])],
        axis=-1,
    )
    if exploration:
        target, going = exploration.lead(target, going)
    target, going = make_way(state.position, target, going, state.consumer_position, wanted, config)
    command = velocity_command(
        state.position,
        state.velocity,
        target,
        going,
        linked if isinstance(linked, Neighbours) else Neighbours.seen(state, linked),
        xp.zeros_like(state.position) if correction is None else correction,
        config,
    )
    return command * xp.astype(state.alive, command.dtype)[..., None]
