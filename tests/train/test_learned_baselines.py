"""Every algorithm that LGTC is held against trains by the same command, goes on after a kill, learns, can be flown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import observe
from sortie_policy.checkpoint import load_metadata, load_weights
from sortie_policy.parameter_count import n_parameters
from sortie_policy.team_policy import make_policy
from sortie_train import train_ippo, train_q
from sortie_train.losses import log_probability
from sortie_train.play import fly
from sortie_train.policy_team import PolicyTeam
from sortie_train.rollout import replay
from sortie_train.sweep import plan_trainings
from sortie_train.team_networks import CentralCritic, QMixer
from sortie_train.train import train, trainer_of
from sortie_train.wrapped_policy import EpsilonGreedy

SHIPPED = Path(__file__).parents[2] / "configs" / "delivery.yaml"
SMALL = [
    "train.n_envs=6",
    "train.decisions_per_rollout=5",
    "train.total_steps=600",
    "train.scenarios=[{team.n_agents: 2}, {team.n_agents: 4}]",
    "train.n_consumers=[2,3]",
    "train.n_resources=[1,2]",
    "train.epochs=2",
    "train.minibatches=2",
    "train.checkpoint_every=2",
    "train.imitation_updates=0",
    "train.imitation_weight=0",
    "reward.guidance=0",
    "expert.bank_layouts=4",
    "policy.hidden=8",
    "policy.mlp_width=16",
    "policy.key_dim=8",
    "task.duration_s=2.0",
    "evaluation.n_layouts=2",
]
METHODS = {
    "ippo_mlp": ["policy.network=mlp"],
    "ippo_attention": ["policy.network=attention"],
    "mappo": ["policy.network=attention", "train.algorithm=mappo"],
    "momappo": ["policy.network=attention", "train.algorithm=momappo"],
    "vdn": ["policy.network=attention", "train.algorithm=vdn"],
    "qmix": ["policy.network=attention", "train.algorithm=qmix"],
    "qmix_lgtc": ["train.algorithm=qmix"],
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where runs are kept."""
    monkeypatch.chdir(tmp_path)


def configured(method: str, *overrides: str) -> Config:
    return load_config(SHIPPED, [*SMALL, *METHODS[method], *overrides])


def weights_of(path: Path) -> np.ndarray:
    return np.concatenate([value.ravel() for value in load_weights(path).values()])


@pytest.mark.parametrize("method", ["momappo", "vdn", "qmix_lgtc"])
def test_a_run_resumes_after_a_kill_as_if_nothing_had_happened(method: str) -> None:
    config = configured(method)
    whole = trainer_of(config)(config, Path("whole"), False)
    killed = trainer_of(config)(config, Path("killed"), False)
    for _ in range(2):
        killed.update()
    killed.save()
    killed.update()  # lost with the kill
    resumed = trainer_of(config)(config, Path("killed"), True)
    for trainer in (whole, resumed):
        with trainer.log() as log:
            trainer.run(log)
    assert np.array_equal(weights_of(Path("whole/policy.ckpt")), weights_of(Path("killed/policy.ckpt")))
    assert any(Path("whole").glob("events.out.tfevents*"))


@pytest.mark.parametrize("method", ["mappo", "qmix"])
def test_what_the_command_trains_can_be_flown_in_teams_of_any_size(method: str) -> None:
    config = configured(method)
    path = train(config, Path("run"))
    assert 0 <= load_metadata(path)["figures"]["pybullet"]["delivered_mean"] <= 1
    larger = config.changed({"policy.checkpoint": str(path), "team.n_agents": 9, "world.backend": "point"}, "test")
    figures = fly(larger, PolicyTeam, lambda _: None)
    assert (figures["delivered_fraction"] >= 0).all()


@pytest.mark.parametrize("file", ["main", "questions"])
def test_whatever_a_sweep_trains_can_be_trained(file: str) -> None:
    """One update of each; with guidance, layouts would have to be solved first."""
    config = load_config(SHIPPED.parent / "evaluate" / f"{file}.yaml", [*SMALL, "evaluation.train_seeds=[1]"])
    for training in plan_trainings(config, Path("sweep")):
        small = training.config.changed({"reward.guidance": 0.0, "expert.bank_layouts": 4}, training.name)
        figures = trainer_of(small)(small, training.folder, False).update()
        strange = [name for name, value in figures.items() if not np.isfinite(value)]
        assert set(strange) <= {"policy/contraction_rate"}, training.name


@pytest.mark.parametrize("method", METHODS)
def test_as_many_parameters_as_lgtc_with_all_that_judges(method: str) -> None:
    """QMIX's mixer, which has no counterpart in the others, comes on top."""
    config = load_config(SHIPPED, ["train.n_envs=6", "expert.bank_layouts=1", "reward.guidance=0", *METHODS[method]])
    trainer = trainer_of(config)(config, Path("run"), False)
    count = n_parameters(trainer.policy)
    if "critic" in trainer.modules:
        own = trainer.policy.critic
        assert isinstance(own, nn.Module)
        count += n_parameters(trainer.modules["critic"]) - n_parameters(own)
    lgtc = make_policy(config.changed({"policy.network": "lgtc"}, "test"))
    assert count == pytest.approx(n_parameters(lgtc), rel=0.05)


