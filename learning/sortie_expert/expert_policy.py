"""The centralised reference that is blind to time: the quadratic assignment, solved again when something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_expert.assignment import WORKING_GAP, Solver, solve
from sortie_expert.problem import AssignmentProblem, on_host

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState
    from sortie_expert.solution import AssignmentSolution

_DISCHARGE_LEVEL = 0.1
"""An agent that has lost this much more stock by discharge, in units of its capacity, is an event."""


class ExpertPolicy:
    """Chooses consumers for all agents at once, knowing everything; stateful over a batch of missions.

    An environment is solved again when a mission starts, a demand appears, a demand of any kind is met, the stock that
    an agent lost by discharge crosses a multiple of 0.1, or an agent that was sent somewhere fails or has nothing left
    that is needed there. In between, the assignment stands.

    Args:
        config: for the arena and the expert.
        solver: as in `assignment.solve`.
        relative_gap: as in `assignment.solve`.

    Attributes:
        solutions: the last solution of each environment.
        n_solves: solves so far.
    """

    def __init__(self, config: Config, solver: Solver = "highs", relative_gap: float = WORKING_GAP) -> None:
        self.config = config
        self.solver: Solver = solver
        self.relative_gap = relative_gap
        self.n_solves = 0
        self.reset()

    def reset(self) -> None:
        """Forget the missions; new ones of the same batch are noticed without it."""
        self.solutions: list[AssignmentSolution] = []
        self._situation = np.zeros((0, 0))
        self._time_s = np.zeros(0)

    def choose(self, state: WorldState) -> Array:
        """The chosen consumers.

        Args:
            state: the missions, in any array namespace.

        Returns:
            [B, N] int in the namespace and on the device of the state; M for an agent that is to wait.
        """
        here = state.map(on_host)
        problems = [AssignmentProblem.from_state(here, b, self.config) for b in range(len(here.time_s))]
        due = self._due(here, problems)
        fresh = {
            b: solve(problem, self.config.expert.time_limit_s, self.solver, self.relative_gap)
            for b, problem in enumerate(problems)
            if due[b]
        }
        self.solutions = [fresh[b] if b in fresh else self.solutions[b] for b in range(len(problems))]
        self.n_solves += len(fresh)
        choice = np.stack([solution.assignment for solution in self.solutions])
        return array_namespace(state.position).asarray(choice, device=device_of(state.position))

    def _due(self, state: WorldState, problems: list[AssignmentProblem]) -> np.ndarray:
        """[B] bool, where something happened since the last call; remembers the situation for the next."""
        situation, time_s = _situation(state, problems), np.array(state.time_s)
        if situation.shape == self._situation.shape:
            due = np.any(situation != self._situation, axis=1) | (time_s < self._time_s)
            due |= [_idle(problem, last) for problem, last in zip(problems, self.solutions, strict=True)]
        else:
            due = np.ones(len(problems), dtype=bool)
        self._situation, self._time_s = situation, time_s
        return due


def _situation(state: WorldState, problems: list[AssignmentProblem]) -> np.ndarray:
    """[B, ...] what stays the same between events: the layout, what is needed, levels of discharge."""
    parts = (
        state.consumer_position,
        state.demand,
        np.stack([problem.need > 0 for problem in problems]),
        np.floor(state.discharged / _DISCHARGE_LEVEL),
    )
    return np.concatenate([np.asarray(part, dtype=np.float64).reshape(len(problems), -1) for part in parts], axis=1)


def _idle(problem: AssignmentProblem, last: AssignmentSolution) -> bool:
    """Whether an agent can bring nothing to the consumer it was sent to: empty, failed, or no longer needed."""
    sent = np.flatnonzero(last.assignment < problem.n_consumers)
    return bool(np.any(~problem.useful[sent, last.assignment[sent]]))
