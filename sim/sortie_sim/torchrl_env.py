"""The batched point world as a TorchRL environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Bounded, Categorical, Composite, TensorSpec, Unbounded
from torchrl.envs import EnvBase

from sortie_core.config_sections import RewardWeights
from sortie_sim.flat_observation import flat_size
from sortie_sim.learner_world import ActionKind, LearnerWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sortie_core.config import Config

_TERMS = [name for name in RewardWeights.model_fields if name != "guidance"]
"""Guidance takes an expert, which only this project's own training asks."""


class DeliveryTorchRLEnv(EnvBase):
    """B missions stepped together, all agents in one group, with the keys that VMAS and BenchMARL use.

    ======================================  ==============  ===========================================================
    key                                     shape           meaning
    ======================================  ==============  ===========================================================
    ``("agents", "observation")``           [B, N, F]       see `flat_observation`
    ``("agents", "action")``                [B, N, D]       velocity in [-1, 1], or
                                            or [B, N]       the chosen consumer, M to wait; see `ActionKind`
    ``("agents", "reward")``                [B, N, 1]       sum of the reward terms
    ``("agents", "mask")``                  [B, N]          False for drones that have failed
    ``("agents", "info", <reward term>)``   [B, N, 1]       the weighted terms
    ``"delivered"``                         [B, 1]          delivered share of the mission so far
    ``"done", "terminated", "truncated"``   [B, 1]          over; every demand met; time up
    ======================================  ==============  ===========================================================

    A partial reset (``"_reset"``, which rollouts and collectors of TorchRL ask for by themselves) begins new missions
    in some of the environments. Every mission draws its layout; ``env.reset(seeds=[...])`` names them instead. For
    returns add TorchRL's ``RewardSum`` transform.

    Args:
        config: a whole configuration; world.backend is not read.
        n_envs: B.
        action: the kind of actions.
        device: where the world lives, e.g. "cuda".
        seed: of the layouts, config.seed where None; `set_seed` fixes it anew.

    Raises:
        UserError: as for `LearnerWorld`.
    """

    def __init__(
        self,
        config: Config,
        n_envs: int,
        action: ActionKind = "velocity",
        device: torch.device | str = "cpu",
        seed: int | None = None,
    ) -> None:
        """Make the specs; `reset` makes the missions."""
        self.world = LearnerWorld(config, n_envs, action, "torch", str(device))
        super().__init__(device=torch.device(device), batch_size=torch.Size([n_envs]))
        self.config = config
        self.agent_names = [f"drone_{index}" for index in range(config.team.n_agents)]
        self.group_map = {"agents": self.agent_names}
        self._make_specs()
        self._set_seed(seed)

    def _make_specs(self) -> None:
        team = torch.Size([*self.batch_size, len(self.agent_names)])

        def group(**entries: TensorSpec) -> Composite:
            return Composite(agents=Composite(entries, shape=team), shape=self.batch_size).to(self.device)

        if self.world.action == "choice":
            action: TensorSpec = Categorical(self.world.n_choices, shape=team, dtype=torch.int64)
        else:
            action = Bounded(-1.0, 1.0, shape=(*team, self.config.task.dimensions), dtype=torch.float32)
        each = (*team, 1)
        self.action_spec = group(action=action)
        self.reward_spec = group(reward=Unbounded(each))
        self.observation_spec = group(
            observation=Unbounded((*team, flat_size(self.config))),
            mask=Categorical(2, shape=team, dtype=torch.bool),
            info=Composite({name: Unbounded(each) for name in _TERMS}, shape=team),
        )
        self.observation_spec["delivered"] = Unbounded((*self.batch_size, 1), device=self.device)
        flag = Categorical(2, shape=(*self.batch_size, 1), dtype=torch.bool, device=self.device)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=self.batch_size, device=self.device
        )

    def _set_seed(self, seed: int | None) -> None:
        self.world.seed(self.config.seed if seed is None else seed)

    def _reset(self, tensordict: TensorDictBase | None = None, seeds: Sequence[int] | None = None) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        self.world.reset(None if mask is None else mask.squeeze(-1).to(self.world.state.position.device), seeds)
        never = torch.zeros_like(self.world.delivered, dtype=torch.bool)
        nothing = torch.zeros_like(self.world.state.position[..., 0])
        return self._reading(dict.fromkeys(_TERMS, nothing), terminated=never, truncated=never)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["agents", "action"].to(self.world.state.position.device)
        turn = self.world.step(action)
        reading = self._reading(turn.terms, terminated=turn.terminated, truncated=turn.truncated)
        reading["agents", "reward"] = turn.reward[..., None]
        return reading

    def _reading(self, terms: dict[str, Tensor], **ends: Tensor) -> TensorDict:
        """The entries that a reset and a step share."""
        state = self.world.state
        agents = {
            "observation": self.world.observe(),
            "mask": state.alive,
            "info": {name: term[..., None] for name, term in terms.items()},
        }
        ends["done"] = ends["terminated"] | ends["truncated"]
        reading = TensorDict({name: flag[:, None] for name, flag in ends.items()}, self.batch_size, device=self.device)
        reading["delivered"] = self.world.delivered[:, None]
        reading["agents"] = TensorDict(agents, state.position.shape[:2], device=self.device)
        return reading
