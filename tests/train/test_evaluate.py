"""Evaluation: the same layouts for all methods, honest intervals, and what the shipped checkpoint reaches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sortie_core.config import Config, UserError, content_hash, load_config
from sortie_policy.checkpoint import load_metadata
from sortie_train.evaluate import evaluate, interval, rows, run_method

PROJECT = Path(__file__).parents[2]


def configured(*overrides: str) -> Config:
    shipped = f"policy.checkpoint={PROJECT / 'configs/checkpoints/delivery.ckpt'}"
    return load_config(PROJECT / "configs" / "delivery.yaml", [shipped, "world.backend=point", *overrides])


def ignore(_: int) -> None:
    """Take no notice of progress."""


def test_the_table_has_a_row_per_method_and_paired_differences(capsys: pytest.CaptureFixture[str]) -> None:
    config = configured("evaluation.n_layouts=12")
    table = evaluate(config, as_json=True)
    assert json.loads(capsys.readouterr().out) == table
    assert [row["method"] for row in table] == config.evaluation.methods
    assert config.evaluation.methods[:2] == ["policy", "greedy"]
    for row in table:
        low, high = row["delivered_fraction_interval"]
        assert low <= row["delivered_fraction"] <= high
        assert row["n_layouts"] == 12
    difference = table[0]["delivered_auc"] - table[1]["delivered_auc"]
    assert table[1]["policy_minus_this_delivered_auc"] == pytest.approx(difference, abs=1e-6)


def test_figures_depend_on_the_layout_alone_and_not_on_the_batch() -> None:
    many = run_method(configured("evaluation.n_layouts=5"), "policy", ignore)
    one = run_method(configured("evaluation.n_layouts=1", "evaluation.first_seed=1000003"), "policy", ignore)
    for name, values in many.items():
        np.testing.assert_allclose(values[3], one[name][0], rtol=1e-3, atol=1e-3, equal_nan=True, err_msg=name)


def test_the_worlds_are_told_apart_and_agree_roughly() -> None:
    point = run_method(configured("evaluation.n_layouts=3"), "greedy", ignore)
    flown = run_method(configured("evaluation.n_layouts=3", "world.backend=pybullet"), "greedy", ignore)
    assert not np.array_equal(point["energy_proxy"], flown["energy_proxy"])
    np.testing.assert_allclose(flown["delivered_fraction"], point["delivered_fraction"], atol=0.15)


def test_intervals_cover_the_mean_and_leave_out_what_was_never_reached() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    low, high = interval(values, 2000, 0)
    assert 1 <= low < 2 < high <= 3
    assert np.isnan(interval(np.array([np.nan]), 10, 0)).all()
    figures = {"delivered_fraction": np.ones(1), "delivered_auc": np.ones(1), "time_to_90_s": np.array([np.nan])}
    assert rows(configured(), {"greedy": figures})[0]["time_to_90_s"] is None


def test_a_policy_of_another_radius_is_not_evaluated_by_accident() -> None:
    with pytest.raises(UserError, match="comm.radius_m"):
        run_method(configured("comm.radius_m=2.0"), "policy", ignore)


def test_the_shipped_checkpoint_delivers_in_pybullet() -> None:
    """Over 10 unseen layouts with 8 drones."""
    config = configured("world.backend=pybullet", "evaluation.n_layouts=10")
    assert (config.team.n_agents, config.task.n_consumers, config.task.n_resources) == (8, 3, 2)
    figures = run_method(config, "policy", ignore)
    assert figures["delivered_fraction"].mean() >= 0.90
    assert figures["collisions"].sum() == 0


def test_the_shipped_checkpoint_says_where_it_comes_from() -> None:
    path = configured().policy.checkpoint
    metadata = load_metadata(path)
    assert content_hash(metadata["config"]) == metadata["config_hash"]
    assert metadata["config"]["seed"] == metadata["seed"]
    assert metadata["contraction_rate"] > 0
    assert metadata["commit"] != "unknown"
    assert metadata["figures"]["pybullet"]["delivered_fraction"] >= 0.90


def test_losses_reach_the_policy_and_what_is_not_modelled_is_refused() -> None:
    silent, whole = (
        run_method(configured("evaluation.n_layouts=6", f"comm.loss={loss}"), "policy", ignore) for loss in (1.0, 0.0)
    )
    assert not np.array_equal(silent["delivered_auc"], whole["delivered_auc"])
    for override in ("comm.latency_steps=1", "comm.bandwidth_bytes_per_s=1000"):
        with pytest.raises(UserError, match=override.partition("=")[0]):
            run_method(configured(override), "policy", ignore)
