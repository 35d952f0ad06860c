"""Training: guided, reproducible to the bit, resumable after a kill, and what it writes can be flown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core.config import Config, UserError, content_hash, load_config
from sortie_core.layout import sample_training_layout
from sortie_policy.checkpoint import load_metadata, load_weights
from sortie_policy.runtime import AgentRuntime
from sortie_train import run_state
from sortie_train.losses import log_probability
from sortie_train.rollout import Collector, replay
from sortie_train.schedule import Schedule
from sortie_train.train import report, train
from sortie_train.train_ippo import Trainer

SMALL = [
    "train.n_envs=6",
    "train.decisions_per_rollout=5",
    "train.total_steps=600",
    "train.scenarios=[{team.n_agents: 2}, {team.n_agents: 4, comm.latency_steps: 2, comm.loss: 0.2, "
    "task.demand_sensing: relayed, task.sensing_radius_m: 3.0}]",
    "train.n_consumers=[2,3]",
    "train.n_resources=[1,2]",
    "train.epochs=2",
    "train.minibatches=2",
    "train.checkpoint_every=2",
    "train.imitation_updates=1",
    "reward.guidance=0.2",
    "expert.bank_layouts=4",
    "policy.hidden=8",
    "policy.mlp_width=16",
    "policy.key_dim=8",
    "task.duration_s=2.0",
    "evaluation.n_layouts=2",
]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml", SMALL)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the expert keeps its solutions."""
    monkeypatch.chdir(tmp_path)


def weights_of(path: Path) -> np.ndarray:
    return np.concatenate([value.ravel() for value in load_weights(path).values()])


def test_a_run_is_reproducible_and_resumes_after_a_kill_as_if_nothing_had_happened(config: Config) -> None:
    first = weights_of(train(config, Path("first")))
    again = weights_of(train(config, Path("again")))
    assert np.array_equal(first, again)

    killed = Trainer(config, Path("killed"), resume=False)
    for _ in range(2):
        killed.update()
    killed.save()
    killed.update()  # lost with the kill
    del killed
    resumed = weights_of(train(config, Path("killed"), resume=True))
    assert np.array_equal(first, resumed)
    other = train(config.override(["seed=2"]), Path("other"))
    assert not np.array_equal(first, weights_of(other))

    metadata = load_metadata(Path("first/policy.ckpt"))
    assert (metadata["seed"], metadata["updates"], content_hash(metadata["config"])) == (1, 4, config.hash())
    assert metadata["contraction_rate"] > 0
    assert {name: each["n_layouts"] for name, each in metadata["figures"].items()} == {"point": 2, "pybullet": 2}
    assert 0 <= metadata["figures"]["pybullet"]["delivered_mean"] <= 1
    runtime = AgentRuntime.from_checkpoint(config.override(["policy.checkpoint=first/policy.ckpt"]), 0)
    assert runtime.contraction_rate == metadata["contraction_rate"]
    assert any(Path("first").glob("events.out.tfevents*"))


def test_resuming_refuses_what_it_cannot_continue(config: Config) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        Trainer(config, Path("nowhere"), resume=True)
    trainer = Trainer(config, Path("run"), resume=False)
    trainer.save()
    with pytest.raises(UserError, match=r"trained with train.learning_rate=0.002, but here it is 0.1; resume with"):
        Trainer(config.override(["train.learning_rate=0.1"]), Path("run"), resume=True)
    state = Path("run/train_state.pt")
    of_an_earlier_version = torch.load(state, weights_only=False)
    del of_an_earlier_version["workers"][0]["collectors"][0]["exploration"]
    run_state.write(Path("run"), of_an_earlier_version)
    with pytest.raises(UserError, match=r"train_state.pt is not as this version writes it .*; go on with the version"):
        Trainer(config, Path("run"), resume=True)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match="truncated or damaged"):
        Trainer(config, Path("run"), resume=True)


def test_a_training_that_diverges_ends_with_a_hint_and_keeps_what_was_saved(config: Config) -> None:
    trainer = Trainer(config, Path("run"), resume=False)
    trainer.save()
    saved = weights_of(Path("run/policy.ckpt"))
    (trainer.policy.log_std.sum() * np.inf).backward()
    with pytest.raises(FloatingPointError, match="the gradient is no longer finite"):
        trainer.descend()
    for part, what in ((trainer.policy.corrector, "corrections"), (trainer.policy.attention, "choices")):
        with torch.no_grad():
            next(part.parameters()).fill_(np.nan)
        with pytest.raises(UserError, match=f"update 1: .* {what} are no longer finite; lower train.learning_rate=0.0"):
            trainer.update()
    assert np.array_equal(weights_of(Path("run/policy.ckpt")), saved)


