"""Claims: agreed on over packets alone, kept across decisions, given up when they no longer hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from instances import midway, scarce_config
from test_decentralised_auction import CHAIN, chain

from sortie_core.layout import sample_layout
from sortie_core.packets import HEADER_BYTES
from sortie_expert.auction import auction
from sortie_expert.cbba import CBBA
from sortie_expert.greedy import value_greedy

EVERYWHERE = "comm.radius_m=.inf"


def test_with_everybody_in_reach_and_enough_rounds_it_is_the_central_auction() -> None:
    config = scarce_config(EVERYWHERE)
    state = midway(sample_layout(config, range(20)), config)
    assert np.array_equal(CBBA(config, rounds=12).choose(state), auction(state, config))
    first = CBBA(config, rounds=1).choose(state)
    assert not np.array_equal(first, auction(state, config)), "one round does not settle it"


def test_consensus_goes_on_where_the_last_decision_ended() -> None:
    first, last = [], []
    for seed in range(20):
        state = chain(seed)
        team, central = CBBA(CHAIN), auction(state, CHAIN)
        right = [np.array_equal(team.choose(state), central) for _ in range(10)]
        first.append(right[0])
        last.append(right[-1])
    assert np.mean(first) < 0.6
    assert np.mean(last) >= 0.9


@pytest.mark.parametrize("rounds", [1, 2])
def test_nothing_beyond_the_reach_of_the_rounds_matters(rounds: int) -> None:
    """Not at the first decision, nor, with claims that travel on, at the second."""
    within = 0
    for seed in range(60):
        state = chain(seed)
        stock = state.stock.copy()
        stock[0, 0] *= 0.3
        changed = state.replace(stock=stock)
        teams = CBBA(CHAIN, rounds), CBBA(CHAIN, rounds)
        for reach in (rounds, 2 * rounds):
            before, after = teams[0].choose(state)[0], teams[1].choose(changed)[0]
            assert np.array_equal(before[reach + 1 :], after[reach + 1 :])
        within += before[rounds] != after[rounds]
    assert within > 0


def test_where_every_packet_is_lost_each_is_alone() -> None:
    config = scarce_config(EVERYWHERE, "comm.loss=1")
    state = midway(sample_layout(config, range(20)), config)
    assert np.array_equal(CBBA(config).choose(state), value_greedy(state, config))


def two_agents(offset_m: float) -> tuple:
    """Two agents with a unit each; consumers at -4 and 4 m ask for a unit; one agent left, one right of the middle."""
    config = scarce_config(EVERYWHERE, "team.n_agents=2", "task.n_consumers=2", "task.n_resources=1")
    state = sample_layout(config, [0])
    return config, state.replace(
        position=np.array([[[offset_m - 1, 0], [offset_m + 1, 0]]], np.float32),
        consumer_position=np.array([[[-4, 0], [4, 0]]], np.float32),
        stock=np.ones((1, 2, 1), np.float32),
        demand=np.ones((1, 2, 1), np.float32),
        unmet=np.ones((1, 2, 1), np.float32),
    )


def test_claims_are_kept_where_a_new_auction_would_exchange_them() -> None:
    config, state = two_agents(0.0)
    team = CBBA(config)
    assert team.choose(state).tolist() == [[0, 1]]
    # They pass each other in the middle: now each is a little nearer to the other's consumer.
    swapped = state.replace(position=np.array([[[0.1, 0], [-0.1, 0]]], np.float32))
    assert auction(swapped, config).tolist() == [[1, 0]]
    assert CBBA(config).choose(swapped).tolist() == [[1, 0]]
    assert team.choose(swapped).tolist() == [[0, 1]]


def test_a_claim_is_given_up_when_its_consumer_is_served() -> None:
    config, state = two_agents(0.0)
    team = CBBA(config)
    assert team.choose(state).tolist() == [[0, 1]]
    unmet = state.unmet.copy()
    unmet[0, 0] = 0.0
    assert team.choose(state.replace(unmet=unmet)).tolist() == [[2, 1]], "the other claim stands"


def test_a_claim_is_given_up_when_the_stock_has_changed() -> None:
    config, state = two_agents(0.0)
    state.failure_time_s[0, 1] = 0.0
    near_left, near_right = (
        state.replace(position=np.array([[[x, 0], [0, 3]]], np.float32)) for x in (-0.05, 0.05)
    )
    team = CBBA(config)
    assert team.choose(near_left).tolist() == [[0, 2]]
    assert team.choose(near_right).tolist() == [[0, 2]], "hardly worth more"
    assert team.choose(near_right.replace(stock=0.9 * state.stock)).tolist() == [[1, 2]]


def test_nobody_waits_long_for_the_failed() -> None:
    config, state = two_agents(0.0)
    team = CBBA(config)
    assert team.choose(state).tolist() == [[0, 1]]
    unmet = state.unmet.copy()
    unmet[0, 0] = 0.0
    after = state.replace(unmet=unmet, failure_time_s=np.array([[np.inf, 0.0]], np.float32))
    choices = [team.choose(after)[0].tolist() for _ in range(config.policy.keep_decisions + 2)]
    assert choices[0] == [2, 2], "a claim just heard of still counts"
    assert choices[-1] == [1, 2]


def test_a_claim_gives_way_to_what_is_worth_clearly_more() -> None:
    config, state = two_agents(0.0)
    team = CBBA(config)
    assert team.choose(state).tolist() == [[0, 1]]
    unmet = state.unmet.copy()
    unmet[0, 0] = 0.3
    assert team.choose(state.replace(unmet=unmet)).tolist() == [[0, 1]], "the other consumer is taken"
    unmet[0, 1] = 2.0
    assert team.choose(state.replace(unmet=unmet)).tolist() == [[1, 1]]


def test_bytes_are_those_of_the_claims_told() -> None:
    """Both know both claims after round 1; round 2 tells only what has changed."""
    config, state = two_agents(0.0)
    claim = 4 * (4 + 1)
    team = CBBA(config, rounds=1)
    team.choose(state)
    assert team.bytes_sent.tolist() == [2 * (HEADER_BYTES + claim)]
    team.choose(state)
    assert team.bytes_sent.tolist() == [2 * (HEADER_BYTES + claim) + 2 * (HEADER_BYTES + 2 * claim)]


def test_late_claims_arrive_at_the_next_decision() -> None:
    config = scarce_config(EVERYWHERE, "comm.latency_steps=2")
    state = sample_layout(config, range(20))
    team, prompt = CBBA(config), CBBA(scarce_config(EVERYWHERE), rounds=1)
    assert np.array_equal(team.choose(state), value_greedy(state, config)), "nothing has arrived yet"
    assert np.array_equal(team.choose(state), prompt.choose(state)), "what one round brings"


def test_losses_are_drawn_from_the_seed() -> None:
    state = sample_layout(scarce_config(), range(40))

    def chosen(seed: int) -> np.ndarray:
        return CBBA(scarce_config(EVERYWHERE, "comm.loss=0.5", f"seed={seed}")).choose(state)

    assert np.array_equal(chosen(1), chosen(1))
    assert not np.array_equal(chosen(1), chosen(2))


def test_torch_in_torch_out() -> None:
    config = scarce_config()
    state = sample_layout(config, range(4))
    choice = CBBA(config).choose(state.map(torch.as_tensor))
    assert isinstance(choice, torch.Tensor)
    assert np.array_equal(choice.numpy(), CBBA(config).choose(state))
