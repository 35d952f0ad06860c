"""How long a task will take, from what is known when it is registered."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from sortie_core.config import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_cluster.trace_table import TraceTable

FEATURES: dict[str, tuple[str, ...]] = {
    "plan": ("cpu", "memory"),
    "instances": ("cpu", "memory", "instances"),
    "all": ("cpu", "memory", "instances", "parents", "children", "depth", "job_size", "position"),
}
"""What each set of features consists of."""
LEAST_S = 0.5
"""No prediction is shorter, s: the trace's times are whole seconds."""
_LEAST_TASKS = 50
"""Fewer give no model."""
_NUMBER = re.compile(r"[A-Za-z]+(\d{1,9})(?:_|$)")


@dataclass(frozen=True)
class DurationModel:
    """Gradient-boosted trees on log1p of the duration.

    Attributes:
        features: key of `FEATURES`.
        regressor: predicts log1p of the duration, s.
    """

    features: str
    regressor: HistGradientBoostingRegressor

    @classmethod
    def fit(
        cls, table: TraceTable, features: str = "all", seed: int = 0, between_s: tuple[float, float] = (0.0, math.inf)
    ) -> DurationModel:
        """Learn from tasks that have ended.

        Args:
            table: the tasks, e.g. a trace's window "train".
            features: "plan" (CPU and memory), "instances" (and their number) or "all" (and the job's structure).
            seed: of the trees.
            between_s: only tasks that take so long teach, since only such will come; s.

        Raises:
            UserError: unknown features, or too few tasks.
        """
        if features not in FEATURES:
            raise UserError(f"no features {features!r} to predict durations from; name one of {', '.join(FEATURES)}")
        # a task's place in its job is that among all tasks, whatever these took
        inputs, took_s = _inputs(table, features), table.duration_s
        teaching = (took_s >= between_s[0]) & (took_s <= between_s[1])
        if (found := int(teaching.sum())) < _LEAST_TASKS:
            raise UserError(
                f"trace: {found} tasks are too few to learn durations from, {_LEAST_TASKS} are enough; "
                "raise trace.n_jobs, or widen trace.duration_s"
            )
        # Early stopping would judge by tasks of jobs that are also trained on, so the number of trees is fixed.
        regressor = HistGradientBoostingRegressor(
            learning_rate=0.08, max_iter=150, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False,
            random_state=seed,
        )  # fmt: skip
        with threadpool_limits(1):  # several threads would wait for each other where other processes take the cores
            regressor.fit(inputs[teaching], np.log1p(took_s[teaching]))
        return cls(features, regressor)

    def predict(self, table: TraceTable) -> NDArray[np.float64]:
        """[n] s: expm1 of the predicted log1p, that is about the median of what such tasks take.

        Shortest job first uses the order only, which every rising transformation back keeps. On the trace's real rows
        the order of medians beats that of predicted means, which follow the few tasks of many hours. Sums of
        predictions fall short of sums of durations, as medians are below means.
        """
        return np.maximum(np.expm1(self._log(table)), LEAST_S)

    def r2(self, table: TraceTable) -> float:
        """Share of the variance of log1p of the duration that the prediction explains; at most 1."""
        truth = np.log1p(table.duration_s)
        return float(1 - np.mean((truth - self._log(table)) ** 2) / np.var(truth))

    def _log(self, table: TraceTable) -> NDArray[np.float64]:
        """[n] predicted log1p of the duration."""
        with threadpool_limits(1):
            return self.regressor.predict(_inputs(table, self.features)) if len(table) else np.zeros(0)


def _inputs(table: TraceTable, features: str) -> NDArray[np.float64]:
    """[n, k] what is known when a task is registered, whatever it and its parents took."""
    known = {"cpu": table.cpu, "memory": table.memory, "instances": table.instances.astype(np.float64)}
    if features == "all":
        known.update(_structure(table))
    return np.stack([np.asarray(known[name], np.float64) for name in FEATURES[features]], axis=1)


def _structure(table: TraceTable) -> dict[str, NDArray[np.float64]]:
    """[n] each: the place of a task in its job's graph.

    The position is the number in the task's name: the order of registration would tell how long parents took.
    """
    parents, children = table.edges()
    _, job, size = np.unique(table.job, return_inverse=True, return_counts=True)
    names, name = np.unique(table.task_name, return_inverse=True)
    numbers = [_NUMBER.match(each) for each in names.tolist()]
    position = np.array([int(number[1]) if number else 0 for number in numbers], np.float64)
    return {
        "parents": np.bincount(children, minlength=len(table)).astype(np.float64),
        "children": np.bincount(parents, minlength=len(table)).astype(np.float64),
        "depth": table.depth().astype(np.float64),
        "job_size": size[job].astype(np.float64),
        "position": position[name] if len(table) else np.zeros(0),
    }
