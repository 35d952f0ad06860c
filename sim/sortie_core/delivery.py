"""The rules of delivery: who serves whom, what changes hands, what is lost, and when a demand is met.

All rules are this project's design. A consumable changes hands within the service radius: every drone there offers
``min(service_rate dt, stock)`` per kind, and where the offers exceed what is unmet, each gives its proportional share.
A presence demand asks for stock to be near: ``unmet = max(0, demand - sum of stock near)``; it is met for good once
covered for task.presence_hold_s. Discharge follows ``stock' = -delta stock`` from its onset on. A failed agent stays
where it is, and its stock is out of reach. Where a demand changes, what was received stays received, and what is open
is replaced by what is asked anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.state import batch_first, batch_last

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.config_sections import Task
    from sortie_core.state import Array, WorldState

MET = 1e-5
"""A demand with no more than this unmet is met; in units of one drone's capacity, above what float32 rounds away."""
_TINY = 1e-12


def serving(state: WorldState, service_radius_m: float) -> Array:
    """Who serves whom: alive, and within the service radius of a consumer whose demand has appeared.

    Returns:
        [B, N, M] bool.
    """
    place, centre = batch_last(state.position), batch_last(state.consumer_position)
    gap = place[:, None, 0] - centre[None, :, 0]
    squared = gap * gap
    for axis in range(1, place.shape[1]):
        gap = place[:, None, axis] - centre[None, :, axis]
        squared += gap * gap
    near = squared <= service_radius_m**2
    near &= batch_last(state.alive)[:, None]
    near &= batch_last(state.active)[None, :]
    return batch_first(near)


def deliver(state: WorldState, config: Config, dt_s: float | None = None) -> tuple[WorldState, Array]:
    """One step of discharge, delivery and completion, after the drones have moved; time advances.

    Args:
        state: the missions, positions already those at the end of the step.
        config: for the task.
        dt_s: step, s; None for world.dt_s.

    Returns:
        The new state, and who served whom in this step, [B, N, M] bool.
    """
    xp = array_namespace(state.position)
    dt_s = config.world.dt_s if dt_s is None else dt_s
    task = config.task
    served = serving(state, task.service_radius_m)
    near = xp.astype(batch_last(served), state.stock.dtype)
    presence = batch_last(state.presence)

    lost = _discharge(state, dt_s)
    stock = batch_last(state.stock) - lost
    handed, unmet = _hand_over(stock, batch_last(state.unmet), near, ~presence, task.service_rate_per_s * dt_s)
    stock -= handed
    unmet, held = _hold(state, unmet, _near_stock(stock, near), task, dt_s)

    met = batch_last(state.active) & ~xp.any(unmet > MET, axis=1) & _held_enough(state, held, task, dt_s)
    after = state.replace(
        time_s=state.time_s + dt_s,
        stock=batch_first(stock),
        unmet=batch_first(unmet),
        presence_held_s=batch_first(held),
        completed=batch_first(batch_last(state.completed) | met),
        delivered=batch_first(batch_last(state.delivered) + handed),
        discharged=batch_first(batch_last(state.discharged) + lost),
    )
    return (_with_new_demands(after) if task.demand_change_share else after), served


def _with_new_demands(state: WorldState) -> WorldState:
    """The state with the demands whose time has come exchanged."""
    xp = array_namespace(state.demand)
    due = state.time_s[:, None] >= state.demand_change_s
    if not xp.any(due):
        return state
    received = xp.where(state.presence[:, None, :], xp.zeros_like(state.demand), state.demand - state.unmet)
    return state.replace(
        demand=xp.where(due[:, :, None], received + state.new_demand, state.demand),
        unmet=xp.where(due[:, :, None], state.new_demand, state.unmet),
        presence_held_s=xp.where(due, xp.zeros_like(state.presence_held_s), state.presence_held_s),
        completed=state.completed & ~due,
        demand_change_s=xp.where(due, xp.full_like(state.demand_change_s, math.inf), state.demand_change_s),
    )


def _discharge(state: WorldState, dt_s: float) -> Array:
    """[N, R, B] stock lost in this step; only drones that are alive discharge, so that a failed drone's stock rests."""
    xp = array_namespace(state.stock)
    running_s = xp.clip(batch_last(state.time_s + dt_s) - batch_last(state.discharge_onset_s), min=0.0, max=dt_s)
    decay = -xp.expm1(-batch_last(state.discharge_per_s) * running_s)
    decay *= xp.astype(batch_last(state.alive), decay.dtype)
    return batch_last(state.stock) * decay[:, None]


def _hand_over(stock: Array, unmet: Array, near: Array, consumable: Array, limit: float) -> tuple[Array, Array]:
    """What each agent hands over, [N, R, B], and what stays unmet, [M, R, B]; `near` is [N, M, B] as numbers."""
    xp = array_namespace(stock)
    # Consumers are served one after the other from one budget, so that a drone within reach of two hands nothing twice.
    budget = xp.clip(stock, max=limit) * xp.astype(consumable, stock.dtype)[None]
    start = xp.asarray(budget, copy=True)
    unmet = xp.asarray(unmet, copy=True)
    for consumer in range(unmet.shape[0]):
        offer = budget * near[:, None, consumer]
        total = xp.sum(offer, axis=0)
        taken = xp.minimum(total, unmet[consumer])
        offer *= (taken / xp.clip(total, min=_TINY))[None]
        budget -= offer
        unmet[consumer] -= taken
    return start - budget, unmet


