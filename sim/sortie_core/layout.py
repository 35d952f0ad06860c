"""Where a mission starts: positions, stocks, demands and mishaps, each mission a function of its own seed.

Every environment draws from generators seeded by its seed alone, and the rest is computed for the whole batch, so that
a layout depends neither on the batch it is part of nor on its place therein.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import UserError
from sortie_core.state import WorldState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config

    Floats = np.ndarray

_CONSUMER_SPACING = 2.5
"""Consumers are this many service radii apart, so that no place is within reach of two."""
_AGENT_SPACING = 2.0
"""Drones start this many safe distances apart."""
_TRIES = (8, 64, 1024, 16384)
"""Candidates per point, from the first attempt at placing to the last."""
_LEAST_SHARE = 0.3
"""Shares of a kind's demand are drawn in [this, 1] per consumer, then normalised."""
_LATE = (0.2, 0.5)
"""Late demands appear within these shares of the mission."""


@dataclass(frozen=True)
class _Sizes:
    """How many there are per environment, [B] each, and the widths of the padded axes."""

    agents: np.ndarray
    consumers: np.ndarray
    resources: np.ndarray
    widths: tuple[int, int, int]

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[B, N], [B, M] and [B, R] bool, False for padding."""
        counts = (self.agents, self.consumers, self.resources)
        agents, consumers, resources = (
            np.arange(width)[None] < count[:, None] for count, width in zip(counts, self.widths, strict=True)
        )
        return agents, consumers, resources


def sample_layout(
    config: Config,
    seeds: Sequence[int] | np.ndarray,
    n_agents: int | None = None,
    n_consumers: int | None = None,
    n_resources: int | None = None,
) -> WorldState:
    """Layouts of one size, for missions and evaluation.

    Args:
        config: a whole configuration.
        seeds: one per environment.
        n_agents: N, by default team.n_agents.
        n_consumers: M, by default task.n_consumers.
        n_resources: R, by default task.n_resources.

    Returns:
        A float32 NumPy state of len(seeds) environments.

    Raises:
        UserError: drones or consumers do not fit into the arena.
    """
    team, task = config.team, config.task
    widths = (n_agents or team.n_agents, n_consumers or task.n_consumers, n_resources or task.n_resources)
    agents, consumers, resources = (np.full(len(seeds), width) for width in widths)
    return _layout(config, seeds, _Sizes(agents, consumers, resources, widths))


def sample_training_layout(config: Config, seeds: Sequence[int] | np.ndarray) -> WorldState:
    """Layouts of team.n_agents drones whose other sizes are drawn from train.n_consumers and train.n_resources.

    All axes are as wide as the ranges allow, so that layouts from different calls can share a batch. Padding is not
    present, has no stock and no demand, and its demand never appears.

    Args:
        config: a whole configuration.
        seeds: one per environment.

    Returns:
        A float32 NumPy state of len(seeds) environments.

    Raises:
        UserError: drones or consumers do not fit into the arena.
    """
    low, high = np.array((config.train.n_consumers, config.train.n_resources)).T
    counts = low + np.floor(_uniforms(seeds, "sizes", (2,)) * (high - low + 1)).astype(np.int64)
    n_agents = config.team.n_agents
    sizes = _Sizes(np.full(len(seeds), n_agents), counts[:, 0], counts[:, 1], (n_agents, high[0], high[1]))
    return _layout(config, seeds, sizes)


def _layout(config: Config, seeds: Sequence[int] | np.ndarray, sizes: _Sizes) -> WorldState:
    team, task, batch = config.team, config.task, len(seeds)
    n_agents, n_consumers, n_resources = sizes.widths
    agents, consumers, resources = sizes.masks()
    stock = _stock(config, seeds, sizes)
    demand = _demand(config, seeds, sizes, stock)
    changing = task.demand_change_share > 0
    last_presence = sizes.resources[:, None] - np.arange(n_resources)[None] <= task.n_presence

    discharging = _happens(seeds, "discharge", n_agents, team.discharge_probability)
    low, high = team.discharge_per_s
    rate = low + (high - low) * _uniforms(seeds, "discharge rate", (n_agents,))
    onset_s = config.duration_s * _uniforms(seeds, "discharge onset", (n_agents,))
    failing = _happens(seeds, "failure", n_agents, team.failure_probability)
    failure_s = config.duration_s * _uniforms(seeds, "failure time", (n_agents,))
    failure_s = np.where(failing, failure_s, math.inf)
    # Half a tick early, so that the rounding of sums of dt does not move an event into the next tick.
    early_s = 0.5 * config.world.dt_s
    loss_s = _moment(seeds, "sudden loss", agents, team.sudden_loss_share, team.sudden_loss_s) - early_s
    change_s = _moment(seeds, "demand change", consumers, task.demand_change_share, task.demand_change_s) - early_s
    late = _happens(seeds, "late", n_consumers, task.late_demand_probability)
    late_s = config.duration_s * (_LATE[0] + (_LATE[1] - _LATE[0]) * _uniforms(seeds, "late time", (n_consumers,)))

    position = _place(config, seeds, "drones", agents, _AGENT_SPACING * config.world.safe_distance_m)
    centre = _place(config, seeds, "consumers", consumers, _CONSUMER_SPACING * task.service_radius_m)
    state = WorldState(
        time_s=np.zeros(batch),
        position=position,
        velocity=np.zeros_like(position),
        stock=stock,
        present=agents,
        failure_time_s=np.minimum(failure_s, loss_s),
        discharge_per_s=np.where(discharging, rate, 0.0),
        discharge_onset_s=np.where(discharging, onset_s, math.inf),
        consumer_position=centre,
        demand=demand,
        unmet=demand.copy(),
        demand_time_s=np.where(consumers, np.where(late, late_s, 0.0), math.inf),
        demand_change_s=change_s,
        new_demand=_demand(config, seeds, sizes, stock, "new ") if changing else np.zeros_like(demand),
        presence=last_presence & resources,
        presence_held_s=np.zeros((batch, n_consumers)),
        completed=np.zeros((batch, n_consumers), dtype=bool),
        delivered=np.zeros_like(stock),
        discharged=np.zeros_like(stock),
    )
    return state.map(lambda array: array if array.dtype == bool else array.astype(np.float32))


def _stock(config: Config, seeds: Sequence[int] | np.ndarray, sizes: _Sizes) -> Floats:
    """[B, N, R] drawn in team.stock for the kinds that each drone carries."""
    n_agents, _, n_resources = sizes.widths
    agents, _, resources = sizes.masks()
    low, high = config.team.stock
    amount = low + (high - low) * _uniforms(seeds, "stock", (n_agents, n_resources))
    carried = _carried(config.team.kinds_per_agent, seeds, sizes)
    return np.where(carried & agents[:, :, None] & resources[:, None, :], amount, 0.0)


def _carried(kinds_per_agent: int, seeds: Sequence[int] | np.ndarray, sizes: _Sizes) -> np.ndarray:
    """[B, N, R] bool: random kinds, but the first drones together carry every kind, if there are enough of them."""
    n_agents, _, n_resources = sizes.widths
    if kinds_per_agent == 0:
        return np.ones((len(seeds), n_agents, n_resources), dtype=bool)
    resources = sizes.masks()[2]
    # Each drone takes the kinds of the lowest keys. The kinds in random order are dealt out k to a drone, and those get
    # keys below all others.
    order = np.argsort(np.where(resources, _uniforms(seeds, "kind order", (n_resources,)), 2.0), axis=1)
    rank = np.argsort(order, axis=1)
    keys = _uniforms(seeds, "kinds", (n_agents, n_resources))
    dealt = rank[:, None, :] // kinds_per_agent == np.arange(n_agents)[None, :, None]
    keys = np.where(resources[:, None, :], keys - dealt, 2.0)
    return np.argsort(np.argsort(keys, axis=2), axis=2) < kinds_per_agent


def _demand(
    config: Config, seeds: Sequence[int] | np.ndarray, sizes: _Sizes, stock: Floats, prefix: str = ""
) -> Floats:
    """[B, M, R] with a total per kind of the total stock over a ratio drawn in task.supply_ratio."""
    _, n_consumers, n_resources = sizes.widths
    consumers = sizes.masks()[1]
    low, high = config.task.supply_ratio
    if low <= 0:
        raise UserError(f"task.supply_ratio: {[low, high]} begins at 0, which asks for infinite demand; raise it")
    ratio = low + (high - low) * _uniforms(seeds, f"{prefix}supply ratio", (n_resources,))
    share = _LEAST_SHARE + (1 - _LEAST_SHARE) * _uniforms(seeds, f"{prefix}share", (n_consumers, n_resources))
    share *= consumers[:, :, None]
    share /= share.sum(axis=1, keepdims=True)
    return share * (stock.sum(axis=1) / ratio)[:, None, :]


def _place(config: Config, seeds: Sequence[int] | np.ndarray, what: str, real: np.ndarray, apart_m: float) -> Floats:
    """[B, P, D] m random points of the arena at least `apart_m` apart; padding lies at the origin.

    Each point is the first of a row of candidates that is far enough from the points before it; environments in which
    a row runs out start again with longer rows.
    """
    half_m, dimensions = config.arena_half_m, config.task.dimensions
    width = real.shape[1]
    points = np.zeros((len(seeds), width, dimensions))
    todo = np.arange(len(seeds))
    for tries in _TRIES:
        # Long rows are rare and large: one environment at a time.
        for rows in np.array_split(todo, max(1, len(todo) * tries // 65536)):
            chosen = [seeds[row] for row in rows]
            drawn = _uniforms(chosen, f"{what} {tries}", (width, tries, dimensions))
            points[rows], placed = _spread(half_m * (2 * drawn - 1), real[rows], apart_m)
            todo = np.setdiff1d(todo, rows[placed], assume_unique=True)
        if not len(todo):
            return points
    raise UserError(
        f"task.arena_half_m: {int(real[todo[0]].sum())} {what} at least {apart_m:g} m apart do not fit into an arena "
        f"of half side {half_m:g} m (seed {int(seeds[todo[0]])}); raise task.arena_half_m or ask for fewer"
    )


def _spread(candidates: Floats, real: np.ndarray, apart_m: float) -> tuple[Floats, np.ndarray]:
    """Greedy choice among candidates [B, P, T, D]: points [B, P, D], and [B] whether all are far enough apart."""
    batch, width, _, dimensions = candidates.shape
    points = np.zeros((batch, width, dimensions))
    placed = np.ones(batch, dtype=bool)
    for index in range(width):
        row = candidates[:, index]
        gap = row[:, :, None, :] - points[:, None, :index, :]
        clash = (gap * gap).sum(axis=-1) < apart_m**2
        free = ~np.any(clash, axis=-1)
        first = np.argmax(free, axis=1)
        points[:, index] = np.where(real[:, index, None], row[np.arange(batch), first], math.inf)
        placed &= np.any(free, axis=1) | ~real[:, index]
        if not placed.any():
            break
    return np.where(real[:, :, None], points, 0.0), placed


def _happens(seeds: Sequence[int] | np.ndarray, stream: str, width: int, probability: float) -> np.ndarray:
    """[B, width] bool."""
    return _uniforms(seeds, stream, (width,)) < probability


def _moment(
    seeds: Sequence[int] | np.ndarray, stream: str, real: np.ndarray, share: float, when_s: list[float]
) -> Floats:
    """[B, width] s, one moment of the mission for a share of the real ones, at least one; inf for the others."""
    if not share:
        return np.full(real.shape, math.inf)
    rank = np.argsort(np.argsort(np.where(real, _uniforms(seeds, stream, real.shape[1:]), 2.0), axis=1), axis=1)
    count = np.maximum(np.rint(share * real.sum(axis=1)), 1)
    low, high = when_s
    moment_s = low + (high - low) * _uniforms(seeds, f"{stream} time", (1,))
    return np.where(rank < count[:, None], moment_s, math.inf)


def _uniforms(seeds: Sequence[int] | np.ndarray, stream: str, shape: tuple[int, ...]) -> Floats:
    """[B, *shape] in [0, 1): one generator per seed and stream."""
    name = int.from_bytes(stream.encode(), "little")
    return np.stack([np.random.default_rng([int(seed), name]).random(shape) for seed in seeds])