def test_a_lost_checkpoint_of_a_finished_training_is_written_again(config: Config) -> None:
    short = config.override(["train.total_steps=150"])
    checkpoint = train(short, Path("run"))
    weights, figures = weights_of(checkpoint), load_metadata(checkpoint)["figures"]
    for damage in (checkpoint.unlink, lambda: checkpoint.write_bytes(checkpoint.read_bytes()[:500])):
        damage()
        assert np.array_equal(weights_of(train(short, Path("run"), resume=True)), weights)
        again = load_metadata(checkpoint)["figures"]
        assert again["point"]["delivered_mean"] == figures["point"]["delivered_mean"]


def test_a_training_reports_what_it_delivers(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    short = config.override(["train.total_steps=150"])
    checkpoint = train(short, Path("run"))
    written = checkpoint.stat().st_mtime_ns
    assert train(short, Path("run"), resume=True).stat().st_mtime_ns == written, "what is over is not flown again"
    capsys.readouterr()
    report(checkpoint, as_json=True)
    figures = json.loads(capsys.readouterr().out)["figures"]
    report(checkpoint, as_json=False)
    point, pybullet, last = capsys.readouterr().out.splitlines()
    assert f"2 unseen layouts, 8 drones, point world: delivered {figures['point']['delivered_mean']:.3f}" in point
    assert "pybullet world" in pybullet
    assert last == "fly it: sortie sim CONFIG policy.checkpoint=run/policy.ckpt"
    deaf = ["policy.network=mlp", "train.scenarios=[{}]", "train.total_steps=150"]
    report(train(config.override(deaf), Path("deaf")), as_json=False)
    flown = "fly it: sortie evaluate CONFIG policy.network=mlp policy.checkpoint=deaf/policy.ckpt"
    assert capsys.readouterr().out.splitlines()[-1] == flown


def test_replaying_a_rollout_gives_what_was_collected(config: Config) -> None:
    """The update must start from the very numbers that acting gave, or PPO's ratio is off."""
    trainer = Trainer(config, Path("run"), resume=False)
    with torch.no_grad():
        trainer.policy.memory.weight.mul_(100.0)
        collector = trainer.collectors[1]
        collector.collect(trainer.actor(), 1.0, taught=True)
        rollout = collector.collect(trainer.actor(), 1.0, taught=True)
        out = replay(trainer.actor(), rollout, torch.arange(rollout.choice.shape[1]))
    assert rollout.ended.any(), "the rollout must cross ends of episodes"
    torch.testing.assert_close(out.value, rollout.value, atol=1e-5, rtol=1e-5)
    again = log_probability(out.log_choice, rollout.choice, out.correction, trainer.policy.log_std, rollout.drawn)
    torch.testing.assert_close(again, rollout.log_probability, atol=1e-5, rtol=1e-5)


def test_guidance_rewards_going_where_the_expert_says_and_fades(config: Config) -> None:
    bank = sample_training_layout(config, range(6))
    trainer = Trainer(config, Path("run"), resume=False)
    near = np.zeros(bank.present.shape, np.int64)
    guided = Collector(config, bank, near, 1).collect(trainer.policy, 1.0, taught=True)
    faded = Collector(config, bank, near, 1).collect(trainer.policy, 0.0, taught=True)
    assert guided.terms["guidance"] != 0
    assert faded.terms["guidance"] == 0
    assert faded.terms["demand"] == guided.terms["demand"], "guidance changes the reward, not the world"
    elsewhere = Collector(config, bank, near + 1, 1).collect(trainer.policy, 1.0, taught=True)
    assert elsewhere.terms["guidance"] != guided.terms["guidance"]
    assert Schedule.at(0.5, config).guidance == 1
    assert Schedule.at(0.85, config).guidance == pytest.approx(0.5)
    assert Schedule.at(1.0, config).guidance == 0


@pytest.mark.parametrize("imitation_updates", [0, 30])
def test_learning_raises_what_is_delivered(config: Config, imitation_updates: int) -> None:
    """A small run on easy layouts improves; it would not if any sign in the loss were wrong."""
    easy = config.override(
        ["train.total_steps=60000", "train.n_envs=32", "train.decisions_per_rollout=10", "policy.mlp_width=32",
         "train.scenarios=[{team.n_agents: 3}]", "train.n_consumers=[3,3]", "task.duration_s=5.0",
         "train.minibatches=4", f"train.imitation_updates={imitation_updates}"]
    )  # fmt: skip
    trainer = Trainer(easy, Path("run"), resume=False)
    delivered = [trainer.update()["train/delivered"] for _ in range(30)]
    assert np.mean(delivered[-5:]) > np.mean(delivered[:5]) + 0.1


@pytest.mark.parametrize("projection", [False, True])
def test_projection_keeps_the_cell_contracting_where_learning_would_not(config: Config, projection: bool) -> None:
    """Without a penalty and at a wild learning rate, only the projection holds."""
    keys = ["policy.regularisation=0", "train.learning_rate=0.05", f"policy.projection={str(projection).lower()}"]
    trainer = Trainer(config.override(keys), Path("run"), resume=False)
    for _ in range(3):
        trainer.update()
    assert (trainer.policy.contraction_rate() > 0) == projection


def test_training_layouts_never_are_those_of_the_evaluation(config: Config) -> None:
    with pytest.raises(UserError, match="seed: 300000 would train on layouts of the evaluation"):
        Trainer(config.override(["seed=300000"]), Path("run"), resume=False)
    assert not Path("run").exists(), "nothing is taken where nothing was begun"


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["train.scenarios=[{}, {policy.decision_steps: 2}]"], "number 2: policy.decision_steps is the same in all"),
        (["train.scenarios=[{task.dimensions: 3}]"], "number 1: task.dimensions is the same in all"),
        (
            ["train.scenarios=[{team: {n_agents: 3}}]"],
            "number 1: team is a section; name a key in it, such as team.n_a",
        ),
        (["train.n_envs=7"], "train.n_envs: 7 in this process cannot be shared evenly by 2 train.scenarios"),
        (["train.minibatches=4"], "train.minibatches: 4 are more than the 3 environments of a scenario"),
    ],
)
def test_scenarios_that_do_not_fit_together_are_refused(config: Config, overrides: list[str], match: str) -> None:
    with pytest.raises(UserError, match=match):
        train(config.override(overrides), Path("run"))
    assert not Path("run").exists()


