"""The TorchRL environment: TorchRL's own check, and the same missions as the world beneath it and as PettingZoo's."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs, step_mdp

from sortie_core.action import team_command
from sortie_core.config import UserError, load_config
from sortie_core.layout import sample_layout
from sortie_core.metrics import MissionMetrics
from sortie_sim.pettingzoo_env import DeliveryEnv
from sortie_sim.point_world import PointWorld
from sortie_sim.torchrl_env import DeliveryTorchRLEnv

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensordict import TensorDictBase

CONFIGS = Path(__file__).parents[2] / "configs"
EVENTFUL = load_config(
    CONFIGS / "scarce.yaml",
    [
        "team.n_agents=5",
        "team.failure_probability=0.3",
        "team.discharge_probability=0.5",
        "task.late_demand_probability=0.5",
        "task.duration_s=5.0",
    ],
)
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
ACTIONS = pytest.mark.parametrize("action", ["velocity", "choice"])


def acted(env: DeliveryTorchRLEnv, now: TensorDictBase, random: torch.Generator) -> TensorDictBase:
    """A step with random actions."""
    shape = env.full_action_spec[env.action_key].shape
    if env.world.action == "choice":
        action = torch.randint(env.world.n_choices, shape, generator=random)
    else:
        action = 2.4 * torch.rand(shape, generator=random) - 1.2  # beyond the limits too
    now["agents", "action"] = action
    return env.step(now)


@ACTIONS
@pytest.mark.parametrize("device", DEVICES)
def test_torchrl_finds_its_specs_kept(action: str, device: str):
    env = DeliveryTorchRLEnv(EVENTFUL, 4, action, device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env_specs(env, break_when_any_done="both")
        check_env_specs(env, seed=3)
    assert env.rollout(3).device.type == device


def test_a_velocity_step_is_a_step_of_the_point_world():
    env, world = DeliveryTorchRLEnv(EVENTFUL, 3), PointWorld(EVENTFUL)
    now, random = env.reset(seeds=[7, 8, 9]), torch.Generator().manual_seed(0)
    world.reset([7, 8, 9])
    for _ in range(EVENTFUL.n_steps):
        stepped = acted(env, now, random)
        command = stepped["agents", "action"].clamp(-1, 1) * EVENTFUL.world.max_speed_mps
        result, now = world.step(command), step_mdp(stepped)
        torch.testing.assert_close(stepped["next", "agents", "reward"].squeeze(-1), result.reward, rtol=0, atol=0)
        assert torch.equal(now["agents", "mask"], result.state.alive)
        assert torch.equal(now["terminated"].squeeze(-1), result.terminated)
        assert torch.equal(now["truncated"].squeeze(-1), result.truncated)
        for name, array in vars(result.state).items():
            assert torch.equal(getattr(env.world.state, name), array), name
    assert now["done"].all() and not now["agents", "mask"].all()


def test_a_choice_is_flown_by_the_shared_controller_until_the_next_one():
    env, world = DeliveryTorchRLEnv(EVENTFUL, 3, "choice"), PointWorld(EVENTFUL)
    now, random = env.reset(seeds=[7, 8, 9]), torch.Generator().manual_seed(0)
    world.reset([7, 8, 9])
    for _ in range(EVENTFUL.n_steps // EVENTFUL.policy.decision_steps):
        stepped = acted(env, now, random)
        earned, linked = torch.zeros(3, 5), world.graph()[1]
        for _ in range(EVENTFUL.policy.decision_steps):
            result = world.step(team_command(world.state, stepped["agents", "action"], linked, None, EVENTFUL))
            earned, linked = earned + result.reward, result.adjacency
        now = step_mdp(stepped)
        torch.testing.assert_close(stepped["next", "agents", "reward"].squeeze(-1), earned)
        assert torch.equal(env.world.state.position, world.state.position)


@ACTIONS
def test_pettingzoo_flies_the_same_mission(action: str):
    env, single = DeliveryTorchRLEnv(EVENTFUL, 2, action), DeliveryEnv(EVENTFUL, action)
    now, random = env.reset(seeds=[21, 22]), torch.Generator().manual_seed(1)
    observations, _ = single.reset(seed=22)
    steps = 0
    while single.agents:
        for agent, values in observations.items():
            mine = now["agents", "observation"][1, single.possible_agents.index(agent)]
            np.testing.assert_allclose(mine, values, atol=1e-4)
        stepped = acted(env, now, random)
        told = stepped["agents", "action"][1].numpy()
        observations, rewards, terminations, truncations, infos = single.step(
            {agent: told[single.possible_agents.index(agent)] for agent in single.agents}
        )
        now, steps = step_mdp(stepped), steps + 1
        after = stepped["next"][1]
        for agent, reward in rewards.items():
            index = single.possible_agents.index(agent)
            assert after["agents", "reward"][index].item() == pytest.approx(reward, abs=1e-4)
            over = bool(after["terminated"]) or not bool(after["agents", "mask"][index])
            assert (over, bool(after["truncated"])) == (terminations[agent], truncations[agent])
            for name, term in infos[agent]["reward_terms"].items():
                assert after["agents", "info", name][index].item() == pytest.approx(term, abs=1e-4)
    assert steps == -(-EVENTFUL.n_steps // env.world.ticks)


@ACTIONS
def test_a_seed_gives_the_same_missions_again_and_others_give_others(action: str):
    def play(seed: int) -> TensorDictBase:
        env = DeliveryTorchRLEnv(EVENTFUL, 3, action, seed=seed)
        now, random, steps = env.reset(), torch.Generator().manual_seed(2), []
        for _ in range(70 // env.world.ticks):
            stepped, now = env.step_and_maybe_reset(acted(env, now, random))
            steps.append(stepped)
        return torch.stack(steps)

    first, again, other = play(1), play(1), play(2)
    assert (first == again).all() and first["next", "done"].any()
    places = [play[0]["agents", "observation"][:, 0, :2].tolist() for play in (first, other)]
    assert len({tuple(place) for place in places[0] + places[1]}) == 6


def test_what_an_environment_draws_does_not_depend_on_when_the_others_end():
    early, late = (DeliveryTorchRLEnv(EVENTFUL, 3, seed=5) for _ in range(2))
    for env in (early, late):
        env.reset()
    for mask in ([True, False, True], [False, True, False]):
        early.world.reset(torch.tensor(mask))
    late.world.reset(torch.tensor([True, True, True]))
    assert torch.equal(early.world.state.position, late.world.state.position)


def test_a_partial_reset_begins_the_masked_missions_anew_and_no_other():
    env = DeliveryTorchRLEnv(EVENTFUL, 3)
    now, random = env.reset(seeds=[1, 2, 3]), torch.Generator().manual_seed(0)
    for _ in range(EVENTFUL.n_steps):
        now = step_mdp(acted(env, now, random))
    assert now["done"].all()
    before = now.clone()
    now["_reset"] = torch.tensor([[False], [True], [False]])
    fresh = env.reset(now, seeds=[77])
    kept = torch.tensor([True, False, True])
    assert (fresh[kept].select(*before.keys()) == before[kept]).all()
    expected = sample_layout(EVENTFUL, [77])
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(env.world.state, name)[1:2].numpy(), array, err_msg=name)
    assert fresh["done"].squeeze(-1).tolist() == [True, False, True]
    assert fresh["delivered"][1] == 0
    # Missions that are over and were not begun anew bring nothing more, whatever happens in them.
    delivered = fresh["delivered"].clone()
    after = acted(env, fresh, random)["next"]
    assert not after["agents", "reward"][kept].any() and after["done"].squeeze(-1).tolist() == [True, False, True]
    assert torch.equal(after["delivered"][kept], delivered[kept])


def test_rollouts_begin_missions_that_end_anew():
    env = DeliveryTorchRLEnv(EVENTFUL, 4, "choice", seed=1)
    steps = env.rollout(25, break_when_any_done=False)
    clock = 2 * EVENTFUL.task.dimensions + EVENTFUL.policy.max_resources
    left = steps["agents", "observation"][..., 0, clock]
    ended = steps["next", "done"].squeeze(-1)
    assert ended.sum(1).min() >= 2
    whole = left[:, 0:1].expand_as(left[:, 1:])
    assert torch.equal(left[:, 1:] == whole, ended[:, :-1])


def test_delivered_is_what_the_metrics_count_also_where_a_mission_ends_within_a_decision():
    config = EVENTFUL.override(["policy.decision_steps=7"])
    assert config.n_steps % 7
    env, world = DeliveryTorchRLEnv(config, 6, "choice"), PointWorld(config)
    now, random = env.reset(seeds=range(6)), torch.Generator().manual_seed(0)
    state, linked = world.reset(range(6)), world.graph()[1]
    metrics = MissionMetrics(state, config)
    for _ in range(-(-config.n_steps // 7)):
        stepped = acted(env, now, random)
        for _ in range(7):
            result = world.step(team_command(world.state, stepped["agents", "action"], linked, None, config))
            metrics.update(state, result.state)
            state, linked = result.state, result.adjacency
        now = step_mdp(stepped)
        torch.testing.assert_close(now["delivered"].squeeze(-1), metrics.result()["delivered_fraction"])
    assert now["done"].all() and now["delivered"].max() > 0
    assert not torch.equal(now["delivered"].squeeze(-1), 1 - state.unmet.sum((1, 2)) / state.demand.sum((1, 2)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (partial(DeliveryTorchRLEnv, EVENTFUL, 2, "jump"), "jump"),
        (partial(DeliveryTorchRLEnv, EVENTFUL, 0), "n_envs"),
        (lambda: DeliveryTorchRLEnv(EVENTFUL, 3).reset(seeds=[1, 2]), "2 seeds for 3"),
    ],
)
def test_bad_arguments_are_named(make: Callable[[], object], named: str):
    with pytest.raises(UserError, match=named):
        make()
