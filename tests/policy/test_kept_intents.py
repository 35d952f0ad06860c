"""Tables of kept intentions: how far they travel, what they add up to, and when they are forgotten."""

from __future__ import annotations

import torch

from sortie_core import observation
from sortie_core.observation import Observation
from sortie_policy.kept_intents import UNKNOWN, KeptIntents

N, M = 4, 2
CHAIN = torch.diag(torch.ones(N - 1), 1).bool() | torch.diag(torch.ones(N - 1), -1).bool()


def begun() -> tuple[KeptIntents, torch.Tensor, torch.Tensor, torch.Tensor]:
    intent = torch.eye(N)[None, :, :M] + 0.1
    stock = torch.arange(1.0, N + 1)[None, :, None]
    position = torch.arange(float(N))[None, :, None] * torch.tensor([1.0, 0.0])
    return KeptIntents.nothing(stock, position, M), intent, stock, position


def test_an_intention_travels_one_hop_a_round_and_says_how_old_it_is() -> None:
    kept, intent, stock, position = begun()
    reach = []
    for _ in range(3):
        kept = kept.announced(intent, stock, position, keep_rounds=10).heard(CHAIN[None])
        reach.append(kept.age[0, 0].tolist())
    assert reach == [[0, 0, UNKNOWN, UNKNOWN], [0, 0, 1, UNKNOWN], [0, 0, 1, 2]]
    torch.testing.assert_close(kept.intent[0, 0], intent[0])


def test_everybody_known_counts_once_and_oneself_not() -> None:
    kept, intent, stock, position = begun()
    for _ in range(6):
        kept = kept.announced(intent, stock, position, keep_rounds=10).heard(CHAIN[None])
    consumers = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
    need = torch.full((1, M, 1), 0.5)
    unread = dict.fromkeys(Observation.__annotations__)
    seen = Observation(**(unread | {"consumer_position": consumers, "need": need}))
    distance = (consumers[:, None] - position[:, :, None]).norm(dim=-1)
    mine = observation.worth(stock[:, :, None], need[:, None], distance, 2.0)
    supply = kept.supply(seen, mine, 2.0)
    brought = intent[0, :, :, None] * stock[0, :, None, :]
    for agent in range(N):
        others = [other for other in range(N) if other != agent]
        torch.testing.assert_close(supply[0, agent, 0], brought[others].sum(0))
        # All could bring the same, so that those nearer to consumer 0, at agent 0, are worth more there.
        stronger = sum((brought[other, 0] for other in others if other < agent), torch.zeros(1))
        torch.testing.assert_close(supply[0, agent, 1, 0], stronger)


def test_who_falls_silent_is_forgotten() -> None:
    kept, intent, stock, position = begun()
    for _ in range(3):
        kept = kept.announced(intent, stock, position, keep_rounds=3).heard(CHAIN[None])
    alone = CHAIN.clone()
    alone[3] = alone[:, 3] = False
    ages = []
    for _ in range(5):
        kept = kept.announced(intent, stock, position, keep_rounds=3).heard(alone[None])
        ages.append(kept.age[0, 2, 3].item())
    assert ages == [1, 2, 3, UNKNOWN, UNKNOWN]
