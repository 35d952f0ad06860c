"""A training in a folder, whatever the algorithm: environments, progress, saving, and going on after a kill.

A run folder holds ``config.yaml``, ``policy.ckpt`` (deployable at any time), ``train_state.pt`` (everything to go on
from) and TensorBoard's event files (`training_log`). The same configuration, seed and number of processes give the same
weights again on the same machine, also after a kill and a resume.
"""

from __future__ import annotations

import copy
import importlib.metadata
import math
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_core.shipped import CHECKOUT
from sortie_core.training import DELIVERED, EVALUATE, RETURN, STEPS_PER_S, Training
from sortie_policy import contraction
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.checkpoint import load_metadata, write_checkpoint
from sortie_policy.export import export_stages
from sortie_policy.lgtc_cell import LGTCCell
from sortie_policy.team_policy import make_policy, own_network
from sortie_train import run_state
from sortie_train.evaluate import fly_policy
from sortie_train.one_core import compute_on_one_core
from sortie_train.scenarios import collector, scenarios_of
from sortie_train.schedule import Schedule
from sortie_train.teacher import agreement
from sortie_train.training_log import TrainingLog
from sortie_train.try_out import try_out
from sortie_train.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from sortie_core.config import Config
    from sortie_core.training import Listener
    from sortie_policy.team_policy import TeamPolicy
    from sortie_train.rollout import Rollout

_FLOWN_LAYOUTS = 10
"""PyBullet flies one mission at a time, and slowly."""