def test_who_has_failed_is_worth_nothing_more(config: Config) -> None:
    """Neither its own value nor that of what comes after tells of rewards that it will never get."""
    failing = ["train.scenarios=[{team.failure_probability: 1.0}]", "team.n_agents=4"]
    (collector,) = (trainer := Trainer(config.override(failing), Path("run"), resume=False)).collectors
    rollout = collector.collect(trainer.policy, 0.0, taught=False)
    dead = rollout.weight == 0
    assert dead.any()
    assert not dead.all()
    assert (rollout.value[dead] == 0).all()
    assert (rollout.value[~dead] != 0).any()
    after = torch.cat([rollout.weight[1:] == 0, dead[:1] & False])  # of the same episode where none ended
    still = after & ~rollout.ended[..., None]
    assert still.any()
    assert (rollout.next_value[still] == 0).all()


def test_the_projection_keeps_its_rate_whatever_the_time_constants_become(config: Config) -> None:
    trainer = Trainer(config.override(["policy.projection=true", "policy.regularisation=0"]), Path("run"), resume=False)
    cell, asked = trainer.policy.cell, config.policy.contraction_min_per_s
    with torch.no_grad():
        cell.log_rate[0] = np.log(0.2)
        cell.coupling.weight.mul_(30.0)
    trainer.policy.log_std.sum().backward()
    trainer.descend()
    assert trainer.policy.contraction_rate() >= asked - 1e-6


def test_a_configuration_that_none_of_its_scenarios_flies_is_refused(config: Config) -> None:
    elsewhere = "train.scenarios=[{comm.radius_m: 5.0}]"
    with pytest.raises(UserError, match=r"train.scenarios: all change comm.radius_m=2\.5"):
        train(config.override([elsewhere, "comm.radius_m=2.5"]), Path("run"))
    assert not Path("run").exists()
