"""Intervals: against direct computations, and wide enough for what was really drawn."""

from __future__ import annotations

import numpy as np
import pytest

from sortie_train.intervals import Bootstrap


def resampled_directly(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means of tables [S, L] whose rows and columns are drawn anew, one draw at a time."""
    random = np.random.default_rng(seed)
    n_seeds, n_layouts = values.shape
    means = []
    for _ in range(samples):
        rows, columns = random.integers(n_seeds, size=n_seeds), random.integers(n_layouts, size=n_layouts)
        means.append(np.nanmean(values[np.ix_(rows, columns)]))
    return np.percentile(means, [2.5, 97.5])


@pytest.mark.parametrize("n_seeds", [1, 5])
def test_seeds_and_layouts_are_drawn_anew_together(n_seeds: int) -> None:
    random = np.random.default_rng(1)
    values = 0.5 + 0.1 * random.normal(size=(n_seeds, 1)) + 0.2 * random.normal(size=(1, 40))
    values = values + 0.05 * random.normal(size=(n_seeds, 40))
    values[0, :7] = np.nan
    interval = Bootstrap(20_000, 0).interval(values)
    np.testing.assert_allclose(interval, resampled_directly(values, 20_000, 2), atol=0.004)


def test_a_paired_difference_loses_what_the_layouts_have_in_common() -> None:
    """Two methods on the same hard and easy layouts: the difference is known far better than either."""
    random = np.random.default_rng(3)
    layouts = random.normal(size=(1, 60))
    own, other = (layouts + shift + 0.01 * random.normal(size=(3, 60)) for shift in (0.05, 0.0))
    bootstrap = Bootstrap(4000, 0)
    low, high = bootstrap.interval(own - other)
    assert 0.04 < low < (own - other).mean() < high < 0.06
    assert np.ptp(bootstrap.interval(own)) > 10 * (high - low)
    np.testing.assert_allclose([low, high], resampled_directly(own - other, 20_000, 4), atol=0.001)
    reference = other[:1]  # a method without training seeds is held against every seed
    np.testing.assert_allclose(
        bootstrap.interval(own - reference), resampled_directly(own - np.tile(reference, (3, 1)), 20_000, 5), atol=0.001
    )


def test_seeds_that_differ_widen_the_interval_and_hundreds_of_layouts_do_not_hide_it() -> None:
    random = np.random.default_rng(5)
    values = np.array([[0.2], [0.8], [0.5]]) + 0.001 * random.normal(size=(3, 500))
    assert np.ptp(Bootstrap(4000, 0).interval(values)) > 0.4
    assert np.ptp(Bootstrap(4000, 0).interval(values.reshape(1, -1))) < 0.1


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(6)
    covered = 0
    for trial in range(300):
        low, high = Bootstrap(400, trial).interval(random.normal(size=(1, 50)))
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_bands_are_intervals_at_each_time() -> None:
    values = np.random.default_rng(7).random((2, 9, 4))
    bootstrap = Bootstrap(500, 0)
    band = bootstrap.interval(values)
    assert band.shape == (2, 4)
    np.testing.assert_allclose(band[:, 3], bootstrap.interval(values[..., 3]))


def test_ratios_are_of_means() -> None:
    random = np.random.default_rng(8)
    below = 0.5 + 0.3 * random.random((1, 80))
    above = 0.9 * below + 0.001 * random.normal(size=(4, 80))
    low, high = Bootstrap(2000, 0).ratio_interval(above, below)
    assert 0.89 < low < above.mean() / below.mean() < high < 0.91


def test_what_was_never_reached_has_no_interval() -> None:
    bootstrap = Bootstrap(100, 0)
    assert np.isnan(bootstrap.interval(np.full((2, 5), np.nan))).all()
    once = np.full((1, 30), np.nan)
    once[0, 4] = 7.0
    assert bootstrap.interval(once).tolist() == [7.0, 7.0]


def test_the_same_seed_draws_the_same() -> None:
    values = np.random.default_rng(9).random((3, 20))
    assert np.array_equal(Bootstrap(200, 1).interval(values), Bootstrap(200, 1).interval(values))
    assert not np.array_equal(Bootstrap(200, 1).interval(values), Bootstrap(200, 2).interval(values))
