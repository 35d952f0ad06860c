"""A trained policy that leads teams in an evaluation, all agents in one batched pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sortie_core.comm_graph import adjacency
from sortie_core.config import UserError
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.checkpoint import check_compatible, load_metadata, load_weights
from sortie_policy.team_policy import Memory, make_policy, own_network
from sortie_train.outlook import first_knowledge, outlook
from sortie_train.radio_load import deliberation_bytes, demand_bytes
from sortie_train.try_out import try_out

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.demand_knowledge import DemandKnowledge
    from sortie_core.state import WorldState


class PolicyTeam:
    """The policy of `policy.checkpoint`.

    Args:
        config: a whole configuration.

    Attributes:
        config: of the missions, with what the policy's training has fixed.
        explores: agents that wait go and look for demands, as they do where those are sensed.
        bytes_sent: [B] by all agents of a team so far, without beacons; networks other than LGTC send no more.

    Raises:
        UserError: the checkpoint is missing, broken, or of another configuration.
    """

    def __init__(self, config: Config) -> None:
        path = config.policy.checkpoint
        self.config = check_compatible(load_metadata(path), config, path)
        self.policy = make_policy(self.config).eval()
        weights = {name: torch.as_tensor(value) for name, value in load_weights(path).items()}
        try:
            self.policy.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"checkpoint {path} does not fit its own configuration ({error}); train again") from None
        self.explores = self.config.task.demand_sensing == "relayed"
        try_out(self.policy, self.config)
        self.bytes_sent = np.zeros(1)
        self._memory: Memory | None = None
        self._knowledge: DemandKnowledge | None = None
        self._random = torch.Generator().manual_seed(config.seed)

    @torch.no_grad()
    def choose(self, state: WorldState) -> tuple[np.ndarray, np.ndarray]:
        """Chosen consumers [B, N] int and velocity corrections [B, N, D] in [-1, 1]."""
        state = state.map(torch.as_tensor)
        sizes, comm = self.config.policy, self.config.comm
        linked = adjacency(state.position, state.alive, comm.radius_m)
        if self._memory is None:
            self._knowledge = first_knowledge(state, self.config)
        seen, linked, self._knowledge = outlook(state, linked, self._knowledge, self.config, self._random)
        memory = self._memory or self.policy.initial_memory(seen, late=comm.latency_steps > 0)
        with own_network(sizes.network, "fails at a decision"):
            out, self._memory, _ = self.policy(seen, linked, memory)
        if isinstance(self.policy, LGTCPolicy):
            told = self._memory.said.tables if self._memory.said else None
            sent = deliberation_bytes(state, linked, memory.kept, self.config, told)
            self.bytes_sent = self.bytes_sent + sent.numpy()
        if self._knowledge:
            self.bytes_sent = self.bytes_sent + demand_bytes(state, self._knowledge).numpy()
        if sizes.deterministic:
            choice = out.log_choice.argmax(-1)
        else:
            flat = out.log_choice.exp().flatten(0, 1)
            choice = torch.multinomial(flat, 1, generator=self._random).view(out.log_choice.shape[:2])
        return choice.numpy(), torch.tanh(out.correction).numpy()