class TrainingRun:
    """A training run in a folder.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.

    Attributes:
        policy: what is flown in the end.
        modules: the policy and its `helpers` by name, all that is learned.
        optimiser: of all parameters that are trained.
        updates_done: rollouts learned from so far, of `n_updates`.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """

    imitates = True
    """Whether the algorithm can learn from a teacher."""
    headline = (DELIVERED, RETURN, "loss/policy", "loss/value")
    """The figures to look at first."""

    def __init__(self, config: Config, out: Path, resume: bool) -> None:
        compute_on_one_core()
        torch.manual_seed(config.seed)
        self.config, self.out, self.workers = config, out, Workers()
        scenarios = scenarios_of(config, self.workers)
        self.policy = make_policy(config)
        for each in scenarios:
            try_out(self.policy, each)
        self.policy.to(self.workers.device)
        self.modules = {"policy": self.policy} | {
            name: module.to(self.workers.device) for name, module in self.helpers().items()
        }
        self.trained = [each for module in self.modules.values() for each in module.parameters() if each.requires_grad]
        self.optimiser = torch.optim.Adam(self.trained, lr=config.train.learning_rate, eps=1e-5)
        self.updates_done, self.commit = 0, _commit()
        self.figures: dict[str, dict[str, Any]] = {}
        per_update = config.train.n_envs * config.train.decisions_per_rollout * config.policy.decision_steps
        self.n_updates = max(1, round(config.train.total_steps / per_update))
        saved = run_state.read(out, config, self.workers.count) if resume else None
        self.collectors = [collector(each, index, self.workers) for index, each in enumerate(scenarios)]
        self.random = torch.Generator().manual_seed(config.seed)
        if self.workers.leads:
            write_atomically(out / "config.yaml", config.to_yaml())
        if saved:
            try:
                self._restore(saved)
            except run_state.DAMAGE as error:
                raise UserError(
                    f"{out / run_state.NAME} is not as this version writes it ({type(error).__name__}: {error}); go on "
                    f"with the version that wrote it ({saved['commit']}), or train again in a new folder"
                ) from error

    @property
    def gamma(self) -> float:
        """Discount per decision."""
        return self.config.train.gamma_per_s ** (self.config.world.dt_s * self.config.policy.decision_steps)

    @property
    def judged(self) -> bool:
        """Whether the training is over, and its checkpoint says what it delivers."""
        if self.updates_done < self.n_updates:
            return False
        try:
            return bool(load_metadata(self.out / "policy.ckpt")["figures"])
        except UserError:  # lost or damaged; the state to go on from holds the same weights
            return False

    # What an algorithm brings.

    def helpers(self) -> dict[str, nn.Module]:
        """Networks beside the policy that training needs and the deployed agents do not, by name."""
        return {}

    def actor(self) -> TeamPolicy:
        """Who acts in the environments, by sampling."""
        raise NotImplementedError

    def learn(self, rollouts: list[Rollout], now: Schedule) -> dict[str, float]:
        """Learn from a new rollout of each scenario; returns what to log."""
        raise NotImplementedError

    def memories(self) -> dict[str, Any]:
        """What else has to be saved in order to go on, beside weights, optimiser, random numbers and environments."""
        return {}

    def recall(self, memories: dict[str, Any]) -> None:
        """Go on from saved `memories`."""

    # The loop.

    def log(self, listeners: Sequence[Listener] = ()) -> TrainingLog:
        """Where this training tells how it goes."""
        training = Training(
            algorithm=self.config.train.algorithm,
            unit="updates",
            total=self.n_updates,
            headline=self.headline,
            configuration=self.config.model_dump(mode="python"),
        )
        return TrainingLog(training, self.out, self.updates_done, listeners, leads=self.workers.leads)

    def run(self, log: TrainingLog) -> None:
        """Train to the end, saving as it goes."""
        while self.updates_done < self.n_updates:
            figures = self.update()
            log.tell(self.updates_done, figures)  # before it is saved: what goes on from there has a curve up to there
            if self.updates_done % self.config.train.checkpoint_every == 0 or self.updates_done == self.n_updates:
                self.save()

    def update(self) -> dict[str, float]:
        """One rollout and what is learned from it; returns what to log."""
        started = time.perf_counter()
        now = Schedule.at(self.updates_done / self.n_updates, self.config)
        self.policy.set_temperature(now.temperature)
        for group in self.optimiser.param_groups:
            group["lr"] = now.learning_rate
        actor = self.actor()
        train = self.config.train
        taught = self.imitates and (self.updates_done < train.imitation_updates or train.imitation_weight > 0)
        with self._told_in_a_line():
            rollouts = [each.collect(actor, now.guidance, taught) for each in self.collectors[: now.scenarios]]
            figures = self.learn(rollouts, now)
        self.updates_done += 1
        decisions = sum(each.choice.shape[0] * each.choice.shape[1] for each in rollouts)
        seconds = time.perf_counter() - started
        figures = self.workers.mean(figures | _experience(rollouts))
        for name in (DELIVERED, RETURN):
            by_scenario = {key: figures.pop(key) for key in list(figures) if key.startswith(f"{name}/")}
            figures |= by_scenario if len(self.collectors) > 1 else {}
            figures[name] = _known_mean(list(by_scenario.values()))
        return figures | {
            "policy/contraction_rate": self.policy.contraction_rate(),
            "policy/correction_std": self.policy.log_std.exp().mean().item(),
            "schedule/learning_rate": now.learning_rate,
            "schedule/guidance": now.guidance,
            "schedule/temperature": now.temperature,
            STEPS_PER_S: decisions * self.config.policy.decision_steps * self.workers.count / seconds,
        }

    @contextmanager
    def _told_in_a_line(self) -> Iterator[None]:
        """What goes wrong in an update by the user's settings, or in a network of their own."""
        update, rate = self.updates_done + 1, self.config.train.learning_rate
        with own_network(self.config.policy.network, f"fails in update {update}"):
            try:
                yield
            except FloatingPointError as error:
                raise UserError(
                    f"update {update}: {error}; lower train.learning_rate={rate:g}, in a new folder"
                ) from None

    def minibatches(self, rollouts: list[Rollout]) -> list[list[Tensor]]:
        """A random split of each rollout's environments; every minibatch holds one part of each."""
        parts = [
            torch.randperm(each.choice.shape[1], generator=self.random).tensor_split(self.config.train.minibatches)
            for each in rollouts
        ]
        return [list(minibatch) for minibatch in zip(*parts, strict=True)]

    def descend(self) -> None:
        """One step of the optimiser along the gradients."""
        self.workers.average_gradients(self.trained)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.train.max_grad_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError("the gradient is no longer finite")
        self.optimiser.step()
        cell, sizes = getattr(self.policy, "cell", None), self.config.policy
        if sizes.projection and isinstance(cell, LGTCCell):
            cell.log_rate.data.clamp_(min=math.log(sizes.rate_min_per_s))
            contraction.project_(cell, sizes.contraction_min_per_s / sizes.rate_min_per_s)
        self.optimiser.zero_grad(set_to_none=True)

    def judge(self, log: TrainingLog) -> None:
        """Fly the trained policy over unseen layouts, in both worlds, and save the figures with it."""
        if not self.workers.leads:
            return
        self._write_policy()
        for backend, most in (("point", self.config.evaluation.n_layouts), ("pybullet", _FLOWN_LAYOUTS)):
            layouts = min(most, self.config.evaluation.n_layouts)
            config = self.config.override([f"world.backend={backend}", f"evaluation.n_layouts={layouts}"])
            flown = config.policy.model_copy(update={"checkpoint": str(self.out / "policy.ckpt")})
            config = config.model_copy(update={"policy": flown})
            self.figures[backend] = fly_policy(config, _counted(log, layouts, backend))
            log.tell(self.updates_done, evaluation_figures(self.figures[backend], backend))
        self._write_policy()

    # Saving.

    def save(self) -> None:
        """Write the deployable checkpoint and the state to go on from, each atomically."""
        snapshots = [each.snapshot() for each in self.collectors]
        workers = self.workers.gather({"collectors": snapshots, "memories": self.memories()})
        if self.workers.leads:
            self._write_policy()
            state = {
                "config": self.config.to_yaml(),
                "commit": self.commit,
                "updates_done": self.updates_done,
                "modules": {name: module.state_dict() for name, module in self.modules.items()},
                "optimiser": self.optimiser.state_dict(),
                "random": self.random.get_state(),
                "workers": workers,
            }
            run_state.write(out=self.out, state=state)

    def _write_policy(self) -> None:
        policy = copy.deepcopy(self.policy).cpu().eval()
        write_checkpoint(
            self.out / "policy.ckpt",
            self.config,
            {name: value.numpy() for name, value in policy.state_dict().items()},
            export_stages(policy, self.config) if isinstance(policy, LGTCPolicy) else {},
            seed=self.config.seed,
            config_hash=self.config.hash(),
            commit=self.commit,
            updates=self.updates_done,
            figures=self.figures,
            contraction_rate=self.policy.contraction_rate(),
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.updates_done, self.commit = saved["updates_done"], saved["commit"]
        for name, module in self.modules.items():
            module.load_state_dict(saved["modules"][name])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.random.set_state(saved["random"])
        own = saved["workers"][self.workers.rank]
        for each, snapshot in zip(self.collectors, own["collectors"], strict=True):
            each.restore(snapshot)
        self.recall(own["memories"])


def mean_figures(figures: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure."""
    return {name: sum(each[name] for each in figures) / len(figures) for name in figures[0]}


def evaluation_figures(row: dict[str, Any], backend: str) -> dict[str, float]:
    """What is told of a row of `evaluate.fly_policy`; the point world's figures go without its name."""
    world = "" if backend == "point" else f"_{backend}"
    keys = {"delivered": "delivered_mean", "delivered_auc": "delivered_auc_mean", "return": "return_mean"}
    return {f"{EVALUATE}{name}{world}": row[key] for name, key in keys.items()}


def _experience(rollouts: list[Rollout]) -> dict[str, float]:
    """Figures of the rollouts of an update, one for each scenario."""
    figures = {
        f"reward/{name}": sum(each.terms[name] for each in rollouts) / len(rollouts) for name in rollouts[0].terms
    }
    for index, each in enumerate(rollouts):
        figures[f"{DELIVERED}/{index}"] = _known_mean(each.delivered)
        figures[f"{RETURN}/{index}"] = _known_mean(each.returned)
    return figures | agreement(rollouts)


def _counted(log: TrainingLog, layouts: int, backend: str) -> Callable[[int], None]:
    """What notes how many layouts have been flown, when it is told of some more."""
    flown = 0

    def advance(more: int) -> None:
        nonlocal flown
        flown += more
        log.note(f"{flown} of {layouts} unseen layouts flown, {backend} world")

    return advance


def _known_mean(figures: list[float]) -> float:
    """The mean of what is known; NaN where nothing is, as where no episode has ended."""
    known = [figure for figure in figures if math.isfinite(figure)]
    return sum(known) / len(known) if known else math.nan


def _commit() -> str:
    """The commit of the working tree, or the version of what is installed without one, for the record."""
    if not CHECKOUT:  # where it lies may be in somebody else's working tree
        return f"v{importlib.metadata.version('sortie')}"
    describe = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
