"""The configuration: every key is checked, and what is wrong is said in one line that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from hand_made_missions import CONFIG_FILE, configuration

from sortie_core.config import UserError, keys, load_config, parse_config

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = CONFIG_FILE.read_text(encoding="utf-8")


def refusal(*overrides: str, text: str = SHIPPED) -> str:
    with pytest.raises(UserError) as error:
        parse_config(text, overrides, "here.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("comm.radus_m=3", ["comm.radus_m", "did you mean comm.radius_m?"]),
        ("evaluation.out=3", ["unknown key evaluation.out", "did you mean evaluation."]),
        ("radius_m=3", ["unknown key radius_m", "did you mean comm.radius_m?"]),
        ("warp=9", ["unknown key warp", "configs/delivery.yaml"]),
        ("comm.radius_m", ["comm.radius_m", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("comm=3", ["comm is a section", "comm.radius_m", "3"]),
        ("teams.n_agents=3", ["unknown key teams.n_agents", "did you mean team.n_agents?"]),
        ("comm.radius_m=[1", ["comm.radius_m=[1", "YAML"]),
        ("comm.radius_m=far", ["comm.radius_m", "far"]),
        ("comm.radius_m=0", ["comm.radius_m", "greater than 0"]),
        ("comm.radius_m=-1", ["comm.radius_m", "-1"]),
        ("comm.radius_m=.nan", ["comm.radius_m", "nan"]),
        ("comm.loss=.nan", ["comm.loss", "nan"]),
        ("comm.loss=1.01", ["comm.loss", "1.01"]),
        ("comm.latency_steps=-1", ["comm.latency_steps"]),
        ("team.n_agents=2.5", ["team.n_agents", "2.5"]),
        ("team.n_agents=", ["team.n_agents", "None"]),
        ("team.stock=[1, 0.5]", ["team.stock", "smaller number first"]),
        ("team.stock=0.5", ["team.stock", "list"]),
        ("task.dimensions=4", ["task.dimensions", "2 or 3"]),
        ("task.n_presence=3", ["n_presence", "n_resources"]),
        ("task.n_resources=5", ["policy.max_resources", "5"]),
        ("world.backend=gazebo", ["world.backend", "gazebo", "pybullet"]),
        ("world.physics_hz=100", ["physics_hz", "control_hz"]),
        ("world.max_speed_mps=.inf", ["world.max_speed_mps", "inf"]),
        ("evaluation.methods=[greedy, good luck]", ["evaluation.methods", "good luck", "package.module:Class"]),
        ("evaluation.train_seeds=[1, 2, 1]", ["evaluation.train_seeds", "once"]),
        ("team.n_agents=true", ["team.n_agents", "true and false"]),
        ("comm.radius_m=true", ["comm.radius_m", "true and false"]),
        ("seed=18446744073709551616", ["seed", "18446744073709551616"]),
        ("evaluation.methods=[]", ["evaluation.methods"]),
        ("safety.z_min_m=.nan", ["safety.z_min_m", "nan"]),
        ("team.sudden_loss_share=0.2; team.sudden_loss_s=[5,20]", ["team.sudden_loss_s", "mission of 20 s"]),
        ("policy.projection=true; policy.contraction_min_per_s=0", ["policy", "projection", "contraction_min_per_s"]),
        ("evaluation.suites={}", ["evaluation", "suites", "questions"]),
        ("safety.z_max_m=0.1", ["z_min_m", "z_max_m"]),
        ("world.collision_distance_m=1.2", ["collision_distance_m", "safe_distance_m"]),
        ("ros.lockstep=maybe", ["ros.lockstep", "maybe"]),
    ],
)
def test_wrong_values_are_named(override: str, parts: list[str]) -> None:
    message = refusal(*override.split("; "))
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize("key", sorted(keys()))
def test_every_key_is_asked_for_and_none_takes_any_value(key: str) -> None:
    """Without the key, and with a map in its place, the key is named."""
    *sections, leaf = key.split(".")
    data = yaml.safe_load(SHIPPED)
    section = data
    for name in sections:
        section = section[name]
    del section[leaf]
    assert f"missing key {key}" in refusal(text=yaml.safe_dump(data))
    assert key in refusal(f"{key}={{1: 1}}")


def test_overrides_are_numbers_as_people_write_them() -> None:
    config = configuration("comm.radius_m=inf", "train.learning_rate=1e-3", "team.stock=[0, 1e0]", "ros.lockstep=true")
    assert config.comm.radius_m == float("inf") and config.train.learning_rate == 0.001
    assert config.team.stock == [0, 1] and config.ros.lockstep


def test_the_written_configuration_is_read_back_and_has_the_same_hash() -> None:
    config = configuration("comm.radius_m=inf", "seed=3")
    assert parse_config(config.to_yaml()) == config
    assert parse_config(config.to_yaml()).hash() == config.hash() != configuration("seed=3").hash()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_without_keys_is_refused(text: str) -> None:
    assert "here.yaml holds no keys" in refusal(text=text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("team:\n  n_agents: 4\ntask: {}\nteam:\n  kinds_per_agent: 2\n", ["line 4", "team is given twice", "line 1"]),
        ("team:\n  n_agents: 4\n  n_agents: 5\n", ["line 3", "n_agents is given twice", "line 2", "keep one"]),
        ("comm.radius_m: 5\n", ["comm.radius_m", "write `comm:` and, indented below it, `radius_m: ...`"]),
        ("teams: {n_agents: 4}\n", ["unknown key teams", "did you mean team?"]),
        ("team:\n", ["team: holds nothing; delete the line"]),
        ("evaluation:\n  suites: {a: &a {seed: 1}, b: {<<: *a, seed: 2}}\n", []),
    ],
)
def test_slips_in_a_file_are_named_with_the_cure(tmp_path: Path, text: str, parts: list[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"extends: {CONFIG_FILE}\n{text}", encoding="utf-8")
    if not parts:
        assert load_config(own).evaluation.suites == {"a": {"seed": 1}, "b": {"seed": 2}}
        return
    with pytest.raises(UserError) as told:
        load_config(own)
    message = str(told.value)
    shifted = [f"line {int(part[5:]) + 1}" if part.startswith("line ") else part for part in parts]
    assert [part for part in ["own.yaml", *shifted] if part not in message] == [], message


def test_a_file_that_extends_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: nope.yaml\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"own.yaml extends nope.yaml: no configuration file .*nope.yaml"):
        load_config(tmp_path / "own.yaml")


def test_a_truncated_file_is_refused() -> None:
    for share in (0.1, 0.5, 0.95):
        assert "here.yaml" in refusal(text=SHIPPED[: int(share * len(SHIPPED))])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path, said in (
        (tmp_path, "folder"),
        (tmp_path / "no.yaml", "no configuration file"),
        (tmp_path / "bytes.yaml", "cannot read"),
    ):
        with pytest.raises(UserError, match=said) as error:
            load_config(path)
        assert path.name in str(error.value) and "\n" not in str(error.value)
