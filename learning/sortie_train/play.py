"""Missions flown to their end, whole batches of them, and their figures."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.action import team_command
from sortie_core.beacons import Beacons
from sortie_core.comm_graph import adjacency, squared_distances
from sortie_core.delivery import finished, serving
from sortie_core.exploration import Exploration
from sortie_core.metrics import MissionMetrics
from sortie_core.packets import Packet
from sortie_core.reward import reward_terms
from sortie_safety.team_gate import TeamGate
from sortie_sim.mission_world import MissionWorld
from sortie_sim.point_world import PointWorld, StepResult
from sortie_train.agreement import Agreement

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_train.teams import Team

    Step = Callable[[np.ndarray], StepResult]

Figures = dict[str, np.ndarray]
"""Figures of L missions by name, [L] each, and curves over time, [L, ...]."""
CURVE, STOCK = "delivered_share", "living_stock"
"""[L, T + 1] at the start and after every tick: the delivered share; and the stock of living drones, over the demand at
the start."""
SHIELDED = "shielded_share"
"""[L] share of setpoints that the separation shield has changed."""
_BATCH = 128
"""Most missions of the point world that are played together."""
_PAIRS = 2**18
"""Most pairs of agents in a batch: what is computed per pair and consumer stays below 100 MB."""
_TINY = 1e-6


def fly(config: Config, make_team: Callable[[Config], Team], advance: Callable[[int], None]) -> Figures:
    """Fly a team over the layouts of the evaluation.

    Args:
        config: `evaluation.first_seed` and `evaluation.n_layouts`, `world.backend`, and all that missions need.
        make_team: a team that has flown nothing yet, of the configuration with the seed of its own losses; called once
            a batch.
        advance: called with the number of missions that have just ended.

    Returns:
        The figures of `play`, in the order of the layouts; where quadrotors fly, through the safety gate as over ROS,
        also `SHIELDED`.
    """
    first, count = config.evaluation.first_seed, config.evaluation.n_layouts
    seeds = range(first, first + count)
    parts: list[Figures] = []
    if config.world.backend == "point":
        size = max(1, min(_BATCH, _PAIRS // config.team.n_agents**2))
        for start in range(0, count, size):
            batch = PointWorld(config, "numpy")
            state = batch.reset(seeds[start : start + size])
            parts.append(play(make_team(_by_itself(config, seeds[start])), state, batch.step))
            advance(len(state.time_s))
    else:
        with closing(MissionWorld(config)) as world:
            for seed in seeds:
                gate = TeamGate(config)
                step = partial(_step_one, world, gate)
                figures = play(make_team(_by_itself(config, seed)), world.reset(seed), step)
                parts.append(figures | {SHIELDED: np.array([gate.shielded_share])})
                advance(1)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _by_itself(config: Config, first_layout: int) -> Config:
    """With a seed of its own for a batch: the packets that get lost in one have nothing to do with those of another."""
    drawn = np.random.SeedSequence([config.seed, first_layout]).generate_state(1)[0]
    return config.model_copy(update={"seed": int(drawn)})


def play(team: Team, state: WorldState, step: Step) -> Figures:
    """Play a batch of missions to the end.

    Args:
        team: leads all of them.
        state: where they start, B missions.
        step: advances them by one tick under velocity commands [B, N, D] m/s.

    Returns:
        The figures of `MissionMetrics`, and these:
        return, the sum of the weighted reward terms without guidance and without discount, mean over the agents;
        bytes_per_agent_s, what an agent that is alive sends, header included, per second until its mission is over: the
        beacon of every tick, by which all teams alike keep apart, and what the team sends in order to choose;
        neighbours, how many others a drone that is alive has in range, mean over drones and ticks of running missions;
        `CURVE` and `STOCK`; with evaluation.agreement also those of `Agreement`.
    """
    config = team.config
    metrics, radio = MissionMetrics(state, config), _Radio(state, config)
    linked = adjacency(state.position, state.alive, config.comm.radius_m)
    beacons = Beacons(config, np.random.default_rng(config.seed).random)
    n_agents = np.maximum(state.present.sum(axis=1), 1)
    agreement = Agreement(config) if config.evaluation.agreement else None
    exploration = Exploration.beginning(state.position, config) if team.explores else None
    returns = np.zeros(len(state.time_s))
    asked = np.maximum(state.demand.sum(axis=(1, 2)), _TINY)
    curves = {CURVE: [metrics.result()["delivered_fraction"]], STOCK: [_living_stock(state) / asked]}
    for tick in range(config.n_steps):
        running = ~np.logical_or(*finished(state, config))
        if not running.any():
            break
        neighbours = beacons.exchange(state, linked)
        if tick % config.policy.decision_steps == 0:
            choice, correction = team.choose(state)
            exploration = exploration and exploration.looked(state.position, neighbours, config)
            radio.count(team.bytes_sent, running)
            if agreement:
                agreement.count(state, choice, running)
        radio.count_beacons(state, linked, running)
        result = step(team_command(state, choice, neighbours, correction, config, exploration))
        returns += running * result.reward.sum(axis=1) / n_agents
        metrics.update(state, result.state, result.squared_m2)
        state, linked = result.state, result.adjacency
        curves[CURVE].append(metrics.result()["delivered_fraction"])
        curves[STOCK].append(_living_stock(state) / asked)
    figures = {"return": returns} | radio.figures() | (agreement.figures() if agreement else {})
    for name, curve in curves.items():
        figures[name] = np.stack(curve + [curve[-1]] * (config.n_steps + 1 - len(curve)), axis=1)
    return {name: np.asarray(values) for name, values in (metrics.result() | figures).items()}


def _living_stock(state: WorldState) -> np.ndarray:
    """[B]."""
    return (state.stock.sum(axis=2) * state.alive).sum(axis=1)


class _Radio:
    """What the teams of a batch send while their missions last."""

    def __init__(self, initial: WorldState, config: Config) -> None:
        _, _, dimensions = initial.position.shape
        self._beacon_bytes = Packet(0, 0, 0, np.zeros(2 * dimensions + initial.stock.shape[2])).n_bytes
        self._dt_s = config.world.dt_s
        self._agent_s = np.zeros(len(initial.time_s))
        self._sent = np.zeros(len(initial.time_s))
        self._in_range = np.zeros(len(initial.time_s))
        self._counted: np.ndarray | float = 0.0

    def count(self, bytes_sent: np.ndarray, running: np.ndarray) -> None:
        """What the teams have sent in all so far, [B]."""
        self._sent += running * (bytes_sent - self._counted)
        self._counted = np.array(bytes_sent, dtype=np.float64)

    def count_beacons(self, state: WorldState, linked: np.ndarray, running: np.ndarray) -> None:
        """One tick; `linked` is [B, N, N] bool, who is in range of whom."""
        alive = running * state.alive.sum(axis=1)
        self._in_range += running * linked.sum(axis=(1, 2)) * self._dt_s
        self._sent += alive * self._beacon_bytes
        self._agent_s += alive * self._dt_s

    def figures(self) -> dict[str, np.ndarray]:
        """bytes_per_agent_s and neighbours, [B]."""
        agent_s = np.maximum(self._agent_s, _TINY)
        return {"bytes_per_agent_s": self._sent / agent_s, "neighbours": self._in_range / agent_s}


def _step_one(world: MissionWorld, gate: TeamGate, velocity_command: np.ndarray) -> StepResult:
    """One tick of a flown mission, with what `PointWorld.step` tells of its own."""
    before, config, motion = world.state, world.config, world.motion
    time_s, wanted = float(before.time_s[0]), velocity_command[0].astype(np.float64)
    after = world.step(gate.setpoints(time_s, wanted, motion.position, motion.velocity, before.alive[0]))
    served = serving(before.replace(position=after.position), config.task.service_radius_m)
    squared = squared_distances(after.position, after.present)
    linked = adjacency(after.position, after.alive, config.comm.radius_m, squared)
    terms = reward_terms(before, after, served, squared, config)
    return StepResult(after, terms, *finished(after, config), squared, linked)
