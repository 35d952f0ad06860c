"""Setting up a fresh machine: what is missing is one line, what is unchanged is not done again."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).resolve().parents[2] / "ros2_ws" / "build_workspace.py"


@pytest.fixture
def set_up(tmp_path: Path) -> ModuleType:
    """The script as a module, on an empty checkout in tmp_path/checkout."""
    spec = importlib.util.spec_from_file_location("build_workspace", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "checkout"
    module.ROOT, module.VENV, module.WORKSPACE = root, root / ".venv", root / "ros2_ws"
    module.SOURCES, module.INSTALL = root / "ros2_ws" / "src", root / "ros2_ws" / "install"
    module.RECORD = module.INSTALL / "sortie_workspace.json"
    module.INSTALL.mkdir(parents=True)
    return module


def fake_ros(prefix: Path, python: str = "3.12") -> dict[str, str]:
    """The least of a ROS installation, and the variables that sourcing it sets."""
    (prefix / "share" / "rclpy").mkdir(parents=True)
    (prefix / "share" / "rclpy" / "package.xml").touch()
    (prefix / "lib" / f"python{python}" / "site-packages" / "rclpy").mkdir(parents=True)
    return {"AMENT_PREFIX_PATH": str(prefix), "ROS_DISTRO": "jazzy", "PYTHONPATH": f"{prefix}/lib"}


def test_an_up_to_date_checkout_takes_less_than_a_second() -> None:
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True)
    assert time.perf_counter() - begin < 1.0
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 1) == ("out of date" in done.stdout)


def test_another_python_is_one_line_that_says_what_to_install(set_up: ModuleType) -> None:
    with pytest.raises(set_up.SetupError, match=r"Python 3\.99 is needed.*apt install.*PYTHON=python3\.99"):
        set_up.check_machine("3.99")


def test_a_path_with_blanks_is_refused(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(set_up, "ROOT", tmp_path / "my drones")
    with pytest.raises(set_up.SetupError, match="my drones has blanks"):
        set_up.check_machine(f"{sys.version_info[0]}.{sys.version_info[1]}")


def test_missing_headers_are_one_line(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(set_up.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(set_up.SetupError, match=r"Python\.h.*apt install python.*-dev"):
        set_up.check_machine(f"{sys.version_info[0]}.{sys.version_info[1]}")


def test_a_missing_compiler_is_one_line(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(set_up.SetupError, match=r"C\+\+ compiler.*build-essential"):
        set_up.check_machine(f"{sys.version_info[0]}.{sys.version_info[1]}")


def test_a_sourced_installation_is_used_and_remembered(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert set_up.find_ros() == {}
    assert set_up.wanted_python({}) == "3.11"

    variables = fake_ros(tmp_path / "jazzy")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{set_up.INSTALL}:{tmp_path / 'jazzy'}")
    ros = set_up.find_ros()
    assert ros["AMENT_PREFIX_PATH"] == str(tmp_path / "jazzy"), "this workspace is not what it is built on"
    assert set_up.wanted_python(ros) == "3.12"

    set_up.RECORD.write_text(json.dumps({"underlay": ros}), encoding="utf-8")
    for name in variables:
        monkeypatch.delenv(name)
    assert set_up.find_ros()["AMENT_PREFIX_PATH"] == str(tmp_path / "jazzy")


def test_the_virtual_environment_itself_is_no_sourced_installation(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fake_ros(set_up.VENV).items():
        monkeypatch.setenv(name, value)
    assert set_up.find_ros() == {}


def test_the_wheels_cmake_files_are_mended_once(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up, "VENV_PYTHON", Path(sys.executable))
    folder = set_up.VENV / "share" / "std_msgs" / "cmake"
    folder.mkdir(parents=True)
    builder = "/opt/python/cp311-cp311"
    wrong = f"{builder}/lib/python3.11/site-packages/numpy/_core/include;{builder}/include/python3.11"
    (folder / "export.cmake").write_text(f'SET(DIRS "{wrong};${{_IMPORT_PREFIX}}/include")\n', encoding="utf-8")
    set_up.mend_wheels({})
    text = (folder / "export.cmake").read_text(encoding="utf-8")
    assert "/opt/python/cp311" not in text
    numpy_include, include, rest = text.removeprefix('SET(DIRS "').split(";")
    assert (Path(include) / "Python.h").is_file()
    assert (Path(numpy_include) / "numpy" / "arrayobject.h").is_file()
    assert rest == '${_IMPORT_PREFIX}/include")\n'
    before = (folder / "export.cmake").stat().st_mtime_ns
    set_up.mend_wheels({})
    assert (folder / "export.cmake").stat().st_mtime_ns == before


def test_only_changes_are_built_and_recorded_last(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("messages", "nodes"):
        (set_up.SOURCES / name).mkdir(parents=True)
        (set_up.SOURCES / name / "package.xml").write_text(f"<name>{name}</name>", encoding="utf-8")
    built: list[list[str]] = []

    def colcon(command: list[str], _env: dict[str, str], _what: str) -> None:
        start = command.index("--packages-above") + 1
        built.append(command[start : command.index("--event-handlers")])

    monkeypatch.setattr(set_up, "run", colcon)
    set_up.build_workspace({}, "platform", set_up.package_digests())
    (set_up.SOURCES / "nodes" / "node.py").write_text("print()", encoding="utf-8")
    (set_up.SOURCES / "nodes" / "__pycache__").mkdir()
    set_up.build_workspace({}, "platform", set_up.package_digests())
    set_up.build_workspace({}, "platform", set_up.package_digests())
    set_up.build_workspace({}, "another platform", set_up.package_digests())
    assert built == [["messages", "nodes"], ["nodes"], ["messages", "nodes"]]

    def broken(*_: object) -> None:
        raise set_up.SetupError("colcon failed")

    monkeypatch.setattr(set_up, "run", broken)
    record = set_up.RECORD.read_text(encoding="utf-8")
    (set_up.SOURCES / "messages" / "Packet.msg").touch()
    with pytest.raises(set_up.SetupError):
        set_up.build_workspace({}, "another platform", set_up.package_digests())
    assert set_up.RECORD.read_text(encoding="utf-8") == record
