"""The time-aware problem: routes of one mission that bring as much as possible as early as possible."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from sortie_expert.local_search import RIVALS, improve
from sortie_expert.problem import on_host
from sortie_expert.routes import STOPS, Timetable, play_out, timetable, worth_s

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState


@dataclass(frozen=True, eq=False)
class RouteProblem:
    """Which routes the agents should take; a linear objective (this project's design).

    A plan [N, S] names each agent's next stops, M for none. With what is handed over under `routes.play_out`::

        minimise  sum_mr need_mr (left + late)  -  sum over units handed over of (time left then + late)

    that is, the time that each unit of the need stays unmet, and ``late`` more for what is never met.

    Attributes:
        table: of one mission, float64.
        stops: a route has at most so many, 1 or 2; the others are none.
    """

    table: Timetable
    stops: int = STOPS

    @classmethod
    def from_state(cls, state: WorldState, b: int, config: Config, stops: int = STOPS) -> RouteProblem:
        """The problem that environment `b` poses at this moment.

        Args:
            state: the missions, in any array namespace.
            b: the environment.
            config: for speeds, the task and the decision period.
            stops: as the attribute.
        """
        return cls.from_table(timetable(state.map(lambda array: on_host(array[b : b + 1])), config), 0, stops)

    @classmethod
    def from_table(cls, table: Timetable, b: int, stops: int = STOPS) -> RouteProblem:
        """The problem of environment `b` of a NumPy timetable."""

        def row(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            return value[b : b + 1] if value.dtype == bool else value[b : b + 1].astype(np.float64)

        return cls(Timetable(*(row(getattr(table, field.name)) for field in fields(table))), stops)

    @property
    def n_agents(self) -> int:
        """N, padding included."""
        return self.table.stock.shape[1]

    @property
    def n_consumers(self) -> int:
        """M, padding included; the index that stands for "none"."""
        return self.table.need.shape[1]

    @property
    def nobody(self) -> np.ndarray:
        """[N, S] int, the plan in which every agent waits: always feasible."""
        return np.full((self.n_agents, STOPS), self.n_consumers, dtype=np.int64)

    @cached_property
    def useful(self) -> np.ndarray:
        """[N, M] bool, where the agent is alive and the consumer needs something that it has."""
        stock, need = self.table.stock[0], self.table.need[0]
        return np.minimum(stock[:, None], need[None]).sum(axis=2) > 0

    @cached_property
    def unmet(self) -> float:
        """The objective of the plan in which every agent waits."""
        return float(self.table.need.sum() * (self.table.left_s[0] + self.table.late_s))

    def objective(self, plan: np.ndarray) -> float:
        """The objective of a plan, from its definition."""
        return self.unmet - float(play_out(self.table, plan[None]).value[0])

    def faults(self, plan: np.ndarray) -> list[str]:
        """What makes a plan infeasible, in words; empty if it is feasible."""
        none = self.n_consumers
        if plan.shape != self.nobody.shape or not np.issubdtype(plan.dtype, np.integer):
            return [f"plan is {plan.dtype}{list(plan.shape)} instead of int{list(self.nobody.shape)}"]
        faults = []
        for agent, route in enumerate(plan):
            stops = [int(stop) for stop in route if stop != none]
            if len(stops) > self.stops:
                faults.append(f"agent {agent} has {len(stops)} stops, not {self.stops} at most")
            elif any(not 0 <= stop < none for stop in stops):
                faults.append(f"agent {agent} is sent to {stops}, not all of which are consumers or {none} for none")
            elif len(set(stops)) < len(stops):
                faults.append(f"agent {agent} is sent twice to consumer {stops[0]}")
            elif list(route[: len(stops)]) != stops:
                faults.append(f"agent {agent} has a stop after none")
            elif any(not self.useful[agent, stop] for stop in stops):
                faults.append(f"agent {agent} is sent to {stops}, not all of which need anything that it has")
        return faults

    def improved(self, plan: np.ndarray) -> np.ndarray:
        """[N, S] int, feasible, with an objective no higher, by local search over routes of all stops."""
        return improve(self.table, plan[None], RIVALS)[0] if self.stops == STOPS else plan

    def key(self) -> str:
        """Hexadecimal digits that identify the content."""
        digest = hashlib.sha256(f"stops {self.stops} ".encode())
        for field in fields(self.table):
            value = np.ascontiguousarray(getattr(self.table, field.name))
            digest.update(f"{field.name} {value.dtype} {value.shape} ".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class RouteProgramme:
    """The mixed-integer linear programme of a problem: ``minimise cost x, A x <= limit, 0 <= x <= upper``.

    The first columns choose routes, binary; the others are what is handed over, by route, stop and kind. Who comes
    first is not imposed: the programme may let an agent hold back what it could hand over, to use it at its next stop.
    It hence is a relaxation, exact with one stop, and bounds the problem's objective.

    Attributes:
        routes: [K, 1 + S] int, agent and stops of each route.
        cost: [C] of the columns, K of routes and then the amounts.
        upper: [C].
        matrix: [rows, C] sparse.
        limit: [rows].
    """

    routes: np.ndarray
    cost: np.ndarray
    upper: np.ndarray
    matrix: sp.csc_array
    limit: np.ndarray

    @classmethod
    def of(cls, problem: RouteProblem) -> RouteProgramme:
        """The programme of a problem."""
        routes, visits = _routes(problem)
        stock, need = problem.table.stock[0], problem.table.need[0]
        route, consumer, worth = visits
        agent = routes[route, 0]
        most = np.minimum(stock[agent], need[consumer])
        visit, kind = np.nonzero(most > 0)
        route, consumer, worth, most = route[visit], consumer[visit], worth[visit], most[visit, kind]
        n_routes, n_amounts, n_kinds = len(routes), len(most), stock.shape[1]
        amounts = n_routes + np.arange(n_amounts)

        def block(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> sp.coo_array:
            return sp.coo_array((values, (rows, columns)), shape=(int(rows.max(initial=-1)) + 1, n_routes + n_amounts))

        once = block(routes[:, 0], np.arange(n_routes), np.ones(n_routes))
        demand = block(consumer * n_kinds + kind, amounts, np.ones(n_amounts))
        chosen = block(np.tile(np.arange(n_amounts), 2), np.r_[amounts, route], np.r_[np.ones(n_amounts), -most])
        # What is asked for presence is not used up.
        spent = np.flatnonzero(problem.table.consumable[0][kind])
        carried, which = np.unique((route * n_kinds + kind)[spent], return_inverse=True)
        supply = block(
            np.r_[which, np.arange(len(carried))], np.r_[amounts[spent], carried // n_kinds],
            np.r_[np.ones(len(spent)), -stock[routes[carried // n_kinds, 0], carried % n_kinds]],
        )  # fmt: skip
        limits = np.ones(once.shape[0]), need.ravel()[: demand.shape[0]], np.zeros(n_amounts), np.zeros(len(carried))
        return cls(
            routes=routes,
            cost=np.r_[np.zeros(n_routes), -worth],
            upper=np.r_[np.ones(n_routes), most],
            matrix=sp.csc_array(sp.vstack([once, demand, chosen, supply])),
            limit=np.concatenate(limits),
        )

    def decoded(self, problem: RouteProblem, columns: np.ndarray) -> np.ndarray:
        """[N, S] int, the plan of the routes that are chosen."""
        plan = problem.nobody
        for agent, *stops in self.routes[columns[: len(self.routes)] > 0.5]:
            plan[agent] = stops
        return plan

    def encoded(self, plan: np.ndarray) -> np.ndarray:
        """[K] 1 for the routes of a plan; agents whose routes are not among them have none."""
        return np.all(self.routes[:, 1:] == plan[self.routes[:, 0]], axis=1).astype(np.float64)


def _routes(problem: RouteProblem) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All routes worth a thought, [K, 1 + S] int, and the route, consumer and worth of a unit of each visit."""
    table, none, useful = problem.table, problem.n_consumers, problem.useful
    arrival_s, handing_s, left_s = table.arrival_s[0], table.handing_s[0], table.left_s[0]
    later_s = (arrival_s + handing_s + table.reaction_s)[:, :, None] + table.leg_s[0][None]
    in_time = useful & (arrival_s < left_s)
    agent, first = np.nonzero(in_time)
    on = in_time[:, :, None] & useful[:, None, :] & (later_s < left_s) & ~np.eye(none, dtype=bool)[None]
    agents, befores, afters = np.nonzero(on & (problem.stops > 1))
    routes = np.concatenate(
        [np.stack([agent, first, np.full(len(agent), none)], axis=1), np.stack([agents, befores, afters], axis=1)]
    )
    route = np.r_[np.arange(len(routes)), len(agent) + np.arange(len(agents))]
    consumer = np.r_[routes[:, 1], afters]
    time_s = np.r_[arrival_s[routes[:, 0], routes[:, 1]], later_s[agents, befores, afters]]
    return routes, (route, consumer, worth_s(table, time_s, handing_s[routes[route, 0], consumer], left_s))
