"""Every shipped configuration loads, survives a round trip, and makes a world that steps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sortie_cli.configurations import kind_of, load_any
from sortie_core.config import Config, UserError, keys, load_config, parse_config
from sortie_sim.point_world import PointWorld

ALL = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
FILES = [path for path in ALL if kind_of(path) is Config]
TEXT = FILES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [path for path in ALL if path not in FILES], ids=lambda path: path.name)
def test_what_is_no_mission_loads_too(path: Path, tmp_path: Path) -> None:
    config = load_any(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(config.to_yaml(), encoding="utf-8")
    assert load_any(copy) == config
    assert (Path(__file__).parents[1] / config.EXAMPLE).is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_loads_and_steps(path: Path) -> None:
    config = load_config(path)
    assert parse_config(config.to_yaml()) == config
    world = PointWorld(config, "numpy", check=True)
    state = world.reset([1, 2])
    result = world.step(np.zeros_like(state.position))
    assert np.isfinite(result.reward).all()


COMPLETE = [path for path in FILES if "extends:" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)
def test_every_key_is_commented(path: Path) -> None:
    """Files that extend others change keys that are commented there."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r" *\w+: *\S", line)]
    bare = [line for line in lines if "#" not in line]
    assert len(lines) > 100
    assert not bare, "every key tells its meaning and unit"


def test_the_hash_tells_content_and_nothing_else() -> None:
    one = parse_config(TEXT)
    assert parse_config("# a comment\n" + one.to_yaml()).hash() == one.hash()
    assert one.override(["comm.radius_m=3"]).hash() != one.hash()


def test_an_override_reaches_what_the_key_names() -> None:
    assert parse_config(TEXT, ["comm.radius_m=.inf"]).comm.radius_m == float("inf")
    assert parse_config(TEXT, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4
    assert parse_config(TEXT, ["evaluation.methods=[greedy]"]).evaluation.methods == ["greedy"]


@pytest.mark.parametrize("key", sorted(keys()))
def test_every_key_is_demanded_by_name(key: str) -> None:
    import yaml

    data = yaml.safe_load(TEXT)
    *parents, leaf = key.split(".")
    node = data
    for parent in parents:
        node = node[parent]
    del node[leaf]
    with pytest.raises(UserError, match=f"missing key {key}"):
        parse_config(yaml.safe_dump(data))


def test_one_edit_of_the_radius_changes_the_graph_of_training() -> None:
    def edges(config: Config) -> int:
        world = PointWorld(config, "numpy")
        world.reset([1])
        return int(world.graph()[1].sum())

    assert edges(parse_config(TEXT.replace("radius_m: 3.5", "radius_m: 20.0"))) == 8 * 7
    assert edges(parse_config(TEXT.replace("radius_m: 3.5", "radius_m: 0.5"))) == 0
