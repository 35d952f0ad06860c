"""Independent PPO with shared parameters, guided by the expert's assignment.

The first updates imitate a centralised auction on the states that the learner itself comes to (DAgger, arXiv
1011.0686); then PPO goes on with the reward alone. One readable loop: collect, estimate advantages, update, log, save.
A run folder holds ``config.yaml``, ``policy.ckpt`` (deployable at any time), ``train_state.pt`` (everything to go on
from) and TensorBoard events. The same configuration and seed give the same weights again on the same machine, also
after a kill and a resume.
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sortie_core.config import UserError, content_hash
from sortie_core.layout import sample_training_layout
from sortie_expert.bank import solve_bank
from sortie_policy import contraction
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.checkpoint import write_checkpoint
from sortie_policy.export import export_stages
from sortie_train import losses
from sortie_train.evaluate import rows, run_method
from sortie_train.rollout import Collector, Rollout, replay
from sortie_train.schedule import Schedule
from sortie_train.teams import refuse_slow_radio

if TYPE_CHECKING:
    from sortie_core.config import Config


_LEAST_LOG = -50.0
_FLOWN_LAYOUTS = 10
"""PyBullet flies one mission at a time, and slowly."""


class Trainer:
    """A training run in a folder.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """

    def __init__(self, config: Config, out: Path, resume: bool) -> None:
        refuse_slow_radio(config)
        torch.set_num_threads(1)
        torch.manual_seed(config.seed)
        self.config, self.out = config, out
        self.policy = LGTCPolicy(config)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=config.train.learning_rate, eps=1e-5)
        self.updates_done, self.commit = 0, _commit()
        self.figures: dict[str, dict[str, Any]] = {}
        per_update = config.train.n_envs * config.train.decisions_per_rollout * config.policy.decision_steps
        self.n_updates = max(1, round(config.train.total_steps / per_update))
        saved = self._saved() if resume else None
        bank = sample_training_layout(config, _layout_seeds(config))
        with Progress("expert", *Progress.get_default_columns(), console=Console(stderr=True)) as progress:
            bar = progress.add_task("solving layouts ahead", total=None)
            assignment = solve_bank(
                bank, config, progress=lambda done, total: progress.update(bar, completed=done, total=total)
            )
        self.collector = Collector(config, bank, assignment, config.seed)
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / ".config.yaml"
        temporary.write_text(config.to_yaml(), encoding="utf-8")
        os.replace(temporary, out / "config.yaml")
        if saved:
            self._restore(saved)

    def run(self) -> None:
        """Train to the end, saving as it goes."""
        columns = (
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("updates, {task.fields[figures]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        shown_on = Console(stderr=True)
        with (
            SummaryWriter(self.out, purge_step=self.updates_done + 1) as writer,
            Progress(*columns, console=shown_on) as progress,
        ):
            bar = progress.add_task("", total=self.n_updates, completed=self.updates_done, figures="")
            while self.updates_done < self.n_updates:
                figures = self.update()
                for name, value in figures.items():
                    writer.add_scalar(name, value, self.updates_done)
                if self.updates_done % self.config.train.checkpoint_every == 0 or self.updates_done == self.n_updates:
                    self.save()
                shown = f"delivered {figures['episode/delivered']:.3f}, {figures['speed/ticks_per_s']:.0f} ticks/s"
                progress.update(bar, completed=self.updates_done, figures=shown)

    def update(self) -> dict[str, float]:
        """One rollout and the epochs on it; returns what to log."""
        started = time.perf_counter()
        now = Schedule.at(self.updates_done / self.n_updates, self.config)
        self.policy.attention.temperature.fill_(now.temperature)
        for group in self.optimiser.param_groups:
            group["lr"] = now.learning_rate
        rollout = self.collector.collect(self.policy, now.guidance)
        figures = self._fit(rollout, now.entropy)
        self.updates_done += 1
        ticks = rollout.choice.shape[0] * rollout.choice.shape[1] * self.config.policy.decision_steps
        delivered = rollout.delivered or [float("nan")]
        return figures | {
            **{f"reward/{name}": value for name, value in rollout.terms.items()},
            "episode/delivered": sum(delivered) / len(delivered),
            "policy/contraction_rate": contraction.contraction_rate(self.policy.cell).item(),
            "policy/correction_std": self.policy.log_std.exp().mean().item(),
            "schedule/learning_rate": now.learning_rate,
            "schedule/guidance": now.guidance,
            "schedule/temperature": now.temperature,
            "speed/ticks_per_s": ticks / (time.perf_counter() - started),
        }

    def _fit(self, rollout: Rollout, entropy_weight: float) -> dict[str, float]:
        train = self.config.train
        gamma = train.gamma_per_s**self.policy.dt_s
        advantage = losses.generalised_advantage(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.ended,
            rollout.terminated,
            gamma,
            train.gae_lambda,
        )
        target = advantage + rollout.value
        advantage = losses.normalised(advantage, rollout.weight)
        logged: list[dict[str, float]] = []
        for _ in range(train.epochs):
            order = torch.randperm(train.n_envs, generator=self.collector.random)
            for envs in order.chunk(train.minibatches):
                loss, figures = self._loss(rollout, envs, advantage, target, entropy_weight)
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), train.max_grad_norm)
                self.optimiser.step()
                logged.append(figures)
            if logged[-1]["loss/kl"] > 1.5 * train.target_kl and self.updates_done >= train.imitation_updates:
                break
        return {name: sum(each[name] for each in logged) / len(logged) for name in logged[0]}

    def _loss(
        self, rollout: Rollout, envs: Tensor, advantage: Tensor, target: Tensor, entropy_weight: float
    ) -> tuple[Tensor, dict[str, float]]:
        train, policy = self.config.train, self.policy
        out = replay(policy, rollout, envs)
        weight, choice = rollout.weight[:, envs], rollout.choice[:, envs]
        now = losses.log_probability(out.log_choice, choice, out.correction, policy.log_std, rollout.drawn[:, envs])
        log_ratio = now - rollout.log_probability[:, envs]
        teacher = rollout.teacher[:, envs, :, None]
        # Where the auction sends an agent by a margin that rounds to nothing for the policy, nothing can be learned.
        imitation = -losses.weighted_mean(out.log_choice.gather(-1, teacher).squeeze(-1).clamp(min=_LEAST_LOG), weight)
        surrogate = losses.clipped_surrogate(log_ratio, advantage[:, envs], weight, train.clip)
        value = 0.5 * losses.weighted_mean((out.value - target[:, envs]).square(), weight)
        entropy = losses.weighted_mean(losses.entropy(out.log_choice), weight)
        sizes = self.config.policy
        stability = contraction.regularisation(
            policy.cell, sizes.regularisation, sizes.contraction_min_per_s, sizes.rate_min_per_s, sizes.rate_max_per_s
        )
        imitating = self.updates_done < train.imitation_updates
        reinforcement = surrogate - entropy_weight * entropy + train.imitation_weight * imitation
        loss = (imitation if imitating else reinforcement) + train.value_weight * value + stability
        figures = {
            "loss/imitation": imitation.item(),
            "loss/policy": surrogate.item(),
            "loss/value": value.item(),
            "loss/regularisation": stability.item(),
            "loss/kl": losses.divergence(log_ratio, weight).item(),
            "policy/entropy": entropy.item(),
            # How much two agents in range agree: the off-diagonal share of the cell's support.
            "policy/agreement": 1 - out.support.diagonal(dim1=-2, dim2=-1).mean().item(),
        }
        return loss, figures

    def judge(self) -> None:
        """Fly the trained policy over unseen layouts, in both worlds, and save the figures with it."""
        for backend, most in (("point", self.config.evaluate.n_layouts), ("pybullet", _FLOWN_LAYOUTS)):
            count = min(most, self.config.evaluate.n_layouts)
            config = self.config.override([f"world.backend={backend}", f"evaluate.n_layouts={count}"])
            flown = config.policy.model_copy(update={"checkpoint": str(self.out / "policy.ckpt")})
            config = config.model_copy(update={"policy": flown})
            with Progress(console=Console(stderr=True)) as progress:
                bar = progress.add_task(f"flying {count} unseen layouts, {backend} world", total=count)
                figures = run_method(config, "policy", partial(progress.advance, bar))
            self.figures[backend] = rows(config, {"policy": figures})[0]
        self.save()

    # Saving.

    def save(self) -> None:
        """Write the deployable checkpoint and the state to go on from, each atomically."""
        self.policy.eval()
        write_checkpoint(
            self.out / "policy.ckpt",
            self.config,
            {name: value.numpy() for name, value in self.policy.state_dict().items()},
            export_stages(self.policy, self.config),
            seed=self.config.seed,
            config_hash=self.config.hash(),
            commit=self.commit,
            updates=self.updates_done,
            figures=self.figures,
            contraction_rate=contraction.contraction_rate(self.policy.cell).item(),
        )
        self.policy.train()
        temporary = self.out / ".train_state.pt"
        torch.save(
            {
                "config": self.config.to_yaml(),
                "commit": self.commit,
                "updates_done": self.updates_done,
                "policy": self.policy.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "collector": self.collector.snapshot(),
            },
            temporary,
        )
        os.replace(temporary, self.out / "train_state.pt")

    def _saved(self) -> dict[str, Any]:
        path = self.out / "train_state.pt"
        if not path.exists():
            raise UserError(f"nothing to resume in {self.out}: no train_state.pt; train in a new folder")
        try:
            saved = torch.load(path, weights_only=False)
            earlier = content_hash(yaml.safe_load(saved["config"]))
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, UnpicklingError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} is truncated or damaged ({reason}); train again in a new folder") from None
        if earlier != self.config.hash():
            raise UserError(
                f"{self.out} was trained with configuration {earlier}, this is {self.config.hash()}; "
                f"resume with {self.out / 'config.yaml'}, or name a new folder"
            )
        return saved

    def _restore(self, saved: dict[str, Any]) -> None:
        self.updates_done, self.commit = saved["updates_done"], saved["commit"]
        self.policy.load_state_dict(saved["policy"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.collector.restore(saved["collector"])


def train(config: Config, out: Path, resume: bool = False) -> Path:
    """Train a policy; returns the path of its checkpoint.

    Args:
        config: a whole configuration.
        out: the run's folder.
        resume: go on from its ``train_state.pt``.

    Raises:
        UserError: nothing to resume from, or it was made with another configuration.
    """
    trainer = Trainer(config, out, resume)
    trainer.run()
    trainer.judge()
    return out / "policy.ckpt"


def _layout_seeds(config: Config) -> range:
    """Training layouts, those of each seed apart from those of every other and from the evaluation's.

    Raises:
        UserError: the seed is so large that they would meet the evaluation's.
    """
    count = config.expert.bank_layouts
    most = config.evaluate.first_seed // count - 1
    if config.seed > most:
        raise UserError(
            f"seed: {config.seed} would train on layouts of the evaluation; with evaluate.first_seed="
            f"{config.evaluate.first_seed} and expert.bank_layouts={count} it is at most {most}"
        )
    return range(config.seed * count, (config.seed + 1) * count)


def _commit() -> str:
    """The commit of the working tree, for the record."""
    describe = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
