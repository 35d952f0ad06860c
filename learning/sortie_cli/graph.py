"""A graph of ROS 2 nodes in the place of this process."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from sortie_cli.environment import workspace_environment
from sortie_cli.run_folder import create_run_folder
from sortie_core.config import UserError

if TYPE_CHECKING:
    from pathlib import Path


def run_graph(config: Path, overrides: list[str] | None, out: Path | None, only: str = "", **flags: bool) -> NoReturn:
    """Let the runner of a graph of ROS 2 nodes take this process's place.

    Args:
        config: YAML file.
        overrides: of it.
        out: --out.
        only: the part of the graph to start, in the ROS_DOMAIN_ID that its other parts share; empty for all of it.
        flags: of the runner, such as json=True for --json.

    Raises:
        UserError: the folder is taken, or the workspace is not built, or a part has no ROS_DOMAIN_ID.
    """
    environment = workspace_environment(_of_a_part() if only else None)
    if only in ("", "world"):  # through a discovery server, who records a graph sees no more than what it takes part in
        environment.setdefault("ROS_SUPER_CLIENT", "TRUE")
    folder = create_run_folder(out)
    given = [*([f"--only={only}"] if only else []), *(f"--{name}" for name, wanted in flags.items() if wanted)]
    runner = ["-m", "sortie_bringup.runner", "--config", str(config), "--out", str(folder), *given]
    # so that signals and the exit code are its own; it lets them in once it can handle them, since an interrupted
    # import would end with a traceback
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    os.execve(sys.executable, [sys.executable, *runner, "--", *(overrides or [])], environment)


def _of_a_part() -> dict[str, str]:
    """The variables of a process whose graph reaches beyond it, and by default beyond this machine."""
    if not os.environ.get("ROS_DOMAIN_ID"):
        raise UserError("--only: the parts of a graph meet in one ROS_DOMAIN_ID; `export ROS_DOMAIN_ID=42` for each")
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", **os.environ}
