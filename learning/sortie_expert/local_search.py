"""Local search over routes for whole batches of missions at once: a planner cheap enough to teach inside training.

From the auction's assignment, agents are taken off their routes one at a time, then in pairs that carry the same kinds,
and put back one after the other where they earn the most. All routes of an agent are valued in parallel, for all
missions of the batch, and a change is kept in the missions in which the plan as a whole got better. This project's
design; pairs are what exchanges stops and shifts them in chains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import MET
from sortie_expert.auction import auction
from sortie_expert.routes import STOPS, Outcome, Timetable, play_out, timetable, without_idle_stops, worth_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

RIVALS = 2
"""Pairs tried per agent, with those of the same kinds that are nearest."""
_BETTER = 1e-6
"""Relative gain below which a change is rounding."""


def local_search(state: WorldState, config: Config, rivals: int = RIVALS) -> Array:
    """The consumers that agents are sent to first, planned for time from the auction's assignment.

    Args:
        state: the missions.
        config: for speeds, the task and the decision period.
        rivals: pairs tried per agent; 0 to move agents one by one only.

    Returns:
        [B, N] int, the consumer; M for agents that nobody needs.
    """
    table = timetable(state, config)
    return improve(table, auction_plan(state, config), rivals)[:, :, 0]


def judge_choices(state: WorldState, config: Config, rivals: int = RIVALS) -> tuple[Array, Array]:
    """What `local_search` chooses, and what every choice is worth while the others keep to the plan.

    Args:
        state: the missions.
        config: as for `local_search`.
        rivals: as for `local_search`.

    Returns:
        [B, N] int as from `local_search`; and [B, N, M + 1] stock s, the value that the agent adds with the best route
        that begins there: handed over times what it is worth, less what others can then no longer hand over. Waiting,
        and going where nothing can be handed over, is worth 0.
    """
    table = timetable(state, config)
    xp = array_namespace(table.stock)
    plan = improve(table, auction_plan(state, config), rivals)
    search = _Search(table, plan)
    agents = range(plan.shape[1])
    values = xp.stack([xp.max(search.values(search.without([agent]), agent), axis=2) for agent in agents], axis=1)
    values = xp.where(values > -xp.inf, values, 0.0)
    return plan[:, :, 0], xp.concat([values, xp.zeros_like(values[:, :, :1])], axis=2)


def auction_plan(state: WorldState, config: Config) -> Array:
    """[B, N, S] the auction's assignment as a plan of one stop."""
    xp = array_namespace(state.position)
    sold = auction(state, config)
    return xp.stack([sold] + [xp.full_like(sold, state.unmet.shape[1])] * (STOPS - 1), axis=2)


def improve(table: Timetable, plan: Array, rivals: int = RIVALS) -> Array:
    """A plan that is worth no less.

    Args:
        table: the missions.
        plan: [B, N, S] int with S = `STOPS`.
        rivals: as for `local_search`.

    Returns:
        [B, N, S] int without stops at which nothing is handed over.
    """
    search = _Search(table, plan)
    n_agents = plan.shape[1]
    for agent in range(n_agents):
        search.reroute([agent])
    nearest = _rivals(table)
    for rank in range(min(rivals, n_agents - 1)):
        for agent in range(n_agents):
            search.reroute([agent, nearest[:, agent, rank]])
    return without_idle_stops(search.plan, play_out(table, search.plan), table.need.shape[1])


def _rivals(table: Timetable) -> Array:
    """[B, N, N] the others of each agent, those that carry the same kinds first, and among them the nearest."""
    xp, n_agents = array_namespace(table.stock), table.stock.shape[1]
    shared = xp.sum(xp.minimum(table.stock[:, :, None, :], table.stock[:, None, :, :]), axis=-1) > 0
    apart_s = xp.sum(xp.abs(table.arrival_s[:, :, None, :] - table.arrival_s[:, None, :, :]), axis=-1)
    itself = xp.eye(n_agents, dtype=xp.int64, device=device_of(apart_s))[None]
    nearest = xp.argsort(apart_s, axis=2, stable=True)
    group = xp.take_along_axis(xp.astype(~shared, xp.int64) + 2 * itself, nearest, axis=2)
    return xp.take_along_axis(nearest, xp.argsort(group, axis=2, stable=True), axis=2)


