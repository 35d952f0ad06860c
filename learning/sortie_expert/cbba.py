"""Consensus-based auction with kept bids, after CBBA.

As in Choi, Brunet and How (2009), "Consensus-Based Decentralized Auctions for Robust Task Allocation", each agent keeps
a list of who claims what at which bid, bids by its own marginal score, passes the list on, and gives up what it is
outbid for; bids stay until then, across decisions. What this project changes:

- A consumer needs several agents' stock, so that it has any number of winners: a claim is outbid once higher bids for
  the same consumer leave less of the need than the claim was made for, whatever the kinds.
- The marginal score is the worth that the centralised auction uses, of what higher bids leave. With everybody in range
  and enough rounds both therefore come to the same assignment.
- A claim is made by one agent only, so that the newest news of it is right, and the paper's table of who to believe
  comes down to time stamps. News not renewed for policy.keep_decisions decisions is dropped, or the failed would be
  waited for.
- Bundles hold one consumer. A second one, in the centralised auction, delivered the same (scarce suite, 100 layouts);
  here it would only age on the air.
- Distances shrink as agents fly, and needs change. The bid of a claim rises to what it has become worth; the claim is
  released when the stock changes, when the consumer needs nothing more, or when another has become worth more by a
  margin.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from sortie_core.delivery import MET, outstanding
from sortie_expert.greedy import distances, worth
from sortie_expert.problem import on_host
from sortie_expert.radio import Radio

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config
    from sortie_core.state import Array, WorldState

_MARGIN = 0.1
"""Relative gain for which a claim is given up for another consumer."""
_NEVER = -(2**40)


@dataclass
class _Claims:
    """What each agent i knows of the claim of each agent j; j = i is its own.

    Attributes:
        consumer: [B, N, N] int, M for none.
        bid: [B, N, N] worth, 0 for none.
        offer: [B, N, N, R] what the claimant brings.
        stamp: [B, N, N] int, when the claimant last made or renewed it; `_NEVER` if it was never heard of.
    """

    consumer: np.ndarray
    bid: np.ndarray
    offer: np.ndarray
    stamp: np.ndarray

    def map(self, function: Callable[..., Any], *others: _Claims) -> _Claims:
        """Claims with `function` applied to every array, and to those of others that belong to it."""
        return _Claims(
            *(function(*(getattr(each, field.name) for each in (self, *others))) for field in fields(self))
        )


class CBBA:
    """Chooses consumers by claims that agents tell each other and keep; stateful over a batch of missions.

    Args:
        config: for the radio, the task, world.max_speed_mps and policy.keep_decisions.
        rounds: radio rounds per decision.
    """

    def __init__(self, config: Config, rounds: int = 2) -> None:
        self._config, self._rounds = config, rounds
        self._radio = Radio(config)
        self._flying: list[tuple[np.ndarray, np.ndarray, _Claims]] = []
        self._decision = 0
        self._claims: _Claims | None = None

    @property
    def bytes_sent(self) -> np.ndarray:
        """[B] by all agents of a team so far."""
        return self._radio.bytes_sent

    def choose(self, state: WorldState) -> Array:
        """The consumers [B, N] int that the agents have claimed; M for an agent that is to wait."""
        here, radio = state.map(on_host), self._radio
        claims = self._observe(here)
        links = radio.links(here)
        if radio.delay_decisions:
            claims = self._talk_late(claims, links)
        else:
            claims, told = self._bid(claims, 0), None
            for round_ in range(self._rounds):
                told = self._tell(claims, told if round_ and not radio.lossy else None)
                heard = _heard(claims, radio.heard(links), told, claims)
                heard = self._bid(heard, round_ + 1)
                told, claims = (heard.consumer != claims.consumer) | (heard.bid != claims.bid), heard
        self._claims, self._decision = claims, self._decision + 1
        choice = np.diagonal(claims.consumer, axis1=1, axis2=2).copy()
        return array_namespace(state.position).asarray(choice, device=device_of(state.position))

    def _observe(self, state: WorldState) -> _Claims:
        """The claims that hold on, when every agent has seen its stock and what is needed.

        Whose stock has changed gives up the claim made with it; what has not been renewed for too long is dropped.
        """
        none = state.unmet.shape[1]
        stock = state.stock * state.alive[:, :, None]
        self._need, self._distance_m = outstanding(state, self._config), distances(state)
        if self._claims is None:
            self._stock, self._alive, self._hoped = stock, state.alive, np.zeros(stock.shape[:2])
            return _no_claims(stock, none)
        claims, own = self._claims, np.arange(stock.shape[1])
        changed = np.any(np.abs(stock - self._stock) > MET, axis=2)
        self._stock, self._alive = stock, state.alive
        keep = self._config.policy.keep_decisions + self._radio.delay_decisions
        gone = claims.stamp < (self._decision - keep) * (self._rounds + 1)
        claims.stamp[gone] = _NEVER
        gone[:, own, own] |= changed
        claims.consumer[gone], claims.bid[gone] = none, 0.0
        return claims

    def _talk_late(self, claims: _Claims, links: np.ndarray) -> _Claims:
        """Packets arrive at a later decision, so that rounds bring nothing new; only losses are a reason to repeat."""
        radio = self._radio
        if len(self._flying) == radio.delay_decisions:
            claims = _heard(claims, *self._flying.pop(0))
        claims = self._bid(claims, 0)
        heard, told = np.zeros_like(links), np.zeros_like(links)
        for _ in range(self._rounds if radio.lossy else min(1, self._rounds)):
            told = self._tell(claims, None)
            heard |= radio.heard(links)
        self._flying.append((heard, told, claims))
        return claims.map(np.copy)

    def _tell(self, claims: _Claims, news: np.ndarray | None) -> np.ndarray:
        """[B, N, N] bool, whose claims each agent broadcasts: all that it knows of, or only the news.

        A claim is told with its agent, consumer, bid, stamp and offer.
        """
        told = (claims.stamp > _NEVER) & self._alive[:, :, None]
        if news is not None:
            told &= news
        self._radio.count(told.sum(axis=2) * (4 + self._stock.shape[2]))
        return told

    def _bid(self, before: _Claims, round_: int) -> _Claims:
        """Each agent keeps, raises, gives up or makes its claim, from what it knows."""
        claims, own, none = before.map(np.copy), np.arange(self._stock.shape[1]), self._need.shape[1]
        consumer, bid = claims.consumer[:, own, own], claims.bid[:, own, own]
        at = np.minimum(consumer, none - 1)
        left = _pick(self._useful(claims, np.repeat(bid[:, :, None], none, axis=2)), at)
        value = worth(left, _pick(self._distance_m, at), self._config)
        offers, amounts = self._marginal(claims)
        best = np.argmax(np.where(amounts > MET, offers, -1.0), axis=2)
        offer, amount = _pick(offers, best), _pick(amounts, best)
        outbid = (left <= MET) | (left < self._hoped - MET)
        kept = (consumer < none) & ~outbid & ((best == consumer) | (offer <= (1 + _MARGIN) * value))
        claims.consumer[:, own, own] = np.where(kept, consumer, np.where(amount > MET, best, none))
        claims.bid[:, own, own] = np.where(kept, np.maximum(bid, value), np.where(amount > MET, offer, 0.0))
        claims.offer[:, own, own] = self._stock
        claims.stamp[:, own, own] = self._decision * (self._rounds + 1) + round_
        self._hoped = np.where(kept, left, amount)
        return claims

    def _marginal(self, claims: _Claims) -> tuple[np.ndarray, np.ndarray]:
        """The highest bids that agents could make for what higher bids leave, and that amount, [B, N, M] both.

        A lower bid has more claims ahead of it, which lowers it again, until it stands.
        """
        bid = np.full(self._distance_m.shape, np.inf)
        while True:
            amount = self._useful(claims, bid)
            lower = np.minimum(bid, worth(amount, self._distance_m, self._config))
            if np.array_equal(lower, bid):
                return bid, amount
            bid = lower

    def _useful(self, claims: _Claims, bid: np.ndarray) -> np.ndarray:
        """What each agent can bring of what others with higher bids leave, [B, N, M], for bids [B, N, M] of its own.

        Of equal bids that of the lower index is the higher.
        """
        n_agents, none = bid.shape[1:]
        other, own = np.arange(n_agents)[None, None, None, :], np.arange(n_agents)[None, :, None, None]
        theirs = claims.bid[:, :, None, :]
        higher = (theirs > bid[..., None]) | ((theirs == bid[..., None]) & (other < own))
        there = claims.consumer[:, :, None, :] == np.arange(none)[None, None, :, None]
        ahead = (higher & there & (other != own)).astype(claims.offer.dtype) @ claims.offer
        left = np.clip(self._need[:, None] - ahead, 0.0, None)
        return np.minimum(self._stock[:, :, None, :], left).sum(axis=3)


def _no_claims(stock: np.ndarray, none: int) -> _Claims:
    """Nobody knows of any claim."""
    batch, n_agents, kinds = stock.shape
    pairs = (batch, n_agents, n_agents)
    offer = np.zeros((*pairs, kinds), stock.dtype)
    return _Claims(np.full(pairs, none), np.zeros(pairs), offer, np.full(pairs, _NEVER))


def _heard(claims: _Claims, heard: np.ndarray, told: np.ndarray, sent: _Claims) -> _Claims:
    """Of every claim, the newest version that is known or comes in; nobody learns of their own.

    Args:
        claims: what each agent knows.
        heard: [B, N, N] bool, whom each agent hears.
        told: [B, N, N] bool, whose claims each sender tells.
        sent: what the senders knew when they sent it.
    """
    own = np.arange(told.shape[1])
    stamp = np.where(told, sent.stamp, _NEVER)
    newest, source = claims.stamp, np.broadcast_to(own[:, None], told.shape)
    for sender in own:
        comes = np.where(heard[:, :, sender, None], stamp[:, None, sender], _NEVER)
        newer = comes > newest
        newest, source = np.where(newer, comes, newest), np.where(newer, sender, source)
    came = newest > claims.stamp
    came[:, own, own] = False
    news = sent.map(lambda values: values[np.arange(len(told))[:, None, None], source, own])
    return claims.map(lambda old, new: np.where(came if old.ndim == 3 else came[..., None], new, old), news)


def _pick(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """[B, N] the entries of [B, N, M] at [B, N]."""
    return np.take_along_axis(values, index[:, :, None], axis=2)[:, :, 0]
