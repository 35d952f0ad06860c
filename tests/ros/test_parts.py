"""One mission whose processes are started in several places: the commands of docker/compose.yaml's fleet."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sortie_bringup.fleet import check, fleet
from sortie_bringup.part import Part, part_of
from sortie_core.config import UserError, load_config
from sortie_view.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
YAML = PROJECT / "configs" / "delivery.yaml"
COMPOSE = yaml.safe_load((PROJECT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
FLEET = {name: service for name, service in COMPOSE["services"].items() if service["profiles"] == ["fleet"]}
AGENTS = [name for name in FLEET if name.startswith("agents")]


def test_a_part_is_the_world_or_some_drones() -> None:
    assert part_of("", 3) == Part(True, (0, 1, 2))
    assert part_of("world", 3) == Part(True, ())
    assert part_of("0-2", 3) == Part(False, (0, 1, 2))
    assert part_of("5, 0-1,4-5", 6) == Part(False, (0, 1, 4, 5))


@pytest.mark.parametrize("only", ["agents", "3-1", "-1", "0-", "0,,1", "world,0", "0-2 4"])
def test_what_is_no_part_is_one_line_that_shows_how_to_write_one(only: str) -> None:
    with pytest.raises(UserError, match=f"^only: {re.escape(repr(only))} is neither world nor drones; write 0-3"):
        part_of(only, 8)


def test_drones_that_the_team_lacks_are_refused() -> None:
    with pytest.raises(UserError, match=r"only: '2-8' names drones that a team of 8 lacks; it has 0-7"):
        part_of("2-8", 8)


def test_parts_are_the_whole_mission_and_nothing_twice() -> None:
    overrides = ["ros.agents_per_process=2"]
    config = load_config(YAML, overrides)

    def labels(only: str) -> list[str]:
        return [node.label for node in fleet(config, YAML, overrides, "/out", only)]

    assert labels("world") + labels("0-3") + labels("4-7") == labels("")
    assert labels("3,6,7") == ["drones_3-6", "drone_7"]
    assert labels("world")[-1] == "mission"


def test_only_the_drones_of_a_part_count_for_the_processes_of_a_machine() -> None:
    many = load_config(YAML, ["team.n_agents=150", "ros.agents_per_process=1", "task.reference_agents=8"])
    check(many, "0-79")
    with pytest.raises(UserError, match="ros.agents_per_process: 1 makes more processes of 120 drones"):
        check(many, "0-119")


def test_the_containers_carry_every_process_once() -> None:
    config = load_config(YAML)
    parts = [part_of(only_of(name), config.team.n_agents) for name in ("world", *AGENTS)]
    assert [part.world for part in parts] == [True, *(False for _ in AGENTS)]
    assert sorted(drone for part in parts for drone in part.drones) == list(range(config.team.n_agents))


def command_of(name: str, mission: str = "") -> list[str]:
    """A service's command as compose reads it, with MISSION set or not."""
    text = re.sub(r"\$\{MISSION:-([^}]*)\}", lambda default: mission or default[1], FLEET[name]["command"])
    assert "$" not in text, f"{name} needs a variable that the guide does not name"
    return shlex.split(text)


def only_of(name: str) -> str:
    command = command_of(name)
    return command[command.index("--only") + 1]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


class Machines:
    """Processes that know of each other by a discovery server alone, each started as its container is."""

    def __init__(self, folder: Path, mission: str) -> None:
        self._folder, self._mission, self._port = folder, mission, str(free_port())
        self._environment = {**os.environ, "NO_COLOR": "1"}
        del self._environment["ROS_AUTOMATIC_DISCOVERY_RANGE"]  # the command's own choice

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[str]]:
        given = FLEET[name].get("environment", {}).items()
        own = {key: value.replace("discovery:11811", f"localhost:{self._port}") for key, value in given}
        own["ROS_DOMAIN_ID"] = self._environment["ROS_DOMAIN_ID"]
        command = [word.replace("11811", self._port) for word in command_of(name, self._mission)]
        # as docker/entrypoint.sh does
        entered = [sys.executable, "-m", "sortie_cli.environment", *command]
        process = subprocess.Popen(
            entered,
            cwd=self._folder,
            env=self._environment | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def runs(self) -> list[dict[str, Any]]:
        """What each mission left behind, in order."""
        found = sorted(self._folder.glob("runs/*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text()) | {"folder": path.parent} for path in found]


@pytest.mark.ros
@pytest.mark.usefixtures("domain")
def test_machines_find_each_other_in_any_order_and_fly_one_mission_after_the_other(
    checkpoint: Path, tmp_path: Path, port: int
) -> None:
    mission = f"configs/delivery.yaml policy.checkpoint={checkpoint} policy.deterministic=false world.backend=point "
    mission += f"task.duration_s=5 ros.success_fraction=0.0 ros.view_port={port}"
    machines = Machines(tmp_path, mission)
    early, *late = AGENTS
    with ExitStack() as started:
        agents = [started.enter_context(machines.running(early))]
        time.sleep(2.0)  # nobody to find yet
        started.enter_context(machines.running("discovery"))
        world = started.enter_context(machines.running("world"))
        time.sleep(4.0)  # the manager waits for the rest
        agents += [started.enter_context(machines.running(name)) for name in late]
        said = world.communicate(timeout=100)[0]
        assert world.returncode == 0, said
        assert f"the run is shown at http://localhost:{port + 1}" in said

        again = started.enter_context(machines.running("world"))
        said_again = again.communicate(timeout=100)[0]
        assert again.returncode == 0, said_again

        for process in agents:
            assert process.poll() is None, "agents stay for the next mission"
            process.terminate()
        for process in agents:
            told = process.communicate(timeout=60)[0]
            assert process.returncode == 0, told
            assert "Traceback" not in told

    first, second = machines.runs()
    assert first["faults"] == second["faults"] == []
    assert first["messages_sent"] > 8 * 40
    assert first["delivered_fraction"] > 0
    for run in (first, second):
        topics = set(Recording(run["folder"] / "run.mcap").channels)
        assert {f"/drone_{k}/cmd_vel" for k in range(8)} <= topics, "the recorder hears what other machines say"
