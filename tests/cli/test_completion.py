"""What the Tab key offers, asked as the shells ask, and by the scripts that they install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sortie_cli.bench import BENCHES
from sortie_cli.configurations import NAMES
from sortie_core.config import keys

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = "configs/delivery.yaml"
NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""The shell is named on the command line, as nothing is known of the one that runs the tests."""


def run(*command: str, folder: Path = PROJECT, **variables: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    return done.stdout


def offered(line: str, folder: Path = PROJECT) -> list[str]:
    """The words that are offered for the last one of a line."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(f"{line}.".split()) - 1), "_SORTIE_COMPLETE": "complete_bash"}
    return run(sys.executable, "-m", "sortie_cli.main", folder=folder, **asked).split()


def test_commands_and_options_are_offered() -> None:
    assert {"init", "sim", "bench"} <= set(offered("sortie "))
    assert offered("sortie sim --loc") == ["--lockstep"]


def test_configurations_are_offered_wherever_one_is(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "configuration.yaml").touch()
    (tmp_path / "runs" / "config.yaml").touch()
    (tmp_path / ".hidden.yaml").touch()
    assert offered("sortie sim con", tmp_path)[-1] == "configuration.yaml"
    assert CONFIG in offered("sortie sim con", tmp_path)
    assert offered("sortie sim ru", tmp_path) == ["runs/config.yaml"]
    assert not [name for name in offered("sortie sim ", tmp_path) if "hidden" in name]


def test_keys_are_those_of_the_configuration() -> None:
    assert offered(f"sortie sim {CONFIG} comm.") == [f"{key}=" for key in keys() if key.startswith("comm.")]
    assert offered(f"sortie sim {CONFIG} comm.radius_m=3 team.n_a") == ["team.n_agents="]
    flows = NAMES["flows"]
    assert offered(f"sortie flows {flows.EXAMPLE} network.")[0] == "network.n_agents="
    assert offered(f"sortie evaluate {flows.EXAMPLE} team.n") == []
    assert offered("sortie sim absent.yaml team.n_a") == ["team.n_agents="], "as of a mission, where nothing is known"


def test_values_are_offered_where_there_are_few() -> None:
    assert offered(f"sortie sim {CONFIG} policy.cell=") == [f"policy.cell={cell}" for cell in ("lgtc", "gru", "none")]
    assert offered(f"sortie sim {CONFIG} ros.record=t") == ["ros.record=true"]
    assert offered(f"sortie sim {CONFIG} comm.radius_m=") == []
    assert offered(f"sortie sim {CONFIG} no.such=") == []


def test_names_are_offered() -> None:
    assert offered("sortie bench ") == list(BENCHES)
    assert offered("sortie init mine --kind ") == list(NAMES)


def test_files_are_left_to_the_shell() -> None:
    assert offered("sortie replay ru") == []
    assert offered(f"sortie sim {CONFIG} --out ") == []


def test_meanings_are_told_to_shells_that_show_them() -> None:
    asked = {"_SORTIE_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    line = f"sortie sim {CONFIG} comm.ra"
    told = run(sys.executable, "-m", "sortie_cli.main", **asked, _TYPER_COMPLETE_ARGS=line)
    assert told == "comm.radius_m=\tradio radius, m\n"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A home in which completion is installed for bash."""
    said = run("sortie", "--install-completion", "bash", HOME=str(tmp_path), **NAMED)
    assert "bash completion installed" in said
    return tmp_path


@pytest.mark.parametrize(
    ("line", "replies", "open_ended"),
    [
        ("sortie ben", ["bench"], False),
        (f"sortie sim {CONFIG} comm.rad", ["comm.radius_m="], True),
        (f"sortie sim {CONFIG} policy.cell=", ["lgtc", "gru", "none"], False),  # bash has begun a word at =
        (f"sortie sim {CONFIG} seed=3 policy.cell=g", ["gru"], False),
        ("sortie replay LIC", [], False),  # -o default goes on with files
    ],
)
def test_bash_completes(installed: Path, line: str, replies: list[str], open_ended: bool) -> None:
    script = """
        source ~/.bashrc
        [[ $(complete -p sortie) == *"-o default -F _sortie_completion sortie" ]] || echo "not installed"
        compopt() { echo "no space"; }
        COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
        _sortie_completion sortie
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    told = run("bash", "--norc", "-c", script, "bash", line, HOME=str(installed)).split("\n")
    assert [each for each in told if each] == [*(["no space"] if open_ended else []), *replies]


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish on this machine")
def test_fish_completes(tmp_path: Path) -> None:
    script = tmp_path / "sortie.fish"
    script.write_text(run("sortie", "--show-completion", "fish", **NAMED), encoding="utf-8")

    def completed(line: str) -> list[str]:
        return run("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'").splitlines()

    assert completed(f"sortie sim {CONFIG} comm.ra") == ["comm.radius_m=\tradio radius, m"]
    assert completed(f"sortie sim {CONFIG} policy.cell=g") == ["policy.cell=gru"]
    assert completed("sortie replay LIC") == ["LICENSE"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh on this machine")
def test_zsh_takes_the_script(tmp_path: Path) -> None:
    script = tmp_path / "_sortie"
    script.write_text(run("sortie", "--show-completion", "zsh", **NAMED), encoding="utf-8")
    said = run("zsh", "-f", "-c", f"autoload -Uz compinit; compinit -u -D; source {script}; echo $_comps[sortie]")
    assert said == "_sortie_completion\n"
