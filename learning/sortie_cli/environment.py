"""The environment variables of processes that use ROS 2, without anything being sourced.

`ros2_ws/build_workspace.py` records in the workspace's install folder what the workspace was built on: a ROS
installation, or the virtual environment itself where ROS 2 comes from PyPI. The loader reads ``LD_LIBRARY_PATH`` only
when a process starts, so these variables are for child processes::

    python -m sortie_cli.environment COMMAND [ARGUMENT ...]

runs a command with them, e.g. pytest.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from sortie_core.config import UserError
from sortie_core.shipped import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD = "sortie_workspace.json"
_DOMAINS = 101  # DDS domains 1 to 101 keep their ports below Linux' range for outgoing connections
_DOMAIN_PORT, _DOMAIN_GAIN, _PARTICIPANT_OFFSET = 7400, 250, 10  # DDSI-RTPS 2.5, section 9.6.2.3


def workspace_environment(base: Mapping[str, str] | None = None, project: Path | None = CHECKOUT) -> dict[str, str]:
    """The variables for a child process that imports rclpy, `sortie_interfaces` or a package of the workspace.

    The workspace is that of the checkout. Where `sortie` is installed without one, it is whatever workspace the calling
    shell has sourced. ``ROS_DOMAIN_ID`` is a free one unless given, so that two runs on one machine do not hear each
    other; ``ROS_AUTOMATIC_DISCOVERY_RANGE`` keeps DDS on this machine unless given.

    Args:
        base: the variables to start from; None for this process's.
        project: the checkout that holds ros2_ws; None where there is none.

    Raises:
        UserError: there is no workspace, it is not built, or what it was built on is gone.
    """
    environment = dict(os.environ if base is None else base)
    if project:
        _add_checkout(environment, project)
    elif not any(_holds_workspace(prefix) for prefix in _entries(environment, "AMENT_PREFIX_PATH")):
        raise UserError(
            "no ROS 2 with Sortie's workspace here, which pip does not install; clone Sortie's repository and run "
            "`make setup` there, or source a ROS workspace in which its ros2_ws/src is built"
        )
    environment.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if not environment.get("ROS_DOMAIN_ID"):
        environment["ROS_DOMAIN_ID"] = str(free_domain())
    return environment


def _holds_workspace(prefix: str) -> bool:
    return (Path(prefix) / "share" / "sortie_bringup" / "package.xml").is_file()


def _add_checkout(environment: dict[str, str], project: Path) -> None:
    """The workspace's Python packages from their sources, where an edit takes effect at once; the rest as installed."""
    install = project / "ros2_ws" / "install"
    underlay = _underlay(install)
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    sources = [path.parent for path in sorted((project / "ros2_ws" / "src").glob("*/setup.py"))]
    sources += [project / "sim", project / "learning"]
    modules = [path for path in sorted(install.glob(f"**/{python}/*-packages")) if path.is_dir()]

    _prepend(environment, "AMENT_PREFIX_PATH", install, *_entries(underlay, "AMENT_PREFIX_PATH"))
    _prepend(environment, "LD_LIBRARY_PATH", install / "lib", *_entries(underlay, "LD_LIBRARY_PATH"))
    # `ros2` runs on the system's interpreter, which has to find this environment's packages too
    installed = sysconfig.get_path("purelib")
    _prepend(environment, "PYTHONPATH", *sources, *modules, *_entries(underlay, "PYTHONPATH"), installed)
    _prepend(environment, "PATH", Path(sys.executable).parent)
    for name in ("ROS_DISTRO", "ROS_VERSION"):
        if name in underlay:
            environment.setdefault(name, underlay[name])


def free_domain() -> int:
    """A DDS domain in which no process of this machine takes part.

    Raises:
        UserError: every domain is taken.
    """
    for step in range(_DOMAINS):
        domain = 1 + (os.getpid() + step) % _DOMAINS
        first_participant = _DOMAIN_PORT + _DOMAIN_GAIN * domain + _PARTICIPANT_OFFSET
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", first_participant))
            except OSError:
                continue
            return domain
    raise UserError("no free DDS domain on this machine; end other ROS processes or set ROS_DOMAIN_ID")


def _underlay(install: Path) -> dict[str, str]:
    try:
        underlay: dict[str, str] = json.loads((install / RECORD).read_text(encoding="utf-8"))["underlay"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"the ROS workspace is not built in {install}; run `make setup`") from None
    for prefix in _entries(underlay, "AMENT_PREFIX_PATH"):
        if not Path(prefix).is_dir():
            raise UserError(f"the ROS workspace was built on {prefix}, which is gone; run `make setup`")
    return underlay


def _entries(variables: Mapping[str, str], name: str) -> list[str]:
    return [entry for entry in variables.get(name, "").split(os.pathsep) if entry]


def _prepend(environment: dict[str, str], name: str, *first: str | Path) -> None:
    entries = [*map(str, first), *_entries(environment, name)]
    environment[name] = os.pathsep.join(dict.fromkeys(entries))


def main() -> None:
    """Become the command given as arguments, in the workspace's environment."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m sortie_cli.environment COMMAND [ARGUMENT ...]")
    try:
        os.execvpe(sys.argv[1], sys.argv[1:], workspace_environment())
    except UserError as error:
        print(f"sortie: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        sys.exit(f"sortie: cannot run {sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
