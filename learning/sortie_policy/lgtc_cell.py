"""The liquid-graph time-constant (LGTC) cell.

With the graph filters ``A`` (from k = 1), ``A^``, ``B`` and ``B^`` (from k = 0), the state x obeys

    f  = relu(A^_S(x) + b_x) + relu(B^_S(u) + b_u)
    x' = -(b + f) x - A_S(x) + f tanh(B_S(u)),        b > 0

(arXiv 2404.13982; used as a policy in arXiv 2503.02437). The liquid time constant is 1 / (b + f). The integrator, the
initial weights and the row-stochastic support are this project's design; see `contraction` for what they guarantee.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from sortie_core.config import UserError
from sortie_policy.graph_filter import GraphFilter

INTEGRATORS = ("exact", "fused")


class LGTCCell(nn.Module):
    """One step of the LGTC dynamics for any number of agents, given the taps of state and input.

    States stay in [-1, 1] while ``contraction.is_invariant`` holds. They are never clamped: a clamp would hide a cell
    that has lost stability.

    Attributes:
        coupling: the filter A of the states, from k = 1.
        state_gate: the filter A^ of the states.
        input_gate: the filter B^ of the inputs.
        target: the filter B of the inputs; its tanh is what the gates pull the state towards.
        state_bias: [F] b_x, 1/s.
        input_bias: [F] b_u, 1/s.
        log_rate: [F] ln b; the logarithm keeps b positive and lets every time constant learn at the same relative pace.
    """

    def __init__(
        self,
        hidden: int,
        n_inputs: int,
        hops: int,
        rate_min_per_s: float,
        rate_max_per_s: float,
        integrator: str = "exact",
    ) -> None:
        """Draw the weights from torch's global generator; see `reset` for how.

        Args:
            hidden: F, features of the state.
            n_inputs: U, features of the input.
            hops: K, powers of the support, at least 1.
            rate_min_per_s: lowest initial rate b, 1/s.
            rate_max_per_s: highest initial rate b, 1/s.
            integrator: "exact" or "fused", see `forward`.

        Raises:
            UserError: an unknown integrator, no hop, or rates that are no range of positive numbers.
        """
        super().__init__()
        if integrator not in INTEGRATORS:
            raise UserError(f"policy.integrator: {integrator!r} is unknown; choose one of {', '.join(INTEGRATORS)}")
        if hops < 1:
            raise UserError(f"policy.hops: {hops} leaves the agents uncoupled; use at least 1")
        if not 0 < rate_min_per_s <= rate_max_per_s < math.inf:
            raise UserError(
                f"policy.rate_min_per_s: {rate_min_per_s} must be positive and at most "
                f"policy.rate_max_per_s = {rate_max_per_s}"
            )
        self.hidden, self.hops, self.integrator = hidden, hops, integrator
        self.coupling = GraphFilter(hidden, hidden, hops, start=1)
        self.state_gate = GraphFilter(hidden, hidden, hops)
        self.input_gate = GraphFilter(n_inputs, hidden, hops)
        self.target = GraphFilter(n_inputs, hidden, hops)
        self.state_bias = nn.Parameter(torch.empty(hidden))
        self.input_bias = nn.Parameter(torch.empty(hidden))
        self.log_rate = nn.Parameter(torch.empty(hidden))
        self.reset(rate_min_per_s, rate_max_per_s)

    @torch.no_grad()
    def reset(self, rate_min_per_s: float, rate_max_per_s: float) -> None:
        """Draw rates log-uniformly and scale all else by them; this project's design.

        Each recurrent weight is uniform in +-0.9 b / (F (3 K + 2)). The F (3 K + 2) terms of r_j (see `contraction`)
        then sum to at most 0.9 b_j, so that a new cell contracts whatever the seed; ordinary initial weights do not.
        Both biases start at b / 2. That exceeds the state gate's whole range on the cube (0.9 b (K + 1) / (3 K + 2),
        at most 0.36 b), so that no gate is born dead, and puts f near b: at rest the state settles at half its target,
        where the gates steer it best. The input gate varies by about b / 2 for inputs of unit variance.
        """
        self.log_rate.uniform_(math.log(rate_min_per_s), math.log(rate_max_per_s))
        rate = self.rate
        for recurrent in (self.coupling, self.state_gate):
            recurrent.weight.uniform_(-0.9, 0.9).mul_(rate / (self.hidden * (3 * self.hops + 2)))
        self.input_gate.weight.mul_(rate / 2)
        self.state_bias.copy_(rate / 2)
        self.input_bias.copy_(rate / 2)

    @property
    def rate(self) -> torch.Tensor:
        """[F] b, 1/s: the decay rate with closed gates."""
        return self.log_rate.exp()

    def coefficients(self, state_taps: torch.Tensor, input_taps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The dynamics as ``x' = drive - decay * x``.

        Args:
            state_taps: [..., N, K + 1, F] taps of the state.
            input_taps: [..., N, K + 1, U] taps of the input.

        Returns:
            decay: [..., N, F] b + f, 1/s, positive.
            drive: [..., N, F] f tanh(B_S(u)) - A_S(x), 1/s.
        """
        opening = torch.relu(self.state_gate(state_taps) + self.state_bias)
        opening = opening + torch.relu(self.input_gate(input_taps) + self.input_bias)
        return self.rate + opening, opening * torch.tanh(self.target(input_taps)) - self.coupling(state_taps)

    def derivative(self, state_taps: torch.Tensor, input_taps: torch.Tensor) -> torch.Tensor:
        """x', 1/s, of shape [..., N, F]; arguments as for `coefficients`."""
        decay, drive = self.coefficients(state_taps, input_taps)
        return drive - decay * state_taps[..., 0, :]

    def forward(self, state_taps: torch.Tensor, input_taps: torch.Tensor, dt_s: float) -> torch.Tensor:
        """Advance the state by dt_s.

        The exact integrator solves ``x' = drive - decay * x`` with both coefficients frozen over the step (this
        project's design); the fused one is the semi-implicit Euler step of arXiv 2006.04439. Both keep [-1, 1] and
        contract for every dt_s, and both err by O(dt_s^2) in a step.

        Args:
            state_taps: [..., N, K + 1, F] taps of the state, within [-1, 1].
            input_taps: [..., N, K + 1, U] taps of the input.
            dt_s: step, s; a plain number, which an export fixes.

        Returns:
            [..., N, F] the next state.

        Raises:
            UserError: dt_s is negative or not finite.
        """
        if not 0 <= dt_s < math.inf:
            raise UserError(f"dt_s: {dt_s} is no step; give a finite number of seconds, at least 0")
        x = state_taps[..., 0, :]
        decay, drive = self.coefficients(state_taps, input_taps)
        if self.integrator == "fused":
            return (x + dt_s * drive) / (1 + dt_s * decay)
        kept = torch.exp(-dt_s * decay)
        return kept * x + (1 - kept) * (drive / decay)
