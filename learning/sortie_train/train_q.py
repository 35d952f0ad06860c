"""Value decomposition: VDN and QMIX, double Q-learning (arXiv 1509.06461) of a value that all agents share.

The value of an agent's choice is put together from what every network gives, a value and log probabilities, ``Q_i(a) =
V_i + log pi_i(a)``. Every Q function is of this form, with V the logarithm of the sum of its exponentials. Agents learn
from sequences drawn from the latest rollouts. The end of a mission's time is an end like any other here, since agents
observe the time that is left (arXiv 1712.00378). Corrections of the motion are not learned.
"""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sortie_core.training import DELIVERED, RETURN
from sortie_train import losses
from sortie_train.rollout import Rollout, replay
from sortie_train.team_networks import QMixer, VDNMixer
from sortie_train.training_run import TrainingRun, mean_figures
from sortie_train.wrapped_policy import EpsilonGreedy

if TYPE_CHECKING:
    from sortie_policy.team_policy import Deliberation, TeamPolicy
    from sortie_train.schedule import Schedule

_EPSILON = (1.0, 0.05)
_EXPLORING = 0.3
_KEPT_ROLLOUTS = 10
_TARGET_RATE = 0.02


class Trainer(TrainingRun):
    """A run of VDN or QMIX in a folder; see `TrainingRun`."""

    imitates = False
    headline = (DELIVERED, RETURN, "loss/td", "policy/value")

    def helpers(self) -> dict[str, nn.Module]:
        """The mixer, and slowly following copies of mixer and policy, which give the targets."""
        self._mixer = QMixer(self.config) if self.config.train.algorithm == "qmix" else VDNMixer()
        self._target_policy = deepcopy(self.policy).requires_grad_(False)
        self._target_mixer = deepcopy(self._mixer).requires_grad_(False)
        self._latest: list[deque[Rollout]] = [deque(maxlen=_KEPT_ROLLOUTS) for _ in self.config.train.scenarios]
        return {
            "mixer": self._mixer, "target_policy": self._target_policy, "target_mixer": self._target_mixer
        }  # fmt: skip

    @property
    def epsilon(self) -> float:
        """How often agents choose at random."""
        over = min(1.0, self.updates_done / self.n_updates / _EXPLORING)
        return _EPSILON[0] + (_EPSILON[1] - _EPSILON[0]) * over

    def actor(self) -> TeamPolicy:
        """See `TrainingRun`."""
        return EpsilonGreedy(self.policy, self.epsilon)

    def learn(self, rollouts: list[Rollout], now: Schedule) -> dict[str, float]:
        """As many steps on random sequences as PPO makes on the new ones."""
        self._target_policy.set_temperature(now.temperature)
        for latest, rollout in zip(self._latest, rollouts, strict=False):
            latest.append(rollout)
        logged = []
        for _ in range(self.config.train.epochs):
            for minibatch in self.minibatches(rollouts):
                each_figures = []
                for latest, envs in zip(self._latest, minibatch, strict=False):
                    drawn = latest[int(torch.randint(len(latest), (), generator=self.random))]
                    loss, figures = self._loss(drawn, envs)
                    (loss / len(rollouts)).backward()
                    each_figures.append(figures)
                self.descend()
                self._follow()
                logged.append(mean_figures(each_figures))
        return mean_figures(logged) | {"policy/exploration": self.epsilon}

    def _loss(self, rollout: Rollout, envs: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The mean squared error of the team's value, per agent, over the decisions whose successor is known."""
        weight, ended = rollout.weight[:, envs], rollout.ended[:, envs]
        count = weight.sum(-1).clamp(min=1.0)
        out = replay(self.policy, rollout, envs)
        seen = rollout.seen.map(lambda array: array[:, envs].flatten(0, 1))

        def mixed(mixer: nn.Module, of: Deliberation, choice: Tensor) -> Tensor:
            return mixer((choice_value(of, choice) * weight).flatten(0, 1), seen).view(count.shape)

        value = mixed(self._mixer, out, rollout.choice[:, envs])
        with torch.no_grad():
            slow = replay(self._target_policy, rollout, envs)
            following = mixed(self._target_mixer, slow, out.log_choice.argmax(-1))
        reward = (rollout.reward[:, envs] * weight).sum(-1)
        target, known = losses.bootstrapped(reward, following, ended, self.gamma)
        error = (value - target) / count
        loss = losses.weighted_mean(error.square(), known)
        figures = {"loss/td": loss.item(), "policy/value": losses.weighted_mean(value / count, known).item()}
        return loss, figures

    @torch.no_grad()
    def _follow(self) -> None:
        for target, module in ((self._target_policy, self.policy), (self._target_mixer, self._mixer)):
            for slow, fast in zip(target.parameters(), module.parameters(), strict=True):
                slow.lerp_(fast, _TARGET_RATE)

    def memories(self) -> dict[str, Any]:
        """The latest rollouts; none once training is over."""
        return {"latest": self._latest if self.updates_done < self.n_updates else [deque() for _ in self._latest]}

    def recall(self, memories: dict[str, Any]) -> None:
        """See `TrainingRun`."""
        self._latest = memories["latest"]


def choice_value(out: Deliberation, choice: Tensor) -> Tensor:
    """``Q_i(a) = V_i + log pi_i(a)`` of choices [...]."""
    return out.value + out.log_choice.gather(-1, choice[..., None]).squeeze(-1)
