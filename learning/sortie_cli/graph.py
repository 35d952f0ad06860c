"""A graph of ROS 2 nodes in the place of this process."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from sortie_cli.environment import workspace_environment
from sortie_cli.run_folder import create_run_folder

if TYPE_CHECKING:
    from pathlib import Path


def run_graph(config: Path, overrides: list[str] | None, out: Path | None, **flags: bool) -> NoReturn:
    """Let the runner of a graph of ROS 2 nodes take this process's place.

    Args:
        config: YAML file.
        overrides: of it.
        out: --out.
        flags: of the runner, such as json=True for --json.

    Raises:
        UserError: the folder is taken, or the workspace is not built.
    """
    environment = workspace_environment()
    folder = create_run_folder(out)
    given = [f"--{name}" for name, wanted in flags.items() if wanted]
    runner = ["-m", "sortie_bringup.runner", "--config", str(config), "--out", str(folder), *given]
    # so that signals and the exit code are its own; it lets them in once it can handle them, since an interrupted
    # import would end with a traceback
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    os.execve(sys.executable, [sys.executable, *runner, "--", *(overrides or [])], environment)
