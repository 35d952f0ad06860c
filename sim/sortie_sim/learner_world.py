"""The point world as learning libraries want it: actions in, flat observations, rewards and ends out.

The PettingZoo, Gymnasium and TorchRL environments are thin faces of this one, so that the same layouts and actions give
the same missions in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from array_api_compat import array_namespace

from sortie_core.action import team_command
from sortie_core.config import UserError
from sortie_core.metrics import delivered_share
from sortie_sim.flat_observation import flat_observation
from sortie_sim.point_world import PointWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

ActionKind = Literal["velocity", "choice"]
"""What an agent's action is.

velocity: [-1, 1]^D, a velocity command in units of world.max_speed_mps, for one tick.
choice: a consumer, or M to wait, to which the shared motion controller flies for policy.decision_steps ticks; this is
    how the policy and the references of this project act.
"""
_DRAWN = (2**32, 2**53)
"""Layouts that learners draw are apart from all that people name by hand, such as the evaluation's."""


@dataclass
class Turn:
    """What one action of all agents brought; missions that were already over bring no reward.

    Attributes:
        reward: [B, N] the sum of the terms over the ticks of the action.
        terms: weighted reward terms by name, [B, N] each.
        terminated: [B] bool, every demand was met.
        truncated: [B] bool, the time was up before that.
    """

    reward: Array
    terms: dict[str, Array]
    terminated: Array
    truncated: Array


class LearnerWorld:
    """A batch of missions that are begun and stepped by a learner.

    Args:
        config: a whole configuration; world.backend is not read.
        n_envs: B.
        action: the kind of actions.
        namespace: which arrays to use.
        device: torch device; None for the CPU.

    Attributes:
        point: the world beneath.
        delivered: [B] delivered share of each mission, as it was at the end where the mission is over.

    Raises:
        UserError: no such kind of actions, no environment, or demands that are not broadcast.
    """

    def __init__(
        self,
        config: Config,
        n_envs: int,
        action: ActionKind = "velocity",
        namespace: Literal["numpy", "torch"] = "numpy",
        device: str | None = None,
    ) -> None:
        """Remember the settings; `reset` makes the missions."""
        if action not in ("velocity", "choice"):
            raise UserError(f"action {action!r} is neither velocity nor choice")
        if n_envs < 1:
            raise UserError(f"n_envs: {n_envs} environments cannot be stepped; ask for 1 or more")
        if config.task.demand_sensing != "broadcast":
            raise UserError("task.demand_sensing: observations show all demands here; set it to broadcast")
        self.config, self.n_envs, self.action = config, n_envs, action
        self.ticks = config.policy.decision_steps if action == "choice" else 1
        self.n_choices = config.task.n_consumers + 1
        self.point = PointWorld(config, namespace, device)
        self.delivered: Array = None
        self.seed(config.seed)

    @property
    def state(self) -> WorldState:
        """The missions as they are."""
        return self.point.state

    def seed(self, seed: int) -> None:
        """Fix the layouts that resets draw; each environment draws from a sequence of its own."""
        self._draws = [np.random.default_rng([seed, index]) for index in range(self.n_envs)]

    def reset(self, mask: Array | None = None, seeds: Sequence[int] | None = None) -> None:
        """Begin missions.

        Args:
            mask: [B] bool, the environments that begin anew; None for all.
            seeds: their layouts, in order, as in `sortie_core.layout`; None to draw them.

        Raises:
            UserError: not one seed per environment that begins, or drones or consumers do not fit into the arena.
        """
        chosen = [index for index in range(self.n_envs) if mask is None or bool(mask[index])]
        if seeds is None:
            seeds = [int(self._draws[index].integers(*_DRAWN)) for index in chosen]
        elif len(seeds) != len(chosen):
            raise UserError(f"{len(seeds)} seeds for {len(chosen)} environments; give one each")
        if mask is None:
            self.delivered = delivered_share(self.point.reset(seeds))
            xp = array_namespace(self.delivered)
            self._terminated = self._truncated = xp.zeros_like(self.delivered, dtype=xp.bool)
        else:
            xp = array_namespace(self.delivered)
            self.delivered = xp.where(mask, delivered_share(self.point.reset_where(mask, seeds)), self.delivered)
            self._terminated, self._truncated = self._terminated & ~mask, self._truncated & ~mask
        self._linked = self.point.graph()[1]

    def step(self, action: Array) -> Turn:
        """Let all agents act.

        Args:
            action: [B, N, D] floats or [B, N] ints, see `ActionKind`, in this world's namespace.

        Raises:
            ValueError: it is of another shape, or (NumPy) holds what is no number, or no consumer.
        """
        self._check(action)
        xp = array_namespace(self.delivered)
        total: dict[str, Array] = {}
        for _ in range(self.ticks):
            running = ~(self._terminated | self._truncated)
            result = self.point.step(self._command(action))
            self._linked = result.adjacency
            for name, term in result.terms.items():
                now = term * xp.astype(running, term.dtype)[:, None]
                total[name] = total[name] + now if name in total else now
            self._terminated = self._terminated | (running & result.terminated)
            self._truncated = self._truncated | (running & result.truncated)
            self.delivered = xp.where(running, delivered_share(result.state), self.delivered)
        return Turn(sum(total.values()), total, self._terminated, self._truncated)

    def observe(self) -> Array:
        """[B, N, F] the flat observation of every agent as things are."""
        return flat_observation(self.state, self._linked, self.config)

    def idle(self) -> Array:
        """The action of agents that stay where they are."""
        position = self.state.position
        xp = array_namespace(position)
        if self.action == "choice":
            return xp.full_like(position[..., 0], self.n_choices - 1, dtype=xp.int64)
        return xp.zeros_like(position)

    def _check(self, action: Array) -> None:
        idle = self.idle()
        if tuple(action.shape) != tuple(idle.shape):
            raise ValueError(f"actions [B, N, ...] must be of shape {tuple(idle.shape)}, not {tuple(action.shape)}")
        if not isinstance(action, np.ndarray):
            return
        if self.action == "choice":
            if not (np.issubdtype(action.dtype, np.integer) and action.min() >= 0 and action.max() < self.n_choices):
                raise ValueError(f"choices must be integers from 0 to {self.n_choices - 1}, not {action}")
        elif not np.isfinite(action).all():
            raise ValueError(f"velocities must be finite, not {action}")

    def _command(self, action: Array) -> Array:
        """[B, N, D] m/s."""
        if self.action == "choice":
            return team_command(self.state, action, self._linked, None, self.config)
        return array_namespace(action).clip(action, min=-1.0, max=1.0) * self.config.world.max_speed_mps
