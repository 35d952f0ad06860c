"""A bank of assignments solved ahead: in parallel, and kept on disk by the content of each problem."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.files import write_atomically
from sortie_core.processes import pool_of
from sortie_core.state import WorldState
from sortie_expert.assignment import WORKING_GAP, Solver, solve
from sortie_expert.problem import AssignmentProblem
from sortie_expert.route_problem import RouteProblem
from sortie_expert.solution import AssignmentSolution, AssignmentStatus, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sortie_core.config import Config

    Progress = Callable[[int, int], None]

FOLDER = Path(".cache/expert")
"""Where banks are kept unless told otherwise, relative to the working directory."""
_FORMAT = 3


class AssignmentBank:
    """Solves problems once and remembers them.

    One JSON file per problem, named by a hash of the problem and of how it is solved, written atomically as soon as it
    is solved: a killed run goes on where it was. Where a file cannot be read, or does not hold a feasible plan
    with the objective it states, the problem is solved again.

    Args:
        config: for expert.time_limit_s.
        folder: where the files lie; None for `.cache/expert` in the working directory.
        solver: as in `assignment.solve`.
        relative_gap: as in `assignment.solve`.
    """

    def __init__(
        self,
        config: Config,
        folder: str | Path | None = None,
        solver: Solver = "highs",
        relative_gap: float = WORKING_GAP,
    ) -> None:
        self.folder = FOLDER if folder is None else Path(folder)
        self.time_limit_s = config.expert.time_limit_s
        self.solver: Solver = solver
        self.relative_gap = relative_gap

    def path(self, problem: Problem) -> Path:
        """The file of a problem, whether it exists or not."""
        how = self.solver, self.relative_gap, self.time_limit_s
        text = json.dumps([_FORMAT, type(problem).__name__, problem.key(), *how])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def recall(self, problem: Problem) -> AssignmentSolution | None:
        """The solution on disk; None if there is none, or none to be trusted."""
        try:
            kept = json.loads(self.path(problem).read_text(encoding="utf-8"))
            plan = np.array(kept.pop("plan"), dtype=np.int64)
            solution = AssignmentSolution(plan, **kept | {"status": AssignmentStatus(kept["status"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if problem.faults(plan) or not np.isclose(problem.objective(plan), solution.objective, rtol=1e-9):
            return None
        return solution

    def keep(self, problem: Problem, solution: AssignmentSolution) -> None:
        """Write a solution.

        Raises:
            UserError: the folder cannot be written to.
        """
        write_atomically(self.path(problem), json.dumps(asdict(solution) | {"plan": solution.plan.tolist()}))

    def solutions(
        self, problems: Sequence[Problem], workers: int | None = None, progress: Progress | None = None
    ) -> list[AssignmentSolution]:
        """Solutions in the order of the problems, each recalled or solved.

        Args:
            problems: any sizes; equal ones are solved once.
            workers: processes; None for one per core.
            progress: called with the numbers done and in all, first with what was recalled.

        Raises:
            UserError: the folder cannot be written to.
        """
        known: dict[Path, AssignmentSolution] = {}
        open_: dict[Path, Problem] = {}
        paths = [self.path(problem) for problem in problems]
        for path, problem in zip(paths, problems, strict=True):
            if path not in known and (kept := self.recall(problem)):
                known[path] = kept
            elif path not in known:
                open_[path] = problem
        done = len(known)
        if progress:
            progress(done, done + len(open_))
        for path, solution in self._solved(open_, workers or os.cpu_count() or 1):
            self.keep(open_[path], solution)
            known[path] = solution
            if progress:
                progress(len(known), done + len(open_))
        return [known[path] for path in paths]

    def _solved(self, problems: dict[Path, Problem], workers: int) -> Iterator[tuple[Path, AssignmentSolution]]:
        """Solutions as they come in."""
        how = (self.time_limit_s, self.solver, self.relative_gap)
        workers = min(workers, len(problems))
        if workers <= 1:
            yield from ((path, solve(problem, *how)) for path, problem in problems.items())
            return
        with pool_of(workers) as pool:
            jobs = {pool.submit(solve, problem, *how): path for path, problem in problems.items()}
            for job in as_completed(jobs):
                yield jobs[job], job.result()


def solve_bank(
    problems: WorldState | Sequence[Problem],
    config: Config,
    folder: str | Path | None = None,
    workers: int | None = None,
    timed: bool = True,
    solver: Solver = "highs",
    relative_gap: float = WORKING_GAP,
    progress: Progress | None = None,
) -> np.ndarray:
    """Assignments of many layouts, recalled from disk or solved in parallel.

    They do not depend on the number of workers, unless the time limit cuts solves short.

    Args:
        problems: L layouts, or L problems with the same padded N and M.
        config: for the arena and the expert.
        folder: where they are kept; None for `.cache/expert` in the working directory.
        workers: processes; None for one per core.
        timed: layouts are posed as problems of routes in time, else as the quadratic one.
        solver: as in `assignment.solve`.
        relative_gap: as in `assignment.solve`.
        progress: called with the numbers done and in all.

    Returns:
        [L, N] int, M for none.

    Raises:
        UserError: the folder cannot be written to.
        ValueError: problems of different sizes.
    """
    if isinstance(problems, WorldState):
        posed = RouteProblem if timed else AssignmentProblem
        problems = [posed.from_state(problems, b, config) for b in range(len(problems.time_s))]
    if len({problem.useful.shape for problem in problems}) > 1:
        raise ValueError("the problems of a bank have different numbers of agents or consumers; pad them")
    bank = AssignmentBank(config, folder, solver, relative_gap)
    return np.stack([solution.assignment for solution in bank.solutions(problems, workers, progress)])
