"""The figures of a mission against computations by hand, in both worlds."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sortie_core.packets import Consumers, LocalView
from sortie_policy.export import export_stages
from sortie_policy.runtime import AgentRuntime
from sortie_sim.mission_world import MissionWorld
from sortie_sim.point_world import PointWorld
from sortie_train import play as playing
from sortie_train.play import CURVE, fly, play
from sortie_train.policy_team import PolicyTeam
from sortie_train.teams import make_team

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_train.teams import Team

BEACON_BYTES = 9 + 4 * (2 + 2 + 3)
PLENTY = ["task.duration_s=12.0", "task.arena_half_m=3.0", "team.kinds_per_agent=0", "task.supply_ratio=[1.3, 1.6]"]
"""Missions that end early, in a small arena."""
SENSED = ["task.demand_sensing=relayed", "task.sensing_radius_m=6.0", "team.failure_probability=1.0"]


def ignore(_: int) -> None:
    """Take no notice of progress."""


def played(config: Config, team: Team, n_missions: int = 3) -> tuple[dict[str, np.ndarray], list[WorldState]]:
    """The figures of some missions, and every state that they went through."""
    world = PointWorld(config, "numpy")
    states = [world.reset(range(n_missions))]

    def step(command: np.ndarray) -> object:
        result = world.step(command)
        states.append(result.state)
        return result

    return play(team, states[0], step), states


def over(state: WorldState, mission: int, config: Config) -> bool:
    return bool(state.completed[mission].all()) or state.time_s[mission] > config.duration_s - 1e-3


def test_the_return_is_the_sum_of_the_four_terms_until_the_mission_is_over(configured: Callable[..., Config]) -> None:
    """Missions end early here, and drones that do not hear each other come close."""
    config = configured(*PLENTY, "world.safe_distance_m=1", "comm.radius_m=0.01")
    figures, states = played(config, make_team("auction", config), 6)
    weights, expected, close = config.reward, np.zeros(6), 0
    for mission in range(6):
        asked, n_agents = states[0].demand[mission].sum(), 4
        for before, after in zip(states, states[1:], strict=False):
            if over(before, mission, config):
                break
            met = before.unmet[mission].sum() - after.unmet[mission].sum()
            brought = (after.delivered - before.delivered)[mission].sum(axis=-1)
            served = [
                sum(
                    np.hypot(*(after.position[mission, agent] - after.consumer_position[mission, consumer])) <= 0.6
                    for consumer in np.flatnonzero(after.completed[mission] & ~before.completed[mission])
                )
                for agent in range(n_agents)
            ]
            for agent in range(n_agents):
                gaps = [np.hypot(*(after.position[mission, agent] - other)) for other in after.position[mission]]
                gaps.pop(agent)
                near = sum((gap < 0.3) + 0.5 * max(0, 1 - gap) ** 2 for gap in gaps)
                close += near > 0
                reward = weights.demand * met / asked + weights.own_delivery * n_agents * brought[agent] / asked
                reward += weights.completion * served[agent] - weights.collision * near
                expected[mission] += reward / n_agents
    assert close > 20
    assert any(over(states[-2], mission, config) for mission in range(6)), "one goes on after the end of another"
    np.testing.assert_allclose(figures["return"], expected, atol=1e-4)


class Chatterer:
    """Sends 100 bytes per agent alive and decision, and waits."""

    def __init__(self, config: Config) -> None:
        self.config, self.bytes_sent, self.explores = config, np.zeros(1), False

    def choose(self, state: WorldState) -> tuple[np.ndarray, None]:
        self.bytes_sent = self.bytes_sent + 100.0 * state.alive.sum(axis=1)
        return np.full(state.present.shape, state.unmet.shape[1]), None


def test_bytes_count_beacons_at_every_tick_and_the_deliberation_of_those_alive(
    configured: Callable[..., Config],
) -> None:
    config = configured("team.failure_probability=0.5", "task.duration_s=6.0")
    figures, states = played(config, Chatterer(config), 5)
    for mission in range(5):
        alive = np.array([state.alive[mission].sum() for state in states[:-1]])
        assert len(alive) == 60
        sent = BEACON_BYTES * alive.sum() + 100 * alive[::5].sum()
        assert figures["bytes_per_agent_s"][mission] == pytest.approx(sent / (0.1 * alive.sum()))
    assert len(set(figures["bytes_per_agent_s"])) > 1, "some drones must fail for this test to mean anything"


def test_nothing_is_counted_after_the_end_of_a_mission(configured: Callable[..., Config]) -> None:
    config = configured(*PLENTY)
    team = make_team("auction", config)
    figures, states = played(config, team, 6)
    ended = [next(t for t, state in enumerate(states) if over(state, mission, config)) for mission in range(6)]
    assert len(set(ended)) > 1
    np.testing.assert_allclose(figures["bytes_per_agent_s"], BEACON_BYTES / 0.1)
    np.testing.assert_allclose(figures["elapsed_s"], 0.1 * np.array(ended), atol=1e-4)
    for mission, tick in enumerate(ended):
        assert (figures[CURVE][mission, tick:] == figures[CURVE][mission, tick]).all()


def test_the_curve_averages_to_the_time_average(configured: Callable[..., Config]) -> None:
    config = configured()
    figures = fly(config, partial(make_team, "value_greedy"), ignore)
    assert figures[CURVE].shape == (6, config.n_steps + 1)
    np.testing.assert_allclose(figures[CURVE][:, 1:].mean(axis=1), figures["delivered_auc"], atol=1e-5)
    np.testing.assert_allclose(figures[CURVE][:, -1], figures["delivered_fraction"], atol=1e-6)


@pytest.mark.parametrize("changes", [[], ["policy.exchanges=1", "policy.hops=1"], ["policy.keep_decisions=0"],
                                     ["policy.exchanges=0"], SENSED])  # fmt: skip
def test_bytes_of_the_policy_are_those_of_the_packets_that_its_agents_send(
    configured: Callable[..., Config], fresh_policies: str, monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    """The batched count against N separate runtimes that see what the team saw."""
    path = fresh_policies.format(method="lgtc", seed=1)
    config = configured(f"policy.checkpoint={path}", "team.n_agents=5", "comm.radius_m=6.0", *changes)
    monkeypatch.setattr("sortie_train.policy_team.check_compatible", lambda _metadata, config, _path: config)
    monkeypatch.setattr("sortie_train.policy_team.load_weights", lambda _path: weights_of(config))
    team = PolicyTeam(config)
    figures, states = played(config, team, 1)
    alive_s = 0.1 * sum(state.alive.sum() for state in states[:-1])
    assert (alive_s < 5 * 2.99) == (changes is SENSED), "some drones fail where that matters"
    from sortie_policy.checkpoint import OnnxStages

    stages = OnnxStages(export_stages(team.policy, config))
    runtimes = [AgentRuntime(stages, config, index) for index in range(5)]
    sent = sum(bytes_of_a_tick(runtimes, tick, state, config) for tick, state in enumerate(states[:-1]))
    assert figures["bytes_per_agent_s"][0] == pytest.approx(sent / alive_s)


def weights_of(config: Config) -> dict[str, np.ndarray]:
    from sortie_policy.team_policy import make_policy

    torch.manual_seed(0)
    return {name: value.numpy() for name, value in make_policy(config).state_dict().items()}


def bytes_of_a_tick(runtimes: list[AgentRuntime], tick: int, state: WorldState, config: Config) -> int:
    """What all agents that are alive send in the rounds of one tick."""
    nothing = np.zeros(state.completed.shape[1], bool)
    consumers = Consumers(
        state.consumer_position[0], state.demand[0], state.unmet[0], ~nothing, state.completed[0], nothing,
        state.presence[0],
    )  # fmt: skip
    views = [
        LocalView(tick, 0.1 * tick, state.position[0, i], state.velocity[0, i], state.stock[0, i], consumers)
        for i in range(len(runtimes))
    ]
    gaps = np.linalg.norm(state.position[0, :, None] - state.position[0, None], axis=-1)
    alive = state.alive[0]
    linked = (gaps <= config.comm.radius_m) & ~np.eye(len(runtimes), dtype=bool) & alive & alive[:, None]
    packets = [runtime.start_tick(view) for runtime, view in zip(runtimes, views, strict=True)]
    total = 0
    while packets[0] is not None:
        total += sum(packet.n_bytes for packet, sends in zip(packets, alive, strict=True) if sends)
        heard = [[packets[j] for j in np.flatnonzero(row)] for row in linked]
        packets = [runtime.finish_round(each) for runtime, each in zip(runtimes, heard, strict=True)]
    return total


def test_figures_depend_on_the_layout_alone_and_not_on_the_batch(
    configured: Callable[..., Config], fresh_policies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(f"policy.checkpoint={fresh_policies.format(method='lgtc', seed=1)}")
    for method in ("lgtc", "value_greedy"):
        together = fly(config, partial(make_team, method), ignore)
        monkeypatch.setattr(playing, "_PAIRS", 2 * 4**2)
        apart = fly(config, partial(make_team, method), ignore)
        monkeypatch.undo()
        for name, values in together.items():
            np.testing.assert_allclose(values, apart[name], rtol=1e-3, atol=1e-3, equal_nan=True, err_msg=name)


def test_every_batch_has_losses_of_its_own(configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "_PAIRS", 2 * 4**2)
    config = configured("comm.loss=0.5", "task.duration_s=0.2")
    drawn: list[int] = []

    def noted(flown: Config) -> Team:
        drawn.append(flown.seed)
        return make_team("cbba", flown)

    for _ in range(2):
        fly(config, noted, ignore)
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) == 3


def test_large_teams_are_flown_in_small_batches(configured: Callable[..., Config]) -> None:
    config = configured("team.n_agents=100", "task.arena_half_m=30", "evaluation.n_layouts=30", "task.duration_s=0.2")
    batches: list[int] = []
    fly(config, partial(make_team, "greedy"), batches.append)
    assert batches == [26, 4]


def test_the_worlds_give_the_same_figures_for_the_same_motion(configured: Callable[..., Config]) -> None:
    """What is computed around a flown mission, over point motion, is what the point world computes for itself."""
    config = configured("task.duration_s=8.0", "task.arena_half_m=3.0", "world.safe_distance_m=1")
    layouts = config.evaluation.first_seed
    batched = fly(config, partial(make_team, "auction"), ignore)
    world, open_gate = MissionWorld(config), SimpleNamespace(setpoints=lambda _, wanted, *others: wanted)
    for index in range(2):
        state = world.reset(layouts + index)
        alone = play(make_team("auction", config), state, partial(playing._step_one, world, open_gate))
        assert alone["return"][0] != 0
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], batched[name][index], rtol=1e-3, atol=1e-3, err_msg=name)


def test_pybullet_flies_the_same_layouts(configured: Callable[..., Config]) -> None:
    flown, point = (
        fly(config, partial(make_team, "greedy"), ignore)
        for config in (configured("evaluation.n_layouts=2", f"world.backend={name}") for name in ("pybullet", "point"))
    )
    assert not np.array_equal(point["energy_proxy"], flown["energy_proxy"])
    np.testing.assert_allclose(flown["delivered_fraction"], point["delivered_fraction"], atol=0.15)
    np.testing.assert_allclose(flown["bytes_per_agent_s"], point["bytes_per_agent_s"])
    assert np.isfinite(flown["return"]).all()
