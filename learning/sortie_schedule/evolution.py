"""Trains the cluster's LGTC agents by an evolution strategy, under late and lost reports.

Each generation draws pairs of opposite perturbations, and for each pair one scenario: nodes, tasks, load, delay, loss.
Both run on the very same tasks, and the difference of their scores weighs the perturbation (antithetic sampling with
common random numbers; Salimans et al., arXiv 1703.03864). The score is minus the log of the mean completion time, and
with a smaller weight that of the slowest tasks, so that scenarios of any load count alike. A scheduler's decisions are
discrete and their consequences come late: no gradient passes through a run, and this needs none.

At first only the linear part is searched, a few dozen parameters that begin as a hand-made rule; then all.
"""

from __future__ import annotations

import csv
import io
import math
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.scenario import make_scenario
from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_core.processes import pool_of
from sortie_core.training import RETURN, STEPS_PER_S, Training
from sortie_policy.cluster_checkpoint import write_cluster_policy
from sortie_policy.cluster_policy import ClusterPolicy
from sortie_policy.lgtc_scheduler import LGTCScheduler
from sortie_train.training_log import TrainingLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.schedule import Schedule
    from sortie_core.training import Listener

_SLOWEST = 0.02
"""Share of the tasks whose mean stands for the tail."""
_PATIENCE_S = 600.0
"""Open arrivals: a run ends so long after the last arrival; what has not ended counts with its age."""
_MOST_PULL = 3.0
"""A pair counts at most this many times the mean difference of its generation."""
_BETA1, _BETA2 = 0.9, 0.99
_HEADLINE = (RETURN, "train/return_best", "policy/pair_difference", "policy/gradient_norm")
_AVERAGED = 0.1
"""Weight of the newest parameters in the average that becomes the policy: single steps are noisy."""


class State(NamedTuple):
    """Where a training is.

    Attributes:
        generation: generations done.
        vector: [P] parameters.
        first: [P] Adam's mean of gradients.
        second: [P] Adam's mean of their squares.
        average: [P] moving average of the parameters.
    """

    generation: int
    vector: np.ndarray
    first: np.ndarray
    second: np.ndarray
    average: np.ndarray

    @classmethod
    def beginning(cls, policy: ClusterPolicy) -> State:
        """Before the first generation."""
        vector = policy.vector.copy()
        return cls(0, vector, np.zeros_like(vector), np.zeros_like(vector), vector)


def train(
    config: ClusterConfig, folder: Path, *, resume: bool = False, jobs: int = 2, listeners: Sequence[Listener] = ()
) -> Path:
    """Train a policy.

    Args:
        config: `training` says how long and on what; the trace's window "train" is used whatever `trace.window` says.
        folder: gets policy.ckpt, history.csv and train_state.npz, every `training.checkpoint_every` generations, and
            TensorBoard's event files.
        resume: go on from the state in the folder.
        jobs: processes.
        listeners: who is told how it goes, beside the event files.

    Returns:
        The checkpoint.

    Raises:
        UserError: nothing to resume, or a state of another configuration.
    """
    training = config.training
    config = config.changed({"trace.window": "train"}, "training")
    policy = ClusterPolicy(training.hidden, training.width, training.seed)
    state = _recall(folder, config) if resume else State.beginning(policy)
    write_atomically(folder / "config.yaml", config.to_yaml())
    total = training.linear_generations + training.generations
    history = _history(folder, state.generation)
    if not resume:
        _keep(folder, config, policy, state, history)  # what is interrupted early goes on, too
    told = Training("evolution", "generations", total, _HEADLINE, config.model_dump(mode="python"))
    with TrainingLog(told, folder, state.generation, listeners) as log, pool_of(jobs) as pool:
        while state.generation < total:
            began_s = time.perf_counter()
            state, figures = advance(config, policy, state, pool)
            history.append((state.generation, figures[RETURN]))
            speed = 2 * training.pairs / (time.perf_counter() - began_s)
            log.tell(state.generation, figures | {STEPS_PER_S: speed})
            if state.generation % training.checkpoint_every == 0 or state.generation == total:
                _keep(folder, config, policy, state, history)
    return folder / "policy.ckpt"


