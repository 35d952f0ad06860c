"""Our losses against TorchRL's."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from tensordict.nn import TensorDictModule as Module
from torch import nn
from torch.distributions import Categorical
from torchrl.modules import QValueModule, SafeSequential
from torchrl.modules.models.multiagent import QMixer, VDNMixer
from torchrl.objectives import ClipPPOLoss, KLPENPPOLoss, QMixerLoss, ValueEstimators
from torchrl.objectives.value.functional import generalized_advantage_estimate

from sortie_train import losses, team_networks

GAMMA, LAMBDA, CLIP = 0.94, 0.9, 0.2
T, B, N, A, F = 9, 5, 4, 3, 6
SAME = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(8)


@pytest.mark.parametrize("objectives", [(), (3,)])
def test_generalised_advantage_with_ends_of_both_kinds(objectives: tuple[int, ...]) -> None:
    reward, value, following = torch.randn(3, T, B, N, *objectives)
    ended = torch.rand(T, B) < 0.3
    terminated = ended & (torch.rand(T, B) < 0.5)
    assert (ended & ~terminated).any(), "some are truncated"
    ours = losses.generalised_advantage(reward, value, following, ended, terminated, GAMMA, LAMBDA)

    def flat(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(T, B, -1).permute(1, 2, 0)[..., None]

    def of_all(flags: torch.Tensor) -> torch.Tensor:
        return flat(flags.view(T, B, *(1 for _ in reward.shape[2:])).expand_as(reward))

    theirs, target = generalized_advantage_estimate(
        GAMMA, LAMBDA, flat(value), flat(following), flat(reward), of_all(ended), of_all(terminated)
    )
    torch.testing.assert_close(flat(ours), theirs, **SAME)
    torch.testing.assert_close(flat(ours + value), target, **SAME)


def actor() -> ProbabilisticTensorDictSequential:
    """Chooses by a linear network, and records the logits of whoever acted."""
    return ProbabilisticTensorDictSequential(
        Module(nn.Linear(F, A), in_keys=["observation"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"], out_keys=["action"], distribution_class=Categorical, return_log_prob=True,
            default_interaction_type=InteractionType.RANDOM, log_prob_key="action_log_prob",
        ),
    )  # fmt: skip


@pytest.fixture
def experience() -> tuple[ProbabilisticTensorDictSequential, TensorDict]:
    """What an actor did, with advantages, and the actor after a large step."""
    now = actor()
    with torch.no_grad():
        seen = now(TensorDict({"observation": torch.randn(B, N, F)}, [B, N]))
        for parameter in now.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    seen["advantage"] = torch.randn(B, N, 1)
    seen["value_target"] = torch.zeros(B, N, 1)
    return now, seen


def log_choice(policy: ProbabilisticTensorDictSequential, seen: TensorDict) -> torch.Tensor:
    return torch.log_softmax(policy[0].module(seen["observation"]), -1)


def test_clipped_surrogate_and_entropy(experience: tuple) -> None:
    policy, seen = experience
    critic = Module(nn.Linear(F, 1), in_keys=["observation"], out_keys=["state_value"])
    theirs = ClipPPOLoss(policy, critic, clip_epsilon=CLIP, normalize_advantage=False)(seen)
    assert 0 < theirs["clip_fraction"] < 1
    now = log_choice(policy, seen)
    log_ratio = now.gather(-1, seen["action"][..., None]).squeeze(-1) - seen["action_log_prob"]
    ours = losses.clipped_surrogate(log_ratio, seen["advantage"].squeeze(-1), torch.ones(B, N), CLIP)
    torch.testing.assert_close(ours, theirs["loss_objective"], **SAME)
    torch.testing.assert_close(losses.entropy(now).mean(), theirs["entropy"], **SAME)


def test_divergence_is_that_of_kullback_and_leibler_in_expectation(experience: tuple) -> None:
    policy, seen = experience
    critic = Module(nn.Linear(F, 1), in_keys=["observation"], out_keys=["state_value"])
    theirs = KLPENPPOLoss(policy, critic, normalize_advantage=False)(seen.clone())
    before, now = torch.log_softmax(seen["logits"], -1), log_choice(policy, seen)
    expected = losses.divergence(now - before, before.exp())
    torch.testing.assert_close(expected, theirs["kl"].mean(), **SAME)


def test_the_sum_of_values() -> None:
    values = torch.randn(B, N)
    theirs = VDNMixer(N, "cpu")(values[..., None])
    torch.testing.assert_close(team_networks.VDNMixer()(values, None), theirs.squeeze(-1), **SAME)


def weights_of(mixer: QMixer, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What TorchRL's hypernetworks give, in the form of `team_networks.monotonic`."""
    weight = mixer.hyper_w_1(state).abs().view(len(state), N, -1)
    return weight, mixer.hyper_b_1(state), mixer.hyper_w_final(state).abs(), mixer.V(state).squeeze(-1)


