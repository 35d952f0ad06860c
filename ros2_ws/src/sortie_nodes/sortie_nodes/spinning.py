"""How every process of the graph starts, spins and ends."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.experimental import EventsExecutor
from rclpy.signals import SignalHandlerOptions

from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rclpy.node import Node

_SPIN_S = 0.1
FAILED, BAD_INPUT = 1, 2
"""Exit codes of a process: what it was for did not succeed; what it was given is wrong."""


def run(
    make_nodes: Callable[[], Iterable[Node]],
    args: Sequence[str] | None = None,
    make_executor: Callable[[], Any] = EventsExecutor,
) -> int:
    """Make nodes, spin them until they are shut down or one of them sets `exit_code`, and take them down.

    A node may have a method `may_end`, which is called again and again when the process is to end: it goes on spinning
    until that returns True.

    Args:
        make_nodes: called once ROS is up; may be a generator, so that nodes made before an error are destroyed too.
        args: command line, sys.argv where None.
        make_executor: makes what spins the nodes; anything with `add_node` and `spin_once` does.

    Returns:
        The exit code of the process.
    """
    # Signals end the loop between two callbacks, where none is left in the middle of publishing.
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    nodes: list[Node] = []
    try:
        for node in make_nodes():
            nodes.append(node)
        executor = make_executor()
        for node in nodes:
            executor.add_node(node)
        # spin() of this executor runs no callback in some builds; spin_once does, at the same cost.
        code = None
        while rclpy.ok() and not stopped and (code := _exit_code(nodes)) is None:
            executor.spin_once(timeout_sec=_SPIN_S)
        while rclpy.ok() and not all([node.may_end() for node in nodes if hasattr(node, "may_end")]):
            executor.spin_once(timeout_sec=_SPIN_S)
        return code or 0
    except UserError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()


def _exit_code(nodes: list[Node]) -> int | None:
    return next((node.exit_code for node in nodes if getattr(node, "exit_code", None) is not None), None)
