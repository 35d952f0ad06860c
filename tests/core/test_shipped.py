"""What Sortie ships is found under its name from any working folder, and after what lies there itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sortie_core.config import UserError, load_config
from sortie_core.shipped import CHECKOUT, find, shipped

PROJECT = Path(__file__).parents[2]


def test_a_checkout_ships_its_own_folder() -> None:
    assert CHECKOUT == PROJECT
    assert shipped("configs/evaluate/main.yaml") == PROJECT / "configs" / "evaluate" / "main.yaml"


def test_the_working_folder_comes_before_what_is_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("configs/scarce.yaml") == PROJECT / "configs" / "scarce.yaml"
    (tmp_path / "configs").mkdir()
    shutil.copy(PROJECT / "configs" / "scarce.yaml", tmp_path / "configs")
    assert find("configs/scarce.yaml").resolve() == tmp_path / "configs" / "scarce.yaml"
    assert find("configs/delivery.yaml") == PROJECT / "configs" / "delivery.yaml"
    for path in ("configs/nothing.yaml", "pyproject.toml", tmp_path / "configs" / "delivery.yaml", "../configs/x"):
        assert find(path) == Path(path), "nobody ships it"


def test_a_configuration_of_ones_own_extends_what_is_shipped(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("extends: configs/scarce.yaml\nseed: 77\n", encoding="utf-8")
    assert load_config(own) == load_config(PROJECT / "configs" / "scarce.yaml", ["seed=77"])
    (tmp_path / "configs").mkdir()
    beside = tmp_path / "configs" / "scarce.yaml"
    beside.write_text("extends: configs/delivery.yaml\nteam: {n_agents: 3}\n", encoding="utf-8")
    assert load_config(own).team.n_agents == 3, "what lies beside it comes first"
    own.write_text("extends: configs/nothing.yaml\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine.yaml extends configs/nothing.yaml: no configuration file .*nothing"):
        load_config(own)
