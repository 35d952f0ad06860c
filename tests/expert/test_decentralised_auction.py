"""The auction without a centre decides on what its packets brought, and on no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from instances import midway, scarce_config

from sortie_core.layout import sample_layout
from sortie_core.packets import HEADER_BYTES
from sortie_expert.auction import auction
from sortie_expert.decentralised_auction import DecentralisedAuction
from sortie_expert.greedy import value_greedy

if TYPE_CHECKING:
    from sortie_core.state import WorldState

EVERYWHERE = "comm.radius_m=.inf"
CHAIN = scarce_config("comm.radius_m=5", "task.n_resources=1")


def chain(seed: int) -> WorldState:
    """Agents of one kind in a row, 4 m apart, among consumers: with a radius of 5 m each hears those next to it."""
    state = sample_layout(CHAIN, [seed])
    position, place = np.zeros_like(state.position), np.zeros_like(state.consumer_position)
    position[0, :, 0] = 4.0 * np.arange(position.shape[1]) - 14.0
    place[0] = np.random.default_rng(seed).uniform([-14, -3], [14, 3], place[0].shape)
    return state.replace(position=position, consumer_position=place)


@pytest.mark.parametrize("rounds", [0, 1, 8, None])
def test_within_reach_of_everybody_it_is_the_central_auction(rounds: int | None) -> None:
    config = scarce_config(EVERYWHERE)
    state = midway(sample_layout(config, range(20)), config)
    assert np.array_equal(DecentralisedAuction(config, rounds).choose(state), auction(state, config))


def test_over_a_chain_it_takes_as_many_rounds_as_the_chain_has_links() -> None:
    equal = {}
    for rounds in (0, 2, 6, None):
        chosen = [
            np.array_equal(DecentralisedAuction(CHAIN, rounds).choose(state), auction(state, CHAIN))
            for state in (chain(seed) for seed in range(30))
        ]
        equal[rounds] = np.mean(chosen)
    assert equal[None] == equal[6] == 1, "7 links: the beacon and 6 rounds"
    assert equal[0] < equal[2] < 1


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_nothing_beyond_the_reach_of_the_rounds_matters(rounds: int) -> None:
    """Stock and place of an agent matter to nobody more than rounds + 1 links away, and do matter to some within."""
    within = 0
    for seed in range(60):
        state = chain(seed)
        before = DecentralisedAuction(CHAIN, rounds).choose(state)[0]
        moved, stock = state.position.copy(), state.stock.copy()
        moved[0, 0, 1] += 2.5
        stock[0, 0] *= 0.3
        after = DecentralisedAuction(CHAIN, rounds).choose(state.replace(stock=stock, position=moved))[0]
        assert np.array_equal(before[rounds + 2 :], after[rounds + 2 :])
        within += np.any(before[1 : rounds + 2] != after[1 : rounds + 2])
    assert within > 0


def test_where_every_packet_is_lost_each_is_alone() -> None:
    config = scarce_config(EVERYWHERE, "comm.loss=1")
    state = midway(sample_layout(config, range(20)), config)
    for rounds in (0, 2, None):
        team = DecentralisedAuction(config, rounds)
        assert np.array_equal(team.choose(state), value_greedy(state, config))
        assert not team.bytes_sent.any(), "nothing heard, nothing to relay"


def test_losses_are_drawn_from_the_seed() -> None:
    state = sample_layout(scarce_config(), range(40))

    def chosen(seed: int) -> np.ndarray:
        config = scarce_config(EVERYWHERE, "comm.loss=0.5", f"seed={seed}")
        return DecentralisedAuction(config, 1).choose(state)

    assert np.array_equal(chosen(1), chosen(1))
    assert not np.array_equal(chosen(1), chosen(2))
    central = auction(state, scarce_config())
    assert 0.3 < np.mean(chosen(1) == central) < 1


def test_bytes_are_those_of_the_reports_relayed() -> None:
    """In a chain of 8, round 1 relays one or two neighbours, and every later round what the last one brought."""
    report = 4 * (1 + 2 + 1)
    for rounds, reports, packets in ((0, 0, 0), (1, 14, 8), (2, 14 + 12, 16), (None, 7 * 8, 8 + 8 + 8 + 8 + 6 + 4 + 2)):
        team = DecentralisedAuction(CHAIN, rounds)
        team.choose(chain(0))
        assert team.bytes_sent.tolist() == [HEADER_BYTES * packets + report * reports], rounds


def test_late_packets_tell_of_the_decision_before() -> None:
    config = scarce_config(EVERYWHERE, "comm.latency_steps=2")
    state = sample_layout(config, range(20))
    team = DecentralisedAuction(config, 2)
    assert np.array_equal(team.choose(state), value_greedy(state, config)), "nothing has arrived yet"
    assert np.array_equal(team.choose(state), auction(state, config)), "nothing has changed since"
    spent = state.replace(stock=np.where(np.arange(8)[None, :, None] == 0, 0.0, state.stock).astype(np.float32))
    late, informed = team.choose(spent), auction(spent, config)
    assert np.all(late[:, 0] == 5), "one's own stock is known at once"
    assert not np.array_equal(late, informed), "that of others only later"
    assert np.array_equal(team.choose(spent), informed)


def test_late_reports_travel_one_link_per_decision() -> None:
    config = CHAIN.override(["comm.latency_steps=5"])
    for seed in range(10):
        state = chain(seed)
        informed = DecentralisedAuction(CHAIN, 2).choose(state)
        team = DecentralisedAuction(config, 2)
        choices = [team.choose(state) for _ in range(5)]
        assert np.array_equal(choices[3], informed), "3 links, 3 decisions"
        assert np.array_equal(choices[4], informed), "reports go no farther than the rounds allow"


def test_the_dead_are_not_heard_of_and_wait() -> None:
    config = scarce_config(EVERYWHERE)
    state = sample_layout(config, range(20))
    state.failure_time_s[:, 3] = 0.0
    choice = DecentralisedAuction(config).choose(state)
    assert np.all(choice[:, 3] == 5)
    assert np.array_equal(choice, auction(state, config))


def test_torch_in_torch_out() -> None:
    config = scarce_config()
    state = sample_layout(config, range(4))
    choice = DecentralisedAuction(config).choose(state.map(torch.as_tensor))
    assert isinstance(choice, torch.Tensor)
    assert np.array_equal(choice.numpy(), DecentralisedAuction(config).choose(state))
