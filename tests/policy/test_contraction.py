"""The contraction bounds hold for random cells, graphs and steps, and training can be made to keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from sortie_core.config import UserError
from sortie_policy.contraction import (
    contraction_rate,
    coupling_gain,
    gate_gain,
    is_invariant,
    project_,
    recurrent_gain,
    regularisation,
    step_factor,
)
from sortie_policy.graph_filter import shift_taps
from sortie_policy.lgtc_cell import INTEGRATORS, LGTCCell

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[..., torch.Tensor]
    Build = Callable[..., LGTCCell]

N_AGENTS = 5


def disturb(cell: LGTCCell, recurrent: float) -> LGTCCell:
    """Scale the recurrent weights, thin them out and draw biases anew, so that gates open and close."""
    with torch.no_grad():
        for graph_filter in (cell.coupling, cell.state_gate):
            graph_filter.weight.mul_(recurrent * (torch.rand_like(graph_filter.weight) < 0.5))
        cell.state_bias.normal_().mul_(gate_gain(cell))
        cell.input_bias.normal_()
    return cell


def cube(*shape: int) -> torch.Tensor:
    """States in [-1, 1], half of them at the cube's corners, where the bounds are tightest."""
    x = 2 * torch.rand(*shape, dtype=torch.float64) - 1
    return torch.where(torch.rand(shape[0], 1, 1) < 0.5, x, x.sign())


def test_rate_is_the_formula_in_loops(seeded_cell: Build):
    """c, l, a and r against sums spelled out weight by weight."""
    cell = disturb(seeded_cell(2), recurrent=3.0)
    rates = []
    for j in range(cell.hidden):
        l_j = sum(abs(a[g, j].item()) for a in cell.coupling.weight for g in range(cell.hidden))
        a_j = sum(abs(a[g, j].item()) for a in cell.state_gate.weight for g in range(cell.hidden))
        assert coupling_gain(cell)[j].item() == pytest.approx(l_j)
        assert gate_gain(cell)[j].item() == pytest.approx(a_j)
        rates.append(cell.log_rate[j].exp().item() - l_j - 2 * a_j)
    assert contraction_rate(cell).item() == pytest.approx(min(rates))


def test_jacobian_measure_is_below_minus_c(random_support: Draw, seeded_cell: Build):
    """Finite differences of the ODE off the kinks: max_i (J_ii + sum_{j != i} |J_ij|) <= -c."""
    step, checked, closest = 1e-6, 0, torch.inf
    for seed in range(40):
        cell = disturb(seeded_cell(seed), recurrent=[0.3, 1.0, 4.0][seed % 3])
        support, size = random_support(n_agents=N_AGENTS), N_AGENTS * cell.hidden
        input_taps = shift_taps(support, torch.randn(N_AGENTS, 1 + seed % 3, dtype=torch.float64), cell.hops)
        for x in cube(6, N_AGENTS, cell.hidden):
            gate = cell.state_gate(shift_taps(support, x, cell.hops)) + cell.state_bias
            if gate.abs().min() < 2 * step * gate_gain(cell).max():
                continue
            shift = step * torch.eye(size, dtype=torch.float64).reshape(size, N_AGENTS, cell.hidden)
            above, below = (
                cell.derivative(shift_taps(support, x + sign * shift, cell.hops), input_taps) for sign in (1, -1)
            )
            jacobian = ((above - below) / (2 * step)).reshape(size, size).T
            off_diagonal = jacobian.abs().sum(1) - jacobian.diagonal().abs()
            slack = -contraction_rate(cell) - (jacobian.diagonal() + off_diagonal).max()
            assert slack > -1e-6, f"seed {seed}: bound exceeded by {-slack.item()}"
            checked += 1
            if (recurrent_gain(cell) > 0.4 * cell.rate).all():
                closest = min(closest, slack.item())
    assert checked > 200
    assert closest < 0.5, "the bound is of use: a Jacobian comes near it, though strongly coupled"


