"""The auction without a centre: each agent holds it among those it has heard of, and takes what it wins itself.

Every agent's beacon tells its neighbours where it is and what it carries, as any team's does. In each radio round of a
decision the agents pass on what they know of others, so that k rounds reach k + 1 links far; then each holds the whole
auction of `sortie_expert.auction` among those it knows. Agents that know the same come to the same result, which is
why relaying states is worth more than telling each other results. Nothing is remembered from one decision to the next
but packets on their way. This project's design.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import outstanding
from sortie_expert.auction import sell
from sortie_expert.problem import on_host
from sortie_expert.radio import Radio

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

_UNKNOWN = 10**6


@dataclass
class _Reports:
    """What each agent i knows of each agent j.

    Attributes:
        links: [B, N, N] int, over how many links it came; 0 for oneself, `_UNKNOWN` for nothing.
        position: [B, N, N, D] m.
        stock: [B, N, N, R].
    """

    links: np.ndarray
    position: np.ndarray
    stock: np.ndarray


class DecentralisedAuction:
    """Chooses consumers by auctions among those that an agent has heard of.

    Args:
        config: for the radio, the task and world.max_speed_mps.
        rounds: radio rounds per decision after the beacon; None for as many as bring anybody anything new.
    """

    def __init__(self, config: Config, rounds: int | None = 2) -> None:
        self._config, self._rounds = config, rounds
        self._radio = Radio(config)
        self._flying: list[tuple[np.ndarray, np.ndarray, _Reports]] = []

    @property
    def bytes_sent(self) -> np.ndarray:
        """[B] by all agents of a team so far, without the beacons."""
        return self._radio.bytes_sent

    def choose(self, state: WorldState) -> Array:
        """The consumers [B, N] int that the agents send themselves to; M for an agent that is to wait."""
        here = state.map(on_host)
        reports = self._heard_late(here) if self._radio.delay_decisions else self._heard_now(here)
        choice = _own_results(reports, here, self._config)
        return array_namespace(state.position).asarray(choice, device=device_of(state.position))

    def _most_rounds(self, n_agents: int) -> int:
        return n_agents if self._rounds is None else self._rounds

    def _heard_now(self, state: WorldState) -> _Reports:
        """Rounds that end before the decision does."""
        links, radio = self._radio.links(state), self._radio
        n_agents = links.shape[1]
        itself = np.eye(n_agents, dtype=bool)[None]
        known = radio.heard(links) | itself
        news = known & ~itself
        for _ in range(self._most_rounds(n_agents)):
            # Where packets get lost, repeating oneself is what later rounds are good for.
            told = known & ~itself if radio.lossy else news
            if self._rounds is None and not news.any():
                break
            self._count(told, state)
            heard = radio.heard(links).astype(np.float32) @ told.astype(np.float32) > 0
            news = heard & ~known
            known = known | news
        reach = np.where(known & state.alive[:, None, :], 1, _UNKNOWN)
        everywhere = (*known.shape, -1)
        return _Reports(
            np.where(itself, 0, reach),
            np.broadcast_to(state.position[:, None], everywhere[:3] + state.position.shape[2:]),
            np.broadcast_to(state.stock[:, None], everywhere[:3] + state.stock.shape[2:]),
        )

    def _heard_late(self, state: WorldState) -> _Reports:
        """Rounds whose packets arrive at a later decision: reports travel one link per delay, and grow old on the way.

        Nothing new comes in between the rounds of a decision, so that only losses are a reason to repeat the packet.
        """
        radio, most = self._radio, self._most_rounds(state.position.shape[1])
        reports = _own_report(state)
        if len(self._flying) == radio.delay_decisions:
            reports = _merged(reports, *self._flying.pop(0))
        told = (reports.links > 0) & (reports.links <= most)
        links = radio.links(state)
        beacons, relayed = radio.heard(links), np.zeros_like(links)
        for _ in range(min(most, most if radio.lossy else 1)):
            self._count(told, state)
            relayed |= radio.heard(links)
        kept = (reports.links == 0) | told
        self._flying.append((beacons, relayed, replace(reports, links=np.where(kept, reports.links, _UNKNOWN))))
        return reports

    def _count(self, told: np.ndarray, state: WorldState) -> None:
        """The bytes of packets with reports, [B, N, N] bool, of sender, position and stock each."""
        size = 1 + state.position.shape[2] + state.stock.shape[2]
        self._radio.count(told.sum(axis=2) * size)


def _own_report(state: WorldState) -> _Reports:
    """Everybody knows themselves."""
    batch, n_agents, _ = state.position.shape
    itself = np.broadcast_to(np.eye(n_agents, dtype=bool), (batch, n_agents, n_agents))
    return _Reports(
        np.where(itself, 0, _UNKNOWN),
        np.where(itself[..., None], state.position[:, None], 0.0),
        np.where(itself[..., None], state.stock[:, None], 0.0),
    )


def _merged(own: _Reports, beacons: np.ndarray, relayed: np.ndarray, sent: _Reports) -> _Reports:
    """One's own report, and of each other agent the one that came over the fewest links.

    Args:
        own: from `_own_report`, now.
        beacons: [B, N, N] bool, whose beacons are heard.
        relayed: [B, N, N] bool, whose packets are heard.
        sent: what the senders knew, and told, then.
    """
    links, position, stock = own.links, own.position, own.stock
    for sender in range(links.shape[1]):
        heard = np.repeat(relayed[:, :, sender, None], links.shape[2], axis=2)
        heard[:, :, sender] = beacons[:, :, sender]
        over = np.where(heard, sent.links[:, None, sender] + 1, _UNKNOWN)
        nearer = over < links
        links = np.where(nearer, over, links)
        position = np.where(nearer[..., None], sent.position[:, None, sender], position)
        stock = np.where(nearer[..., None], sent.stock[:, None, sender], stock)
    return _Reports(links, position, stock)


def _own_results(reports: _Reports, state: WorldState, config: Config) -> np.ndarray:
    """[B, N] int, what each agent wins in the auction among those it knows."""
    batch, n_agents, _ = reports.links.shape
    known = (reports.links < _UNKNOWN) & state.alive[:, :, None]
    mission, agent = np.divmod(np.arange(batch * n_agents), n_agents)
    asker = np.arange(batch * n_agents)
    which = asker
    if reports.position.strides[1] == 0:
        content = np.concatenate([mission[:, None], np.packbits(known, axis=2).reshape(batch * n_agents, -1)], axis=1)
        _, asker, which = np.unique(content, axis=0, return_index=True, return_inverse=True)
        which = which.reshape(-1)
    mission, seller = mission[asker], agent[asker]
    place = reports.position[mission, seller]
    offset = place[:, :, None, :] - state.consumer_position[mission][:, None]
    sold = sell(
        reports.stock[mission, seller], known[mission, seller], np.linalg.norm(offset, axis=-1),
        outstanding(state, config)[mission], config,
    )  # fmt: skip
    return sold[which, agent].reshape(batch, n_agents)
