"""The variables with which processes find ROS 2 and the workspace without anything being sourced."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sortie_cli.environment import RECORD, free_domain, workspace_environment
from sortie_core.config import UserError

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout whose workspace was built on an installation in tmp_path/ros."""
    root = tmp_path / "checkout"
    modules = root / "ros2_ws" / "install" / "lib" / PYTHON / "site-packages"
    modules.mkdir(parents=True)
    node = root / "ros2_ws" / "src" / "sortie_nodes"
    node.mkdir(parents=True)
    (node / "setup.py").touch()
    ros = tmp_path / "ros"
    ros.mkdir()
    underlay = {"AMENT_PREFIX_PATH": str(ros), "LD_LIBRARY_PATH": f"{ros}/lib", "PYTHONPATH": f"{ros}/py"}
    record = {"underlay": {**underlay, "ROS_DISTRO": "jazzy"}}
    (root / "ros2_ws" / "install" / RECORD).write_text(json.dumps(record), encoding="utf-8")
    return root


def test_the_workspace_comes_first_then_what_it_was_built_on(project: Path, tmp_path: Path) -> None:
    base = {"PYTHONPATH": "/mine", "LD_LIBRARY_PATH": f"/mine/lib:{tmp_path}/ros/lib", "PATH": "/bin"}
    environment = workspace_environment(base, project)
    install = project / "ros2_ws" / "install"
    assert environment["AMENT_PREFIX_PATH"].split(":") == [str(install), f"{tmp_path}/ros"]
    assert environment["LD_LIBRARY_PATH"].split(":") == [str(install / "lib"), f"{tmp_path}/ros/lib", "/mine/lib"]
    assert environment["ROS_DISTRO"] == "jazzy"
    python_path = environment["PYTHONPATH"].split(":")
    sources, modules = project / "ros2_ws" / "src" / "sortie_nodes", install / "lib" / PYTHON / "site-packages"
    positions = [python_path.index(str(path)) for path in (sources, modules, tmp_path / "ros" / "py", "/mine")]
    assert positions == sorted(positions)


def test_dds_stays_on_this_machine_in_a_domain_of_its_own_unless_told_otherwise(project: Path) -> None:
    environment = workspace_environment({}, project)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    given = {"ROS_DOMAIN_ID": "0", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}
    assert given.items() <= workspace_environment(given, project).items()


def test_a_domain_in_use_is_not_chosen() -> None:
    taken = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7400 + 250 * taken + 10))
        assert free_domain() != taken


def test_a_workspace_that_is_not_built_is_one_line(project: Path) -> None:
    (project / "ros2_ws" / "install" / RECORD).unlink()
    with pytest.raises(UserError, match="make setup"):
        workspace_environment({}, project)


def test_a_workspace_whose_ros_is_gone_is_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "ros").rmdir()
    with pytest.raises(UserError, match=r"ros, which is gone.*make setup"):
        workspace_environment({}, project)


@pytest.mark.ros
def test_a_child_process_finds_ros_and_the_messages_with_nothing_sourced(tmp_path: Path) -> None:
    environment = workspace_environment({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    look = "import rclpy; from sortie_interfaces.msg import Packet; rclpy.init(); rclpy.create_node('n')"
    look += ".create_publisher(Packet, 'packet', 1); rclpy.shutdown(); print('found')"
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "found\n", done.stderr


@pytest.mark.ros
def test_a_command_runs_in_it_and_keeps_its_exit_code() -> None:
    command = [sys.executable, "-m", "sortie_cli.environment", "sh", "-c", 'echo "$AMENT_PREFIX_PATH"; exit 7']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 7
    assert "ros2_ws/install" in done.stdout
