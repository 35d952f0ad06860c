"""`sortie init`: what it writes loads as it is from any folder, says what it means, and overwrites nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sortie_cli.configurations import NAMES, kind_of, load_any
from sortie_cli.key_comments import read_comments
from sortie_cli.new_scenario import write_scenario
from sortie_core.config import UserError, keys
from sortie_policy.checkpoint import locate


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", NAMES)
def test_it_is_the_shipped_scenario_until_it_is_changed(kind: str, full: bool, tmp_path: Path) -> None:
    said = write_scenario("mine", kind, full=full, folder=tmp_path)
    path = tmp_path / "mine.yaml"
    assert str(path) in said
    assert kind_of(path) is NAMES[kind]
    assert load_any(path) == load_any(NAMES[kind].EXAMPLE)
    text = path.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if len(line) > 140]
    assert Path(re.search(r"\$schema=(.*)", text)[1]).is_file()


@pytest.mark.parametrize("kind", NAMES)
def test_the_whole_file_has_every_key_with_its_comment(kind: str, tmp_path: Path) -> None:
    write_scenario("mine", kind, full=True, folder=tmp_path)
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert "extends" not in text
    assert set(read_comments(tmp_path / "mine.yaml")) >= set(keys(NAMES[kind]))


@pytest.mark.parametrize("kind", NAMES)
def test_the_short_file_has_the_first_keys_with_their_comments(kind: str, tmp_path: Path) -> None:
    write_scenario("mine", kind, full=False, folder=tmp_path)
    path = tmp_path / "mine.yaml"
    text = path.read_text(encoding="utf-8")
    settings = re.findall(r"^ *\w+: *\S", text, re.MULTILINE)
    assert 10 <= len(settings) < 25
    assert len(read_comments(path)) >= len(settings) - 2, "all but extends, and a list too long for a comment beside it"
    assert len(text.splitlines()) < 50


def test_a_changed_key_is_that_of_the_run(tmp_path: Path) -> None:
    write_scenario("mine", "delivery", full=False, folder=tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("n_agents: 8", "n_agents: 3"), encoding="utf-8")
    config = load_any("mine.yaml")
    assert config.team.n_agents == 3
    assert locate(config.policy.checkpoint).is_file()


def test_a_file_may_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    write_scenario("scenarios/mine.yaml", "delivery", full=False, folder=tmp_path)
    assert load_any("scenarios/mine.yaml").team.n_agents == 8


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious", encoding="utf-8")
    with pytest.raises(UserError, match="mine.yaml exists and is not overwritten"):
        write_scenario("mine", "delivery", full=False, folder=tmp_path)
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("mine", "boats", "no such kind; choose one of delivery, flight"),
        ("absent/mine", "delivery", "no folder .*absent"),
        ("my scenario", "delivery", "no name for a scenario"),
        ("", "delivery", "no name for a scenario"),
        (".yaml", "delivery", "no name for a scenario"),
        ("../..", "delivery", "no name for a scenario"),
    ],
)
def test_bad_input_names_what_is_wrong(name: str, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_scenario(name, kind, full=False, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def denied(path: Path, mode: str = "r", **options: object) -> object:
        if mode == "x":
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UserError, match="cannot write .*mine.yaml: Permission denied"):
        write_scenario("mine", "delivery", full=False, folder=tmp_path)