def test_the_monotonic_mixing_of_values() -> None:
    values, state = torch.randn(B, N), torch.randn(B, F)
    mixer = QMixer((F,), 16, N, "cpu")
    ours = team_networks.monotonic(values, *weights_of(mixer, state))
    torch.testing.assert_close(ours, mixer(values[..., None], state).squeeze(-1), **SAME)


@pytest.mark.parametrize("kind", ["vdn", "qmix"])
def test_the_error_against_the_bootstrapped_target(kind: str) -> None:
    observation, state = torch.randn(2, B, N, F), torch.randn(2, B, F)
    action, reward = torch.randint(A, (B, N)), torch.randn(B)
    ended = torch.arange(B) % 2 == 0
    network = nn.Linear(F, A)
    mixer: VDNMixer | QMixer = VDNMixer(N, "cpu") if kind == "vdn" else QMixer((F,), 16, N, "cpu")

    def mixed(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        if isinstance(mixer, VDNMixer):
            return team_networks.VDNMixer()(values, None)
        return team_networks.monotonic(values, *weights_of(mixer, at))

    values = network(observation)
    value = mixed(values[0].gather(-1, action[..., None]).squeeze(-1), state[0])
    following = torch.stack([mixed(each.amax(-1), at) for each, at in zip(values, state, strict=True)])
    rewards, ends = torch.stack([reward, torch.zeros(B)]), torch.stack([ended, ended & False])
    target, known = losses.bootstrapped(rewards, following, ends, GAMMA)
    assert known.tolist() == [[1.0] * B, [0.0] * B], "what follows the last decision is not known"
    ours = (value - target[0]).square().mean()
    torch.testing.assert_close(ours, their_error(network, mixer, observation, state, action, reward, ended), **SAME)


def their_error(
    network: nn.Module, mixer: nn.Module, observation: torch.Tensor, state: torch.Tensor, *taken: torch.Tensor
) -> torch.Tensor:
    action, reward, ended = taken
    agents = SafeSequential(
        Module(network, in_keys=[("agents", "observation")], out_keys=[("agents", "action_value")]),
        QValueModule(
            action_value_key=("agents", "action_value"), action_space="categorical",
            out_keys=[("agents", "action"), ("agents", "action_value"), ("agents", "chosen_action_value")],
        ),
    )  # fmt: skip
    keys = [("agents", "chosen_action_value"), *(["state"] if mixer.needs_state else [])]
    loss = QMixerLoss(
        agents, Module(mixer, in_keys=keys, out_keys=["chosen_action_value"]),
        loss_function="l2", delay_value=False, action_space="categorical",
    )  # fmt: skip
    loss.set_keys(
        action=("agents", "action"), action_value=("agents", "action_value"),
        local_value=("agents", "chosen_action_value"), global_value="chosen_action_value",
    )  # fmt: skip
    loss.make_value_estimator(ValueEstimators.TD0, gamma=GAMMA)

    def seen(at: int) -> dict:
        return {"agents": TensorDict({"observation": observation[at]}, [B, N]), "state": state[at]}

    ends = {"done": ended[:, None], "terminated": ended[:, None], "reward": reward[:, None]}
    first = TensorDict(seen(0) | {"next": TensorDict(seen(1) | ends, [B])}, [B])
    first["agents", "action"] = action
    return loss(first)["loss"]