@pytest.mark.parametrize("method", ["mappo", "momappo"])
def test_replaying_a_rollout_gives_what_was_collected(method: str) -> None:
    trainer = train_ippo.Trainer(configured(method), Path("run"), False)
    actor = trainer.actor()
    rollout = trainer.collectors[1].collect(actor, 1.0, taught=False)
    with torch.no_grad():
        out = replay(actor, rollout, torch.arange(rollout.choice.shape[1]))
    assert rollout.value.ndim == (4 if method == "momappo" else 3)
    assert rollout.value.shape == rollout.reward.shape == rollout.next_value.shape
    torch.testing.assert_close(out.value, rollout.value, atol=1e-5, rtol=1e-5)
    again = log_probability(out.log_choice, rollout.choice, out.correction, actor.log_std, rollout.drawn)
    torch.testing.assert_close(again, rollout.log_probability, atol=1e-5, rtol=1e-5)


def test_the_central_critic_sees_whom_no_radio_reaches() -> None:
    config = configured("mappo")
    state = sample_layout(config, [1, 2], 4, 3, 2).map(torch.as_tensor)
    critic = CentralCritic(config, 16, objectives=2)
    values = critic(observe(state, config))
    assert values.shape == (2, 4, 2)
    order = torch.tensor([2, 0, 3, 1])
    of_agents = ("position", "velocity", "stock", "present", "failure_time_s")
    permuted = state.replace(**{name: getattr(state, name)[:, order] for name in of_agents})
    torch.testing.assert_close(critic(observe(permuted, config)), values[:, order], atol=1e-6, rtol=1e-5)
    failed = state.failure_time_s.clone()
    failed[:, 3] = -1.0
    after = critic(observe(state.replace(failure_time_s=failed), config))
    assert ((after - values).abs().amax(-1) > 1e-6)[:, :3].all()
    spent = torch.cat([state.stock[:, :3], 0 * state.stock[:, 3:]], 1)
    torch.testing.assert_close(after, critic(observe(state.replace(stock=spent), config)))


def test_the_mixed_value_falls_with_no_agents_value() -> None:
    config = configured("qmix")
    seen = observe(sample_layout(config, range(5), 4, 3, 2).map(torch.as_tensor), config)
    values = torch.randn(5, 4, requires_grad=True)
    mixer = QMixer(config)
    (slope,) = torch.autograd.grad(mixer(values, seen).sum(), values)
    assert (slope >= 0).all()
    assert slope.std() > 0, "agents count differently"


def test_agents_explore_what_is_possible_and_no_more() -> None:
    config = configured("vdn")
    policy = make_policy(config)
    seen = observe(sample_layout(config, range(8), 4, 3, 2).map(torch.as_tensor), config)
    seen.consumer_mask[:, 1] = False
    linked = torch.zeros(8, 4, 4, dtype=torch.bool)
    with torch.no_grad():
        plain = policy(seen, linked, policy.initial_memory(seen))[0].log_choice
        chance = EpsilonGreedy(policy, 0.3)(seen, linked, policy.initial_memory(seen))[0].log_choice.exp()
    best = plain.argmax(-1, keepdim=True)
    assert chance[..., 1].max() == 0
    torch.testing.assert_close(chance.sum(-1), torch.ones(8, 4))
    torch.testing.assert_close(chance.gather(-1, best), torch.full((8, 4, 1), 0.7 + 0.3 / 3))
    assert (chance.argmax(-1, keepdim=True) == best).all()


def test_the_loss_of_value_decomposition_by_hand() -> None:
    trainer = train_q.Trainer(configured("vdn", "task.duration_s=1.5"), Path("run"), False)
    rollout = trainer.collectors[1].collect(trainer.actor(), 1.0, taught=False)
    envs = torch.tensor([2, 0])
    assert rollout.ended[:-1, envs].any()
    with torch.no_grad():
        for parameter in trainer.modules["target_policy"].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        online = replay(trainer.policy, rollout, envs)
        target = replay(trainer.modules["target_policy"], rollout, envs)  # type: ignore[arg-type]
        q, slow = (out.value[..., None] + out.log_choice for out in (online, target))
    errors = []
    for t in range(5):
        for b, env in enumerate(envs):
            if t == 4 and not rollout.ended[t, env]:
                continue
            mine = sum(q[t, b, i, rollout.choice[t, env, i]] for i in range(4))
            goal = rollout.reward[t, env].sum()
            if not rollout.ended[t, env]:
                goal = goal + trainer.gamma * sum(slow[t + 1, b, i, q[t + 1, b, i].argmax()] for i in range(4))
            errors.append(((mine - goal) / 4) ** 2)
    loss, _ = trainer._loss(rollout, envs)
    assert loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


@pytest.mark.parametrize("method", ["ippo_mlp", "momappo", "qmix"])
def test_learning_raises_what_is_delivered(method: str) -> None:
    """A small run on easy layouts improves; it would not if any sign in the loss were wrong."""
    easy = configured(
        method, "train.total_steps=32000", "train.n_envs=32", "train.decisions_per_rollout=10", "policy.mlp_width=32",
        "train.scenarios=[{team.n_agents: 3}]", "train.n_consumers=[3,3]", "task.duration_s=5.0", "train.minibatches=8",
    )  # fmt: skip
    trainer = trainer_of(easy)(easy, Path("run"), False)
    delivered = [trainer.update()["train/delivered"] for _ in range(trainer.n_updates)]
    assert np.mean(delivered[-5:]) > np.mean(delivered[:5]) + 0.1
