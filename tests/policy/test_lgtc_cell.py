"""The LGTC cell: its solution of the ODE, its symmetries, its one-agent form and its export."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.integrate import solve_ivp

from sortie_core.config import UserError
from sortie_policy.contraction import gate_gain, recurrent_gain
from sortie_policy.graph_filter import GraphFilter, shift_taps
from sortie_policy.lgtc_cell import INTEGRATORS, LGTCCell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Draw = Callable[..., torch.Tensor]
    Build = Callable[..., LGTCCell]

N_AGENTS = 6


def advance(cell: LGTCCell, support: torch.Tensor, x: torch.Tensor, u: torch.Tensor, dt_s: float) -> torch.Tensor:
    """One step with taps from matrix products."""
    return cell(shift_taps(support, x, cell.hops), shift_taps(support, u, cell.hops), dt_s)


def state_and_input(cell: LGTCCell, n_agents: int = N_AGENTS, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Random states in the cube and inputs of unit variance."""
    dtype = cell.log_rate.dtype
    x = 2 * torch.rand(batch, n_agents, cell.hidden, dtype=dtype) - 1
    return x, torch.randn(batch, n_agents, cell.input_gate.weight.shape[1], dtype=dtype)


def solution(cell: LGTCCell, support: torch.Tensor, x: torch.Tensor, u: torch.Tensor, dt_s: float) -> torch.Tensor:
    """The ODE solved by scipy, with taps of the state taken all along the way."""
    input_taps = shift_taps(support, u, cell.hops)

    def rhs(_: float, flat: np.ndarray) -> np.ndarray:
        state_taps = shift_taps(support, torch.as_tensor(flat).reshape(x.shape), cell.hops)
        return cell.derivative(state_taps, input_taps).detach().numpy().ravel()

    result = solve_ivp(rhs, (0.0, dt_s), x.numpy().ravel(), method="DOP853", rtol=1e-12, atol=1e-13)
    assert result.success
    return torch.as_tensor(result.y[:, -1]).reshape(x.shape)


def test_filter_is_the_polynomial_in_the_support(random_support: Draw):
    """The filter of the taps is sum_k S^k x A_k with explicit matrix powers, from k = start on."""
    torch.manual_seed(0)
    support, x = random_support(3, n_agents=5), torch.randn(3, 5, 4, dtype=torch.float64)
    for start in (0, 1):
        graph_filter = GraphFilter(4, 2, hops=3, start=start).double()
        powers = [torch.linalg.matrix_power(support, k) for k in range(start, 4)]
        wanted = sum(power @ x @ weight for power, weight in zip(powers, graph_filter.weight, strict=True))
        torch.testing.assert_close(graph_filter(shift_taps(support, x, 3)), wanted)


def test_derivative_is_the_ode_written_out(random_support: Draw, seeded_cell: Build):
    """It is x' = -(b + f) x - sum_{k>=1} S^k x A_k + f tanh(B_S(u)), with matrix powers and scalar loops over k."""
    cell = seeded_cell(1, hops=2)
    support = random_support(1, n_agents=N_AGENTS)
    x, u = state_and_input(cell)

    def polynomial(graph_filter: GraphFilter, z: torch.Tensor, first: int) -> torch.Tensor:
        return sum(torch.linalg.matrix_power(support, k) @ z @ graph_filter.weight[k - first] for k in range(first, 3))

    f = torch.relu(polynomial(cell.state_gate, x, 0) + cell.state_bias)
    f = f + torch.relu(polynomial(cell.input_gate, u, 0) + cell.input_bias)
    wanted = -(cell.log_rate.exp() + f) * x - polynomial(cell.coupling, x, 1)
    wanted = wanted + f * torch.tanh(polynomial(cell.target, u, 0))
    taps = [shift_taps(support, z, cell.hops) for z in (x, u)]
    torch.testing.assert_close(cell.derivative(*taps), wanted)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_halving_the_step_quarters_the_error(integrator: str, random_support: Draw, seeded_cell: Build):
    """The error of one step against scipy is O(dt^2), and small at a tick of 0.05 s."""
    for seed in range(3):
        cell = seeded_cell(seed, hidden=5, rate_max_per_s=3.0, integrator=integrator)
        support = random_support(1, n_agents=4)
        x, u = state_and_input(cell, n_agents=4)
        errors = [
            (advance(cell, support, x, u, dt_s) - solution(cell, support, x, u, dt_s)).abs().mean().item()
            for dt_s in (0.05, 0.004, 0.002, 0.001)
        ]
        assert errors[0] < {"exact": 2e-3, "fused": 2e-2}[integrator]
        orders = np.log2(np.array(errors[1:-1]) / np.array(errors[2:]))
        assert np.all(np.abs(orders - 2) < 0.1), orders


