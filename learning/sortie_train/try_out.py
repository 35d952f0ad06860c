"""A first decision of a network, before anything depends on it: what does not fit is told before there is a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sortie_core.comm_graph import adjacency
from sortie_core.config import UserError
from sortie_core.layout import sample_layout
from sortie_policy.team_policy import own_network
from sortie_train.outlook import first_knowledge, outlook

if TYPE_CHECKING:
    from torch import Tensor

    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_policy.team_policy import Deliberation, TeamPolicy

_MISSIONS = 3


@torch.no_grad()
def try_out(policy: TeamPolicy, config: Config) -> None:
    """Let a network decide as training and evaluation do, and once more as training replays it.

    Args:
        policy: on the CPU.
        config: of missions that it is to fly, or be trained in.

    Raises:
        UserError: it does not model late packets, or, where it is the user's own, fails or gives something else than a
            `Deliberation` holds.
    """
    name = config.policy.network
    state = sample_layout(config, range(_MISSIONS)).map(torch.as_tensor)
    linked = adjacency(state.position, state.alive, config.comm.radius_m)
    seen, linked, _ = outlook(state, linked, first_knowledge(state, config), config, torch.Generator().manual_seed(0))
    with own_network(name, "fails at a decision"):
        memory = policy.initial_memory(seen, late=config.comm.latency_steps > 0)
        out, _, recalled = policy(seen, linked, memory)
        perception = policy.perceive(seen, linked, None, recalled)[0].map(lambda values: values)
        again = policy.outcome(perception, policy.remember(perception, memory.state))
        for fault in (*_faults(out, state, policy, config), *_faults(again, state, policy, config)):
            raise UserError(f"policy.network: {name} {fault}")
        if not torch.allclose(out.log_choice, again.log_choice, atol=1e-4):
            raise UserError(f"policy.network: {name} decides otherwise when training replays what was recalled")


def _faults(out: Deliberation, state: WorldState, policy: TeamPolicy, config: Config) -> list[str]:
    """What is wrong with an outcome."""
    team, choices = tuple(state.present.shape), state.unmet.shape[1] + 1
    kinds = (config.policy.max_resources,) if out.value.ndim == 3 and config.train.algorithm == "momappo" else ()
    expected = {
        "state": (*team, policy.hidden),
        "attention": (*team, choices),
        "log_choice": (*team, choices),
        "correction": (*team, state.position.shape[2]),
        "value": (*team, *kinds),
        "support": (*team, team[1]),
    }
    given: dict[str, Tensor] = {field: getattr(out, field) for field in expected}
    faults = [
        f"gives {field} of shape {tuple(given[field].shape)}, not {shape}"
        for field, shape in expected.items()
        if tuple(given[field].shape) != shape
    ]
    faults += [f"gives {field} with values that are no numbers" for field in given if given[field].isnan().any()]
    total = out.log_choice.exp().sum(-1)
    if not torch.allclose(total, torch.ones_like(total), atol=1e-3):
        faults.append("gives log_choice that are no log probabilities; use log_softmax")
    return faults
