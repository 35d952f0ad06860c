"""Training of the routers that push: DQN, independent and with shared weights, and QMIX.

Both are double Q-learning (arXiv 1509.06461) with a replay memory and a target network that follows slowly; it is also
the one that is evaluated and kept. Time is continuous: a decision is discounted by gamma^(seconds until the next one).

DQN (arXiv 1312.5602): the next decision of an agent is the next one of the same node. QMIX (arXiv 1803.11485): a joint
step is one arrival anywhere in the cluster, after which the next one follows. The node that holds the task has its
choices, each other node the single choice to have nothing to place, and the mixer puts all their values together.

Rewards, less those of a random router, so that values stay small:

    local    - completion time of the task that was placed / 10 s; in QMIX the next tasks' count for the team as well
    global   - time integral of the tasks in the system per node until the next decision
    both     half of each
"""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sortie_cluster.cluster_world import ClusterWorld
from sortie_cluster.metrics import metrics
from sortie_cluster.scenario import make_scenario
from sortie_core.config import UserError
from sortie_core.config_sections import Count, NonNegative, Positive, Probability, Section, Seed
from sortie_core.files import write_atomically
from sortie_core.training import EVALUATE, RETURN, STEPS_PER_S, Training
from sortie_schedule.q_schedulers import FORMAT, Options, QScheduler
from sortie_schedule.value_networks import ClusterMixer, Memory, QNetwork, recorded, with_rewards
from sortie_train.one_core import compute_on_one_core
from sortie_train.training_log import TrainingLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.schedule import Schedule
    from sortie_cluster.scheduler import Scheduler
    from sortie_core.training import Listener

CHECKPOINT, LOSSES = "q.ckpt", "epochs.csv"
FIGURES = ("completion_mean_s", "throughput_per_h", "utilisation_cpu")
_COMPLETION = f"{EVALUATE}episode_completion_s"
_HEADLINE = (RETURN, _COMPLETION, "loss/td", "loss/td_validation")
_COLUMNS = {
    "training_loss": "loss/td",
    "validation_loss": "loss/td_validation",
    "exploration": "policy/exploration",
    "episode_completion_s": _COMPLETION,
}
"""What the table of losses shows of what is told."""
_LARGEST_GRADIENT = 10.0


class QTraining(Section):
    """How a router is trained.

    Attributes:
        suite: of the configuration, in whose setting it is trained; empty for the configuration's own.
        mixer: dqn, independent learners; or qmix.
        graph: none, mean, full or attention; see `value_networks`.
        observation: local, a node's own queue; or neighbours.
        relay: whether neighbours relay what they hear of theirs (two hops).
        reward: local, global or both.
        seed: of everything that is random.
        epochs: each plays episodes and makes updates.
        evaluated_epochs: after which the network is evaluated on the validation window and kept, beside the last.
        episodes_per_epoch: of the training window.
        episode_s: length of an episode of a closed loop, s.
        updates_per_epoch: gradient steps.
        batch: decisions per gradient step.
        learning_rate: of the optimiser, Adam.
        gamma: discount per second.
        lookahead_s: rewards of at least so long count as they were, s, before the target network values the rest.
        hidden: width of the layers.
        replay: decisions that are remembered.
        target_rate: share of the way that the target network goes after each update.
        exploration: probability of a random choice, from and to.
        exploring: share of the epochs over which it falls.
        evaluation_seeds: runs of each evaluation.
        evaluation_s: length of these in a closed loop, s.
    """

    suite: str = ""
    mixer: Literal["dqn", "qmix"] = "qmix"
    graph: Literal["none", "mean", "full", "attention"] = "attention"
    observation: Literal["local", "neighbours"] = "neighbours"
    relay: bool = False
    reward: Literal["local", "global", "both"] = "both"
    seed: Seed = 0
    epochs: Count = 200
    evaluated_epochs: tuple[Count, ...] = ()
    episodes_per_epoch: Count = 2
    episode_s: Positive = 600.0
    updates_per_epoch: Count = 60
    batch: Count = 128
    learning_rate: Positive = 3e-4
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.9
    lookahead_s: NonNegative = 5.0
    hidden: Count = 32
    replay: Count = 100000
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    exploration: tuple[Probability, Probability] = (1.0, 0.05)
    exploring: Annotated[NonNegative, Field(le=1)] = 0.2
    evaluation_seeds: Count = 5
    evaluation_s: Positive = 1800.0

    @model_validator(mode="after")
    def _fits_together(self) -> QTraining:
        if self.relay and (self.graph == "none" or self.observation == "local"):
            raise ValueError("relay: needs a graph and observation neighbours; set it to false")
        if max(self.evaluated_epochs, default=0) > self.epochs:
            raise ValueError(f"evaluated_epochs: {max(self.evaluated_epochs)} is after epochs={self.epochs}; raise it")
        return self

    @property
    def options(self) -> Options:
        """What the network is given."""
        return Options(self.graph, self.observation, self.relay)

    @property
    def method(self) -> str:
        """A name for tables, e.g. qmix+attention+relay."""
        parts = (self.mixer, self.graph if self.graph != "none" else "", "relay" if self.relay else "")
        return "+".join(part for part in parts if part)


