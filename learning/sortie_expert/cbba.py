"""Consensus-based auctions, after CBBA: with bids that are kept from one decision to the next, and without.

As in Choi, Brunet and How (2009), "Consensus-Based Decentralized Auctions for Robust Task Allocation", each agent keeps
a list of who claims what at which bid, bids by its own marginal score, passes the list on, and bids anew where it is
outbid. What this project changes:

- A consumer needs several agents' stock, so that it has any number of winners: a claim is outbid once higher bids for
  the same consumer leave less of the need than the claim was made for, whatever the kinds.
- The marginal score is the worth that the centralised auction uses, of what higher bids leave. Among agents that
  packets connect, however indirectly, enough rounds of an auction without kept bids come to the same assignment.
- A claim is made by one agent only, so that the newest news of it is right, and the paper's table of who to believe
  comes down to time stamps. News not renewed for policy.keep_decisions decisions is dropped, or the failed would be
  waited for.
- Bundles hold one consumer. A second one, in the centralised auction, delivered the same (scarce suite, 100 layouts);
  here it would only age on the air.

Without kept bids every decision is an auction of its own, in which each agent answers what it knows by its best bid.
Kept bids hold until they are outbid, across decisions, while distances shrink as agents fly, and needs change: the bid
of a claim rises to what it has become worth; the claim is released when the stock changes, when the consumer needs
nothing more, or when another has become worth more by a margin.
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
        return _Claims(*(function(*(getattr(each, field.name) for each in (self, *others))) for field in fields(self)))


class CBBA:
    """Chooses consumers by claims that agents tell each other and may keep; stateful over a batch of missions.

    Where packets take a decision or longer, what arrives is the newest that there is, and counts as if it were said
    now; it is told on until it is older than policy.keep_decisions. Without kept bids an agent then knows, beside its
    own new claim, only what has just arrived.

    Args:
        config: for the radio, the task, world.max_speed_mps and policy.keep_decisions.
        rounds: radio rounds per decision; None for as many as bring anybody in the team anything new. Where packets get
            lost, that ends once a round has brought nothing, even if something has been lost in it.
        keeps: bids hold from one decision to the next; without it, every decision is an auction of its own.
    """

    def __init__(self, config: Config, rounds: int | None = 2, keeps: bool = True) -> None:
        self._config, self._rounds, self._keeps = config, rounds, keeps
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
        here = state.map(on_host)
        claims = self._observe(here)
        links = self._radio.links(here)
        claims = self._talk_late(claims, links) if self._radio.delay_decisions else self._talk(claims, links)
        self._claims, self._decision = claims, self._decision + 1
        choice = np.diagonal(claims.consumer, axis1=1, axis2=2).copy()
        return array_namespace(state.position).asarray(choice, device=device_of(state.position))

    def _observe(self, state: WorldState) -> _Claims:
        """The claims that hold on, when every agent has seen its stock and what is needed.

        Whose stock has changed gives up the claim made with it; what has not been renewed for too long is dropped.
        """
        none, n_agents = state.unmet.shape[1], state.stock.shape[1]
        stock = state.stock * state.alive[:, :, None]
        self._need, self._distance_m = outstanding(state, self._config), distances(state)
        # The best bid of all stands once its agent knows what others hold no longer, and all know of it: after two ways
        # of less than n_agents links. Then the best of the rest does, and so on.
        self._most_rounds = 2 * n_agents**2 if self._rounds is None else self._rounds
        if self._claims is None or not self._keeps:
            self._stock, self._alive, self._hoped = stock, state.alive, np.zeros(stock.shape[:2])
            return _no_claims(stock, none)
        claims, own = self._claims, np.arange(n_agents)
        changed = np.any(np.abs(stock - self._stock) > MET, axis=2)
        self._stock, self._alive = stock, state.alive
        gone = self._old(claims)
        claims.stamp[gone] = _NEVER
        gone[:, own, own] |= changed
        claims.consumer[gone], claims.bid[gone] = none, 0.0
        return claims

    def _old(self, claims: _Claims) -> np.ndarray:
        """[B, N, N] bool, what has not been renewed for too long."""
        keep = self._config.policy.keep_decisions + self._radio.delay_decisions
        return claims.stamp < (self._decision - keep) * (self._most_rounds + 1)

    def _talk(self, claims: _Claims, links: np.ndarray) -> _Claims:
        """Rounds within the decision, until nobody has anything to tell; who has heard nothing new bids as before."""
        radio = self._radio
        claims = self._bid(claims, 0, np.ones(links.shape[:2], dtype=bool))
        news = np.ones_like(links)
        for round_ in range(1, self._most_rounds + 1):
            due = news
            if round_ > 1 and radio.lossy:  # Repeating oneself is what later rounds are good for.
                due = np.ones_like(news) & (self._rounds is not None or news.any(axis=(1, 2), keepdims=True))
            told = self._tell(claims, due)
            if not told.any():
                break
            heard = _heard(claims, radio.heard(links), told, claims)
            affected = np.any(news | (heard.stamp != claims.stamp), axis=2)
            heard = self._bid(heard, round_, affected)
            news, claims = (heard.consumer != claims.consumer) | (heard.bid != claims.bid), heard
        return claims

    def _talk_late(self, claims: _Claims, links: np.ndarray) -> _Claims:
        """Packets arrive at a later decision, so that rounds bring nothing new; only losses are a reason to repeat."""
        radio = self._radio
        if len(self._flying) == radio.delay_decisions:
            heard, told, sent = self._flying.pop(0)
            claims = _heard(claims, heard, told & ~self._old(sent), sent)
        claims = self._bid(claims, 0, np.ones(links.shape[:2], dtype=bool))
        heard, told = np.zeros_like(links), np.zeros_like(links)
        again = np.ones((len(links), 1, 1), dtype=bool)
        for _ in range(self._most_rounds if radio.lossy else min(1, self._most_rounds)):
            told |= self._tell(claims, again)
            reached = radio.heard(links) & again & ~heard
            heard |= reached
            if self._rounds is None:
                again = reached.any(axis=(1, 2), keepdims=True)
                if not again.any():
                    break
        self._flying.append((heard, told, claims))
        return claims.map(np.copy)

    def _tell(self, claims: _Claims, due: np.ndarray) -> np.ndarray:
        """[B, N, N] bool, whose claims each agent broadcasts: of those that are due, what it knows of.

        A claim is told with its agent, consumer, bid, stamp and offer.
        """
        told = (claims.stamp > _NEVER) & self._alive[:, :, None] & due
        self._radio.count(told.sum(axis=2) * (4 + self._stock.shape[2]))
        return told

    def _bid(self, before: _Claims, round_: int, who: np.ndarray) -> _Claims:
        """Some agents, [B, N] bool, keep, raise, give up or make their claims, from what they know."""
        claims, none = before.map(np.copy), self._need.shape[1]
        mission, own = agents = np.nonzero(who)
        known, each = before.map(lambda values: values[agents]), np.arange(len(own))
        consumer, bid = known.consumer[each, own], known.bid[each, own]
        at = np.minimum(consumer, none - 1)
        left = self._useful(known, np.repeat(bid[:, None], none, axis=1), agents)[each, at]
        value = worth(left, self._distance_m[mission, own, at], self._config)
        offers, amounts = self._marginal(known, agents)
        best = np.argmax(np.where(amounts > MET, offers, -1.0), axis=1)
        offer, amount = offers[each, best], amounts[each, best]
        outbid = (left <= MET) | (left < self._hoped[agents] - MET)
        kept = (consumer < none) & ~outbid & ((best == consumer) | (offer <= (1 + _MARGIN) * value)) & self._keeps
        itself = (mission, own, own)
        claims.consumer[itself] = np.where(kept, consumer, np.where(amount > MET, best, none))
        claims.bid[itself] = np.where(kept, np.maximum(bid, value), np.where(amount > MET, offer, 0.0))
        claims.offer[itself] = self._stock[agents]
        claims.stamp[itself] = self._decision * (self._most_rounds + 1) + round_
        self._hoped[agents] = np.where(kept, left, amount)
        return claims

    def _marginal(self, known: _Claims, agents: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The highest bids that agents could make for what higher bids leave, and that amount, [K, M] both.

        A lower bid has more claims ahead of it, which lowers it again, until it stands.

        Args:
            known: to each of K agents, [K, N].
            agents: their missions [K] and their indices [K].
        """
        distance_m = self._distance_m[agents]
        bid = np.full(distance_m.shape, np.inf)
        while True:
            amount = self._useful(known, bid, agents)
            lower = np.minimum(bid, worth(amount, distance_m, self._config))
            if np.array_equal(lower, bid):
                return bid, amount
            bid = lower

    def _useful(self, known: _Claims, bid: np.ndarray, agents: tuple[np.ndarray, ...]) -> np.ndarray:
        """What agents can bring of what others with higher bids leave, [K, M], for bids [K, M] of their own.

        Of equal bids that of the lower index is the higher.
        """
        (n_known, none), n_agents = bid.shape, known.consumer.shape[1]
        mission, own = agents
        other = np.arange(n_agents)
        against = np.concatenate([bid, np.full((n_known, 1), np.inf)], axis=1)
        against = np.take_along_axis(against, known.consumer, axis=1)
        higher = (known.bid > against) | ((known.bid == against) & (other < own[:, None]))
        row, claimant = np.nonzero(higher & (other != own[:, None]))
        place = row * none + known.consumer[row, claimant]
        offer = known.offer[row, claimant]
        kinds = [np.bincount(place, amount, minlength=n_known * none) for amount in offer.T]
        ahead = np.stack(kinds, axis=1).astype(offer.dtype).reshape(n_known, none, len(kinds))
        left = np.clip(self._need[mission] - ahead, 0.0, None)
        return np.minimum(self._stock[agents][:, None], left).sum(axis=2)


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
    for sender in np.flatnonzero(told.any(axis=(0, 2))):
        comes = np.where(heard[:, :, sender, None], stamp[:, None, sender], _NEVER)
        newer = comes > newest
        newest, source = np.where(newer, comes, newest), np.where(newer, sender, source)
    came = newest > claims.stamp
    came[:, own, own] = False
    news = sent.map(lambda values: values[np.arange(len(told))[:, None, None], source, own])
    return claims.map(lambda old, new: np.where(came if old.ndim == 3 else came[..., None], new, old), news)
