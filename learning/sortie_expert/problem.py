"""The assignment problem: its data, its objective, what is feasible, and a local search that needs no solver."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from sortie_core.delivery import MET, presence_settled
from sortie_expert.greedy import useful_amount

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState


def on_host(array: Any) -> np.ndarray:
    """An array of any namespace and device as NumPy's."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


@dataclass(frozen=True, eq=False)
class AssignmentProblem:
    """Which agents should supply which consumer, as a mixed-integer quadratic programme (this project's design).

    With ``z_im`` in {0, 1}, at most one consumer per agent, and ``s_mr >= need_mr - sum_i z_im stock_ir``, ``s >= 0``::

        minimise  sum_mr s_mr^2 / demand_mr^2  +  lambda sum_im z_im |p_i - c_m|^2 / (N diam^2)

    N counts the available agents, so that padding changes nothing. Assignments are [N] int, M for "none".

    Attributes:
        position: [N, D] m.
        stock: [N, R] in units of one drone's capacity.
        available: [N] bool, False for agents that are padding or have failed.
        consumer_position: [M, D] m.
        need: [M, R] what is to be supplied now; 0 for padding and for consumers without an open demand.
        demand: [M, R] as first asked, the scale of the shortfall.
        distance_weight: lambda.
        diameter_m: of the arena, m.
    """

    position: np.ndarray
    stock: np.ndarray
    available: np.ndarray
    consumer_position: np.ndarray
    need: np.ndarray
    demand: np.ndarray
    distance_weight: float
    diameter_m: float

    @classmethod
    def from_state(cls, state: WorldState, b: int, config: Config) -> AssignmentProblem:
        """The problem that environment `b` poses at this moment.

        A consumable is needed as far as it is unmet. Presence is needed in full until it has been held long enough:
        the stock that covers it must stay assigned.

        Args:
            state: the missions, in any array namespace.
            b: the environment.
            config: for the arena and expert.distance_weight.
        """

        def row(array: Any) -> np.ndarray:
            array = on_host(array[b])
            return array if array.dtype == bool else array.astype(np.float64)

        demand, unmet = row(state.demand), row(state.unmet)
        open_ = row(state.active) & ~row(state.completed)
        to_hold = row(~presence_settled(state, config))
        need = np.where(row(state.presence), demand * to_hold[:, None], unmet) * open_[:, None]
        stock = row(state.stock)
        return cls(
            position=row(state.position),
            stock=np.where(stock > MET, stock, 0.0),
            available=row(state.alive),
            consumer_position=row(state.consumer_position),
            need=np.where(need > MET, need, 0.0),
            demand=demand,
            distance_weight=config.expert.distance_weight,
            diameter_m=2 * config.arena_half_m * math.sqrt(config.task.dimensions),
        )

    @property
    def n_agents(self) -> int:
        """N, padding included."""
        return len(self.stock)

    @property
    def n_consumers(self) -> int:
        """M, padding included; the index that stands for "none"."""
        return len(self.need)

    @cached_property
    def scale(self) -> np.ndarray:
        """[M, R] the demand as first asked, bounded away from 0; never below what is needed now."""
        return np.maximum(np.maximum(self.demand, self.need), MET)

    @cached_property
    def cost(self) -> np.ndarray:
        """[N, M] the distance term of each possible choice."""
        squared_m2 = ((self.position[:, None] - self.consumer_position[None]) ** 2).sum(axis=-1)
        return self.distance_weight * squared_m2 / (max(1, int(self.available.sum())) * self.diameter_m**2)

    @cached_property
    def useful(self) -> np.ndarray:
        """[N, M] bool, where the agent is available and the consumer needs something that it has.

        No other choice can lower the objective, so that leaving them out of a solver's model is exact.
        """
        return self.available[:, None] & (useful_amount(self.stock, self.need) > 0)

    def shortfall(self, assignment: np.ndarray) -> np.ndarray:
        """[M, R] the share of each demand that an assignment leaves unmet."""
        supply = np.zeros((self.n_consumers + 1, self.stock.shape[1]))
        np.add.at(supply, assignment, self.stock)
        return np.maximum(self.need - supply[:-1], 0.0) / self.scale

    def objective(self, assignment: np.ndarray) -> float:
        """The objective of an assignment, from its definition."""
        cost = np.append(self.cost, np.zeros((self.n_agents, 1)), axis=1)
        travel = np.take_along_axis(cost, assignment[:, None], axis=1).sum()
        return float((self.shortfall(assignment) ** 2).sum() + travel)

    @property
    def nobody(self) -> np.ndarray:
        """[N] int, the assignment in which every agent waits: always feasible."""
        return np.full(self.n_agents, self.n_consumers, dtype=np.int64)

    def faults(self, plan: np.ndarray) -> list[str]:
        """What makes an assignment [N] infeasible, in words; empty if it is feasible."""
        n_agents, none = self.n_agents, self.n_consumers
        if plan.shape != (n_agents,) or not np.issubdtype(plan.dtype, np.integer):
            return [f"assignment is {plan.dtype}{list(plan.shape)} instead of int[{n_agents}]"]
        faults = []
        for agent, consumer in enumerate(plan):
            if not 0 <= consumer <= none:
                faults.append(f"agent {agent} is assigned to {consumer}, neither a consumer nor {none} for none")
            elif consumer < none and not self.available[agent]:
                faults.append(f"agent {agent} is assigned to consumer {consumer} but not available")
            elif consumer < none and not self.need[consumer].any():
                faults.append(f"agent {agent} is assigned to consumer {consumer}, which needs nothing")
        return faults

    def improved(self, plan: np.ndarray) -> np.ndarray:
        """The best single change of one agent's consumer, again and again until none lowers the objective.

        No substitute for a solver: its local optima are well above the optimum. It makes what a solver had to leave
        unfinished no worse, and gives a feasible assignment where a solver gave none.

        Args:
            plan: [N] int, feasible.

        Returns:
            [N] int, feasible, with an objective no higher.
        """
        n_agents = self.n_agents
        cost = np.append(self.cost, np.zeros((n_agents, 1)), axis=1)
        useful = np.append(self.useful, np.ones((n_agents, 1), dtype=bool), axis=1)
        # "None" is one more consumer that needs nothing.
        need = np.append(self.need, np.zeros((1, self.need.shape[1])), axis=0)
        scale = np.append(self.scale, np.ones((1, self.need.shape[1])), axis=0)
        agents, assignment = np.arange(n_agents), plan.copy()

        def penalty(supply: np.ndarray) -> np.ndarray:
            return ((np.maximum(need - supply, 0.0) / scale) ** 2).sum(axis=-1)

        while True:
            supply = np.zeros_like(need)
            np.add.at(supply, assignment, self.stock)
            joining = penalty(supply[None] + self.stock[:, None]) - penalty(supply)[None] + cost
            joining[~useful] = np.inf
            leaving = penalty(supply[None] - self.stock[:, None]) - penalty(supply)[None] - cost
            change = joining + leaving[agents, assignment][:, None]
            change[agents, assignment] = 0.0
            agent, consumer = np.unravel_index(np.argmin(change), change.shape)
            if not change[agent, consumer] < -1e-12:
                return assignment
            assignment[agent] = consumer

    def key(self) -> str:
        """Hexadecimal digits that identify the content."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = np.asarray(getattr(self, field.name))
            digest.update(f"{field.name} {value.dtype} {value.shape} ".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()
