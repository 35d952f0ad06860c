"""How fast two LGTC trajectories approach each other, and how training keeps it so.

All bounds are per feature j, in the infinity norm, and this project's design. For a row-stochastic support,
``||S^k||_inf = 1``, and so is the norm of a product of different ones where losses change the graph between rounds.
So the bounds depend on the weights alone and hold for every team size and every sequence of graphs:

    l_j = sum_{k>=1} sum_g |A_k[g, j]|      a_j = sum_{k>=0} sum_g |A^_k[g, j]|      r_j = l_j + 2 a_j
    c   = min_j (b_j - r_j)                 the contraction rate, 1/s

With the target s and the gate's argument z, the Jacobian of the dynamics is

    J = -diag(b + f) - A_S + diag(s - x) diag(1[z > 0]) A^_S

On the cube [-1, 1]^F, |s - x| <= 2 and f >= 0, so that its row-sum measure is at most -c. The cube is invariant where
b_j >= l_j, which c > 0 implies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import softplus

from sortie_core.config import UserError

if TYPE_CHECKING:
    from sortie_policy.graph_filter import GraphFilter
    from sortie_policy.lgtc_cell import LGTCCell

SHARPNESS = 10.0  # of the softplus penalties: they are felt from about 0.1 before a bound on


def filter_gain(graph_filter: GraphFilter) -> torch.Tensor:
    """[G] most that each output of a filter changes when its inputs change by at most 1, under row-stochastic S."""
    return graph_filter.weight.abs().sum(dim=(0, 1))


def coupling_gain(cell: LGTCCell) -> torch.Tensor:
    """[F] l_j, 1/s: gain of the linear coupling A."""
    return filter_gain(cell.coupling)


def gate_gain(cell: LGTCCell) -> torch.Tensor:
    """[F] a_j, 1/s: gain of the state gate A^."""
    return filter_gain(cell.state_gate)


def recurrent_gain(cell: LGTCCell) -> torch.Tensor:
    """[F] r_j = l_j + 2 a_j, 1/s: what the rate b_j must exceed."""
    return coupling_gain(cell) + 2 * gate_gain(cell)


def contraction_rate(cell: LGTCCell) -> torch.Tensor:
    """The contraction rate c = min_j (b_j - r_j), 1/s, a differentiable scalar.

    Two states in the cube under the same inputs and graphs approach at least as fast as e^{-c t}.
    """
    return (cell.rate - recurrent_gain(cell)).min()


def step_factor(cell: LGTCCell, dt_s: float) -> torch.Tensor:
    """Bound q on how one step of the cell's integrator scales the distance of two states in the cube.

    exact: ``q_j = e^{-b_j dt} + (1 - e^{-b_j dt}) r_j / b_j``; fused: ``q_j = (1 + dt r_j) / (1 + dt b_j)``. Both are
    below 1 for every dt exactly when c > 0, and bounds only where `is_invariant` holds.

    Args:
        cell: the cell, with its integrator.
        dt_s: step, s.

    Returns:
        max_j q_j, a differentiable scalar.
    """
    rate, gain = cell.rate, recurrent_gain(cell)
    if cell.integrator == "fused":
        return ((1 + dt_s * gain) / (1 + dt_s * rate)).max()
    kept = torch.exp(-dt_s * rate)
    return (kept + (1 - kept) * gain / rate).max()


def is_invariant(cell: LGTCCell) -> bool:
    """Whether no state can leave [-1, 1], for any input and graph: b_j >= l_j for every feature."""
    return bool((cell.rate >= coupling_gain(cell)).all())


def regularisation(
    cell: LGTCCell, alpha: float, c_min_per_s: float, rate_min_per_s: float, rate_max_per_s: float
) -> torch.Tensor:
    """Soft penalty on slow contraction and on time constants out of range.

    ``alpha [sp(c_min - c) + mean_j sp(b_min - b_j) + mean_j sp(b_j - b_max)]``, ``sp(z) = ln(1 + e^{beta z}) / beta``.
    A softplus on both is from arXiv 2503.02437; this form of it is this project's design.

    Args:
        cell: the cell.
        alpha: weight of the penalty.
        c_min_per_s: contraction rate asked for, 1/s.
        rate_min_per_s: lowest wanted b, 1/s.
        rate_max_per_s: highest wanted b, 1/s.

    Returns:
        A differentiable scalar, at least 0.
    """
    rate = cell.rate
    penalty = softplus(c_min_per_s - contraction_rate(cell), beta=SHARPNESS)
    penalty = penalty + softplus(rate_min_per_s - rate, beta=SHARPNESS).mean()
    return alpha * (penalty + softplus(rate - rate_max_per_s, beta=SHARPNESS).mean())


@torch.no_grad()
def project_(cell: LGTCCell, margin: float) -> None:
    """Shrink A and A^ in place until r_j <= (1 - margin) b_j: the hard alternative to `regularisation`.

    Features that satisfy it keep their weights. Afterwards c >= margin * min_j b_j, up to rounding.

    Args:
        cell: the cell.
        margin: share of the rate kept free, in (0, 1).

    Raises:
        UserError: margin lies outside (0, 1).
    """
    if not 0 < margin < 1:
        raise UserError(f"margin: {margin} must lie between 0 and 1, e.g. 0.1")
    room = (1 - margin) * cell.rate
    scale = room / torch.maximum(recurrent_gain(cell), room)
    cell.coupling.weight.mul_(scale)
    cell.state_gate.weight.mul_(scale)