def test_exact_step_has_no_error_without_recurrence(random_support: Draw, seeded_cell: Build):
    """Where the coefficients do not depend on the state, the exact step is the solution for any dt."""
    cell = seeded_cell(3)
    with torch.no_grad():
        cell.coupling.weight.zero_()
        cell.state_gate.weight.zero_()
    support = random_support(1, n_agents=N_AGENTS)
    x, u = state_and_input(cell)
    for dt_s in (0.05, 2.0):
        wanted = solution(cell, support, x, u, dt_s)
        torch.testing.assert_close(advance(cell, support, x, u, dt_s), wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_no_time_gives_the_state_back(integrator: str, random_support: Draw, seeded_cell: Build):
    """With dt -> 0 a step gives x back, at a speed that is the derivative."""
    cell = seeded_cell(4, integrator=integrator)
    support = random_support(2, n_agents=N_AGENTS)
    x, u = state_and_input(cell, batch=2)
    assert torch.equal(advance(cell, support, x, u, 0.0), x)
    slope = cell.derivative(shift_taps(support, x, cell.hops), shift_taps(support, u, cell.hops))
    torch.testing.assert_close((advance(cell, support, x, u, 1e-7) - x) / 1e-7, slope, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_permuting_agents_permutes_states(integrator: str, random_support: Draw, seeded_cell: Build):
    """The cell has no order of agents."""
    cell = seeded_cell(5, integrator=integrator)
    support = random_support(2, n_agents=N_AGENTS)
    x, u = state_and_input(cell, batch=2)
    order = torch.randperm(N_AGENTS)
    permuted = advance(cell, support[:, order][:, :, order], x[:, order], u[:, order], 0.1)
    torch.testing.assert_close(permuted, advance(cell, support, x, u, 0.1)[:, order])
    assert not torch.allclose(permuted, advance(cell, support, x[:, order], u[:, order], 0.1)), "the graph is read"


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_agents_with_packets_equal_the_batched_step(integrator: str, random_support: Draw, seeded_cell: Build):
    """K rounds, in which each agent averages what its neighbours sent, and one cell per agent give the same states."""
    cell = seeded_cell(6, hops=3, integrator=integrator)
    support = random_support(n_agents=N_AGENTS)
    x, u = (z[0] for z in state_and_input(cell))
    taps = [[(x[i], u[i])] for i in range(N_AGENTS)]
    for _ in range(cell.hops):
        packets = [own[-1] for own in taps]
        for i, own in enumerate(taps):
            heard = [packets[j] for j in range(N_AGENTS) if support[i, j] > 0]
            own.append(tuple(torch.stack(parts).mean(0) for parts in zip(*heard, strict=True)))
    alone = [cell(*(torch.stack(parts)[None] for parts in zip(*own, strict=True)), 0.1)[0] for own in taps]
    torch.testing.assert_close(torch.stack(alone), advance(cell, support, x, u, 0.1), atol=1e-12, rtol=0)


def test_new_cells_start_as_documented(random_support: Draw, seeded_cell: Build):
    """Rates lie in their range, r <= 0.9 b, and every gate is open on the whole cube."""
    for seed in range(30):
        cell = seeded_cell(seed, hidden=1 + seed, rate_min_per_s=0.5, rate_max_per_s=10.0)
        assert ((cell.rate > 0.5 - 1e-6) & (cell.rate < 10 + 1e-5)).all()
        assert (recurrent_gain(cell) <= 0.9 * cell.rate * (1 + 1e-6)).all()
        assert (cell.state_bias > gate_gain(cell)).all()
    cell = seeded_cell(0, hidden=400, n_inputs=8, hops=2)
    spread = cell.log_rate.sort().values - torch.linspace(np.log(0.5), np.log(10.0), 400, dtype=torch.float64)
    assert spread.abs().max() < 0.3, "rates are log-uniform"
    support = torch.eye(200, dtype=torch.float64)
    u = torch.randn(200, 8, dtype=torch.float64)
    independent = torch.stack([u, u.roll(1, 0), u.roll(2, 0)], dim=-2)
    assert shift_taps(support, u, 2).shape == independent.shape
    assert abs((cell.input_gate(independent) / cell.rate).std().item() - 0.5) < 0.05
    assert abs(cell.target(independent).std().item() - 1.0) < 0.1


def test_every_weight_is_trained(random_support: Draw, seeded_cell: Build):
    """Two steps give every parameter a gradient that is finite and not zero."""
    for integrator in INTEGRATORS:
        cell = seeded_cell(7, hidden=5, integrator=integrator)
        support = random_support(4, n_agents=N_AGENTS)
        x, u = state_and_input(cell, batch=4)
        advance(cell, support, advance(cell, support, x, u, 0.1), u, 0.1).square().sum().backward()
        for name, parameter in cell.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert (parameter.grad != 0).any(), name


class Tick(torch.nn.Module):
    """A cell with the fixed step of a deployed policy."""

    def __init__(self, cell: LGTCCell, dt_s: float) -> None:
        super().__init__()
        self.cell, self.dt_s = cell, dt_s

    def forward(self, state_taps: torch.Tensor, input_taps: torch.Tensor) -> torch.Tensor:
        """The next state."""
        return self.cell(state_taps, input_taps, self.dt_s)


@pytest.mark.parametrize(("dynamo", "integrator"), [(True, "exact"), (False, "exact"), (False, "fused")])
def test_export_gives_the_same_numbers(
    dynamo: bool,
    integrator: str,
    tmp_path: Path,
    seeded_cell: Build,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """Both of torch's exporters: within 1e-6 for any team size, in a single file, with nothing printed."""
    cell = seeded_cell(8, hidden=16, n_inputs=8, hops=2, integrator=integrator).float()
    tick, path = Tick(cell, 0.1).eval(), tmp_path / "cell.onnx"

    def taps(n_agents: int, batch: int) -> dict[str, torch.Tensor]:
        support = torch.full((n_agents, n_agents), 1 / n_agents)
        pair = state_and_input(cell, n_agents, batch)
        state_taps, input_taps = (shift_taps(support, z, cell.hops) for z in pair)
        return {"state_taps": state_taps, "input_taps": input_taps}

    example, axes = taps(3, 2), {0: "batch", 1: "agent"}
    form = {"dynamic_axes": dict.fromkeys(example, axes)}
    if dynamo:
        form = {"dynamic_shapes": (axes, axes), "external_data": False}
    with warnings.catch_warnings(), caplog.at_level(logging.ERROR, logger="torch.onnx"):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tick, tuple(example.values()), path, input_names=list(example), dynamo=dynamo, verbose=False, **form
        )
    assert list(tmp_path.iterdir()) == [path]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n_agents in (1, 9):
        given = taps(n_agents, 1)
        (state,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        np.testing.assert_allclose(state, tick(**given).detach().numpy(), atol=1e-6, rtol=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"integrator": "rk4"}, "rk4.*exact, fused"),
        ({"hops": 0}, "hops"),
        ({"rate_min_per_s": 0.0}, "rate_min_per_s"),
        ({"rate_min_per_s": 11.0}, "rate_max_per_s"),
        ({"rate_max_per_s": float("nan")}, "rate_max_per_s"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, object], named: str, seeded_cell: Build):
    """A cell that could not work is not built."""
    with pytest.raises(UserError, match=named):
        seeded_cell(0, **wrong)


@pytest.mark.parametrize("dt_s", [-0.1, float("nan"), float("inf")])
def test_time_runs_forward(dt_s: float, random_support: Draw, seeded_cell: Build):
    """A step that is negative or not finite is an error."""
    cell = seeded_cell(0)
    with pytest.raises(UserError, match="dt_s"):
        advance(cell, random_support(1, n_agents=N_AGENTS), *state_and_input(cell), dt_s)
