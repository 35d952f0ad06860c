"""The example for outside users runs, learns, and says what is wrong with its input."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sortie_core.config import load_config

if TYPE_CHECKING:
    from types import ModuleType

Capture = pytest.CaptureFixture[str]
PROJECT = Path(__file__).parents[2]
SCARCE = str(PROJECT / "configs" / "scarce.yaml")
SMALL = ["team.n_agents=3", "task.n_consumers=3", "evaluation.n_layouts=40"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_torchrl", PROJECT / "learning/examples/train_torchrl.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_short_run_learns(example: ModuleType):
    config = load_config(SCARCE, [*example.OVERRIDES, *SMALL])
    figures = example.run(config, seed=1, updates=8)
    assert figures["after training"]["time_average"] > figures["before training"]["time_average"] + 0.05
    assert 0.5 < figures["nearest-need greedy"]["delivered"] <= 1.0


def test_the_command_prints_the_three_rows_and_the_same_again(example: ModuleType, capsys: Capture):
    printed = []
    for _ in range(2):
        assert example.main([SCARCE, *SMALL, "--updates", "1", "--seed", "2"]) == 0
        *lines, took = capsys.readouterr().out.splitlines()
        assert took.endswith(" s in all")
        printed.append(lines)
    assert printed[0] == printed[1]
    title, *rows = printed[0]
    assert title == "40 unseen layouts, 3 drones, seed 2:"
    assert [row.split(":")[0].strip() for row in rows] == ["nearest-need greedy", "before training", "after training"]
    assert all("delivered 0." in row and "time average 0." in row for row in rows)


def test_bad_input_is_one_line_and_exit_code_2(example: ModuleType, capsys: Capture):
    assert example.main([SCARCE, "team.n_agent=3"]) == 2
    error = capsys.readouterr().err
    assert "team.n_agent" in error and error.count("\n") == 1