class Learner:
    """The networks of one training, and what they learn from a batch."""

    def __init__(self, training: QTraining) -> None:
        self._training = training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.network = QNetwork(training.hidden, training.graph, training.observation, training.relay)
            self._mixer = ClusterMixer(training.hidden) if training.mixer == "qmix" else None
        self._learned = nn.ModuleList([self.network, *([self._mixer] if self._mixer else [])])
        self._followers = deepcopy(self._learned).requires_grad_(False)
        self.target: QNetwork = self._followers[0]  # type: ignore[assignment]
        self._optimiser = torch.optim.Adam(self._learned.parameters(), training.learning_rate)
        self._random = torch.Generator().manual_seed(training.seed)

    def epoch(self, memory: Memory) -> float:
        """Make one epoch's updates; their mean loss."""
        training, total = self._training, 0.0
        for _ in range(training.updates_per_epoch):
            drawn = torch.randint(len(memory.usable), (training.batch,), generator=self._random)
            loss = self.loss(memory, memory.usable[drawn])
            self._optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._learned.parameters(), _LARGEST_GRADIENT)
            self._optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self._followers.parameters()), list(self._learned.parameters()), training.target_rate
                )
            total += loss.item()
        return total / training.updates_per_epoch

    def loss(self, memory: Memory, index: Tensor) -> Tensor:
        """The Huber loss of double Q-learning over decisions of a memory [B]."""
        following = memory.following[index]
        now, then = memory.seen(index), memory.seen(following)
        values, idle = self.network(now)
        value = values.gather(1, memory.choice[index, None])
        with torch.no_grad():
            best = self.network(then)[0].argmax(1, keepdim=True)
            later, later_idle = self.target(then)
            later = later.gather(1, best)
        if self._mixer:
            value = self._mixer(idle.scatter(1, now.agent[:, None], value), now)
            with torch.no_grad():
                later = self._followers[1](later_idle.scatter(1, then.agent[:, None], later), then)
        wanted = memory.reward[index] + memory.discount[index] * later.reshape(-1)
        return nn.functional.smooth_l1_loss(value.reshape(-1), wanted)

    def router(self, network: QNetwork, exploration: float = 0.0, recording: bool = False) -> QScheduler:
        """A scheduler with a network's present weights."""
        weights = {name: value.numpy().copy() for name, value in network.state_dict().items()}
        return QScheduler(weights, self._training.options, exploration, recording)


def play(config: ClusterConfig, scheduler: Scheduler, seed: int) -> Schedule:
    """One run of a scheduler on the tasks of a seed."""
    scenario = make_scenario(config, seed)
    world = ClusterWorld(scenario.cluster, scenario.workload, scheduler, config.heard, seed=seed)
    return world.run(config.arrivals.duration_s if config.arrivals.mode == "closed" else float("inf"))


def evaluate(config: ClusterConfig, scheduler: Scheduler, seeds: range) -> dict[str, float]:
    """Means of `FIGURES` over runs."""
    found = [metrics(play(config, scheduler, seed), config.arrivals.warm_up) for seed in seeds]
    return {name: float(np.mean([each[name] for each in found])) for name in FIGURES}