class _Search:
    """A plan, and what can be done to it; agents are given as numbers, or as one for each mission, [B] int."""

    def __init__(self, table: Timetable, plan: Array) -> None:
        self.table, self.plan, self.xp = table, plan, array_namespace(plan)
        self.value = play_out(table, plan).value
        self.mission = self.xp.arange(plan.shape[0], device=device_of(plan))
        # The kinds that an agent carries, as many for all as one carries at most: the others need no arithmetic.
        carries = self.xp.astype(table.stock > 0, self.xp.int64)
        most = max(1, int(self.xp.max(self.xp.sum(carries, axis=2))))
        self._kinds = self.xp.argsort(-carries, axis=2, stable=True)[:, :, :most]

    def without(self, agents: Sequence[int | Array]) -> Array:
        """The plan without the agents' routes."""
        plan = self.xp.asarray(self.plan, copy=True)
        for agent in agents:
            plan[self.mission, agent] = self.table.need.shape[1]
        return plan

    def reroute(self, agents: Sequence[int | Array]) -> None:
        """Take agents off their routes and put them back, in their order, where the plan gets better by it."""
        xp, plan = self.xp, self.without(agents)
        for agent in agents:
            plan[self.mission, agent] = self._best_route(plan, agent)
        value = play_out(self.table, plan).value
        better = value > self.value * (1 + _BETTER)
        self.plan = xp.where(better[:, None, None], plan, self.plan)
        self.value = xp.where(better, value, self.value)

    def _best_route(self, plan: Array, agent: int | Array) -> Array:
        """[B, S] the route of the highest value, none where no route has any."""
        xp, none = self.xp, self.table.need.shape[1]
        values = xp.reshape(self.values(plan, agent), (plan.shape[0], -1))
        best = xp.argmax(values, axis=1)
        route = xp.stack([best // (none + 1), best % (none + 1)], axis=1)
        return xp.where((xp.max(values, axis=1) > 0)[:, None], route, none)

    def values(self, plan: Array, agent: int | Array) -> Array:
        """What an agent without a route in `plan` would add with each.

        What others then lack at later visits is taken off, but not what they would do with it instead.

        Returns:
            [B, M, M + 1] stock s for first and second stops, M for no second; -inf where a stop brings nothing.
        """
        xp, table, mission = self.xp, self.table, self.mission
        one = mission * 0 + agent
        kinds = self._kinds[mission, one]
        market = _Market(table, play_out(table, plan), kinds)
        stock = xp.take_along_axis(table.stock[mission, one], kinds, axis=1)
        spent = xp.take_along_axis(xp.astype(table.consumable, stock.dtype), kinds, axis=1)
        arrival_s, handing_s = table.arrival_s[mission, one], table.handing_s[mission, one]
        first, handed = market.visit(arrival_s[:, None, :], handing_s[:, None, :], stock[:, None, :])
        rest = stock[:, None, :] - handed[:, 0] * spent[:, None, :]
        next_s = (arrival_s + handing_s + table.reaction_s)[:, :, None] + table.leg_s
        second, _ = market.visit(next_s, handing_s[:, None, :], rest)
        again = xp.eye(second.shape[1], dtype=xp.bool, device=device_of(second))[None]
        second = xp.where(again, -xp.inf, second)
        return first[:, 0, :, None] + xp.concat([second, xp.zeros_like(second[:, :, :1])], axis=2)


class _Market:
    """What others hand over of some kinds K, against which one more visit is valued; V visits at most hand over any.

    Args:
        table: the missions.
        others: the outcome of the others' plan.
        kinds: [B, K] int.
    """

    def __init__(self, table: Timetable, others: Outcome, kinds: Array) -> None:
        xp = array_namespace(kinds)
        self._table = table
        handed = xp.take_along_axis(others.handed, kinds[:, None, :], axis=2)
        busy = xp.astype(xp.any(handed > 0, axis=2), xp.int64)
        most = max(1, int(xp.max(xp.sum(busy, axis=1))))
        kept = xp.argsort(-busy, axis=1, stable=True)[:, :most]
        self._arrival_s, self._worth_s, consumer = (
            xp.take_along_axis(each, kept, axis=1) for each in (others.arrival_s, others.worth_s, others.consumer)
        )
        handed = xp.moveaxis(xp.take_along_axis(handed, kept[:, :, None], axis=1), 1, 2)
        every = xp.arange(table.need.shape[1], device=device_of(kinds))[None, :, None]
        # [B, M, K, V]: handed over by each visit, and by all visits after it.
        self._handed = xp.where((consumer[:, None, :] == every)[:, :, None, :], handed[:, None], 0.0)
        total = xp.sum(self._handed, axis=3)
        self._after = total[..., None] - xp.cumulative_sum(self._handed, axis=3)
        self._need = xp.take_along_axis(table.need, kinds[:, None, :], axis=2)
        self._spare = self._need - total

    def visit(self, arrival_s: Array, handing_s: Array, stock: Array) -> tuple[Array, Array]:
        """The value of a visit, with what is displaced taken off from the last visit backwards.

        Args:
            arrival_s: [B, X, M] s.
            handing_s: [B, 1, M] s.
            stock: [B, X, K] on arrival.

        Returns:
            The value [B, X, M], -inf where nothing is handed over, and what is handed over [B, X, M, K].
        """
        xp = array_namespace(arrival_s)
        worth = worth_s(self._table, arrival_s, handing_s, self._table.left_s[:, None, None])
        earlier = self._arrival_s[:, None, None, :] <= arrival_s[..., None]
        before = xp.sum(xp.where(earlier[:, :, :, None, :], self._handed[:, None], 0.0), axis=4)
        handed = xp.clip(xp.minimum(stock[:, :, None, :], self._need[:, None] - before), min=0.0)
        handed = handed * xp.astype(worth > 0, handed.dtype)[..., None]
        displaced = xp.clip(handed - self._spare[:, None], min=0.0)
        lost = xp.minimum(xp.clip(displaced[..., None] - self._after[:, None], min=0.0), self._handed[:, None])
        loss = xp.sum(xp.sum(lost, axis=3) * self._worth_s[:, None, None, :], axis=3)
        amount = xp.sum(handed, axis=3)
        return xp.where(amount > MET, amount * worth - loss, -xp.inf), handed
