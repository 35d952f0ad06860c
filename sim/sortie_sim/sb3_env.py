"""The batched point world for Stable-Baselines3 (``pip install stable-baselines3``), which knows single agents only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sortie_sim.gymnasium_env import DeliveryVectorEnv

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_core.config import Config
    from sortie_sim.learner_world import ActionKind


class DeliveryVecEnv(VecEnv):
    """Every drone of B missions as an environment of its own, so that one policy learns to fly them all.

    ``PPO("MlpPolicy", DeliveryVecEnv(config, 64, "choice"))`` trains it; wrap it in SB3's ``VecMonitor`` for returns.
    The infos of a mission's last step also hold ``delivered``, its delivered share.

    Args:
        config: a whole configuration; world.backend is not read.
        n_missions: B, which makes B x N environments.
        action: the kind of actions.

    Raises:
        UserError: as for `LearnerWorld`.
    """

    def __init__(self, config: Config, n_missions: int, action: ActionKind = "velocity") -> None:
        """Make the spaces; `reset` makes the missions."""
        self._drones = DeliveryVectorEnv(config, n_missions, action, view="drone")
        self._actions = np.zeros(0)
        spaces = self._drones.single_observation_space, self._drones.single_action_space
        super().__init__(self._drones.num_envs, *spaces)

    def reset(self) -> np.ndarray:
        """Begin all missions, with the layouts of the seed given to `seed` before."""
        observations, _ = self._drones.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Remember what the drones are to do."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Let them do it; missions that end begin anew."""
        observations, reward, terminated, truncated, infos = self._drones.step(self._actions)
        over = terminated | truncated
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(over):
            told[index] = {
                "terminal_observation": infos["final_obs"][index],
                "TimeLimit.truncated": bool(truncated[index]),
                "delivered": float(infos["final_info"]["delivered"][index]),
            }
        return observations, reward, over, told

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for all drones."""
        value = getattr(self._drones, attr_name)
        return [value for _ in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: drones have nothing of their own that could be set."""
        raise AttributeError(f"drones have no {attr_name} of their own to set")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refused: drones have no methods of their own."""
        raise AttributeError(f"drones have no method {method_name} of their own")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No drone is."""
        return [False for _ in self._chosen(indices)]

    def _chosen(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