def train(config: ClusterConfig, training: QTraining, out: str | Path, listeners: Sequence[Listener] = ()) -> Path:
    """Train a router, with a table of losses per epoch, TensorBoard's event files, and a checkpoint at the end.

    Args:
        config: the cluster and its tasks; windows of the trace are chosen here: train, and validation for all figures.
        training: how.
        out: folder; an unfinished training in it begins again.
        listeners: who is told how it goes, beside the event files.

    Returns:
        The checkpoint.

    Raises:
        UserError: the folder holds a finished training.
    """
    path = Path(out) / CHECKPOINT
    if path.exists():
        raise UserError(f"{path} exists already; name another folder, or delete it")
    compute_on_one_core()
    rows: list[dict[str, float]] = []
    kept: dict[int, tuple[dict[str, float], bytes]] = {}
    long = _cut(config, "validation", training.evaluation_s)
    content = {"config": config.model_dump(mode="python"), "training": training.model_dump(mode="json")}
    told = Training(training.method, "epochs", training.epochs, _HEADLINE, content)
    with TrainingLog(told, Path(out), 0, listeners) as log:
        for epoch, (figures, learner) in enumerate(_epochs(config, training), start=1):
            rows.append({"epoch": epoch} | {column: figures[name] for column, name in _COLUMNS.items()})
            evaluated = {}
            if epoch in training.evaluated_epochs or epoch == training.epochs:
                evaluated = evaluate(long, learner.router(learner.target), range(training.evaluation_seeds))
                kept[epoch] = (evaluated, _packed(learner.target))
                rows[-1] |= {f"validation_{name}": value for name, value in evaluated.items()}
            write_atomically(Path(out) / LOSSES, _table(rows))
            log.tell(epoch, figures | {f"{EVALUATE}{name}": value for name, value in evaluated.items()})
    metadata = {
        "format": FORMAT,
        "method": training.method,
        "seed": training.seed,
        "training": training.model_dump(mode="json"),
        "epochs": {str(epoch): figures for epoch, (figures, _) in kept.items()},
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps(metadata, indent=2))
        archive.writestr("config.yaml", config.to_yaml())
        for epoch, (_, weights) in kept.items():
            archive.writestr(f"weights-{epoch}.npz", weights)
    write_atomically(path, packed.getvalue())
    return path


def _epochs(config: ClusterConfig, training: QTraining) -> Iterator[tuple[dict[str, float], Learner]]:
    """Play, learn and validate, epoch by epoch: the figures of each, and the networks after it."""
    learner = Learner(training)
    practice, check = (_cut(config, window, training.episode_s) for window in ("train", "validation"))
    played: list[dict[str, Tensor]] = []
    usual: tuple[float, float] | None = None
    first, last = training.exploration
    for epoch in range(training.epochs):
        began_s = time.perf_counter()
        over = min(1.0, epoch / max(1.0, training.exploring * training.epochs))
        router = learner.router(learner.network, first + (last - first) * over, recording=True)
        for number in range(training.episodes_per_epoch):
            # seeds of different trainings are far apart
            seed = training.seed * 1_000_003 + epoch * training.episodes_per_epoch + number
            latest = recorded(router, play(practice, router, seed))
            if usual is None:
                span_s = max(latest["at_s"][-1] - latest["at_s"][0], 1e-9)
                usual = float(latest["completion_s"].mean()), float(np.ptp(latest["in_system"]) / span_s)
            played.append(with_rewards(latest, training, usual))
        while len(played) > 1 and sum(len(each["agent"]) for each in played[1:]) > training.replay:
            del played[0]
        assert usual is not None
        loss = learner.epoch(Memory(played))
        checked = learner.router(learner.target, recording=True)
        fresh = played[-training.episodes_per_epoch :]
        log = play(check, checked, 0)
        memory = Memory([with_rewards(recorded(checked, log), training, usual)])
        with torch.no_grad():
            validation_loss = learner.loss(memory, memory.usable).item()
        figures = metrics(log, config.arrivals.warm_up)
        yield (
            {
                RETURN: float(np.mean([each["reward"].mean().item() for each in fresh])),
                "loss/td": loss,
                "loss/td_validation": validation_loss,
                "policy/exploration": router.exploration,
                _COMPLETION: figures["completion_mean_s"],
                STEPS_PER_S: sum(len(each["agent"]) for each in fresh) / (time.perf_counter() - began_s),
            },
            learner,
        )


def _cut(config: ClusterConfig, window: str, duration_s: float) -> ClusterConfig:
    return config.changed({"trace.window": window, "arrivals.duration_s": duration_s}, "training")


def _packed(network: QNetwork) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{name: value.numpy() for name, value in network.state_dict().items()})
    return content.getvalue()


def _table(rows: list[dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    content = io.StringIO()
    writer = csv.DictWriter(content, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()
