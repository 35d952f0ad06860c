"""Which policy an agent of the graph runs: a drone's, or that of a cluster's node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sortie_cluster.live_config import LiveConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config
    from sortie_core.packets import Decision, LocalView, Packet


class Runtime(Protocol):
    """The policy of one agent, see `runtime.AgentRuntime`.

    Attributes:
        decision: of the last tick; None before the first.
    """

    decision: Decision | None

    @property
    def contraction_rate(self) -> float:
        """C of the policy, 1/s."""
        ...

    def start_tick(self, view: LocalView) -> Packet:
        """Begin a tick; returns the packet to broadcast."""
        ...

    def finish_round(self, packets: Sequence[Packet]) -> Packet | None:
        """Close a round; returns the packet of the next, or None where the tick is over."""
        ...


def runtime_of(config: Config, index: int) -> Runtime:
    """The runtime of the configuration's checkpoint for one agent.

    Raises:
        UserError: the checkpoint is missing, broken, or of another configuration.
    """
    if isinstance(config, LiveConfig):
        from sortie_policy.cluster_runtime import ClusterRuntime

        return ClusterRuntime.from_checkpoint(config, index)
    from sortie_policy.runtime import AgentRuntime

    return AgentRuntime.from_checkpoint(config, index)
