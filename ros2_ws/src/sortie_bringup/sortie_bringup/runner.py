"""Starts the processes of a mission, follows it, and says what came of it.

Does what `ros2 launch launch/delivery.launch.py` does, with the same processes, where there is no `ros2 launch`; and
has a live view, a table and a plot on top.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape

from sortie_bringup.display import LiveLine, draw, outcome_table
from sortie_bringup.fleet import ENCLAVES, MANAGER, RECORDING, check, fleet
from sortie_bringup.part import part_of
from sortie_bringup.processes import ProcessGroup, describe
from sortie_bringup.shared_memory import remove_orphans
from sortie_cluster.live_config import LiveConfig, load_graph_config
from sortie_core.config import Config, UserError
from sortie_core.files import write_atomically
from sortie_core.flight_config import FlightConfig
from sortie_core.shipped import find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_bringup.flight_console import FlightConsole
    from sortie_bringup.mission_observer import MissionObserver

SUCCEEDED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_POLL_S = 0.05
_CHILD_DEFAULTS = {
    # The team shares this machine's cores; threads of one node would only take them from the others.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "RCUTILS_CONSOLE_OUTPUT_FORMAT": "{severity}: {message}",
}


class RunnerError(Exception):
    """The mission cannot go on: one line that says why."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="sortie_bringup.runner", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="YAML file of the whole configuration")
    parser.add_argument("--out", type=Path, required=True, help="folder for what the mission leaves behind")
    parser.add_argument(
        "--lockstep", action="store_true", help="each tick waits for all commands; same as ros.lockstep=true"
    )
    parser.add_argument("--only", default="", metavar="PART", help="start no more than world, or drones such as 0-3")
    parser.add_argument("--view", action="store_true", help="show the run in the browser; same as ros.view=true")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON instead of a table")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Fly one mission; returns the exit code."""
    options = parse(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are born with SIGINT ignored
        signal.signal(number, _interrupt)
    # stdout is for the outcome alone
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        # `sortie sim` holds them back until someone is there to handle them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        flags = {"ros.lockstep=true": options.lockstep, "ros.view=true": options.view}
        overrides = [*options.overrides, *(change for change, given in flags.items() if given)]
        config = load_graph_config(options.config, overrides)
        check(config, options.only)
        exit_code = _fly(options, config, overrides, console)
        if not options.json:
            _show_again(config, options.out.resolve(), console)
        sys.stdout.flush()
        return exit_code
    except UserError as error:
        print(f"sortie: {error}", file=sys.stderr)
        with suppress(OSError):
            options.out.rmdir()  # an empty folder is no run
        return BAD_INPUT
    except RunnerError as error:
        print(f"sortie: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("sortie: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's last flush goes there
        return FAILED


def _fly(options: argparse.Namespace, config: Config, overrides: list[str], console: Console) -> int:
    folder: Path = options.out.resolve()
    write_atomically(folder / "config.yaml", config.to_yaml())
    for name, value in _CHILD_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("ROS_LOG_DIR", str(folder / "log"))
    remove_orphans()
    processes = ProcessGroup(lambda label, line: console.print(f"[cyan]\\[{label}][/cyan] {escape(line)}"))
    try:
        for node in fleet(config, find(options.config).resolve(), overrides, folder, options.only):
            processes.start(node)
        if not part_of(options.only, config.team.n_agents).world:
            return _host(processes, LiveLine(console, config.duration_s, quiet=options.json))
        with _view(config, console, quiet=options.json) as view:
            exit_code = _follow(processes, view)
    finally:
        for node, how in processes.stop():
            console.print(f"{node.label} did not end cleanly: {how}")
    summary_file = folder / "summary.json"
    if not summary_file.exists():
        raise RunnerError("the mission could not be flown; the reason is above")
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    if isinstance(config, LiveConfig):
        return _report_cluster(options, config, folder, summary, exit_code)
    plot = draw(folder, config)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        Console().print(outcome_table(summary, success=exit_code == SUCCEEDED))
        _say_files(folder, "summary.json", "trajectory.npz", "config.yaml", plot.name)
    return exit_code


def _view(config: Config, console: Console, *, quiet: bool) -> LiveLine | FlightConsole:
    if isinstance(config, FlightConfig):
        # its imports need the workspace, which has been found by now
        from sortie_bringup.flight_console import FlightConsole

        return FlightConsole(console, config, quiet=quiet)
    doing = ("scheduling", "of the tasks ended") if isinstance(config, LiveConfig) else ("flying", "delivered")
    return LiveLine(console, config.duration_s, quiet=quiet, doing=doing)


def _host(processes: ProcessGroup, view: LiveLine) -> int:
    """Keep agents up, for one mission after the other, until somebody ends that."""
    try:
        with view:
            _follow(processes, view)
    except KeyboardInterrupt:
        return SUCCEEDED
    raise RunnerError("all agents have ended; the reason is above")


def _report_cluster(
    options: argparse.Namespace, config: LiveConfig, folder: Path, summary: dict[str, Any], exit_code: int
) -> int:
    from sortie_bringup import cluster_outcome

    if "schedule" not in summary:
        raise RunnerError("the run broke off before the bridge had told its outcome; the reason is above")
    report = cluster_outcome.compared(summary, config)
    cluster_outcome.write_tables(folder, summary, report, config)
    feasible = not report["violations"]
    exit_code = exit_code if feasible else max(exit_code, FAILED)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        Console().print(cluster_outcome.outcome_table(report, success=exit_code == SUCCEEDED))
        for line in cluster_outcome.remarks(report):
            Console(soft_wrap=True, highlight=False).print(escape(line))
        _say_files(folder, "summary.json", "report.json", "tasks.csv", "nodes.csv", "config.yaml")
    return exit_code


def _say_files(folder: Path, *names: str) -> None:
    console = Console(soft_wrap=True, highlight=False)
    recorded = [RECORDING] if (folder / RECORDING).exists() else []
    console.print(f"{folder}: {', '.join([*names, *recorded])}")
    if recorded:
        run = shlex.quote(os.path.relpath(folder))
        console.print(f"see it again: sortie replay {run}; on a page: sortie report {run}")


def _show_again(config: Config, folder: Path, console: Console) -> None:
    """Who has watched a run goes on watching its recording, until Ctrl-C; the run's exit code stays what it was."""
    recording = folder / RECORDING
    if config.ros.view and sys.stdin.isatty() and recording.exists():
        from sortie_view.replay import replay

        try:
            replay(recording, config.ros.view_port, console, config.ros.view_host)
        except UserError as error:
            print(f"sortie: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            pass


def _follow(processes: ProcessGroup, view: Any) -> int:
    """Spin until the mission's manager has ended; returns its exit code.

    Raises:
        RunnerError: another process without which no mission can go on has ended, or all agents where there is no
            manager.
        KeyboardInterrupt: somebody has interrupted, and nothing has to be done before the end.
    """
    # Imported while the children start, which takes them longer.
    import rclpy
    from rclpy.experimental import EventsExecutor
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=["--ros-args", "--enclave", f"{ENCLAVES}/runner"], signal_handler_options=SignalHandlerOptions.NO)
    interrupted = False
    try:
        observer = view.make_observer()
        executor = EventsExecutor()
        executor.add_node(observer)

        def look() -> None:
            executor.spin_once(timeout_sec=_POLL_S)
            view.update(observer)

        try:
            while True:
                try:
                    look()
                    if (exit_code := _ended(processes, observer)) is not None:
                        return INTERRUPTED if interrupted else exit_code
                except KeyboardInterrupt:
                    if not view.interrupted(observer):
                        raise
                    interrupted = True
        finally:
            processes.stop(look)  # drones may have to land first, and somebody to cut their motors
    finally:
        rclpy.try_shutdown()


def _ended(processes: ProcessGroup, observer: MissionObserver) -> int | None:
    """The exit code of the mission's manager, if it or everything has ended; agents that have are reported."""
    for node, exit_code in processes.ended():
        if node.name == MANAGER and exit_code in (SUCCEEDED, FAILED, BAD_INPUT):
            return exit_code
        if node.needed:
            raise RunnerError(f"{node.label} ended with {describe(exit_code)}; no mission goes on without it")
        if not node.drones:
            print(f"sortie: {node.label} ended with {describe(exit_code)}; the mission goes on", file=sys.stderr)
        observer.report_exit(node.drones, describe(exit_code))
    return None if len(processes) else FAILED


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
