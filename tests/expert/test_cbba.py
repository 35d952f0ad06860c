"""Claims: agreed on over packets alone; made anew at every decision, or kept until they no longer hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from instances import lone, midway, scarce_config

from sortie_core.layout import sample_layout
from sortie_core.packets import HEADER_BYTES
from sortie_expert.auction import auction
from sortie_expert.cbba import CBBA
from sortie_expert.greedy import value_greedy
from sortie_expert.radio import Radio

if TYPE_CHECKING:
    from sortie_core.config import Config
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


def fresh(config: Config, rounds: int | None = None) -> CBBA:
    """Auctions without kept bids."""
    return CBBA(config, rounds, keeps=False)


@pytest.mark.parametrize(("rounds", "keeps"), [(12, True), (None, True), (8, False), (None, False)])
def test_with_everybody_in_reach_and_enough_rounds_it_is_the_central_auction(rounds: int | None, keeps: bool) -> None:
    config = scarce_config(EVERYWHERE)
    state = midway(sample_layout(config, range(20)), config)
    assert np.array_equal(CBBA(config, rounds, keeps).choose(state), auction(state, config))
    first = CBBA(config, 1, keeps).choose(state)
    assert not np.array_equal(first, auction(state, config)), "one round does not settle it"


@pytest.mark.parametrize("kinds", [0, 1, 2])
def test_without_kept_bids_it_is_the_central_auction_whatever_agents_carry(kinds: int) -> None:
    """Bids that others held back may rise again, which those that are kept within a decision would not."""
    config = scarce_config(EVERYWHERE, f"team.kinds_per_agent={kinds}")
    state = midway(sample_layout(config, range(300)), config)
    assert np.array_equal(fresh(config).choose(state), auction(state, config))


def test_a_chain_needs_more_rounds_than_it_has_links() -> None:
    """With enough of them it is the central auction; bids of the far, and what they leave, cross the chain again."""
    config, equal = CHAIN, {}
    for rounds in (2, 7, None):
        states = [chain(seed) for seed in range(30)]
        equal[rounds] = [np.array_equal(fresh(config, rounds).choose(each), auction(each, config)) for each in states]
    assert all(equal[None])
    assert 0 < np.mean(equal[2]) < np.mean(equal[7]) < 1
    assert not equal[2][0], "seed 0"


@pytest.mark.parametrize("keeps", [True, False])
def test_rounds_end_when_nobody_has_news(keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    packets, count = [], Radio.count
    monkeypatch.setattr(Radio, "count", lambda self, floats: packets.append(floats) or count(self, floats))
    for seed in range(10):
        enough, until = CBBA(CHAIN, 1000, keeps), CBBA(CHAIN, None, keeps)
        for state in (chain(seed), midway(chain(seed), CHAIN)):
            packets.clear()
            assert np.array_equal(enough.choose(state), until.choose(state))
            assert np.array_equal(enough.bytes_sent, until.bytes_sent)
            assert len(packets) < 2 * 30
            assert not packets[-1].any(), "in the round before, somebody still had news"


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_who_has_heard_nothing_would_bid_the_same(loss: float, keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config, bid, some = CHAIN.override([f"comm.loss={loss}"]), CBBA._bid, []

    def everybody(self: CBBA, before: Any, round_: int, who: np.ndarray) -> Any:
        some.append(not who.all())
        return bid(self, before, round_, np.ones_like(who))

    for rounds in (2, 4, 7):
        for seed in range(20):
            teams = CBBA(config, rounds, keeps), CBBA(config, rounds, keeps)
            for state in (chain(seed), midway(chain(seed), config)):
                chosen = teams[0].choose(state)
                with monkeypatch.context() as patch:
                    patch.setattr(CBBA, "_bid", everybody)
                    assert np.array_equal(teams[1].choose(state), chosen)
                assert np.array_equal(teams[0].bytes_sent, teams[1].bytes_sent)
    assert any(some)


def test_nothing_is_carried_over_without_kept_bids() -> None:
    config = scarce_config()
    state = sample_layout(config, range(20))
    later = midway(state, config)
    for rounds in (2, None):
        team, once = fresh(config, rounds), fresh(config, rounds)
        chosen = [team.choose(each) for each in (state, later, later)]
        again = once.choose(later)
        assert np.array_equal(chosen[1], again)
        assert np.array_equal(chosen[2], again)
        first = fresh(config, rounds)
        first.choose(state)
        assert np.array_equal(team.bytes_sent, first.bytes_sent + 2 * once.bytes_sent)
    kept = CBBA(config)
    assert not np.array_equal([kept.choose(state), kept.choose(later)][1], CBBA(config).choose(later))


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


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("rounds", [1, 2])
def test_nothing_beyond_the_reach_of_the_rounds_matters(rounds: int, keeps: bool) -> None:
    """Not at the first decision, nor at the second, to which claims travel on if they are kept."""
    within = 0
    for seed in range(60):
        state = chain(seed)
        stock = state.stock.copy()
        stock[0, 0] *= 0.3
        changed = state.replace(stock=stock)
        teams = CBBA(CHAIN, rounds, keeps), CBBA(CHAIN, rounds, keeps)
        for reach in (rounds, 2 * rounds if keeps else rounds):
            before, after = teams[0].choose(state)[0], teams[1].choose(changed)[0]
            assert np.array_equal(before[reach + 1 :], after[reach + 1 :])
        within += before[rounds] != after[rounds]
    assert within > 0


def test_where_every_packet_is_lost_each_is_alone() -> None:
    config = scarce_config(EVERYWHERE, "comm.loss=1")
    state = midway(sample_layout(config, range(20)), config)
    for team in (CBBA(config), fresh(config, 2), fresh(config)):
        assert np.array_equal(team.choose(state), value_greedy(state, config))
    alone = state.alive.sum(axis=1) * (HEADER_BYTES + 4 * (4 + state.stock.shape[2]))
    assert np.array_equal(team.bytes_sent, alone), "nobody has heard anything new"


def test_where_packets_get_lost_rounds_repeat_them_until_nobody_learns_anything() -> None:
    lossy, lossless = scarce_config(EVERYWHERE, "comm.loss=0.3"), scarce_config(EVERYWHERE, "comm.loss=1e-12")
    state = midway(sample_layout(lossy, range(20)), lossy)
    central = auction(state, lossy)
    assert np.mean(fresh(lossy, 1).choose(state) == central) < 0.95
    team, more = fresh(lossy), fresh(lossy, 20)
    assert np.mean(team.choose(state) == central) > 0.98
    assert np.array_equal(more.choose(state), central)
    assert np.all(team.bytes_sent < more.bytes_sent)
    team = fresh(lossless)
    assert np.array_equal(team.choose(state), central)
    for b in range(20):
        alone = fresh(lossless)
        alone.choose(lone(state, b))
        assert team.bytes_sent[b] == alone.bytes_sent[0], "a team does not go on for the sake of another"


def two_agents(offset_m: float, *overrides: str) -> tuple[Config, WorldState]:
    """Two agents with a unit each; consumers at -4 and 4 m ask for a unit; one agent left, one right of the middle."""
    config = scarce_config(EVERYWHERE, "team.n_agents=2", "task.n_consumers=2", "task.n_resources=1", *overrides)
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
    forgetful = fresh(config)
    assert [forgetful.choose(each).tolist() for each in (state, swapped)] == [[[0, 1]], [[1, 0]]]


@pytest.mark.parametrize("keeps", [True, False])
def test_of_equal_bids_that_of_the_lower_index_is_the_higher(keeps: bool) -> None:
    config, state = two_agents(0.0)
    same = state.replace(position=np.zeros_like(state.position), unmet=np.array([[[1.0], [0.0]]], np.float32))
    assert auction(same, config).tolist() == [[0, 2]]
    assert CBBA(config, None, keeps).choose(same).tolist() == [[0, 2]]


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
    near_left, near_right = (state.replace(position=np.array([[[x, 0], [0, 3]]], np.float32)) for x in (-0.05, 0.05))
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


@pytest.mark.parametrize("keeps", [True, False])
def test_nor_when_others_pass_on_late_what_the_failed_claimed(keeps: bool) -> None:
    config = scarce_config(
        EVERYWHERE, "team.n_agents=3", "task.n_consumers=2", "task.n_resources=1", "comm.latency_steps=2"
    )
    state = sample_layout(config, [0]).replace(
        position=np.array([[[-1, 0], [1, 0], [3.9, 0]]], np.float32),
        consumer_position=np.array([[[-4, 0], [4, 0]]], np.float32),
        stock=np.ones((1, 3, 1), np.float32),
        demand=np.ones((1, 2, 1), np.float32),
        unmet=np.ones((1, 2, 1), np.float32),
    )
    team = CBBA(config, 2, keeps)
    assert [team.choose(state)[0].tolist() for _ in range(2)] == [[0, 1, 1], [0, 2, 1]]
    after = state.replace(failure_time_s=np.array([[np.inf, np.inf, 0.0]], np.float32))
    choices = [team.choose(after)[0].tolist() for _ in range(config.policy.keep_decisions + 4)]
    assert choices[2] == [0, 2, 2], "passed on"
    assert choices[-1] == [0, 1, 2]


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


def test_bytes_without_kept_bids_are_those_of_an_auction_each() -> None:
    """Both tell their claims, then what they have heard, then nothing, and at the next decision the same again."""
    config, state = two_agents(0.0)
    team = fresh(config)
    for decisions in (1, 2):
        team.choose(state)
        assert team.bytes_sent.tolist() == [decisions * 4 * (HEADER_BYTES + 4 * (4 + 1))]


def test_as_many_rounds_as_agents_are_enough_where_all_hear_each_other() -> None:
    config = scarce_config(EVERYWHERE)
    state = midway(sample_layout(config, range(40)), config)
    sent = {rounds: fresh(config, rounds) for rounds in (2, 8, None)}
    for team in sent.values():
        team.choose(state)
    assert np.all(np.isfinite(sent[None].bytes_sent))
    assert np.array_equal(sent[None].bytes_sent, sent[8].bytes_sent)
    assert np.any(sent[None].bytes_sent > sent[2].bytes_sent)


@pytest.mark.parametrize("keeps", [True, False])
def test_late_claims_arrive_at_the_next_decision(keeps: bool) -> None:
    config = scarce_config(EVERYWHERE, "comm.latency_steps=2")
    state = sample_layout(config, range(20))
    for rounds in (2, None):
        team, prompt = CBBA(config, rounds, keeps), CBBA(scarce_config(EVERYWHERE), 1, keeps)
        assert np.array_equal(team.choose(state), value_greedy(state, config)), "nothing has arrived yet"
        assert np.array_equal(team.choose(state), prompt.choose(state)), "what one round brings"


@pytest.mark.parametrize("keeps", [True, False])
def test_late_claims_are_remembered_only_where_bids_are_kept(keeps: bool) -> None:
    config, state = two_agents(0.0, "comm.latency_steps=2")
    team = CBBA(config, 2, keeps)
    assert team.choose(state).tolist() == [[0, 1]]
    unmet = state.unmet.copy()
    unmet[0, 0] = 0.0
    after = state.replace(unmet=unmet, failure_time_s=np.array([[np.inf, 0.0]], np.float32))
    assert team.choose(after).tolist() == [[2, 2]], "what the other said before it failed arrives"
    assert team.choose(after).tolist() == ([[2, 2]] if keeps else [[1, 2]])


def test_late_packets_are_repeated_until_they_have_reached_everybody() -> None:
    state = sample_layout(scarce_config(), range(20))
    late = scarce_config(EVERYWHERE, "comm.latency_steps=2")
    lossy = scarce_config(EVERYWHERE, "comm.latency_steps=2", "comm.loss=0.3")
    teams = fresh(late), fresh(lossy, 1), fresh(lossy), fresh(lossy, 20)
    chosen = [[team.choose(state) for _ in range(2)][-1] for team in teams]
    right = [np.mean(each == chosen[0]) for each in chosen]
    assert right[1] < right[2] <= right[3] == 1
    assert right[2] > 0.95
    assert np.all(teams[1].bytes_sent < teams[2].bytes_sent)
    assert np.all(teams[2].bytes_sent < teams[3].bytes_sent)


def test_losses_are_drawn_from_the_seed() -> None:
    state = sample_layout(scarce_config(), range(40))

    def chosen(seed: int) -> np.ndarray:
        return CBBA(scarce_config(EVERYWHERE, "comm.loss=0.5", f"seed={seed}")).choose(state)

    assert np.array_equal(chosen(1), chosen(1))
    assert not np.array_equal(chosen(1), chosen(2))


def test_the_dead_are_not_heard_of_and_wait() -> None:
    config = scarce_config(EVERYWHERE)
    state = sample_layout(config, range(20))
    state.failure_time_s[:, 3] = 0.0
    choice = fresh(config).choose(state)
    assert np.all(choice[:, 3] == 5)
    assert np.array_equal(choice, auction(state, config))


def test_torch_in_torch_out() -> None:
    config = scarce_config()
    state = sample_layout(config, range(4))
    choice = CBBA(config).choose(state.map(torch.as_tensor))
    assert isinstance(choice, torch.Tensor)
    assert np.array_equal(choice.numpy(), CBBA(config).choose(state))
