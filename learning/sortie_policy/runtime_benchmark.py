"""How long one agent's tick takes, in a team whose packets all arrive."""

from __future__ import annotations

import os
import time

import numpy as np

from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_core.packets import Consumers, LocalView, Packet
from sortie_core.shipped import shipped
from sortie_policy.runtime import AgentRuntime

_CONFIG = shipped("configs/delivery.yaml")
_WARM_UP_TICKS = 10


def run(seconds: float, config: Config | None = None) -> dict[str, float]:
    """Time the ticks of a team that sits in one place, every drone in range of every other.

    Args:
        seconds: how long to measure, wall clock.
        config: a whole configuration; None for the main one with its checkpoint.

    Returns:
        Medians and tails of an agent's computing per tick, ms: of all ticks, and of those with a deliberation; and how
        long it took to load one agent, ms.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config is None:
        config = load_config(_CONFIG)
    state = sample_layout(config, [config.seed])
    shape = (config.task.n_consumers, config.task.n_resources)
    consumers = Consumers(
        state.consumer_position[0], state.demand[0], state.unmet[0], np.ones(shape[0], bool), np.zeros(shape[0], bool),
        np.zeros(shape[0], bool), state.presence[0],
    )  # fmt: skip
    began_s = time.perf_counter()
    team = [AgentRuntime.from_checkpoint(config, index) for index in range(config.team.n_agents)]
    load_s = (time.perf_counter() - began_s) / len(team)

    def views(tick: int) -> list[LocalView]:
        own = zip(state.position[0], state.velocity[0], state.stock[0], strict=True)
        return [LocalView(tick, tick * config.world.dt_s, *each, consumers) for each in own]

    ticks: list[np.ndarray] = []
    until_s = time.perf_counter() + seconds
    while len(ticks) < 2 * _WARM_UP_TICKS or time.perf_counter() < until_s:
        ticks.append(_tick(team, views(len(ticks) % config.n_steps)))
    spent_ms = 1e3 * np.array(ticks)
    deliberating = np.arange(len(ticks)) % config.n_steps % config.policy.decision_steps == 0
    measured, thinking = spent_ms[_WARM_UP_TICKS:], spent_ms[_WARM_UP_TICKS:][deliberating[_WARM_UP_TICKS:]]
    return {
        "tick_ms_p50": float(np.median(measured)),
        "tick_ms_p99": float(np.percentile(measured, 99)),
        "tick_ms_mean": float(measured.mean()),
        "deliberation_ms_p50": float(np.median(thinking)),
        "load_ms": 1e3 * load_s,
        "n_agents": len(team),
        "ticks": len(ticks),
    }


def _tick(team: list[AgentRuntime], views: list[LocalView]) -> np.ndarray:
    """[N] seconds that each agent has computed in one tick."""
    spent_s = np.zeros(len(team))
    packets: list[Packet] = []
    for index, (agent, view) in enumerate(zip(team, views, strict=True)):
        began_s = time.perf_counter()
        packets.append(agent.start_tick(view))
        spent_s[index] += time.perf_counter() - began_s
    while packets:
        following = []
        for index, agent in enumerate(team):
            began_s = time.perf_counter()
            packet = agent.finish_round(packets)
            spent_s[index] += time.perf_counter() - began_s
            if packet is not None:
                following.append(packet)
        packets = following
    return spent_s
