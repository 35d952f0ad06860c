"""The radio's rules: range, loss, latency, bandwidth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortie_core.comm_graph import adjacency
from sortie_core.config import load_config
from sortie_core.packets import Packet
from sortie_nodes.radio import Radio

if TYPE_CHECKING:
    from sortie_core.config_sections import Comm

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
N, DT_S = 6, 0.1
ALIVE = np.ones(N, bool)
NEAR = np.zeros((N, 2), np.float32)


def comm(**changes: float) -> Comm:
    return load_config(YAML, [f"comm.{name}={value}" for name, value in changes.items()]).comm


def packets(tick: int, round_: int = 0, size: int = 4) -> dict[int, Packet]:
    return {k: Packet(k, tick, round_, np.full(size, k, np.float32)) for k in range(N)}


def senders(heard: list[list[Packet]]) -> list[list[int]]:
    return [[packet.sender for packet in each] for each in heard]


@given(
    seed=st.integers(0, 1000),
    radius_m=st.floats(0.5, 10.0),
    dead=st.sets(st.integers(0, N - 1)),
)
def test_those_in_range_hear_as_the_training_graph_has_it(seed: int, radius_m: float, dead: set[int]) -> None:
    position = np.random.default_rng(seed).uniform(-5, 5, (N, 2)).astype(np.float32)
    alive = np.array([k not in dead for k in range(N)])
    radio = Radio(comm(radius_m=radius_m), DT_S, N, seed)
    heard = senders(radio.exchange(0, 0, packets(0), position, alive))
    linked = adjacency(position[None], alive[None], radius_m)[0]
    assert heard == [np.flatnonzero(row).tolist() for row in linked]
    assert radio.count.messages_sent == alive.sum()
    assert radio.count.messages_delivered == linked.sum()
    assert radio.count.bytes_sent == alive.sum() * packets(0)[0].n_bytes


def test_losses_depend_on_seed_tick_round_and_link_alone() -> None:
    def heard(radio: Radio, tick: int, round_: int) -> list[list[int]]:
        return senders(radio.exchange(tick, round_, packets(tick, round_), NEAR, ALIVE))

    lossy = comm(loss=0.4, radius_m=1.0)
    rounds = [(tick, round_) for tick in range(20) for round_ in range(3)]
    first = Radio(lossy, DT_S, N, 7)
    forwards = {at: heard(first, *at) for at in rounds}
    second = Radio(lossy, DT_S, N, 7)
    assert {at: heard(second, *at) for at in reversed(rounds)} == forwards
    other = Radio(lossy, DT_S, N, 8)
    assert {at: heard(other, *at) for at in rounds} != forwards
    assert len({str(each) for each in forwards.values()}) > len(rounds) / 2


def test_the_share_of_lost_packets_is_as_configured() -> None:
    radio = Radio(comm(loss=0.3, radius_m=1.0), DT_S, N, 1)
    for tick in range(500):
        radio.exchange(tick, 0, packets(tick), NEAR, ALIVE)
    links = 500 * N * (N - 1)
    assert radio.count.messages_lost + radio.count.messages_delivered == links
    assert radio.count.messages_lost / links == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / links))


@pytest.mark.parametrize("latency", [0, 1, 3, 7])
@pytest.mark.parametrize("period", [1, 5])
def test_late_packets_come_once_in_the_first_frame_of_their_round_that_is_due(latency: int, period: int) -> None:
    radio = Radio(comm(latency_steps=latency, radius_m=1.0), DT_S, N, 0)
    arrived: dict[int, int] = {}
    for tick in range(0, 60, period):
        heard = radio.exchange(tick, 2, packets(tick, 2), NEAR, ALIVE)
        assert senders(radio.exchange(tick, 1, {}, NEAR, ALIVE)) == [[]] * N, "another round hears nothing of it"
        for packet in heard[3]:
            if packet.sender == 0:
                assert packet.tick not in arrived
                arrived[packet.tick] = tick
    expected = {tick: next(t for t in range(0, 200, period) if t >= tick + latency) for tick in range(0, 60, period)}
    assert arrived == {tick: at for tick, at in expected.items() if at < 60}


def test_who_sends_more_than_the_bandwidth_is_cut_off() -> None:
    size = packets(0)[0].n_bytes
    radio = Radio(comm(bandwidth_bytes_per_s=5 * size, radius_m=1.0), DT_S, N, 0)
    heard = [len(radio.exchange(tick, 0, packets(tick), NEAR, ALIVE)[0]) for tick in range(100)]
    # A second's worth is saved up at the start; from then on every other of the ten packets a second gets through.
    assert sum(heard[:10]) == 9 * (N - 1)
    assert sum(heard[50:]) == 25 * (N - 1)
    assert radio.count.messages_refused == 100 * N - radio.count.messages_sent
    assert radio.count.bytes_sent <= N * size * 5 * (1 + 100 * DT_S)
