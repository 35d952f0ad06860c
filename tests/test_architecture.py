"""The arrows between the rooms: which package may import which, and which never sees torch, ROS or a simulator."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# a package may import those it points to, and whatever they may import
ARROWS: dict[str, set[str]] = {
    "sortie_core": set(),
    "sortie_interfaces": set(),
    "sortie_sim": {"sortie_core"},
    "sortie_safety": {"sortie_core"},
    "sortie_peers": {"sortie_sim"},
    "sortie_cluster": {"sortie_core"},
    "sortie_expert": {"sortie_core"},
    "sortie_policy": {"sortie_core", "sortie_cluster"},
    "sortie_train": {"sortie_sim", "sortie_safety", "sortie_expert", "sortie_policy"},
    "sortie_schedule": {"sortie_cluster", "sortie_policy", "sortie_train"},
    "sortie_view": {"sortie_core", "sortie_cluster"},
    "sortie_nodes": {"sortie_sim", "sortie_policy", "sortie_view", "sortie_interfaces"},
    "sortie_bridge": {"sortie_nodes", "sortie_cluster"},
    "sortie_flight": {"sortie_nodes", "sortie_safety", "sortie_peers"},
    "sortie_bringup": {"sortie_nodes", "sortie_bridge", "sortie_flight"},
}
ON_TOP = {"sortie_cli", "launch"}

ROS = {"rclpy", "launch", "launch_ros", "ament_index_python", "geometry_msgs", "nav_msgs", "std_msgs", "sensor_msgs"}
SIMULATORS = {"pybullet", "pybullet_data", "gym_pybullet_drones", "pettingzoo", "gymnasium"}
LEARNERS = {"torchrl", "tensordict", "stable_baselines3"}
FORBIDDEN: dict[str, set[str]] = {
    "sortie_core": {"torch", "cvxpy"} | ROS | SIMULATORS | LEARNERS,
    "sortie_sim": {"cvxpy"} | ROS | LEARNERS,
    "sortie_safety": {"torch", "cvxpy"} | ROS | SIMULATORS | LEARNERS,
    "sortie_peers": {"torch", "cvxpy"} | ROS | LEARNERS,
    "sortie_cluster": {"torch", "cvxpy"} | ROS | SIMULATORS | LEARNERS,
    "sortie_view": {"torch", "cvxpy"} | ROS | SIMULATORS | LEARNERS,
    "sortie_expert": {"torch"} | ROS | SIMULATORS | LEARNERS,
    "sortie_policy": {"cvxpy"} | ROS | SIMULATORS | LEARNERS,
    "sortie_schedule": ROS | SIMULATORS,
    "sortie_train": ROS | {"stable_baselines3"},
    "sortie_nodes": LEARNERS,
}
# the faces that a world shows to the libraries of outside learners; nothing else of the room imports either
FACES = {
    "sim/sortie_sim/torchrl_env.py": {"torchrl", "tensordict"},
    "sim/sortie_sim/sb3_env.py": {"stable_baselines3"},
}


def imported(source: str) -> set[str]:
    """Top-level names of all modules a source text imports, at any depth and by importlib too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return {name.partition(".")[0] for name in names}


def reachable(package: str) -> set[str]:
    """Every package that `package` may import."""
    direct = ARROWS[package]
    return direct.union(*(reachable(other) for other in direct))


def violations(package: str, source: str) -> list[str]:
    """What the source of one module of `package` imports against the arrows."""
    names = imported(source) - {package}
    rooms = set() if package in ON_TOP else {name for name in names if name.startswith("sortie_")} - reachable(package)
    return sorted(rooms | (names & FORBIDDEN.get(package, set())))


def modules() -> list[tuple[str, Path]]:
    """Every module of the project with the package it belongs to."""
    folders = [
        folder
        for pattern in ("sim/sortie_*", "learning/sortie_*", "ros2_ws/src/*/sortie_*")
        for folder in sorted(PROJECT.glob(pattern))
        if any(folder.glob("*.py"))
    ]
    found = [(folder.name, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    return found + [("launch", path) for path in sorted(PROJECT.glob("launch/*.py"))]


MODULES = modules()


def test_the_rooms_are_found() -> None:
    packages = {package for package, _ in MODULES}
    assert {"sortie_core", "sortie_sim", "sortie_policy", "sortie_cli", "sortie_nodes"} <= packages
    assert packages <= set(ARROWS) | ON_TOP, "a new room needs its arrows in this file"


@pytest.mark.parametrize(("package", "path"), MODULES, ids=[str(path.relative_to(PROJECT)) for _, path in MODULES])
def test_imports_follow_the_arrows(package: str, path: Path) -> None:
    face = FACES.get(path.relative_to(PROJECT).as_posix(), set())
    assert [name for name in violations(package, path.read_text(encoding="utf-8")) if name not in face] == []


def test_no_module_of_the_worlds_needs_a_face_to_outside_learners() -> None:
    names = {Path(face).stem for face in FACES}
    for package, path in MODULES:
        if package in ("sortie_sim", "sortie_nodes", "sortie_policy"):
            text = path.read_text(encoding="utf-8")
            assert not [name for name in names if f"sortie_sim.{name}" in text], path


def test_backends_of_clusters_are_known_to_the_bridge_alone() -> None:
    for package, path in MODULES:
        if package != "sortie_bridge":
            assert not imported(path.read_text(encoding="utf-8")) & {"dask", "distributed"}, path


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("sortie_core", "import torch", ["torch"]),
        ("sortie_core", "def f():\n    from rclpy.node import Node", ["rclpy"]),
        ("sortie_core", "from sortie_sim.point_world import PointWorld", ["sortie_sim"]),
        ("sortie_sim", "import sortie_policy.runtime as runtime", ["sortie_policy"]),
        ("sortie_expert", "import numpy, torch.nn", ["torch"]),
        ("sortie_policy", "import importlib\nimportlib.import_module('pybullet')", ["pybullet"]),
        ("sortie_nodes", "from sortie_expert.auction import bid", ["sortie_expert"]),
        ("sortie_nodes", "from sortie_bringup.runner import main", ["sortie_bringup"]),
        ("sortie_bridge", "from sortie_flight.gate import Gate", ["sortie_flight"]),
        ("sortie_sim", "from torchrl.envs import EnvBase", ["torchrl"]),
        ("sortie_policy", "import tensordict", ["tensordict"]),
        ("sortie_train", "from sortie_cli.main import main", ["sortie_cli"]),
        ("sortie_bringup", "from sortie_core.config import Config\nfrom sortie_nodes import qos", []),
        ("sortie_cli", "import sortie_bringup, sortie_train, torch", []),
        ("sortie_policy", "import torch\nfrom . import lgtc_cell\nfrom sortie_core import packets", []),
    ],
)
def test_a_broken_arrow_is_noticed(package: str, source: str, found: list[str]) -> None:
    assert violations(package, source) == found
