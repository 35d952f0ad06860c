"""The `sortie` command: quick and complete help, and one line with exit code 2 for whatever a user may get wrong."""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from sortie_cli import main as command_line
from sortie_cli.bench import BENCHES
from sortie_cli.configurations import load_any
from sortie_core.shipped import shipped

if TYPE_CHECKING:
    from sortie_core.config import Config

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = str(PROJECT / "configs" / "delivery.yaml")
Command = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = {name: command for name, command in typer.main.get_command(command_line.app).commands.items()}


def sortie(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sortie_cli.main", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def sortie_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process, which takes milliseconds."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(PROJECT)
        monkeypatch.setattr(sys, "argv", ["sortie", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, *capfd.readouterr())

    return run


def assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"sortie: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


def test_help_names_every_command_within_half_a_second_of_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = sortie("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\b", done.stdout, re.MULTILINE), command
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.5


def test_help_imports_nothing_heavy() -> None:
    look = "import sys, sortie_cli.main; print(*({'torch', 'numpy', 'pydantic', 'rclpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("sim", ["CONFIG", "SECTION.KEY=VALUE", "--out", "--lockstep", "--only", "--json"]),
        ("train", ["CONFIG", "SECTION.KEY=VALUE", "--out", "--resume", "--wandb"]),
        ("evaluate", ["CONFIG", "SECTION.KEY=VALUE", "--out", "--resume", "--jobs", "--json"]),
        ("sweep", ["CONFIG", "SECTION.KEY=VALUE", "--out", "--resume", "--jobs", "--wandb"]),
        ("bench", ["NAME", *BENCHES, "--json"]),
        ("init", ["NAME", "--kind", "--full"]),
        ("doctor", ["--json"]),
    ],
)
def test_help_of_a_command_names_its_options(sortie_here: Command, command: str, options: list[str]) -> None:
    done = sortie_here(command, "--help")
    assert done.returncode == 0
    assert [option for option in options if option not in done.stdout] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_ends_with_an_example_that_the_command_takes(name: str) -> None:
    """Its options are there, and its configuration is shipped."""
    command = COMMANDS[name]
    first, *_ = command.epilog.removeprefix("Example: ").split(" && ")
    program, called, *arguments = shlex.split(first)
    assert (program, called) == ("sortie", name)
    context = command.make_context(name, arguments)
    if config := context.params.get("config"):
        assert shipped(config).is_file()
        assert load_any(shipped(config), context.params["overrides"])


def test_lines_of_the_list_of_commands_are_short() -> None:
    assert {name: line for name, command in COMMANDS.items() if len(line := command.get_short_help_str(200)) > 66} == {}


@pytest.mark.parametrize("command", ["sim", "train", "evaluate"])
def test_bad_input_is_one_line_in_a_process_of_its_own(command: str) -> None:
    assert_one_line(sortie(command, CONFIG, "comm.radius=3"), "comm.radius", "comm.radius_m")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fly"], ["fly"]),
        (["sim"], ["CONFIG", "sortie sim --help"]),
        (["sim", CONFIG, "--outt", "x"], ["--outt"]),
        (["sim", CONFIG, "--out"], ["--out"]),
        (["sim", "configs/absent.yaml"], ["configs/absent.yaml", "configs/delivery.yaml"]),
        (["sim", "configs"], ["configs", "folder"]),
        (["sim", "LICENSE"], ["LICENSE"]),
        (["sim", CONFIG, "comm.radius_m"], ["comm.radius_m", "section.key=value"]),
        (["sim", CONFIG, "team.n_agents=many"], ["team.n_agents", "many"]),
        (["sim", CONFIG, "team.n_agents=0"], ["team.n_agents", "0"]),
        (["sim", CONFIG, "--only", "world"], ["--only", "export ROS_DOMAIN_ID=42"]),
        (["sim", CONFIG, "--only", "world", "--seeds", "3"], ["--only", "leave out --seeds"]),
        (["cluster", "configs/cluster.yaml", "--only", "0-3"], ["--only", "configs/cluster_live.yaml"]),
        (["cluster", CONFIG], ["delivery.yaml", "`sortie sim`", "configs/cluster.yaml"]),
        (["flows", "configs/cluster.yaml"], ["`sortie cluster`", "configs/task_flows.yaml"]),
        (["train", "configs/cluster_live.yaml"], ["kind cluster_live", "`sortie cluster`"]),
        (["evaluate", "configs/cluster.yaml"], ["suites", "`sortie cluster`"]),
        (["fly", "configs/flight/crazyswarm2.yaml"], ["flight.adapter", "export ROS_DOMAIN_ID=0"]),
        (["cluster", "configs/cluster.yaml", "--view"], ["--view", "configs/cluster_live.yaml"]),
        (["cluster", "configs/cluster_live.yaml", "--jobs", "2"], ["--jobs", "configs/cluster.yaml"]),
        (["sim", CONFIG, "comm.loss=1.5"], ["comm.loss", "1.5"]),
        (["train", CONFIG, "--resume"], ["--resume", "--out"]),
        (["train", CONFIG, "--resume", "--out", "absent"], ["absent"]),
        (["evaluate", CONFIG, "--resume"], ["--resume", "--out"]),
        (["evaluate", CONFIG, "--jobs", "0"], ["--jobs", "1"]),
        (["evaluate", CONFIG, "evaluation.methods=[luck]"], ["evaluation.methods", "luck", "greedy"]),
        (["evaluate", CONFIG, "policy.checkpoint=absent.ckpt"], ["absent.ckpt", "sortie train"]),
        (["sweep", CONFIG], ["--out"]),
        (["sweep", CONFIG, "--out", "absent", "--resume"], ["absent"]),
        (["sweep", CONFIG, "--out", "new", "evaluation.learned={}"], ["evaluation.learned", "nothing to train"]),
        (["bench", "warp_drive"], ["warp_drive", "point_world", "pybullet_world", "agent_tick", "lockstep_mission"]),
    ],
    ids=lambda value: " ".join(value).replace(str(PROJECT) + "/", "") if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(sortie_here: Command, arguments: list[str], parts: list[str]) -> None:
    assert_one_line(sortie_here(*arguments), *parts)


