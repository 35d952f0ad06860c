"""The LGTC policy of a cluster's node, in NumPy: what it computes on a tick, and how it scores where a task may go.

A node is an agent, a queue of waiting tasks a consumer. On every tick a node advances its LGTC state

    f  = relu(A^_S(x) + b_x) + relu(B^_S(u) + b_u)
    x' = -(b + f) x - A_S(x) + f tanh(B_S(u))

(arXiv 2404.13982, as `lgtc_cell`) over the support S that weighs the nodes it hears by shared attention,
``s_ij = (a_ij or i = j) <Xi_i, Xi_j>``: nodes that look at the same queues share dynamics. Its input u is its load.
Between ticks, whenever it has room or holds a new task, it scores candidates

    l_m = w p_im + v relu(W_p p_im + W_i x_i + W_m x_m + b)

from the features p_im of a pair. The linear part w starts as the best hand-made rule that is known for neighbours
(`BEGINNING`) and v as zero: a residual policy, which begins as the rule. All of this is this project's design. There is
no torch in here; training perturbs the parameters (`sortie_schedule.evolution`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = np.ndarray

PUSH_FEATURES = (
    "fits", "fits_log_speed", "waits_log_load", "log_speed", "log_load", "log_backlog", "free_cpu", "free_memory",
    "own", "age", "sent", "sent_work", "log_predicted", "log_share", "hops", "log_price", "release", "own_fits",
    "fits_age", "been", "load_age", "came", "taken", "refused",
)  # fmt: skip
"""Of a node that may take a task in.

`fits`: it has room for the task, and nobody waits there; `fits_...`, `waits_...`: the second factor where it does, or
does not; `log_load`: tasks there + 1 per core and speed; `log_backlog`: predicted work that waits there, s; `own`: is
the node that decides; `age`: of its last report, log s; `sent`, `sent_work`: log of the tasks handed over there since,
and of their work; `hops`: of the task so far; `release`: log s until a task there should end; `been`: whether the task
has been there; `load_age`: product of the two; `came`, `taken`, `refused`: log of the tasks that have come from there
since its last report, that were taken from there, and of the times it was asked in vain.
"""
PULL_FEATURES = (
    "log_key", "own", "distance", "log_waiting", "log_backlog", "log_speed", "own_log_speed", "age",
    "free_cpu", "head_share", "log_price", "key_age", "came", "taken", "refused",
)  # fmt: skip
"""Of a queue that a node with room may take from.

