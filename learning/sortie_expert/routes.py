"""Routes in time: when drones would arrive, what they would hand over, and what that is worth.

A route is an agent's next stops in order, M for "no stop"; a plan [B, N, S] is a route per agent. All rules here are
this project's design. Travel times follow the motion controller's profile for a lone drone; nothing is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import MET, outstanding

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

STOPS = 2
"""S: stops planned ahead. What lies beyond is planned anew long before it comes up."""
LATE_SHARE = 0.2
"""A unit is worth the time that is left when it arrives, and this share of the mission time on top: what trades the
share delivered in the end for its time average."""
_BRAKE_S = 0.15
"""What braking into the service radius costs."""
_TURN_S = 0.25
"""What a drone at rest needs more than one that flies toward its stop at full speed; one that flies away needs twice
that."""


@dataclass(frozen=True, eq=False)
class Timetable:
    """Missions as a planner sees them.

    Attributes:
        stock: [B, N, R] of agents that are alive, else 0.
        need: [B, M, R] what is still asked.
        consumable: [B, R] bool, False for kinds that are demands for presence: their stock stays with the agent.
        arrival_s: [B, N, M] from now to the arrival at a first stop, s.
        leg_s: [B, M, M] from leaving a stop to the arrival at the next, s.
        handing_s: [B, N, M] how long an agent hands over, or must be present, s.
        reaction_s: from the end of handing over to the next choice, s.
        left_s: [B] mission time left, s.
        late_s: what a unit is worth at the very end, s.
    """

    stock: Array
    need: Array
    consumable: Array
    arrival_s: Array
    leg_s: Array
    handing_s: Array
    reaction_s: float
    left_s: Array
    late_s: float


def timetable(state: WorldState, config: Config) -> Timetable:
    """The timetable of a batch of missions.

    Args:
        state: the missions.
        config: for speeds, the task and the decision period.
    """
    xp, dtype, task = array_namespace(state.position), state.stock.dtype, config.task
    speed, radius = config.world.max_speed_mps, task.service_radius_m
    stock = xp.where(state.stock > MET, state.stock, 0.0) * xp.astype(state.alive, dtype)[:, :, None]
    need = outstanding(state, config)
    need = xp.where(need > MET, need, 0.0)
    offset = state.consumer_position[:, None, :, :] - state.position[:, :, None, :]
    gap_m = xp.linalg.vector_norm(offset, axis=-1)
    along = xp.sum(offset * state.velocity[:, :, None, :], axis=-1) / (xp.clip(gap_m, min=1e-6) * speed)
    arrival_s = (gap_m - radius) / speed + _BRAKE_S + _TURN_S * (1 - along)
    between = state.consumer_position[:, :, None, :] - state.consumer_position[:, None, :, :]
    leg_s = xp.clip(xp.linalg.vector_norm(between, axis=-1) - radius, min=0.0) / speed + _BRAKE_S + _TURN_S
    most = xp.minimum(stock[:, :, None, :], need[:, None, :, :])
    stays = state.presence[:, None, None, :]
    handing_s = xp.max(xp.where(stays, 0.0, most), axis=-1) / task.service_rate_per_s
    present_s = xp.astype(xp.any(stays & (most > 0), axis=-1), dtype) * task.presence_hold_s
    return Timetable(
        stock=stock,
        need=need,
        consumable=~state.presence,
        arrival_s=xp.where(gap_m <= radius, 0.0, arrival_s),
        leg_s=leg_s,
        handing_s=xp.maximum(handing_s, present_s),
        reaction_s=0.5 * config.policy.decision_steps * config.world.dt_s,
        left_s=xp.clip(config.duration_s - state.time_s, min=0.0),
        late_s=LATE_SHARE * config.duration_s,
    )


def worth_s(table: Timetable, arrival_s: Array, handing_s: Array, left_s: Array) -> Array:
    """What a unit handed over in a visit is worth, s: the time left then, and late_s; 0 where the visit is too late.

    Args:
        table: for late_s.
        arrival_s: of the visit, s from now.
        handing_s: of the visit, half of which passes before the average unit has changed hands, s.
        left_s: mission time left, s.
    """
    xp = array_namespace(arrival_s)
    worth = xp.clip(left_s - arrival_s - 0.5 * handing_s, min=0.0) + table.late_s
    return xp.where(arrival_s < left_s, worth, 0.0)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a plan brings, visit by visit in order of time; V = N S with those that do not take place.

    Attributes:
        value: [B] stock s: what is handed over times what it is worth.
        stop: [B, V] int, the visit's place in the plan, ``i S + s``.
        consumer: [B, V] int, M where no visit takes place.
        arrival_s: [B, V] s from now, infinite where the plan has no stop.
        worth_s: [B, V] s of a unit, 0 where no visit takes place.
        handed: [B, V, R] what is handed over.
    """

    value: Array
    stop: Array
    consumer: Array
    arrival_s: Array
    worth_s: Array
    handed: Array


