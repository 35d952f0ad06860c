"""Train a team on the batched world with TorchRL alone: independent PPO, in less than five minutes on two cores.

    .venv/bin/python learning/examples/train_torchrl.py
    .venv/bin/python learning/examples/train_torchrl.py configs/scarce.yaml team.n_agents=5 --updates 60 --seed 3

Each drone chooses a consumer every policy.decision_steps ticks and is flown there by the motion controller that all
methods of this project share. The drones share one small network, which sees the flat observation and nothing else: no
messages, no memory, no expert, no imitation. Before and after training the team flies the evaluation's layouts, beside
the rule "go to the nearest consumer that needs what you carry": before with the chance choices of a new network, after
with the most probable ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Categorical
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp
from torchrl.modules import MultiAgentMLP, ProbabilisticActor
from torchrl.objectives.multiagent import IPPOLoss
from torchrl.objectives.value import MultiAgentGAE

from sortie_core.config import UserError, load_config
from sortie_expert.greedy import nearest_need
from sortie_sim.flat_observation import flat_parts, flat_size
from sortie_sim.torchrl_env import DeliveryTorchRLEnv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensordict import TensorDictBase

    from sortie_core.config import Config

N_ENVS = 64
DECISIONS_PER_ROLLOUT = 20
EPOCHS = 4
MINIBATCHES = 8
LEARNING_RATE = 1e-3
ENTROPY = 0.01
VALUE_WEIGHT = 0.5
MAX_GRAD_NORM = 0.5
WIDTH = 64
OVERRIDES = ["reward.completion=0"]
"""The completion bonus goes to all drones that are there. Those that learn from nothing find it before they find what
is worth more, and then stand by instead of carrying on."""

OBSERVATION, ACTION, REWARD = ("agents", "observation"), ("agents", "action"), ("agents", "reward")
LOGITS, VALUE = ("agents", "logits"), ("agents", "state_value")


class Chooser(nn.Module):
    """Scores every consumer and "wait" by the same weights, in whatever order consumers and other drones are told.

    Args:
        config: that of the environment.
        width: of all layers.
    """

    def __init__(self, config: Config, width: int = WIDTH) -> None:
        super().__init__()
        self.config = config
        own, consumer, other = (part.shape[-1] for part in flat_parts(torch.zeros(flat_size(config)), config))
        self.other = nn.Sequential(nn.Linear(other, width), nn.ReLU())
        self.own = nn.Sequential(nn.Linear(own + width, width), nn.ReLU(), nn.Linear(width, width))
        self.consumer = nn.Linear(consumer, width)
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.wait = nn.Sequential(nn.ReLU(), nn.Linear(width, 1))

    def forward(self, observation: Tensor) -> Tensor:
        """[..., N, F] flat observations give [..., N, M + 1] logits."""
        own, consumers, others = flat_parts(observation, self.config)
        in_range = others[..., -1:]
        team = (self.other(others) * in_range).sum(-2)
        own = self.own(torch.cat([own, team], -1))
        scores = self.score(own[..., None, :] + self.consumer(consumers)).squeeze(-1)
        return torch.cat([scores, self.wait(own)], -1)


class Learner:
    """The actor and what trains it: TorchRL's loss, advantages and a learning rate that falls to 0.

    Args:
        config: that of the environment.
        updates: how many there will be.
    """

    def __init__(self, config: Config, updates: int) -> None:
        self.actor = ProbabilisticActor(
            TensorDictModule(Chooser(config), [OBSERVATION], [LOGITS]),
            in_keys={"logits": LOGITS},
            out_keys=[ACTION],
            distribution_class=Categorical,
            return_log_prob=True,
            default_interaction_type=ExplorationType.RANDOM,
        )
        critic_network = MultiAgentMLP(
            n_agent_inputs=flat_size(config),
            n_agent_outputs=1,
            n_agents=config.team.n_agents,
            centralized=False,
            share_params=True,
            depth=2,
            num_cells=WIDTH,
            activation_class=nn.Tanh,
        )
        critic = TensorDictModule(critic_network, [OBSERVATION], [VALUE])
        self.loss = IPPOLoss(
            self.actor,
            critic,
            entropy_coeff=ENTROPY,
            critic_coeff=VALUE_WEIGHT,
            loss_critic_type="l2",
            normalize_advantage_exclude_dims=(-1,),
        )
        self.loss.set_keys(value=VALUE, action=ACTION, reward=REWARD)
        gamma = config.train.gamma_per_s ** (config.world.dt_s * config.policy.decision_steps)
        self.advantage = MultiAgentGAE(gamma=gamma, lmbda=config.train.gae_lambda, value_network=critic)
        self.advantage.set_keys(value=VALUE, reward=REWARD)
        self.optimiser = torch.optim.Adam(self.loss.parameters(), lr=LEARNING_RATE, eps=1e-5)
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimiser, 1.0, 0.0, updates)

    def update(self, experience: TensorDictBase) -> None:
        """Some epochs over a rollout [B, T]."""
        with torch.no_grad():
            self.advantage(experience)
        samples = experience.select(*self.loss.in_keys, "advantage", "value_target", strict=False).reshape(-1)
        for _ in range(EPOCHS):
            for picked in torch.randperm(len(samples)).chunk(MINIBATCHES):
                losses = self.loss(samples[picked])
                self.optimiser.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(self.loss.parameters(), MAX_GRAD_NORM)
                self.optimiser.step()
        self.schedule.step()


def train(learner: Learner, env: DeliveryTorchRLEnv, updates: int) -> None:
    """Let the learner play and learn, with a progress bar."""
    columns = (
        TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("updates, {task.fields[figures]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    now = env.reset()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=updates, figures="")
        for _ in range(updates):
            with torch.no_grad():
                experience = env.rollout(
                    DECISIONS_PER_ROLLOUT, learner.actor, auto_reset=False, tensordict=now, break_when_any_done=False
                )
            now = env.maybe_reset(step_mdp(experience[:, -1]))
            learner.update(experience)
            reward = experience["next", "agents", "reward"].mean().item()
            progress.update(bar, advance=1, figures=f"reward per decision {reward:.4f}")


@torch.no_grad()
def fly(env: DeliveryTorchRLEnv, choose: Callable[[TensorDictBase], TensorDictBase]) -> dict[str, float]:
    """Fly the evaluation's layouts to their end.

    Args:
        env: of evaluation.n_layouts environments.
        choose: adds the action to what a step or a reset gave.

    Returns:
        delivered, the delivered share in the end; time_average, its mean over the mission time, as between decisions.
    """
    evaluation = env.config.evaluation
    now = env.reset(seeds=range(evaluation.first_seed, evaluation.first_seed + evaluation.n_layouts))
    shares = [0.0]
    for _ in range(-(-env.config.n_steps // env.world.ticks)):
        now = step_mdp(env.step(choose(now)))
        shares.append(now["delivered"].mean().item())
    between = [(before + after) / 2 for before, after in pairwise(shares)]
    return {"delivered": shares[-1], "time_average": sum(between) / len(between)}


def run(config: Config, seed: int, updates: int) -> dict[str, dict[str, float]]:
    """Train, and fly before and after it; returns the figures of `fly` by who flew."""
    torch.manual_seed(seed)
    learner = Learner(config, updates)
    env = DeliveryTorchRLEnv(config, N_ENVS, "choice", seed=seed)
    judge = DeliveryTorchRLEnv(config, config.evaluation.n_layouts, "choice")

    def greedy(now: TensorDictBase) -> TensorDictBase:
        return now.set(ACTION, nearest_need(judge.world.state, config))

    def most_probable(now: TensorDictBase) -> TensorDictBase:
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            return learner.actor(now)

    figures = {"nearest-need greedy": fly(judge, greedy), "before training": fly(judge, learner.actor)}
    train(learner, env, updates)
    return figures | {"after training": fly(judge, most_probable)}


def _whole(least: int) -> Callable[[str], int]:
    """Reads whole numbers from `least` on."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train a team on the batched world with TorchRL: independent PPO.")
    parser.add_argument("config", nargs="?", default="configs/scarce.yaml", help="a configuration")
    parser.add_argument("overrides", nargs="*", help="section.key=value, any number of them")
    parser.add_argument("--seed", type=_whole(0), default=1, help="of the weights, the layouts and the choices")
    parser.add_argument("--updates", type=_whole(1), default=150, help="rollouts to learn from")
    given = parser.parse_intermixed_args(arguments)
    started = time.perf_counter()
    torch.set_num_threads(1)  # for networks of this size more only wait for each other
    try:
        config = load_config(given.config, [*OVERRIDES, *given.overrides])
        figures = run(config, given.seed, given.updates)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{config.evaluation.n_layouts} unseen layouts, {config.team.n_agents} drones, seed {given.seed}:")
    for who, row in figures.items():
        print(f"{who:>20}: delivered {row['delivered']:.3f}, time average {row['time_average']:.3f}")
    print(f"{time.perf_counter() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
