"""Every ROS package asks in its package.xml for what it uses, by keys that rosdep knows, and for nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from test_architecture import PROJECT, imported

SOURCES = PROJECT / "ros2_ws" / "src"
PYTHON = ["sortie_nodes", "sortie_bridge", "sortie_flight", "sortie_bringup"]
INTERFACES = ["sortie_interfaces", "crazyflie_interfaces"]
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "matplotlib": "python3-matplotlib",
    "rich": "python3-rich",
    "pymavlink": "python3-pymavlink-pip",
    "mcap": "mcap-ros2-support",
}
"""Of Python modules that rosdep/python.yaml of ros/rosdistro knows (August 2026)."""
BY_PIP = {"cflib", "dask", "distributed", "cloudpickle"}
"""Modules that it does not know; the distribution `sortie` brings them."""
NOT_IMPORTED = {"sortie_bringup": {"ros2launch"}}
"""Needed by those who type `ros2 launch`."""
DISTRIBUTED = {path.name for room in ("sim", "learning") for path in (PROJECT / room).glob("sortie_*")}


def depends(package: str) -> set[str]:
    """What the manifest asks for at run time."""
    root = ElementTree.parse(SOURCES / package / "package.xml").getroot()
    return {str(each.text) for tag in ("depend", "exec_depend") for each in root.iter(tag)}


def used(package: str) -> set[str]:
    """Modules that the package's sources import, the standard library and the package itself left aside."""
    sources = (SOURCES / package / package).rglob("*.py")
    modules = set().union(*(imported(path.read_text(encoding="utf-8")) for path in sources))
    return modules - set(sys.stdlib_module_names) - {package}


@pytest.mark.parametrize("package", PYTHON)
def test_a_package_asks_for_what_it_imports_and_nothing_else(package: str) -> None:
    modules = used(package) - DISTRIBUTED - BY_PIP
    assert {ROSDEP_KEYS.get(name, name) for name in modules} | NOT_IMPORTED.get(package, set()) == depends(package)


@pytest.mark.parametrize("package", PYTHON)
def test_what_rosdep_does_not_know_is_named_beside_and_brought_by_the_distribution(package: str) -> None:
    comments = " ".join(re.findall(r"<!--(.*?)-->", (SOURCES / package / "package.xml").read_text(), re.S))
    beside = used(package) & (DISTRIBUTED | BY_PIP)
    assert beside == set(re.findall(r"\w+", comments)) & (DISTRIBUTED | BY_PIP)
    pinned = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    for name in beside & BY_PIP:
        assert re.search(rf"^{name}==", pinned, re.M), f"nothing installs {name}"


def test_the_distribution_asks_for_what_rosdep_does_not_know() -> None:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        asked = {re.split(r"[<>=]", each)[0] for each in tomllib.load(file)["project"]["dependencies"]}
    assert {"cflib", "distributed"} <= asked, "distributed asks for dask and cloudpickle"


@pytest.mark.parametrize("package", INTERFACES)
def test_interfaces_ask_for_the_packages_of_the_types_that_they_use(package: str) -> None:
    files = [path for kind in ("msg", "srv", "action") for path in (SOURCES / package).glob(f"{kind}/*.{kind}")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    types = {found for text in texts for found in re.findall(r"^(\w+)/\w+", text, re.M)}
    actions = {"action_msgs"} if any(path.suffix == ".action" for path in files) else set()
    recipe = (SOURCES / package / "CMakeLists.txt").read_text(encoding="utf-8")
    found = set(re.findall(r"find_package\((\w+) REQUIRED\)", recipe)) - {"ament_cmake", "rosidl_default_generators"}
    assert types
    assert types <= found
    assert found | actions | {"rosidl_default_runtime"} == depends(package)
    generated = set(re.findall(r'"((?:msg|srv|action)/\w+\.\w+)"', recipe))
    assert generated == {f"{path.parent.name}/{path.name}" for path in files}


@pytest.mark.parametrize("package", PYTHON)
def test_the_set_up_of_a_package_agrees_with_its_manifest(package: str) -> None:
    root = ElementTree.parse(SOURCES / package / "package.xml").getroot()
    calls = ast.walk(ast.parse((SOURCES / package / "setup.py").read_text(encoding="utf-8")))
    (call,) = [each for each in calls if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "setup"]
    given = {item.arg: item.value for item in call.keywords}
    for key in ("version", "description", "license"):
        assert ast.literal_eval(given[key]) == root.findtext(key), key
    with (PROJECT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert (root.findtext("version"), root.findtext("license")) == (project["version"], project["license"])


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    with (PROJECT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


@pytest.mark.ros
def test_launch_files_and_the_view_for_rviz_are_installed() -> None:
    from ament_index_python.packages import get_package_share_directory

    installed = Path(get_package_share_directory("sortie_bringup")) / "launch"
    wanted = [path for pattern in ("*.launch.py", "*.rviz") for path in (PROJECT / "launch").glob(pattern)]
    assert {path.name for path in wanted} >= {"delivery.launch.py", "flight.launch.py", "cluster.launch.py"}
    for path in wanted:
        assert (installed / path.name).read_bytes() == path.read_bytes()