`log_key`: place of its first task (that fits, where that is known) in the order of queues; `head_share`: log of that
task's dominant share, where it is known; `distance`: hops; the others as above.
"""
BEGINNING = {
    "push": {
        "fits": 10.0, "fits_log_speed": 1.5, "waits_log_load": -1.0, "own": -0.6, "fits_age": -0.25, "load_age": 0.4,
        "been": -0.4, "came": -0.2, "sent": 0.2,
    },
    "pull": {"log_key": -1.0, "own": 1e-3, "log_speed": 0.2, "key_age": -0.2, "refused": -0.3},
}  # fmt: skip
"""The linear parts before training: REC (see `sortie_cluster.recipes`), which trusts reports less the older they are,
turns to speed, and remembers its dealings with others. Weights by hand: where earlier trainings agreed, then changed
one at a time on the training window."""
OWN_FEATURES = ("free_cpu", "free_memory", "log_waiting", "log_backlog", "log_speed", "idle", "log_price", "release")
"""Of a node by itself, in its reports."""
ABLATIONS = {"network": ("value",), "states": ("self", "other")}
"""What a policy can be tried without, and the parameters of both scores that are zero then."""


class Heard(NamedTuple):
    """What packets tell of N nodes.

    Attributes:
        state: [N, F] x in [-1, 1].
        load: [N, Fo] `OWN_FEATURES`.
        attention: [N, M] Xi over queues.
    """

    state: Array
    load: Array
    attention: Array


class ClusterPolicy:
    """Parameters of the policy as one vector, with a view of each by name.

    Args:
        hidden: F, features of the LGTC state.
        width: W, of the scoring networks.

    Attributes:
        vector: [P] all parameters.
    """

    def __init__(self, hidden: int = 8, width: int = 16, seed: int = 0) -> None:
        """Draw the hidden layers, and begin as the rule."""
        self.hidden, self.width = hidden, width
        shapes = _shapes(hidden, width)
        self.vector = np.zeros(sum(int(np.prod(shape)) for shape in shapes.values()))
        self._place(shapes)
        self._draw(np.random.default_rng(seed))

    def _place(self, shapes: dict[str, tuple[int, ...]]) -> None:
        start = 0
        self.parts: dict[str, Array] = {}
        for name, shape in shapes.items():
            stop = start + int(np.prod(shape))
            self.parts[name] = self.vector[start:stop].reshape(shape)
            start = stop

    def with_vector(self, vector: Array) -> ClusterPolicy:
        """The same policy with other parameters [P]."""
        other = object.__new__(ClusterPolicy)
        other.hidden, other.width = self.hidden, self.width
        other.vector = np.array(vector, np.float64)
        other._place({name: part.shape for name, part in self.parts.items()})
        return other

    def without(self, part: str) -> ClusterPolicy:
        """The same policy without one of `ABLATIONS`: without v, or without what states have to do with scores."""
        other = self.with_vector(self.vector)
        for verb in ("push", "pull"):
            for name in ABLATIONS[part]:
                other.parts[f"{verb}_{name}"][:] = 0.0
        return other

    def _draw(self, random: np.random.Generator) -> None:
        parts = self.parts
        rate = np.exp(random.uniform(np.log(0.02), np.log(1.0), self.hidden))
        parts["log_rate"][:] = np.log(rate)
        for name in ("coupling", "state_gate"):
            size = parts[name].shape
            parts[name][:] = random.uniform(-0.9, 0.9, size) * rate / (5 * self.hidden)
        for name in ("input_gate", "target"):
            size = parts[name].shape
            parts[name][:] = random.uniform(-1, 1, size) * np.sqrt(3 / size[0])
        parts["input_gate"] *= rate / 2
        parts["state_bias"][:] = parts["input_bias"][:] = rate / 2
        for verb, features in (("push", PUSH_FEATURES), ("pull", PULL_FEATURES)):
            for name, fan_in in (("pair", len(features)), ("self", self.hidden), ("other", self.hidden)):
                part = parts[f"{verb}_{name}"]
                part[:] = random.standard_normal(part.shape) / np.sqrt(fan_in)
        for verb, features in (("push", PUSH_FEATURES), ("pull", PULL_FEATURES)):
            parts[f"{verb}_linear"][:] = [BEGINNING[verb].get(name, 0.0) for name in features]
        parts["key"][:] = (0.3, 0.0)

    # A tick.

    def advance(self, own: Heard, heard: Heard, linked: NDArray[np.bool_], dt_s: float) -> Array:
        """One step of the cell for N nodes, exact for coefficients that are frozen over it.

        Args:
            own: what is so of each node, N of them.
            heard: what each has heard of all, with one more axis in front: [N, N, ...], or [1, N, ...] where all have
                heard the same; without it where nothing is late.
            linked: [N, N] who hears whom.
            dt_s: s since the last step.

        Returns:
            [N, F].
        """
        if heard.state.ndim == 2:
            heard = Heard(*(part[None] for part in heard))
        weight = (own.attention[:, None] @ np.swapaxes(heard.attention, -1, -2))[:, 0]
        weight = (weight + 1e-6) * linked
        self_weight = (own.attention * own.attention).sum(1) + 1e-6
        total = weight.sum(1) + self_weight
        weight /= total[:, None]
        kept = (self_weight / total)[:, None]
        state_taps = np.concatenate([own.state, (weight[:, None] @ heard.state)[:, 0] + kept * own.state], -1)
        input_taps = np.concatenate([own.load, (weight[:, None] @ heard.load)[:, 0] + kept * own.load], -1)
        return self.step(state_taps, input_taps, dt_s)

    def step(self, state_taps: Array, input_taps: Array, dt_s: float) -> Array:
        """The cell's step from the taps of state [..., 2 F] and load [..., 2 Fo]."""
        parts, hidden = self.parts, self.hidden
        rate = np.exp(parts["log_rate"])
        opening = np.maximum(state_taps @ parts["state_gate"] + parts["state_bias"], 0.0)
        opening += np.maximum(input_taps @ parts["input_gate"] + parts["input_bias"], 0.0)
        decay = rate + opening
        drive = opening * np.tanh(input_taps @ parts["target"]) - state_taps[..., hidden:] @ parts["coupling"]
        kept = np.exp(-dt_s * decay)
        return kept * state_taps[..., :hidden] + (1 - kept) * (drive / decay)

    # Scores.

    def scores(self, verb: str, pair: Array, own_state: Array, states: Array) -> Array:
        """Log preference of each candidate, up to a constant.

        Args:
            verb: "push" or "pull".
            pair: [M, Fp] `PUSH_FEATURES` or `PULL_FEATURES`.
            own_state: [F] x of the node that decides.
            states: [M, F] x of the candidates, as it knows them.

        Returns:
            [M].
        """
        parts = self.parts  # `dot` takes half as long as `@` for such small factors
        hidden = pair.dot(parts[f"{verb}_pair"])
        hidden += states.dot(parts[f"{verb}_other"])
        hidden += own_state.dot(parts[f"{verb}_self"])
        hidden += parts[f"{verb}_bias"]
        np.maximum(hidden, 0.0, out=hidden)
        return pair.dot(parts[f"{verb}_linear"]) + hidden.dot(parts[f"{verb}_value"])

    @property
    def scale(self) -> Array:
        """[P] the size of a change of each parameter that is felt, for a search among neighbours of this policy."""
        sizes = {"key": 0.3, "price": 0.5, "push_noise": 0.2, "pull_noise": 0.2, "log_rate": 0.3}
        found = []
        for name, part in self.parts.items():
            verb, _, what = name.partition("_")
            if what == "linear":
                size = 0.3
            elif what in ("value", "bias") and verb in ("push", "pull"):
                size = self.width**-0.5
            else:
                size = sizes.get(name) or float(np.sqrt((part**2).mean()))
            found.append(np.full(part.size, size))
        return np.concatenate(found)

    @property
    def is_linear(self) -> Array:
        """[P] 1 for the parameters that say the same as a rule's: weights of features, key, price and noise."""
        return np.concatenate(
            [
                np.full(part.size, float(name.endswith(("_linear", "_noise")) or name in ("key", "price")))
                for name, part in self.parts.items()
            ]
        )

    def project(self, margin: float = 0.1) -> None:
        """Shrink A and A^ in place until the cell contracts, as `contraction.project_` does."""
        parts, rate = self.parts, np.exp(self.parts["log_rate"])
        gain = np.abs(parts["coupling"]).sum(0) + 2 * np.abs(parts["state_gate"]).sum(0)
        scale = np.minimum(1.0, (1 - margin) * rate / np.maximum(gain, 1e-12))
        parts["coupling"] *= scale
        parts["state_gate"] *= scale

    @property
    def contraction_rate(self) -> float:
        """c, 1/s, as `contraction.contraction_rate`."""
        parts = self.parts
        gain = np.abs(parts["coupling"]).sum(0) + 2 * np.abs(parts["state_gate"]).sum(0)
        return float((np.exp(parts["log_rate"]) - gain).min())


def _shapes(hidden: int, width: int) -> dict[str, tuple[int, ...]]:
    own = len(OWN_FEATURES)
    shapes: dict[str, tuple[int, ...]] = {
        "log_rate": (hidden,),
        "state_bias": (hidden,),
        "input_bias": (hidden,),
        "coupling": (hidden, hidden),
        "state_gate": (2 * hidden, hidden),
        "input_gate": (2 * own, hidden),
        "target": (2 * own, hidden),
        "key": (2,),
        "price": (1,),
    }
    for verb, features in (("push", PUSH_FEATURES), ("pull", PULL_FEATURES)):
        shapes |= {
            f"{verb}_linear": (len(features),),
            f"{verb}_pair": (len(features), width),
            f"{verb}_self": (hidden, width),
            f"{verb}_other": (hidden, width),
            f"{verb}_bias": (width,),
            f"{verb}_value": (width,),
            f"{verb}_noise": (1,),
        }
    return shapes
