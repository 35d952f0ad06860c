"""One objective per resource kind: nothing of the reward is lost, and each kind gets its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from sortie_core.delivery import serving
from sortie_core.layout import sample_layout
from sortie_sim.point_world import PointWorld
from sortie_train.objectives import by_kind, scalarised

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import WorldState


def play_beside_consumers(config: Config) -> tuple[WorldState, WorldState, torch.Tensor]:
    """A tick of teams whose drones hover at consumers."""
    world = PointWorld(config, "torch")
    layout = sample_layout(config, range(4)).map(torch.as_tensor)
    place = layout.consumer_position[:, torch.arange(config.team.n_agents) % config.task.n_consumers]
    before = world.restart(layout.replace(position=place + 0.1 * torch.rand_like(place)))
    after = world.step(torch.zeros_like(before.velocity))
    return before, after.state, after.reward


@pytest.mark.parametrize("kinds", [1, 3, 4])
def test_the_objectives_sum_up_to_the_reward(configured: Callable[..., Config], kinds: int) -> None:
    config = configured(f"task.n_resources={kinds}", "team.kinds_per_agent=0", "task.n_presence=0")
    before, after, reward = play_beside_consumers(config)
    split = by_kind(before, after, reward, config)
    assert reward.abs().max() > 0.01
    assert split.shape == (*reward.shape, config.policy.max_resources)
    torch.testing.assert_close(split.sum(-1), reward, atol=1e-6, rtol=1e-5)
    assert (split[..., kinds:] == 0).all(), "kinds that nobody asks for are nobody's objective"


def test_a_delivery_counts_for_its_kind(configured: Callable[..., Config]) -> None:
    config = configured("task.n_resources=3", "team.kinds_per_agent=1", "reward.collision=0", "reward.completion=0")
    before, after, reward = play_beside_consumers(config)
    split = by_kind(before, after, reward, config)[..., :3]
    delivered = after.delivered - before.delivered
    assert serving(before, config.task.service_radius_m).any()
    fair = after.present.sum(1)[:, None, None] * delivered
    expected = (config.reward.own_delivery * fair + config.reward.demand * delivered.sum(1, keepdim=True)) / (
        after.demand.sum((1, 2))[:, None, None]
    )
    torch.testing.assert_close(split, expected, atol=1e-6, rtol=1e-5)


def test_scalarising_sums_over_objectives_where_there_are_any() -> None:
    weight, values = torch.ones(2, 3), torch.rand(2, 3, 4)
    torch.testing.assert_close(scalarised(values, like=weight), values.sum(-1))
    assert scalarised(weight, like=weight) is weight
