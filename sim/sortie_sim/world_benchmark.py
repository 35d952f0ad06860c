"""How fast the batched point world is."""

from __future__ import annotations

import time

import numpy as np

from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import observe
from sortie_core.shipped import shipped
from sortie_core.state import stored_batch_last
from sortie_sim.point_world import PointWorld

_CONFIG = shipped("configs/delivery.yaml")
_BLOCK_PAIRS = 400_000
"""Pairs of drones stepped together, which keeps the pairwise arrays in the processor's cache."""
_MOST_ENVS = 1024
"""Environments stepped together."""
_LAYOUTS = 256
"""Different layouts; larger batches repeat them."""


def run(seconds: float, n_envs: int = 4096, n_agents: int = 10, config: Config | None = None) -> dict[str, float]:
    """Environment steps per second of the point world with torch on one thread.

    One step includes motion, collisions, radio graph, delivery, every reward term, observation, and the
    exchange of finished missions for new ones. Environments are stepped in blocks.

    Args:
        seconds: about how long to measure, s.
        n_envs: environments.
        n_agents: drones in each.
        config: for everything but the drones' number; None for configs/delivery.yaml with 3 consumers and 2 resources.

    Returns:
        env_steps_per_s by wall clock, env_steps_per_cpu_s by processor time, and what was measured.
    """
    import torch

    if config is None:
        config = load_config(_CONFIG, ["task.n_consumers=3", "task.n_resources=2"])
    config = config.override([f"team.n_agents={n_agents}"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(seconds, n_envs, config)
    finally:
        torch.set_num_threads(threads)


def _measure(seconds: float, n_envs: int, config: Config) -> dict[str, float]:
    size = min(_MOST_ENVS, max(1, _BLOCK_PAIRS // config.team.n_agents**2))
    blocks = [_Block(config, min(size, n_envs - first)) for first in range(0, n_envs, size)]
    for block in blocks:
        block.step()
    steps, begin, begin_cpu = 0, time.perf_counter(), time.process_time()
    while steps == 0 or time.perf_counter() - begin < seconds:
        for block in blocks:
            block.step()
        steps += n_envs
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    return {
        "env_steps_per_s": steps / wall_s,
        "env_steps_per_cpu_s": steps / cpu_s,
        "agent_steps_per_s": steps * config.team.n_agents / wall_s,
        "n_envs": n_envs,
        "n_agents": config.team.n_agents,
        "n_consumers": config.task.n_consumers,
        "n_resources": config.task.n_resources,
        "env_steps": steps,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
    }


class _Block:
    """Environments whose drones head for one consumer each, so that all rules have work."""

    def __init__(self, config: Config, n_envs: int) -> None:
        import torch

        some = sample_layout(config, range(min(n_envs, _LAYOUTS)))
        self._layout = some.map(lambda array: array[np.arange(n_envs) % len(array)])
        self._config = config
        self._world = PointWorld(config, namespace="torch")
        state = self._world.restart(self._layout)
        targets = torch.arange(config.team.n_agents) % config.task.n_consumers
        heading = torch.nn.functional.normalize(state.consumer_position[:, targets] - state.position, dim=2)
        self._command = stored_batch_last(heading * config.world.max_speed_mps)
        self._assignment = stored_batch_last(targets.expand(n_envs, -1))

    def step(self) -> None:
        result = self._world.step(self._command, self._assignment)
        observe(result.state, self._config)
        if bool(result.done.any()):
            over = result.done.numpy()
            self._world.restart_where(result.done, self._layout.map(lambda array: array[over]))