def test_a_missing_key_is_named(sortie_here: Command, tmp_path: Path) -> None:
    config = tmp_path / "short.yaml"
    text = Path(CONFIG).read_text(encoding="utf-8")
    config.write_text(re.sub(r"^  radius_m:.*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert_one_line(sortie_here("sim", str(config)), "short.yaml", "comm.radius_m")


def test_broken_yaml_is_named_with_its_line(sortie_here: Command, tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("seed: 1\nteam: [\n", encoding="utf-8")
    assert_one_line(sortie_here("sim", str(config)), "broken.yaml", "line")


@pytest.mark.parametrize("command", ["sim", "train", "evaluate", "sweep"])
def test_a_taken_output_folder_is_left_alone(sortie_here: Command, command: str, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    result = sortie_here(command, CONFIG, "--out", str(tmp_path))
    assert_one_line(result, str(tmp_path), "not empty")
    assert ("--resume" in result.stderr) == (command != "sim")  # what can go on says how
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sortie_cli.configurations.kind_for", interrupted)
    monkeypatch.setattr(sys, "argv", ["sortie", "train", CONFIG])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 130
    assert "".join(capsys.readouterr()) == ""


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sortie_cli.configurations.kind_for", defective)
    monkeypatch.setattr(sys, "argv", ["sortie", "train", CONFIG])
    with pytest.raises(ZeroDivisionError):
        command_line.main()


def test_train_gets_the_overridden_configuration_and_a_new_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[Config, Path, bool, list[object]]] = []
    recorder = types.ModuleType("sortie_train.train")
    reports: list[tuple[Path | None, bool]] = []
    recorder.__dict__["train"] = lambda *arguments: calls.append(arguments)
    recorder.__dict__["report"] = lambda *arguments: reports.append(arguments)
    monkeypatch.setitem(sys.modules, "sortie_train.train", recorder)
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["sortie", "train", CONFIG, "seed=7", "comm.radius_m=inf", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 0
    ((config, folder, resume, _),) = calls
    assert (config.seed, config.comm.radius_m, folder, resume) == (7, float("inf"), out, False)
    assert out.is_dir()
    assert reports == [(None, False)]


def test_an_interrupted_training_says_how_it_goes_on(
    sortie_here: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_config: Config, folder: Path, *_: object) -> None:
        (folder / "train_state.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("sortie_train.train.train", interrupted)
    done = sortie_here("train", CONFIG, "seed=7", "--out", str(tmp_path / "run"))
    assert done.returncode == 130
    assert (
        done.stderr
        == f"sortie: interrupted; go on with: sortie train {CONFIG} seed=7 --out {tmp_path / 'run'} --resume\n"
    )


def test_a_training_interrupted_before_it_saved_anything_says_so(
    sortie_here: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sortie_train.train.train", interrupted)
    done = sortie_here("train", CONFIG, "--out", str(tmp_path / "run"))
    assert done.returncode == 130
    assert "interrupted before anything was saved (train.checkpoint_every=" in done.stderr
    assert f"delete {tmp_path / 'run'} to begin again" in done.stderr


def test_a_checkpoint_that_would_not_be_flown_is_refused(sortie_here: Command) -> None:
    done = sortie_here("evaluate", "configs/evaluate/main.yaml", "policy.checkpoint=mine.ckpt")
    assert done.returncode == 2
    assert "policy.checkpoint: has no effect" in done.stderr
    assert "evaluation.train_seeds=[]" in done.stderr


def test_a_wrong_value_is_blamed_on_who_gave_it(sortie_here: Command) -> None:
    assert sortie_here("evaluate", CONFIG, "team.n_agents=0").stderr.startswith("sortie: override: team.n_agents: ")
    whole = sortie_here("evaluate", "configs/evaluate/questions.yaml", "evaluation.questions.loss.values=[0.1]").stderr
    assert "evaluation.questions is set as a whole" in whole
