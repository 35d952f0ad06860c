"""A team of runtimes over the radio does what the batched team does, however late packets are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core.action import team_command
from sortie_core.beacons import Beacons
from sortie_core.comm_graph import adjacency
from sortie_core.config import Config, load_config
from sortie_core.exploration import Exploration
from sortie_core.packets import Consumers, LocalView, Packet
from sortie_nodes.radio import Radio
from sortie_policy.checkpoint import write_checkpoint
from sortie_policy.export import export_stages
from sortie_policy.runtime import AgentRuntime
from sortie_policy.team_policy import make_policy
from sortie_sim.point_world import PointWorld
from sortie_train.policy_team import PolicyTeam

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
SMALL = ["policy.hidden=8", "policy.mlp_width=16", "policy.key_dim=8", "task.arena_half_m=3.0", "comm.radius_m=2.5",
         "train.scenarios=[{}]"]  # fmt: skip
EVENTS = ["team.sudden_loss_share=0.25", "team.sudden_loss_s=[1.2, 1.2]", "task.duration_s=4.0"]
N = 8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose every part shows in what it does."""
    config = load_config(YAML, SMALL)
    torch.manual_seed(4)
    policy = make_policy(config)
    with torch.no_grad():
        policy.attention.wait_key.normal_()
        policy.set_temperature(0.3)
        for layer in (policy.memory, policy.corrector[-1]):
            layer.weight.mul_(100.0)
    path = tmp_path_factory.mktemp("policy") / "restless.ckpt"
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    write_checkpoint(path, config, weights, export_stages(policy, config), contraction_rate=0.1)
    return path


class Graph:
    """One runtime per drone, and the radio between them."""

    def __init__(self, config: Config) -> None:
        self.runtimes = [AgentRuntime.from_checkpoint(config, index) for index in range(N)]
        self.radio = Radio(config.comm, config.world.dt_s, N, seed=0)

    def tick(self, views: list[LocalView], position: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Commands [N, D] m/s."""
        tick, round_ = views[0].tick, 0
        packets: list[Packet | None] = [
            runtime.start_tick(view) for runtime, view in zip(self.runtimes, views, strict=True)
        ]
        while packets[0] is not None:
            sent = {packet.sender: packet for packet in packets if packet is not None}
            frames = self.radio.exchange(tick, round_, sent, position, alive)
            packets = [runtime.finish_round(frame) for runtime, frame in zip(self.runtimes, frames, strict=True)]
            round_ += 1
        decisions = [runtime.decision for runtime in self.runtimes]
        return np.stack([np.zeros(2) if decision is None else decision.velocity for decision in decisions])


@pytest.mark.parametrize("latency", [0, 1, 2, 5])
@pytest.mark.parametrize("sensing", ["broadcast", "relayed"])
def test_the_graph_flies_what_the_batched_team_flies(checkpoint: Path, latency: int, sensing: str) -> None:
    keys = [f"comm.latency_steps={latency}", f"policy.checkpoint={checkpoint}"]
    keys += [f"task.demand_sensing={sensing}", "task.sensing_radius_m=1.5", "task.n_consumers=5"]
    config = load_config(YAML, [*SMALL, *EVENTS, *keys])
    team, graph, world = PolicyTeam(config), Graph(config), PointWorld(config, "numpy")
    beacons = Beacons(config, np.random.default_rng(0).random)
    state, linked = world.reset([3]), world.graph()[1]
    exploration = Exploration.beginning(state.position, config) if team.explores else None
    late_neighbours, known = 0, []
    for tick in range(config.n_steps):
        neighbours = beacons.exchange(state, linked)
        if tick % config.policy.decision_steps == 0:
            choice, correction = team.choose(state)
            known.append(float(team._knowledge.known.float().mean()) if team._knowledge else 1.0)
            exploration = exploration and exploration.looked(state.position, neighbours, config)
        late_neighbours += int(neighbours.linked.sum()) * (latency > 0)
        expected = team_command(state, choice, neighbours, correction, config, exploration)
        consumers = Consumers(
            state.consumer_position[0], state.demand[0], state.unmet[0], state.active[0], state.completed[0],
            np.zeros(state.completed.shape[1], bool), state.presence[0],
        )  # fmt: skip
        views = [
            LocalView(tick, float(state.time_s[0]), *(each[0, i] for each in own), consumers)
            for own in [(state.position, state.velocity, state.stock)]
            for i in range(N)
        ]
        alive = state.alive[0]
        flown = graph.tick(views, state.position[0], alive)
        np.testing.assert_allclose(flown[alive], expected[0, alive], atol=1e-4, err_msg=f"tick {tick}")
        state = world.step(expected).state
        linked = adjacency(state.position, state.alive, config.comm.radius_m)
    assert alive.sum() == N - 2
    assert (late_neighbours > 100) == (latency > 0)
    assert known[0] < 0.5 and known[0] < max(known) if sensing == "relayed" else known[0] == 1.0