def test_rate_is_attained(random_support: Draw, seeded_cell: Build):
    """A state at the corner, its target at the opposite one, gates about to open: no larger c would be true."""
    cell = seeded_cell(0, hidden=1, n_inputs=1, hops=1)
    with torch.no_grad():
        for weight, value in ((cell.coupling.weight, -0.3), (cell.state_gate.weight, -0.2), (cell.target.weight, 9.0)):
            weight.mul_(0).add_(value)
        cell.state_bias.copy_(gate_gain(cell))
        cell.input_bias.fill_(-1.0)
        cell.input_gate.weight.zero_()
    support, gap = random_support(n_agents=N_AGENTS), 1e-6
    input_taps = -torch.ones(N_AGENTS, 2, 1, dtype=torch.float64)
    corner = torch.ones(N_AGENTS, 1, dtype=torch.float64)
    fast, slow = (cell.derivative(shift_taps(support, x, 1), input_taps) for x in (corner, corner - gap))
    torch.testing.assert_close((fast - slow) / gap, -contraction_rate(cell).expand(N_AGENTS, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("dt_s", [0.05, 0.3, 2.0])
def test_trajectories_shrink_by_the_factor(integrator: str, dt_s: float, random_support: Draw, seeded_cell: Build):
    """Distances shrink by at least q < 1 a step, and states stay in the cube, while graphs and inputs switch.

    Even within a step each round of packets has a graph of its own.
    """
    closest = 0.0
    for seed in range(80):
        cell = disturb(seeded_cell(seed, integrator=integrator), recurrent=3.0)
        project_(cell, margin=[0.02, 0.1, 0.5][seed % 3])
        factor = step_factor(cell, dt_s).item()
        assert is_invariant(cell)
        assert contraction_rate(cell) > 0
        assert factor < 1
        pair = cube(64, N_AGENTS, cell.hidden).unflatten(0, (2, 32))
        for _ in range(8):
            supports = [random_support(32, n_agents=N_AGENTS) for _ in range(cell.hops)]
            u = 2 * torch.randn(32, N_AGENTS, 1 + seed % 3, dtype=torch.float64)
            before = (pair[0] - pair[1]).abs().amax((1, 2))
            with torch.no_grad():
                taps = [shift_taps(supports, z, cell.hops) for z in (pair, u.expand(2, *u.shape))]
                pair = cell(*taps, dt_s)
            after = (pair[0] - pair[1]).abs().amax((1, 2))
            assert (after <= factor * before + 1e-13).all(), f"seed {seed}"
            assert pair.abs().max() <= 1 + 1e-13, f"seed {seed}"
            if (recurrent_gain(cell) > 0.4 * cell.rate).all():
                closest = max(closest, torch.where(before > 1e-9, after / before, 0.0).max().item() / factor)
    assert closest > 0.5, "the factor is of use: a pair comes near it, though strongly coupled"


def test_continuous_rate_bounds_every_factor(seeded_cell: Build):
    """The factor q < 1 exactly when c > 0, for both integrators and any step; for small steps q = 1 - c dt."""
    for seed in range(30):
        for integrator in INTEGRATORS:
            cell = disturb(seeded_cell(seed, integrator=integrator), recurrent=0.5 + seed / 4)
            rate = contraction_rate(cell).item()
            for dt_s in (1e-3, 0.05, 2.0, 50.0):
                assert (step_factor(cell, dt_s).item() < 1) == (rate > 0)
            assert (1 - step_factor(cell, 1e-6).item()) / 1e-6 == pytest.approx(rate, abs=1e-2)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_invariance_is_tight(integrator: str, seeded_cell: Build):
    """With l = b a state at a corner stays in the cube under any input; with l 1 % above b it leaves."""
    for excess, stays in ((1.0, True), (1.01, False)):
        cell = seeded_cell(5, integrator=integrator)
        with torch.no_grad():
            cell.state_gate.weight.zero_()
            cell.state_bias.fill_(-1.0)
            cell.input_bias.fill_(-1.0)
            cell.input_gate.weight.zero_()
            cell.coupling.weight.copy_(-cell.coupling.weight.abs())
            cell.coupling.weight.mul_(excess * (1 - 1e-12) * cell.rate / coupling_gain(cell))
        assert is_invariant(cell) == stays
        x = torch.ones(N_AGENTS, cell.hidden, dtype=torch.float64)
        support = torch.full((N_AGENTS, N_AGENTS), 1 / N_AGENTS, dtype=torch.float64)
        input_taps = torch.zeros(N_AGENTS, cell.hops + 1, cell.input_gate.weight.shape[1], dtype=torch.float64)
        for _ in range(20):
            x = cell(shift_taps(support, x, cell.hops), input_taps, 0.3)
        assert (x.abs().max().item() <= 1 + 1e-12) == stays


def test_regularisation_is_the_formula(seeded_cell: Build):
    """Sum of softplus terms with beta = 10, weighted by alpha; alpha = 0 switches it off."""
    cell = disturb(seeded_cell(3), recurrent=2.0)

    def sp(z: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.exp(10 * z)) / 10

    wanted = sp(0.1 - contraction_rate(cell)) + sp(1.0 - cell.rate).mean() + sp(cell.rate - 4.0).mean()
    torch.testing.assert_close(regularisation(cell, 0.7, 0.1, 1.0, 4.0), 0.7 * wanted, atol=1e-8, rtol=0)
    assert regularisation(cell, 0.0, 0.1, 1.0, 4.0).item() == 0


def test_regularisation_raises_a_low_rate(seeded_cell: Build):
    """One small gradient step from c < c_min raises c; many make the cell contract at about the rate asked for."""
    for seed in (6, 12, 20):
        cell = disturb(seeded_cell(seed), recurrent=6.0)
        before = contraction_rate(cell).item()
        assert before < 0.1
        optimiser = torch.optim.SGD(cell.parameters(), lr=1e-4)
        rates = [before]
        for _ in range(2):
            optimiser.zero_grad()
            regularisation(cell, 1.0, 0.1, 0.5, 10.0).backward()
            optimiser.step()
            rates.append(contraction_rate(cell).item())
        assert rates[1] > rates[0]
        optimiser = torch.optim.Adam(cell.parameters(), lr=1e-2)
        for _ in range(400):
            optimiser.zero_grad()
            regularisation(cell, 1.0, 0.1, 0.5, 10.0).backward()
            optimiser.step()
        assert contraction_rate(cell) > 0.1
        assert ((cell.rate > 0.4) & (cell.rate < 10.1)).all()


def test_rates_out_of_range_are_pulled_back(seeded_cell: Build):
    """The time-constant terms push b up from below the range and down from above it."""
    cell = seeded_cell(4, hidden=2)
    with torch.no_grad():
        cell.coupling.weight.zero_()
        cell.state_gate.weight.zero_()
        cell.log_rate.copy_(torch.tensor([0.2, 20.0]).log())
    regularisation(cell, 1.0, 0.0, 0.5, 10.0).backward()
    assert cell.log_rate.grad[0] < 0 < cell.log_rate.grad[1]


def test_projection_restores_contraction_and_nothing_else(seeded_cell: Build):
    """After it r <= (1 - margin) b, so c > 0; features that had room keep their weights, and so do the rates."""
    for seed in range(20):
        cell = disturb(seeded_cell(seed, hidden=6), recurrent=2.5)
        old = {name: parameter.detach().clone() for name, parameter in cell.named_parameters()}
        fine = recurrent_gain(cell) <= 0.9 * cell.rate
        project_(cell, margin=0.1)
        assert contraction_rate(cell) >= 0.1 * cell.rate.min() - 1e-12
        assert (recurrent_gain(cell) <= 0.9 * cell.rate + 1e-12).all()
        for name, parameter in cell.named_parameters():
            recurrent = name.startswith(("coupling", "state_gate"))
            kept = fine if recurrent else torch.ones(parameter.shape[-1], dtype=torch.bool)
            assert torch.equal(parameter[..., kept], old[name][..., kept]), name
            assert not recurrent or torch.equal(parameter.sign(), old[name].sign()), name
        project_(cell, margin=0.1)
    with pytest.raises(UserError, match="margin"):
        project_(cell, margin=1.0)


def test_projection_leaves_a_cell_without_recurrence_finite(seeded_cell: Build):
    """A feature whose recurrent weights are all zero stays so."""
    cell = disturb(seeded_cell(1), recurrent=0.0)
    project_(cell, margin=0.1)
    assert (recurrent_gain(cell) == 0).all()
