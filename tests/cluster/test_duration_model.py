"""Predicted durations: as good as on the trace, and blind to what is not known at registration."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_cluster.alibaba import read_batch_tasks, write_batch_tasks
from sortie_cluster.duration_model import LEAST_S, DurationModel
from sortie_cluster.trace_generator import generate_trace
from sortie_core.config import UserError

if TYPE_CHECKING:
    from sortie_cluster.trace_table import TraceTable

BOUNDS = {"plan": (0.2, 0.38), "instances": (0.32, 0.5), "all": (0.6, 0.78)}
"""Share of the variance of log1p duration that is explained on later jobs; the trace's rows give .28, .42 and .67."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TraceTable:
    """The real rows where SORTIE_TRACES names their folder, else the generator's."""
    if folder := os.environ.get("SORTIE_TRACES"):
        return read_batch_tasks(sorted(Path(folder).glob("*batch_task*.csv"))[0])[0]
    path = tmp_path_factory.mktemp("trace") / "batch_task.csv"
    write_batch_tasks(generate_trace(12_000, seed=7), path)
    return read_batch_tasks(path)[0]


@pytest.fixture(scope="module")
def model(table: TraceTable) -> DurationModel:
    return DurationModel.fit(table.window("train"))


@pytest.mark.parametrize("features", BOUNDS)
def test_later_jobs_are_predicted_as_well_as_the_trace_allows(features: str, table: TraceTable) -> None:
    low, high = BOUNDS[features]
    assert low < DurationModel.fit(table.window("train"), features).r2(table.window("test")) < high


def test_the_generator_is_as_predictable_as_the_trace() -> None:
    table = generate_trace(12_000, seed=1)
    for features, (low, high) in BOUNDS.items():
        assert low < DurationModel.fit(table.window("train"), features).r2(table.window("test")) < high, features


def test_what_tasks_took_changes_no_prediction(table: TraceTable, model: DurationModel) -> None:
    test = table.window("test")
    rng = np.random.default_rng(0)
    otherwise = replace(test, duration_s=rng.permutation(test.duration_s) + 7.0)
    assert (model.predict(otherwise) == model.predict(test)).all()
    moved = replace(test, registered_s=np.sort(rng.uniform(0, 1e6, len(test))))
    assert (model.predict(moved) == model.predict(test)).all()


def test_predictions_order_tasks_for_shortest_job_first(table: TraceTable, model: DurationModel) -> None:
    test = table.window("test")
    predicted = model.predict(test)
    assert predicted.shape == (len(test),) and (predicted >= LEAST_S).all() and np.isfinite(predicted).all()

    def completion(key: np.ndarray) -> float:
        """Mean completion time, s, of tasks served one by one in the order of a key."""
        return float(np.cumsum(test.duration_s[np.argsort(key, kind="stable")]).mean())

    by_chance = completion(np.random.default_rng(0).random(len(test)))
    assert completion(predicted) < 0.5 * by_chance
    assert completion(test.duration_s) <= completion(predicted)


def test_tasks_of_a_range_teach_more_about_it_than_all_do() -> None:
    table = generate_trace(12_000, seed=1)
    train, test = table.window("train"), table.window("test")
    coming = (test.duration_s >= 1) & (test.duration_s <= 17)

    def explained(model: DurationModel) -> float:
        predicted_s = np.clip(model.predict(test)[coming], 1, 17)
        return float(np.corrcoef(predicted_s, test.duration_s[coming])[0, 1] ** 2)

    assert explained(DurationModel.fit(train, between_s=(1, 17))) > 1.15 * explained(DurationModel.fit(train))


def test_fitting_twice_gives_the_same_model(table: TraceTable, model: DurationModel) -> None:
    again = DurationModel.fit(table.window("train"))
    test = table.window("test")
    assert (again.predict(test) == model.predict(test)).all()


def test_no_task_gives_no_prediction(table: TraceTable, model: DurationModel) -> None:
    assert model.predict(table.select(np.zeros(len(table), bool))).shape == (0,)


def test_wrong_use_is_refused_in_a_line(table: TraceTable) -> None:
    with pytest.raises(UserError, match="no features 'everything' .*plan, instances, all"):
        DurationModel.fit(table, "everything")
    with pytest.raises(UserError, match="3 tasks are too few"):
        DurationModel.fit(table.select(np.arange(len(table)) < 3))
