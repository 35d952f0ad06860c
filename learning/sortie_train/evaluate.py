"""Evaluation: the same unseen layouts for every method, intervals, and paired differences to the policy."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sortie_core.action import team_command
from sortie_core.comm_graph import adjacency
from sortie_core.metrics import MissionMetrics
from sortie_sim.mission_world import MissionWorld
from sortie_sim.point_world import PointWorld
from sortie_train.teams import make_team

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_train.teams import Team

Figures = dict[str, np.ndarray]
_BATCH = 128
"""Missions of the point world that are played together."""
_COLUMNS = {
    "delivered_fraction": "delivered",
    "delivered_auc": "time average",
    "time_to_90_s": "to 90 %, s",
    "collisions_per_agent_minute": "collisions / agent-min",
    "min_separation_m": "least separation, m",
}


def play(team: Team, state: WorldState, step: Callable[[np.ndarray], WorldState]) -> Figures:
    """Play a batch of missions to the end.

    Args:
        team: leads all of them.
        state: where they start, B missions.
        step: advances them by one tick under velocity commands [B, N, D] m/s.

    Returns:
        The figures of `MissionMetrics`, [B] each.
    """
    config = team.config
    metrics = MissionMetrics(state, config)
    for tick in range(config.n_steps):
        if tick % config.policy.decision_steps == 0:
            choice, correction = team.choose(state)
        linked = adjacency(state.position, state.alive, config.comm.radius_m)
        command = team_command(state, choice, linked, correction, config)
        before, state = state, step(command)
        metrics.update(before, state)
    return metrics.result()


def run_method(config: Config, method: str, advance: Callable[[int], None]) -> Figures:
    """The figures of one method over the evaluation's layouts, one value per layout.

    Args:
        config: `evaluate`, `world.backend` and all that missions need.
        method: of `evaluate.methods`.
        advance: called with the number of missions that have just ended.
    """
    first, count = config.evaluate.first_seed, config.evaluate.n_layouts
    seeds = range(first, first + count)
    parts: list[Figures] = []
    if config.world.backend == "point":
        for start in range(0, count, _BATCH):
            batch = PointWorld(config, "numpy")
            state = batch.reset(seeds[start : start + _BATCH])
            parts.append(play(make_team(method, config), state, partial(_step_batch, batch)))
            advance(len(state.time_s))
    else:
        with closing(MissionWorld(config)) as world:
            for seed in seeds:
                parts.append(play(make_team(method, config), world.reset(seed), partial(_step_one, world)))
                advance(1)
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _step_batch(world: PointWorld, command: np.ndarray) -> WorldState:
    return world.step(command).state


def _step_one(world: MissionWorld, command: np.ndarray) -> WorldState:
    return world.step(command[0])


def interval(values: np.ndarray, samples: int, seed: int) -> list[float]:
    """95 % bootstrap interval of the mean, leaving out what was never reached (NaN)."""
    values = values[np.isfinite(values)]
    if not len(values):
        return [float("nan"), float("nan")]
    drawn = np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))
    return np.percentile(values[drawn].mean(axis=1), [2.5, 97.5]).tolist()


def rows(config: Config, results: dict[str, Figures]) -> list[dict[str, Any]]:
    """One row per method: mean and interval of every figure, and the paired difference to the policy."""
    samples, seed = config.evaluate.bootstrap_samples, config.seed
    table = []
    for method, figures in results.items():
        row: dict[str, Any] = {"method": method, "n_layouts": len(figures["delivered_fraction"])}
        row["backend"], row["n_agents"] = config.world.backend, config.team.n_agents
        for name, values in figures.items():
            finite = values[np.isfinite(values)]
            row[name] = float(finite.mean()) if len(finite) else None
            row[f"{name}_interval"] = [each if np.isfinite(each) else None for each in interval(values, samples, seed)]
        row["reached_90"] = float(np.isfinite(figures["time_to_90_s"]).mean())
        if "policy" in results and method != "policy":
            for name in ("delivered_fraction", "delivered_auc"):
                difference = results["policy"][name] - figures[name]
                row[f"policy_minus_this_{name}"] = float(difference.mean())
                row[f"policy_minus_this_{name}_interval"] = interval(difference, samples, seed)
        table.append(row)
    return table


def evaluate(config: Config, as_json: bool = False) -> list[dict[str, Any]]:
    """Run every method of `evaluate.methods` and print the table.

    Args:
        config: a whole configuration.
        as_json: print rows for machines instead.
    """
    torch.set_num_threads(1)
    console = Console(stderr=True)
    results: dict[str, Figures] = {}
    for method in config.evaluate.methods:  # what cannot be flown is refused before anything is
        make_team(method, config)
    with Progress(console=console, transient=True) as progress:
        for method in config.evaluate.methods:
            bar = progress.add_task(method, total=config.evaluate.n_layouts)
            results[method] = run_method(config, method, partial(progress.advance, bar))
    table = rows(config, results)
    if as_json:
        print(json.dumps(table, indent=2))
    else:
        Console().print(_table(config, table))
    return table


def _table(config: Config, table: list[dict[str, Any]]) -> Table:
    title = (
        f"{config.evaluate.n_layouts} unseen layouts, {config.team.n_agents} drones, {config.world.backend} world: "
        "mean [95 % interval]"
    )
    shown = Table(title=title)
    shown.add_column("method", no_wrap=True)
    for heading in (*_COLUMNS.values(), "reached 90 %", "policy minus this (time average)"):
        shown.add_column(heading)
    for row in table:
        cells = [_cell(row[name], row[f"{name}_interval"]) for name in _COLUMNS]
        cells.append(f"{row['reached_90']:.0%}")
        name = "policy_minus_this_delivered_auc"
        shown.add_row(row["method"], *cells, _cell(row[name], row[f"{name}_interval"]) if name in row else "")
    return shown


def _cell(mean: float | None, bounds: list[float]) -> str:
    return "-" if mean is None else f"{mean:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
