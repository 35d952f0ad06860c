"""Proximal policy optimisation with shared parameters: IPPO, MAPPO, MOMAPPO.

The agents' values are the policy's own (IPPO), or those of a critic that sees the whole team and replaces them (MAPPO,
arXiv 2103.01955); MOMAPPO's tells what each kind of resource will bring, and the policy follows the plain sum of these
objectives. The first updates imitate a teacher on the states that the learner itself comes to (`teacher`); then PPO
goes on with the reward, beside which the teacher's advice keeps the weight train.imitation_weight.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sortie_policy import contraction
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.lgtc_cell import LGTCCell
from sortie_policy.parameter_count import equal_width
from sortie_train import losses
from sortie_train.cluster_statistics import cluster_statistics
from sortie_train.objectives import scalarised
from sortie_train.rollout import Rollout, replay
from sortie_train.teacher import Lesson, imitation_loss
from sortie_train.team_networks import CentralCritic
from sortie_train.training_run import TrainingRun, mean_figures
from sortie_train.wrapped_policy import CentrallyJudged

if TYPE_CHECKING:
    from sortie_policy.team_policy import Deliberation, TeamPolicy
    from sortie_train.schedule import Schedule


class Trainer(TrainingRun):
    """A PPO run in a folder; see `TrainingRun`."""

    def helpers(self) -> dict[str, nn.Module]:
        """The critic that sees the team, as large as the policy's own, which it replaces."""
        config = self.config
        if config.train.algorithm == "ippo":
            return {}
        objectives = config.policy.max_resources if config.train.algorithm == "momappo" else 0
        critic = partial(CentralCritic, config, objectives=objectives)
        width = equal_width(critic, lambda: getattr(self.policy, "critic", LGTCPolicy(config).critic))
        return {"critic": critic(width)}

    def actor(self) -> TeamPolicy:
        """See `TrainingRun`."""
        critic = self.modules.get("critic")
        return CentrallyJudged(self.policy, critic) if critic else self.policy

    def learn(self, rollouts: list[Rollout], now: Schedule) -> dict[str, float]:
        """Some epochs on the rollouts."""
        train = self.config.train
        aims = [self._aims(rollout) for rollout in rollouts]
        logged: list[dict[str, float]] = []
        for _ in range(train.epochs):
            for minibatch in self.minibatches(rollouts):
                each_figures = []
                for rollout, (advantage, target), envs in zip(rollouts, aims, minibatch, strict=True):
                    loss, figures = self._loss(rollout, envs, advantage, target, now.entropy)
                    (loss / len(rollouts)).backward()
                    each_figures.append(figures)
                self.descend()
                logged.append(mean_figures(each_figures))
            divergence = self.workers.mean({"kl": mean_figures(logged[-train.minibatches :])["policy/kl"]})["kl"]
            if divergence > 1.5 * train.target_kl and self.updates_done >= train.imitation_updates:
                break
        return mean_figures(logged)

    def _aims(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Normalised advantages [T, B, N], and the targets of the value."""
        advantage = losses.generalised_advantage(
            rollout.reward, rollout.value, rollout.next_value, rollout.ended, rollout.terminated, self.gamma,
            self.config.train.gae_lambda,
        )  # fmt: skip
        combined = scalarised(advantage, like=rollout.weight)
        return losses.normalised(combined, rollout.weight), advantage + rollout.value

    def _loss(
        self, rollout: Rollout, envs: Tensor, advantage: Tensor, target: Tensor, entropy_weight: float
    ) -> tuple[Tensor, dict[str, float]]:
        train, policy = self.config.train, self.actor()
        out = replay(policy, rollout, envs)
        weight, choice = rollout.weight[:, envs], rollout.choice[:, envs]
        now = losses.log_probability(out.log_choice, choice, out.correction, policy.log_std, rollout.drawn[:, envs])
        log_ratio = now - rollout.log_probability[:, envs]
        imitation = self._imitation(out, rollout, envs, weight)
        surrogate = losses.clipped_surrogate(log_ratio, advantage[:, envs], weight, train.clip)
        squared_error = scalarised((out.value - target[:, envs]).square(), like=weight)
        value = 0.5 * losses.weighted_mean(squared_error, weight)
        entropy = losses.weighted_mean(losses.entropy(out.log_choice), weight)
        stability = self._stability()
        imitating = self.updates_done < train.imitation_updates
        reinforcement = surrogate - entropy_weight * entropy + train.imitation_weight * imitation
        loss = (imitation if imitating else reinforcement) + train.value_weight * value + stability
        figures = {
            "loss/policy": surrogate.item(),
            "loss/value": value.item(),
            "loss/regularisation": stability.item(),
            "policy/kl": losses.divergence(log_ratio, weight).item(),
            "policy/entropy": entropy.item(),
            "expert/imitation_loss": imitation.item(),
            **cluster_statistics(out, rollout, envs),
        }
        return loss, figures

    def _imitation(self, out: Deliberation, rollout: Rollout, envs: Tensor, weight: Tensor) -> Tensor:
        """The loss against the teacher in those of the environments that it judged."""
        if rollout.lesson is None:
            return torch.zeros((), device=self.workers.device)
        judged = envs < rollout.lesson.choice.shape[1]
        lesson = Lesson(rollout.lesson.choice[:, envs[judged]], rollout.lesson.regret[:, envs[judged]])
        return imitation_loss(out.log_choice[:, judged], lesson, weight[:, judged])

    def _stability(self) -> Tensor:
        """The penalty on contraction rate and time constants."""
        cell, sizes = getattr(self.policy, "cell", None), self.config.policy
        if not isinstance(cell, LGTCCell):
            return torch.zeros((), device=self.workers.device)
        return contraction.regularisation(
            cell, sizes.regularisation, sizes.contraction_min_per_s, sizes.rate_min_per_s, sizes.rate_max_per_s
        )
