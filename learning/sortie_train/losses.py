"""Losses of independent PPO (arXiv 1707.06347, 2011.09533) as pure functions.

Weights are 1 for agents that count, 0 for padding and failed agents.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantage(
    reward: Tensor, value: Tensor, next_value: Tensor, ended: Tensor, terminated: Tensor, gamma: float, lam: float
) -> Tensor:
    """Generalised advantage estimation (arXiv 1506.02438).

    A truncated episode is bootstrapped from the value of its last state; only a terminated one is worth nothing more.

    Args:
        reward: [T, B, ...] of each decision.
        value: [T, B, ...] before each decision.
        next_value: [T, B, ...] after each decision, of the same episode.
        ended: [T, B] bool, the episode ended with this decision.
        terminated: [T, B] bool, it ended because nothing was left to do.
        gamma: discount per decision.
        lam: the exponential weight lambda.

    Returns:
        [T, B, ...] advantages.
    """
    axes = (1,) * (reward.ndim - ended.ndim)
    going, bootstrapped = (~ended).view(*ended.shape, *axes), (~terminated).view(*ended.shape, *axes)
    error = reward + gamma * next_value * bootstrapped - value
    advantage, result = torch.zeros_like(value[0]), torch.empty_like(value)
    for t in reversed(range(len(reward))):
        advantage = error[t] + gamma * lam * advantage * going[t]
        result[t] = advantage
    return result


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean of `values` where `weight` is 1."""
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def normalised(advantage: Tensor, weight: Tensor) -> Tensor:
    """Zero mean and unit standard deviation over the agents that count."""
    centred = advantage - weighted_mean(advantage, weight)
    return centred / (weighted_mean(centred.square(), weight).sqrt() + 1e-8)


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, weight: Tensor, clip: float) -> Tensor:
    """PPO's policy loss, to be minimised."""
    ratio = log_ratio.exp()
    return -weighted_mean(torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage), weight)


def divergence(log_ratio: Tensor, weight: Tensor) -> Tensor:
    """Unbiased estimate of KL(old || new), ``(r - 1) - log r``."""
    return weighted_mean(log_ratio.exp() - 1 - log_ratio, weight)


def log_probability(log_choice: Tensor, choice: Tensor, mean: Tensor, log_std: Tensor, drawn: Tensor) -> Tensor:
    """Log density of a choice [...] and of a correction before its tanh [..., D].

    Raises:
        FloatingPointError: the mean is not finite.
    """
    if not torch.isfinite(mean).all():
        raise FloatingPointError("the policy's corrections are no longer finite")
    chosen = log_choice.gather(-1, choice[..., None]).squeeze(-1)
    return chosen + torch.distributions.Normal(mean, log_std.exp()).log_prob(drawn).sum(-1)


def entropy(log_choice: Tensor) -> Tensor:
    """[...] entropy of the choice."""
    # A masked consumer has log probability -1e9 and contributes 0, not NaN.
    return -(log_choice.exp() * log_choice.clamp(min=-1e4)).sum(-1)


def bootstrapped(reward: Tensor, following: Tensor, ended: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Targets of one-step value learning, ``r_t + gamma V_{t+1}``, without the second term where an episode ended.

    Args:
        reward: [T, B] of each decision.
        following: [T, B] value of each decision's state, as the target of the one before.
        ended: [T, B] bool, the episode ended with this decision.
        gamma: discount per decision.

    Returns:
        [T, B] targets, and 1 where they are known, else 0: that of the last decision is not, unless it ended.
    """
    after = torch.cat([following[1:], torch.zeros_like(following[:1])])
    known = ended.clone()
    known[:-1] = True
    return reward + gamma * after * ~ended, known.to(reward.dtype)