def play_out(table: Timetable, plan: Array) -> Outcome:
    """What a plan brings if everybody hands over what is asked when they arrive, first come, first served.

    Args:
        table: the missions.
        plan: [B, N, S] int.
    """
    xp, device = array_namespace(plan), device_of(plan)
    batch, n_agents, stops = plan.shape
    n_consumers, kinds = table.need.shape[1:]
    arrival_s, worth = _visits(table, plan)
    stop = xp.argsort(arrival_s, axis=1, stable=True)
    arrival_s, worth, consumer = (
        xp.take_along_axis(each, stop, axis=1) for each in (arrival_s, worth, xp.reshape(plan, (batch, -1)))
    )
    consumer = xp.where(worth > 0, consumer, n_consumers)
    # Rows of flat tables, visit by visit: whose stock, and whose need; a mission's last need is nobody's.
    mission = xp.arange(batch, device=device)[:, None]
    who = xp.asarray((mission * n_agents + stop // stops).T, copy=True)
    where = xp.asarray((mission * (n_consumers + 1) + consumer).T, copy=True)
    stock = xp.reshape(xp.asarray(table.stock, copy=True), (-1, kinds))
    need = xp.reshape(xp.concat([table.need, xp.zeros_like(table.need[:, :1])], axis=1), (-1, kinds))
    spent = None if bool(xp.all(table.consumable)) else xp.astype(table.consumable, stock.dtype)
    handed = xp.zeros((n_agents * stops, batch, kinds), dtype=stock.dtype, device=device)
    for visit in range(_most(worth > 0)):
        has, asked = xp.take(stock, who[visit], axis=0), xp.take(need, where[visit], axis=0)
        handed[visit] = xp.minimum(has, asked)
        need[where[visit]] = asked - handed[visit]
        stock[who[visit]] = has - (handed[visit] if spent is None else handed[visit] * spent)
    handed = xp.moveaxis(handed, 0, 1)
    value = xp.sum(xp.sum(handed, axis=2) * worth, axis=1)
    return Outcome(value, stop, consumer, arrival_s, worth, handed)


def without_idle_stops(plan: Array, outcome: Outcome, n_consumers: int) -> Array:
    """The plan without the stops at which nothing is handed over: whoever hovers there is in others' way.

    Args:
        plan: [B, N, S] int.
        outcome: of the plan.
        n_consumers: M.
    """
    xp = array_namespace(plan)
    place = xp.argsort(outcome.stop, axis=1)
    busy = xp.take_along_axis(xp.sum(outcome.handed, axis=2) > MET, place, axis=1)
    kept = xp.where(xp.reshape(busy, plan.shape), plan, n_consumers)
    # The rest moves up, in its order.
    first = xp.argsort(xp.astype(kept == n_consumers, xp.int64), axis=2, stable=True)
    return xp.take_along_axis(kept, first, axis=2)


def _visits(table: Timetable, plan: Array) -> tuple[Array, Array]:
    """When each stop of a plan is reached, and what a unit is worth there, [B, N S] s each; infinite and 0 for none."""
    xp = array_namespace(plan)
    batch, _, stops = plan.shape
    n_consumers = table.need.shape[1]
    mission = xp.arange(batch, device=device_of(plan))[:, None]
    times, worths, leaving_s, before = [], [], None, None
    for stop in range(stops):
        consumer = xp.clip(plan[:, :, stop], max=n_consumers - 1)
        handing_s = xp.take_along_axis(table.handing_s, consumer[:, :, None], axis=2)[:, :, 0]
        if leaving_s is None:
            time_s = xp.take_along_axis(table.arrival_s, consumer[:, :, None], axis=2)[:, :, 0]
        else:
            time_s = leaving_s + table.leg_s[mission, before, consumer]
        time_s = xp.where(plan[:, :, stop] < n_consumers, time_s, xp.inf)
        times.append(time_s)
        worths.append(worth_s(table, time_s, handing_s, table.left_s[:, None]))
        leaving_s, before = time_s + handing_s + table.reaction_s, consumer
    return tuple(xp.reshape(xp.stack(each, axis=-1), (batch, -1)) for each in (times, worths))


def _most(mask: Array) -> int:
    """The most entries of a row [B, V] that are True."""
    xp = array_namespace(mask)
    return int(xp.max(xp.sum(xp.astype(mask, xp.int64), axis=1)))
