"""The Gymnasium environments pass Gymnasium's checker, agree with one another, and Stable-Baselines3 learns on them."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from sortie_core.config import UserError, load_config
from sortie_sim.gymnasium_env import DeliveryTeamEnv, DeliveryVectorEnv
from sortie_sim.sb3_env import DeliveryVecEnv

CONFIGS = Path(__file__).parents[2] / "configs"
EVENTFUL = [
    "team.n_agents=5",
    "team.failure_probability=0.4",
    "task.late_demand_probability=0.5",
    "task.duration_s=4.0",
]
SCARCE = load_config(CONFIGS / "scarce.yaml", EVENTFUL)
ACTIONS = pytest.mark.parametrize("action", ["velocity", "choice"])


@ACTIONS
@pytest.mark.parametrize("changes", [[], ["task.dimensions=3", "task.n_presence=1"], ["team.n_agents=1"]])
def test_gymnasium_has_nothing_to_say_against_it(action: str, changes: list[str]):
    config = load_config(CONFIGS / "delivery.yaml", [*EVENTFUL, *changes])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("sortie_sim.gymnasium_env:sortie/Delivery-v0", config=config, action=action)
        check_env(env.unwrapped)


@ACTIONS
def test_missions_stepped_together_are_those_stepped_one_by_one(action: str):
    together = DeliveryVectorEnv(SCARCE, 3, action)
    apart = SyncVectorEnv([lambda: DeliveryTeamEnv(SCARCE, action)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert together.metadata["autoreset_mode"] == apart.metadata["autoreset_mode"]
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(together, name) == getattr(apart, name), name
    together.action_space.seed(0)
    seeds = [3, 4, 5]
    observations = [env.reset(seed=seeds)[0] for env in (together, apart)]
    over = False
    while not over:
        np.testing.assert_allclose(*observations, atol=1e-5)
        actions = together.action_space.sample()
        mine, theirs = together.step(actions), apart.step(actions)
        observations = [mine[0], theirs[0]]
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-5)
        np.testing.assert_array_equal(mine[2:4], theirs[2:4])
        over = bool((mine[2] | mine[3]).any())
    np.testing.assert_array_equal(mine[4]["_final_obs"], theirs[4]["_final_obs"])
    for ours, other in zip(mine[4]["final_obs"], theirs[4]["final_obs"], strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-5)
    np.testing.assert_allclose(mine[4]["final_info"]["delivered"], theirs[4]["final_info"]["delivered"], atol=1e-5)
    # What comes next is a new mission, which both draw for themselves.
    assert mine[0] in together.observation_space and not mine[4]["delivered"].any()


@ACTIONS
def test_drones_apart_are_the_team_seen_one_by_one(action: str):
    team, drones = DeliveryVectorEnv(SCARCE, 3, action), DeliveryVectorEnv(SCARCE, 3, action, view="drone")
    assert drones.num_envs == 15
    observed, alone = team.reset(seed=9)[0], drones.reset(seed=9)[0]
    team.action_space.seed(1)
    failed = 0
    for _ in range(60):
        assert alone in drones.observation_space
        np.testing.assert_array_equal(observed, alone.reshape(observed.shape))
        actions = team.action_space.sample()
        observed, reward, terminated, truncated, infos = team.step(actions)
        alone, *rest = drones.step(actions.reshape(15, *actions.shape[2:]))
        np.testing.assert_allclose(reward, rest[0].reshape(3, 5).mean(1), atol=1e-6)
        over = terminated | truncated
        np.testing.assert_array_equal(np.repeat(over, 5), rest[1] | rest[2])
        assert not (rest[1] & rest[2]).any()
        failed += (rest[1].reshape(3, 5) & truncated[:, None]).sum()
        for mission in np.flatnonzero(over):
            last = rest[3]["final_obs"][5 * mission : 5 * mission + 5]
            np.testing.assert_array_equal(infos["final_obs"][mission], np.stack(last))
    assert failed > 0, "drones that failed are terminated where the others ran out of time"


def test_seeds_repeat_the_first_missions_and_those_after():
    def play(seed: int) -> list[np.ndarray]:
        env = DeliveryVectorEnv(SCARCE, 2, "choice")
        observations, _ = env.reset(seed=seed)
        env.action_space.seed(0)
        return [observations] + [env.step(env.action_space.sample())[0] for _ in range(20)]

    first, again, other = play(1), play(1), play(2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])


def test_bad_arguments_are_named():
    with pytest.raises(UserError, match="crowd"):
        DeliveryVectorEnv(SCARCE, 2, view="crowd")
    with pytest.raises(UserError, match="1 seeds for 2"):
        DeliveryVectorEnv(SCARCE, 2).reset(seed=[1])


def test_actions_that_are_none_are_refused():
    team = DeliveryTeamEnv(SCARCE)
    team.reset(seed=1)
    for action in (np.zeros(2), np.zeros((5, 3))):
        with pytest.raises(ValueError, match=r"of shape \(1, 5, 2\), not \(1, "):
            team.step(action)
    with pytest.raises(ValueError, match="velocities must be finite"):
        team.step(np.full((5, 2), np.nan, np.float32))
    choosing = DeliveryTeamEnv(SCARCE, "choice")
    choosing.reset(seed=1)
    for action in (np.full(5, 77), np.full(5, -1), np.zeros(5)):
        with pytest.raises(ValueError, match="choices must be integers from 0 to 5"):
            choosing.step(action)


@ACTIONS
def test_stable_baselines_sees_the_drones(action: str):
    env, drones = DeliveryVecEnv(SCARCE, 2, action), DeliveryVectorEnv(SCARCE, 2, action, view="drone")
    env.seed(6)
    np.testing.assert_array_equal(env.reset(), drones.reset(seed=6)[0])
    drones.action_space.seed(0)
    over = np.zeros(10, dtype=bool)
    while not over.any():
        actions = drones.action_space.sample()
        observations, reward, over, told = env.step(actions)
        expected = drones.step(actions)
        np.testing.assert_array_equal(observations, expected[0])
        np.testing.assert_array_equal(reward, expected[1])
        np.testing.assert_array_equal(over, expected[2] | expected[3])
    for index in range(10):
        assert told[index]["TimeLimit.truncated"] == expected[3][index]
        np.testing.assert_array_equal(told[index]["terminal_observation"], expected[4]["final_obs"][index])
    assert {each["delivered"] for each in told[:5]} == {float(expected[4]["final_info"]["delivered"][0])}


def test_stable_baselines_learns_on_it():
    env = VecMonitor(DeliveryVecEnv(SCARCE, 4, "choice"))
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=80, n_epochs=2, seed=1, device="cpu")
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(2 * 8 * env.num_envs)
    assert model.num_timesteps == 2 * 8 * 20
    assert any((new != old).any() for new, old in zip(model.policy.parameters(), before, strict=True))
    missions = 16 // -(-SCARCE.n_steps // SCARCE.policy.decision_steps)
    assert len(model.ep_info_buffer) == missions * 20, "every drone's missions are told"
