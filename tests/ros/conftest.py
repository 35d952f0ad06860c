"""What the tests of the graph share: a flyable policy, private DDS domains, missions flown by real processes."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

try:
    import sortie_interfaces.msg  # noqa: F401
except ImportError as error:
    raise pytest.UsageError(f"{error}: run `make test`, which builds and uses the ROS workspace") from error

import rclpy
from _pytest.faulthandler import fault_handler_stderr_fd_key
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.experimental import EventsExecutor
from rclpy.signals import SignalHandlerOptions

from sortie_bringup.processes import command_line
from sortie_cli.environment import free_domain
from sortie_core.config import load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rclpy.node import Node

    from sortie_bringup.fleet import NodeDescription

_FAREWELL_S = 30.0
"""How long the middleware may take to take the nodes of a test down."""
YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Real processes on a machine shared with others: one more try where the plugin is there, and reported as such."""
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that has learned nothing; with policy.deterministic=false it goes to consumers at random."""
    import torch

    from sortie_policy.actor_critic import LGTCPolicy
    from sortie_policy.checkpoint import write_checkpoint
    from sortie_policy.export import export_stages

    config = load_config(YAML)
    torch.manual_seed(0)
    policy = LGTCPolicy(config).eval()
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    path = tmp_path_factory.mktemp("policy") / "random.ckpt"
    write_checkpoint(path, config, weights, export_stages(policy, config), seed=0, contraction_rate=0.25)
    return path


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A DDS domain of the test's own, for its children too."""
    number = free_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return number


@pytest.fixture
def start_node(domain: int) -> Iterator[Callable[[NodeDescription], subprocess.Popen[str]]]:
    """Start nodes in processes of their own, which are killed in the end where they still run."""
    running: list[subprocess.Popen[str]] = []

    def start(node: NodeDescription) -> subprocess.Popen[str]:
        running.append(subprocess.Popen(command_line(node), stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


class Graph:
    """Nodes of a test, and a way to wait for what they should hear.

    Args:
        stderr: file descriptor that is not captured, for what the middleware's end may leave to be said.
    """

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr
        self.executor = EventsExecutor()
        faulthandler.enable(stderr)  # this executor has turned it to where pytest captures, and a crash loses it
        self._nodes: list[Node] = []

    def add(self, node: Node) -> None:
        self.executor.add_node(node)
        self._nodes.append(node)

    def close(self) -> None:
        """Take the nodes down, or end this process and say where it stood.

        Fast DDS 2.14 may wait forever for the end of a participant while others of its domain come and go.
        """
        faulthandler.dump_traceback_later(_FAREWELL_S, exit=True, file=self._stderr)
        for node in self._nodes:
            self.executor.remove_node(node)
            node.destroy_node()
        self._nodes.clear()
        self.executor.shutdown()
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()

    def spin(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Spin until a condition holds.

        Raises:
            AssertionError: it does not in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
            self.executor.spin_once(timeout_sec=0.05)


class ManagedProcess:
    """One managed node in a process of its own, put through its lifecycle by the test."""

    def __init__(self, graph: Graph, description: NodeDescription) -> None:
        name = f"{(description.namespace or '/').rstrip('/')}/{description.name}"
        self._graph = graph
        self._client = rclpy.create_node("lifecycle_of" + name.replace("/", "_"))
        self._change = self._client.create_client(ChangeState, f"{name}/change_state")
        self._look = self._client.create_client(GetState, f"{name}/get_state")
        graph.add(self._client)
        self.process = subprocess.Popen(command_line(description))

    def step(self, transition: int, state: int) -> None:
        """Put the node through a transition; as a manager does, one that fails for want of links is asked for again."""
        self._graph.until(self._change.service_is_ready, 15, "the node's services")
        request = ChangeState.Request()
        request.transition.id = transition
        asked = [self._change.call_async(request)]
        reached: list[int] = []

        def arrived() -> bool:
            if asked[-1].done() and not asked[-1].result().success:
                asked.append(self._change.call_async(request))
            answer = self._look.call_async(GetState.Request())
            answer.add_done_callback(lambda future: reached.append(future.result().current_state.id))
            self._graph.spin(0.1)
            return state in reached

        self._graph.until(arrived, 15, f"state {state} after transition {transition}")

    def activate(self) -> None:
        self.step(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        self.step(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)


@pytest.fixture
def managed_process(graph: Graph) -> Callable[[NodeDescription], ManagedProcess]:
    """Start managed nodes, which the test ends as it likes."""
    return lambda description: ManagedProcess(graph, description)


@pytest.fixture
def managed(graph: Graph) -> Iterator[Callable[[NodeDescription], ManagedProcess]]:
    """Start managed nodes; they must end cleanly."""
    running: list[ManagedProcess] = []

    def start(description: NodeDescription) -> ManagedProcess:
        running.append(ManagedProcess(graph, description))
        return running[-1]

    yield start
    assert [each.stop() for each in running] == [0] * len(running)


@pytest.fixture
def graph(domain: int, pytestconfig: pytest.Config) -> Iterator[Graph]:
    rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    graph = Graph(pytestconfig.stash[fault_handler_stderr_fd_key])
    yield graph
    graph.close()


@dataclass(frozen=True)
class Flown:
    """A mission that is over."""

    exit_code: int
    folder: Path
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def trajectory(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "trajectory.npz") as file:
            return dict(file)


class Missions:
    """Flies missions by the runner, with a small team on the point backend."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self._overrides = [
            f"policy.checkpoint={checkpoint}",
            "policy.deterministic=false",
            "world.backend=point",
            "team.n_agents=4",
            "task.duration_s=8",
            "ros.success_fraction=0.1",
        ]
        self._folder = folder

    def command(self, name: str, *overrides: str, flags: tuple[str, ...] = ("--lockstep",)) -> list[str]:
        runner = [
            sys.executable,
            "-m",
            "sortie_bringup.runner",
            "--config",
            str(YAML),
            "--out",
            str(self._folder / name),
        ]
        return [*runner, *flags, "--", *self._overrides, *overrides]

    def fly(self, name: str, *overrides: str, flags: tuple[str, ...] = ("--lockstep",)) -> Flown:
        with self.start(name, *overrides, flags=flags) as process:
            return self.finish(name, process)

    @contextmanager
    def start(
        self, name: str, *overrides: str, flags: tuple[str, ...] = ("--lockstep",)
    ) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command(name, *overrides, flags=flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def finish(self, name: str, process: subprocess.Popen[str]) -> Flown:
        stdout, stderr = process.communicate(timeout=90)
        return Flown(process.returncode, self._folder / name, stdout, stderr)


@pytest.fixture
def missions(checkpoint: Path, domain: int, tmp_path: Path) -> Missions:
    return Missions(checkpoint, tmp_path)