def _near_stock(stock: Array, near: Array) -> Array:
    """[M, R, B] the stock of the agents near each consumer."""
    xp = array_namespace(stock)
    return xp.stack([xp.sum(stock * near[:, None, consumer], axis=0) for consumer in range(near.shape[1])], axis=0)


def _hold(state: WorldState, unmet: Array, cover: Array, task: Task, dt_s: float) -> tuple[Array, Array]:
    """Presence demands: the unmet demand of all kinds, [M, R, B], and how long the demand has been covered, [M, B]."""
    xp = array_namespace(unmet)
    presence = batch_last(state.presence)[None]
    lacking = xp.clip(batch_last(state.demand) - cover, min=0.0)
    covered = batch_last(state.active) & ~xp.any(presence & (lacking > MET), axis=1)
    held = batch_last(state.presence_held_s)
    settled = held >= _hold_goal_s(task, dt_s)
    held = xp.where(settled, held, (held + dt_s) * xp.astype(covered, held.dtype))
    lacking *= xp.astype(~settled, lacking.dtype)[:, None]
    return xp.where(presence, lacking, unmet), held


def _held_enough(state: WorldState, held: Array, task: Task, dt_s: float) -> Array:
    """[M, B] bool, True also where nothing is demanded for presence."""
    xp = array_namespace(held)
    asked = xp.any(batch_last(state.presence)[None] & (batch_last(state.demand) > MET), axis=1)
    return (held >= _hold_goal_s(task, dt_s)) | ~asked


def _hold_goal_s(task: Task, dt_s: float) -> float:
    # At least one step, and half a step less than asked, against the rounding of sums of dt.
    return max(task.presence_hold_s, dt_s) - 0.5 * dt_s


def presence_settled(state: WorldState, config: Config) -> Array:
    """[B, M] bool, where presence has been held for long enough, so that those who stood by may leave."""
    return state.presence_held_s >= _hold_goal_s(config.task, config.world.dt_s)


def outstanding(state: WorldState, config: Config) -> Array:
    """What agents may still be sent for, [B, M, R].

    For consumables this is what is unmet. A demand for presence stays whole until it is settled, or those who cover it
    would find nothing left to do, leave, and find it open again. Consumers out of the game need nothing.
    """
    xp = array_namespace(state.unmet)
    asked = xp.astype(~presence_settled(state, config), state.unmet.dtype)[:, :, None] * state.demand
    wanted = xp.where(state.presence[:, None, :], asked, state.unmet)
    return wanted * xp.astype(state.active & ~state.completed, wanted.dtype)[:, :, None]


def finished(state: WorldState, config: Config) -> tuple[Array, Array]:
    """Whether missions are over.

    Returns:
        terminated [B] bool, every demand is met and none is still to change; truncated [B] bool, the time is up
        although demands are open.
    """
    xp = array_namespace(state.time_s)
    terminated = xp.all(state.completed | (state.demand_time_s == math.inf), axis=1)
    if config.task.demand_change_share:
        terminated = terminated & xp.all(state.demand_change_s == math.inf, axis=1)
    over = state.time_s > config.duration_s - 0.5 * config.world.dt_s
    return terminated, over & ~terminated


def conservation_error(initial: WorldState, state: WorldState) -> Array:
    """How far a state is from the conservation of resources, [B].

    The largest of ``|stock_0 - stock - delivered - discharged|`` over agents and kinds, and of
    ``|sum of what agents delivered - sum of what consumers received|`` over consumables. The latter is over the demand
    where that is more than one drone's capacity, since sums round in proportion to their size.

    Args:
        initial: the missions when nothing had been delivered or discharged.
        state: the missions now.
    """
    xp = array_namespace(state.stock)
    agents = xp.abs(initial.stock - state.stock - state.delivered - state.discharged)
    received = xp.sum((state.demand - state.unmet) - (initial.demand - initial.unmet), axis=1)
    kinds = xp.abs(xp.sum(state.delivered, axis=1) - received) * xp.astype(~state.presence, received.dtype)
    kinds /= xp.clip(xp.sum(state.demand, axis=1), min=1.0)
    return xp.maximum(xp.max(xp.max(agents, axis=2), axis=1), xp.max(kinds, axis=1))


def check_conservation(initial: WorldState, state: WorldState, tolerance: float = 1e-4) -> None:
    """Raise where resources appeared or vanished.

    Raises:
        ArithmeticError: naming the worst environment; a fault of the world, never of its user.
    """
    xp = array_namespace(state.stock)
    error = conservation_error(initial, state)
    worst = int(xp.argmax(error))
    # Written so that NaN is caught too.
    if not float(error[worst]) <= tolerance:
        raise ArithmeticError(f"resources are not conserved in environment {worst}: off by {float(error[worst]):.3g}")
