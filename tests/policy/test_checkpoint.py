"""Checkpoints: what is written is read back, and what cannot be flown is refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core.config import Config, UserError, content_hash, load_config
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.checkpoint import (
    check_compatible,
    load_metadata,
    load_stages,
    load_weights,
    locate,
    write_checkpoint,
)
from sortie_policy.export import export_stages
from sortie_policy.runtime import AgentRuntime

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(YAML)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    torch.manual_seed(0)
    policy = LGTCPolicy(config).eval()
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    path = tmp_path_factory.mktemp("checkpoint") / "policy.ckpt"
    write_checkpoint(path, config, weights, export_stages(policy, config), seed=7, contraction_rate=0.3)
    return path


def test_what_is_written_is_read_back(path: Path, config: Config) -> None:
    metadata = load_metadata(path)
    assert (metadata["seed"], metadata["contraction_rate"]) == (7, 0.3)
    assert content_hash(metadata["config"]) == config.hash()
    torch.manual_seed(0)
    for name, value in LGTCPolicy(config).state_dict().items():
        np.testing.assert_array_equal(load_weights(path)[name], value.numpy())
    assert load_stages(path).mix(np.zeros((1, 1, 3, 32), np.float32)).shape == (1, 1, 32)
    assert [each.name for each in path.parent.iterdir()] == [path.name], "no temporary file is left"


def refusal(config: Config, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        AgentRuntime.from_checkpoint(config.override(overrides), 0)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_checkpoint_is_named(config: Config) -> None:
    message = refusal(config, "policy.checkpoint=nowhere.ckpt")
    assert "nowhere.ckpt" in message
    assert "sortie train" in message


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, path: Path, config: Config, share: float) -> None:
    whole = path.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: int(share * len(whole))])
    assert "truncated or damaged" in refusal(config, f"policy.checkpoint={tmp_path / 'cut.ckpt'}")


def read(path: Path) -> dict[str, bytes]:
    """All that a checkpoint holds, read as its users do."""
    load_metadata(path), load_weights(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_changed_byte_is_noticed_wherever_it_matters(tmp_path: Path, path: Path) -> None:
    """Some bytes of a zip archive, such as times, mean nothing here; no other may change without a word."""
    whole, content, refused = path.read_bytes(), read(path), 0
    places = [*range(0, len(whole), len(whole) // 300), *range(len(whole) - 900, len(whole), 4)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        (tmp_path / "bad.ckpt").write_bytes(changed)
        try:
            load_metadata(tmp_path / "bad.ckpt"), load_weights(tmp_path / "bad.ckpt")
            load_stages(tmp_path / "bad.ckpt")
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert read(tmp_path / "bad.ckpt") == content, place
    assert refused > len(places) / 2


def rewritten(path: Path, to: Path, name: str, data: bytes) -> Path:
    """A copy of a checkpoint in which one member, intact as such, holds something else."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for member in old.namelist():
            new.writestr(member, data if member == name else old.read(member))
    return to


@pytest.mark.parametrize(
    ("member", "data", "said"),
    [
        ("metadata.json", b"{nope", "damaged"),
        ("metadata.json", b"[1]", "damaged"),
        ("config.yaml", b"\xff\xfe", "damaged"),
        ("config.yaml", b"- 1", "damaged"),
        ("weights.npz", b"none", "damaged"),
    ],
)
def test_content_of_another_kind_is_refused_in_one_line(
    tmp_path: Path, path: Path, member: str, data: bytes, said: str
) -> None:
    strange = rewritten(path, tmp_path / "strange.ckpt", member, data)
    with pytest.raises(UserError, match=said) as error:
        load_metadata(strange), load_weights(strange)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_checkpoint(tmp_path: Path, config: Config) -> None:
    assert "is a folder" in refusal(config, f"policy.checkpoint={tmp_path}")


def test_another_radius_is_refused_unless_accepted(path: Path, config: Config) -> None:
    override = "comm.radius_m=2.0"
    checkpoint = f"policy.checkpoint={path}"
    message = refusal(config, checkpoint, override)
    assert override.partition("=")[0] in message
    assert "policy.accept_mismatch=true" in message
    AgentRuntime.from_checkpoint(config.override([checkpoint, override, "policy.accept_mismatch=true"]), 0)


@pytest.mark.parametrize(
    "override",
    [
        "task.dimensions=3",
        "policy.max_resources=5",
        "world.max_speed_mps=1.0",
        "world.dt_s=0.05",
        "policy.decision_steps=3",
    ],
)
def test_what_is_built_into_the_network_is_refused_always(path: Path, config: Config, override: str) -> None:
    message = refusal(config, f"policy.checkpoint={path}", override, "policy.accept_mismatch=true")
    assert override.partition("=")[0] in message


def test_the_network_keeps_its_sizes_whatever_the_mission_says(path: Path, config: Config) -> None:
    asked = config.override(["policy.hidden=8", "policy.hops=1", "team.n_agents=30"])
    flown = check_compatible(load_metadata(path), asked, path)
    assert (flown.policy.hidden, flown.policy.hops, flown.team.n_agents) == (32, 2, 30)


def test_keys_that_came_after_its_training_do_not_matter(tmp_path: Path, path: Path, config: Config) -> None:
    older = rewritten(path, tmp_path / "older.ckpt", "config.yaml", b"{comm: {radius_m: 3.5}, gone: {key: 1}}")
    assert check_compatible(load_metadata(older), config, older) == config
    with pytest.raises(UserError, match=r"comm.radius_m=3.5"):
        check_compatible(load_metadata(older), config.override(["comm.radius_m=3.0"]), older)


def test_another_format_is_refused(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sortie_policy.checkpoint.FORMAT", 99)
    with pytest.raises(UserError, match="format 1, this version reads 99"):
        load_metadata(path)


def test_what_is_shipped_is_found_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Config
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(config.policy.checkpoint) == YAML.parent / "checkpoints" / "lgtc-1.ckpt"
    (tmp_path / "own.ckpt").touch()
    assert locate("own.ckpt") == tmp_path / "own.ckpt"
    with pytest.raises(UserError, match=f"is not in {tmp_path}, and none is shipped"):
        locate("other.ckpt")
