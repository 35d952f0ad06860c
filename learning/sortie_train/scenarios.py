"""What a training flies: its scenarios, each with a share of the environments and layouts of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress

from sortie_core.config import UserError
from sortie_core.layout import sample_training_layout
from sortie_expert.bank import solve_bank
from sortie_train.rollout import Collector
from sortie_train.teams import refuse_slow_radio

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_train.workers import Workers

_CHANGED = ("team.", "task.", "comm.", "train.n_consumers", "train.n_resources")
"""What scenarios may change: the missions, not what learns from them."""


def scenarios_of(config: Config, workers: Workers) -> list[Config]:
    """The configuration of each of `train.scenarios`, with this process's share of the environments.

    Raises:
        UserError: a scenario changes what all must share, the environments cannot be shared evenly, or none flies with
            the radio of the configuration itself.
    """
    scenarios = [_scenario(config, index, workers) for index in range(len(config.train.scenarios))]
    if config.comm.radius_m not in {each.comm.radius_m for each in scenarios}:
        raise UserError(
            f"train.scenarios: all change comm.radius_m={config.comm.radius_m:g}; add {{}} to them to train on "
            "the configuration as it stands"
        )
    for each in scenarios:
        refuse_slow_radio(each)
    return scenarios


def _scenario(config: Config, index: int, workers: Workers) -> Config:
    train, source = config.train, f"train.scenarios, number {index + 1}"
    changes = train.scenarios[index]
    scenario = config.changed(changes, source)
    for key in changes:
        if not key.startswith(_CHANGED) or key == "task.dimensions":
            raise UserError(f"{source}: {key} is the same in all scenarios; change it for the whole training")
    envs = workers.share(train.n_envs, "train.n_envs")
    share, rest = divmod(envs, len(train.scenarios))
    if rest:
        raise UserError(
            f"train.n_envs: {envs} in this process cannot be shared evenly by {len(train.scenarios)} train.scenarios; "
            "make it a multiple"
        )
    if share < train.minibatches:
        raise UserError(
            f"train.minibatches: {train.minibatches} are more than the {share} environments of a scenario; "
            "lower it, or raise train.n_envs"
        )
    return scenario.changed({"train.n_envs": share}, source)


def collector(scenario: Config, index: int, workers: Workers) -> Collector:
    """The environments of a scenario, with layouts and random numbers of its own.

    Args:
        scenario: from `scenarios_of`.
        index: of the scenario.
        workers: whose device is used.

    Raises:
        UserError: the seed is so large that the layouts would meet the evaluation's.
    """
    bank = sample_training_layout(scenario, _layout_seeds(scenario))
    nowhere = np.full(bank.stock.shape[:2], bank.demand.shape[1])
    assignment = workers.once(lambda: _solved(bank, scenario)) if scenario.reward.guidance else nowhere
    seed = np.random.SeedSequence([scenario.seed, index, workers.rank]).generate_state(1)[0]
    return Collector(scenario, bank, assignment, int(seed), str(workers.device))


def _layout_seeds(config: Config) -> range:
    """Training layouts, those of each seed apart from those of every other and from the evaluation's."""
    count = config.expert.bank_layouts
    most = config.evaluation.first_seed // count - 1
    if config.seed > most:
        raise UserError(
            f"seed: {config.seed} would train on layouts of the evaluation; with evaluation.first_seed="
            f"{config.evaluation.first_seed} and expert.bank_layouts={count} it is at most {most}"
        )
    return range(config.seed * count, (config.seed + 1) * count)


def _solved(bank: WorldState, config: Config) -> np.ndarray:
    with Progress("expert", *Progress.get_default_columns(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("solving layouts ahead", total=None)
        return solve_bank(bank, config, progress=lambda done, total: progress.update(bar, completed=done, total=total))
