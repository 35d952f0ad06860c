"""The networks that LGTC is held against: as large as it, for any team, symmetric, and deaf to all but neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from sortie_core.config import UserError, load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import Observation, observe
from sortie_policy.baseline_networks import SilentPolicy, _masked_softmax
from sortie_policy.checkpoint import load_stages, load_weights, write_checkpoint
from sortie_policy.parameter_count import equal_width, n_parameters
from sortie_policy.team_policy import make_policy

if TYPE_CHECKING:
    from sortie_policy.team_policy import Deliberation

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "delivery.yaml")
N, M = 7, 4
OUTPUTS = ("log_choice", "correction", "value")


@pytest.fixture(scope="module", params=["mlp", "attention"])
def policy(request: pytest.FixtureRequest) -> SilentPolicy:
    torch.manual_seed(3)
    policy = make_policy(CONFIG.changed({"policy.network": request.param}, "test"))
    assert isinstance(policy, SilentPolicy)
    with torch.no_grad():
        policy.corrector[-1].weight.normal_()
    return policy.eval()


@pytest.fixture(scope="module")
def scene() -> tuple[Observation, torch.Tensor]:
    seen = observe(sample_layout(CONFIG, [1, 2, 3], N, M, 2).map(torch.as_tensor), CONFIG)
    links = torch.rand(3, N, N, generator=torch.Generator().manual_seed(5)) < 0.4
    return seen, (links | links.transpose(1, 2)) & ~torch.eye(N, dtype=torch.bool)


@torch.no_grad()
def decide(policy: SilentPolicy, seen: Observation, linked: torch.Tensor) -> Deliberation:
    return policy(seen, linked, policy.initial_memory(seen))[0]


def changed(seen: Observation, **changes: torch.Tensor) -> Observation:
    return Observation(**(vars(seen) | changes))


@pytest.mark.parametrize("sizes", [{}, {"policy.hidden": 16, "policy.mlp_width": 48}, {"policy.max_resources": 6}])
def test_as_many_parameters_as_lgtc(policy: SilentPolicy, sizes: dict) -> None:
    config = CONFIG.changed(sizes, "test")
    assert n_parameters(type(policy)(config)) == pytest.approx(n_parameters(make_policy(config)), rel=0.05)


def test_looking_for_the_width_draws_no_random_numbers() -> None:
    torch.manual_seed(1)
    plain = torch.rand(1)
    torch.manual_seed(1)
    assert equal_width(lambda width: torch.nn.Linear(width, 3), lambda: torch.nn.Linear(10, 4)) in (13, 14)
    assert torch.rand(1) == plain


@pytest.mark.parametrize(("n_agents", "n_consumers"), [(1, 1), (2, 9), (24, 5)])
def test_any_team_fits(policy: SilentPolicy, n_agents: int, n_consumers: int) -> None:
    seen = observe(sample_layout(CONFIG, [4, 5], n_agents, n_consumers, 3).map(torch.as_tensor), CONFIG)
    linked = ~torch.eye(n_agents, dtype=torch.bool).expand(2, -1, -1)
    for heard in (linked, linked & False):
        out = decide(policy, seen, heard)
        assert out.log_choice.shape == (2, n_agents, n_consumers + 1)
        assert out.correction.shape == (2, n_agents, 2)
        assert out.value.shape == (2, n_agents)
        assert out.state.shape == (2, n_agents, 0), "nothing is remembered"
        assert all(getattr(out, name).isfinite().all() for name in OUTPUTS)


def test_permuting_agents_permutes_outputs(policy: SilentPolicy, scene: tuple) -> None:
    seen, linked = scene
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    agents = {name: getattr(seen, name)[:, order] for name in ("own", "position", "velocity", "stock")}
    plain, other = decide(policy, seen, linked), decide(policy, changed(seen, **agents), linked[:, order][:, :, order])
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(other, name), getattr(plain, name)[:, order], atol=1e-5, rtol=1e-4)


def test_permuting_consumers_permutes_the_choice(policy: SilentPolicy, scene: tuple) -> None:
    seen, linked = scene
    order = torch.randperm(M, generator=torch.Generator().manual_seed(2))
    names = ("consumers", "consumer_mask", "consumer_position", "need")
    other = decide(policy, changed(seen, **{name: getattr(seen, name)[:, order] for name in names}), linked)
    plain, columns = decide(policy, seen, linked), torch.cat([order, torch.tensor([M])])
    torch.testing.assert_close(other.log_choice, plain.log_choice[..., columns], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.correction, plain.correction, atol=1e-5, rtol=1e-4)


def test_only_consumers_that_an_agent_can_serve_are_chosen(policy: SilentPolicy, scene: tuple) -> None:
    seen, linked = scene
    masked = changed(seen, consumer_mask=seen.consumer_mask & (torch.arange(M) != 1))
    assert decide(policy, masked, linked).log_choice[..., 1].exp().max() == 0
    empty = changed(seen, stock=torch.zeros_like(seen.stock))
    torch.testing.assert_close(decide(policy, empty, linked).log_choice[..., M].exp(), torch.ones(3, N))


def test_neighbours_are_heard_and_nobody_else(policy: SilentPolicy, scene: tuple) -> None:
    seen, linked = scene
    plain = decide(policy, seen, linked)
    for name in ("position", "velocity", "stock"):
        moved = getattr(seen, name).clone()
        moved[:, 0] += 0.3
        other = decide(policy, changed(seen, **{name: moved}), linked)
        differs = (other.log_choice - plain.log_choice).abs().amax(-1)[:, 1:] > 1e-7
        assert not differs[~linked[:, 1:, 0]].any(), name
        assert differs[linked[:, 1:, 0]].any(), name


def test_a_lost_beacon_is_a_missing_neighbour(policy: SilentPolicy, scene: tuple) -> None:
    seen, linked = scene
    by_round = torch.stack([linked, linked & False, linked], 1)
    torch.testing.assert_close(decide(policy, seen, by_round).value, decide(policy, seen, linked).value)


def test_agents_cannot_fly_such_a_checkpoint_by_themselves(policy: SilentPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.ckpt"
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    write_checkpoint(path, CONFIG.changed({"policy.network": "mlp"}, "test"), weights, {}, contraction_rate=0.0)
    assert load_weights(path).keys() == weights.keys()
    with pytest.raises(UserError, match=r"holds a network \(mlp\) that agents cannot fly by themselves"):
        load_stages(path)


def test_who_is_not_heard_does_not_weigh_however_loud() -> None:
    logits, heard = torch.tensor([[0.0], [0.0], [300.0]]), torch.tensor([[True], [True], [False]])
    torch.testing.assert_close(_masked_softmax(logits, heard).flatten(), torch.tensor([0.5, 0.5, 0.0]))
    assert (_masked_softmax(logits, heard & False) == 0).all()
