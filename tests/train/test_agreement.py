"""Agreement with a fresh central auction, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_core.layout import sample_layout
from sortie_train.agreement import AGREEMENT, REASSIGNED, Agreement

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config


def test_two_who_go_where_one_is_enough_count_once(configured: Callable[..., Config]) -> None:
    config = configured("team.n_agents=2", "task.n_consumers=2", "task.n_resources=1", "team.kinds_per_agent=0")
    state = sample_layout(config, [1, 2])
    half = np.full((2, 2, 1), 0.5, np.float32)
    state = state.replace(stock=half, demand=half, unmet=half)
    agreement = Agreement(config)
    running = np.array([True, True])
    agreement.count(state, np.array([[0, 1], [0, 0]]), running)
    agreement.count(state, np.array([[0, 2], [1, 0]]), running)
    agreement.count(state, np.array([[2, 2], [0, 1]]), np.array([True, False]))
    found = agreement.figures()
    np.testing.assert_allclose(found[AGREEMENT][:, :3], [[1.0, 0.5, 0.0], [0.5, 1.0, np.nan]])
    np.testing.assert_allclose(found[REASSIGNED][:, :3], [[0.0, 0.5, 0.5], [0.0, 0.5, np.nan]])
    assert found["agreement"].tolist() == pytest.approx([0.5, 0.75])
    assert found[AGREEMENT].shape == (2, 6) and np.isnan(found[AGREEMENT][:, 3:]).all()


def test_the_dead_bring_nothing(configured: Callable[..., Config]) -> None:
    config = configured("team.n_agents=2", "task.n_consumers=2", "task.n_resources=1", "team.kinds_per_agent=0")
    state = sample_layout(config, [1])
    half = np.full((1, 2, 1), 0.5, np.float32)
    state = state.replace(stock=half, demand=half, unmet=half, failure_time_s=np.array([[np.inf, 0.0]], np.float32))
    agreement = Agreement(config)
    agreement.count(state, np.array([[2, 1]]), np.array([True]))
    assert agreement.figures()["agreement"].tolist() == [0.0]