def advance(
    config: ClusterConfig, policy: ClusterPolicy, state: State, pool: Executor
) -> tuple[State, dict[str, float]]:
    """One generation; returns the next state and what is told of it, the mean score as its return."""
    training = config.training
    random = np.random.default_rng([training.seed, 1, state.generation])
    linear = state.generation < training.linear_generations
    step, rate = (training.linear_step, training.linear_rate) if linear else (training.step, training.rate)
    scale = policy.scale * (policy.is_linear if linear else 1.0)
    change = random.standard_normal((training.pairs, len(scale))) * scale
    seeds = random.integers(2**40, size=training.pairs).tolist()
    scenarios = [index % len(training.scenarios) for index in range(training.pairs)]
    results = pool.map(
        score_pair,
        [config] * training.pairs,
        [state.vector + step * each for each in change],
        [state.vector - step * each for each in change],
        seeds,
        scenarios,
    )
    scores = np.array(list(results))
    difference = scores[:, 0] - scores[:, 1]
    pull = np.clip(difference / max(float(np.abs(difference).mean()), 1e-12), -_MOST_PULL, _MOST_PULL)
    with np.errstate(divide="ignore", invalid="ignore"):
        gradient = np.where(scale > 0, (pull[:, None] * change).mean(0) / scale, 0.0)
    first = _BETA1 * state.first + (1 - _BETA1) * gradient
    second = _BETA2 * state.second + (1 - _BETA2) * gradient**2
    count = state.generation + 1
    move = first / (1 - _BETA1**count) / (np.sqrt(second / (1 - _BETA2**count)) + 1e-8)
    after = projected(policy, state.vector + rate * scale * move)
    average = (1 - _AVERAGED) * state.average + _AVERAGED * after.vector
    figures = {
        RETURN: float(scores.mean()),
        "train/return_best": float(scores.max()),
        "policy/pair_difference": float(np.abs(difference).mean()),
        "policy/gradient_norm": float(np.linalg.norm(gradient)),
        "policy/contraction_rate": after.contraction_rate,
        "schedule/learning_rate": rate,
        "schedule/perturbation": step,
    }
    return State(count, after.vector, first, second, average), figures


def projected(policy: ClusterPolicy, vector: np.ndarray) -> ClusterPolicy:
    """A policy with these parameters, but for a cell that contracts."""
    other = policy.with_vector(vector)
    other.project()
    return other


def score_pair(
    config: ClusterConfig, one: np.ndarray, other: np.ndarray, seed: int, scenario: int
) -> tuple[float, float]:
    """Scores of two parameter vectors in the same scenario."""
    training = config.training
    here = drawn(config, seed, scenario)
    cluster, workload, _ = make_scenario(here, seed)
    until_s = here.arrivals.duration_s if workload.closed else float(workload.arrival_s[-1]) + _PATIENCE_S
    scores = []
    for vector in (one, other):
        policy = projected(ClusterPolicy(training.hidden, training.width), vector)
        agents = LGTCScheduler(policy, here.agents.hops, here.agents.tick_s, here.agents.claims)
        world = ClusterWorld(cluster, workload, agents, here.heard, max_hops=here.agents.max_hops, seed=seed)
        scores.append(score(world.run(until_s), here))
    return scores[0], scores[1]


def drawn(config: ClusterConfig, seed: int, scenario: int) -> ClusterConfig:
    """The configuration of a scenario; of keys that are given a list of values, one is drawn.

    Only `training.scenarios` knows such lists; keys that are lists anyhow are given a list of lists there.
    """
    random = np.random.default_rng([seed, 2])
    keys = {}
    for key, value in config.training.scenarios[scenario].items():
        keys[key] = value[int(random.integers(len(value)))] if isinstance(value, list) else value
    return config.changed(keys, f"training.scenarios[{scenario}]")


def score(log: Schedule, config: ClusterConfig) -> float:
    """Minus the log of the mean completion time, s, and with training.tail_weight that of the slowest tasks."""
    ready, end = np.array(log.ready_s), np.array(log.end_s_of)
    spent = np.where(np.isnan(end), log.end_s, end) - ready
    if log.workload.closed:
        counted = spent[(ready > config.arrivals.warm_up * log.end_s) & ~np.isnan(end)]
        return -math.log(counted.mean()) if len(counted) else -math.log(log.end_s)
    counted = spent[int(config.arrivals.warm_up * len(spent)) :]
    counted = np.sort(counted[~np.isnan(counted)])
    slowest = counted[-max(1, int(_SLOWEST * len(counted))) :]
    return -(math.log(counted.mean()) + config.training.tail_weight * math.log(slowest.mean()))


# Files.


def _history(folder: Path, until: int) -> list[tuple[int, float]]:
    path = folder / "history.csv"
    if not until or not path.exists():
        return []
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    return [(int(row["generation"]), float(row["score"])) for row in rows if int(row["generation"]) <= until]


def _keep(
    folder: Path, config: ClusterConfig, policy: ClusterPolicy, state: State, history: list[tuple[int, float]]
) -> None:
    text = "generation,score\n" + "".join(f"{generation},{score:.6f}\n" for generation, score in history)
    write_atomically(folder / "history.csv", text)
    data = io.BytesIO()
    np.savez(data, config=config.hash(), **state._asdict())
    write_atomically(folder / "train_state.npz", data.getvalue())
    trained = projected(policy, state.average)
    write_cluster_policy(
        folder / "policy.ckpt", config, trained, seed=config.training.seed, generations=state.generation
    )


def _recall(folder: Path, config: ClusterConfig) -> State:
    path = folder / "train_state.npz"
    if not path.exists():
        raise UserError(f"{folder} holds no train_state.npz; nothing was saved there yet, begin again without --resume")
    try:
        with np.load(path) as arrays:
            known, parts = str(arrays["config"]), {name: arrays[name] for name in State._fields}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for changed bytes
        raise UserError(f"{path} is damaged ({error}); begin again in a new folder") from None
    if known != config.hash():
        raise UserError(f"{path} is of another configuration; resume with the one in {folder / 'config.yaml'}")
    return State(**parts | {"generation": int(parts["generation"])})
