"""Export of the policy's stages to ONNX, so that deployed agents need no torch."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sortie_core import observation
from sortie_policy.checkpoint import STAGES

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_policy.actor_critic import LGTCPolicy

_CONSUMER_AXES = {
    "consumers": (1, "consumers"),
    "mask": (1, "consumers"),
    "embedding": (1, "consumers"),
    "pair": (2, "consumers"),
    "log_attention": (2, "choices"),
}
"""Which axis of an input counts consumers, or consumers and "wait"; the rest is fixed, for one agent."""


class _Stage(nn.Module):
    def __init__(self, policy: LGTCPolicy, name: str) -> None:
        super().__init__()
        self.policy = policy
        self.stage = getattr(policy, name)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.stage(*inputs)


def export_stages(policy: LGTCPolicy, config: Config) -> dict[str, bytes]:
    """The ONNX model of each stage, for one agent and any number of consumers.

    Args:
        policy: the policy; its attention temperature is exported as it stands.
        config: the configuration it was built from.
    """
    dimensions, most = config.task.dimensions, config.policy.max_resources
    features, taps, m = config.policy.hidden, config.policy.hops + 1, 3
    own = torch.zeros(1, 1, observation.own_size(dimensions, most))
    consumers = torch.zeros(1, m, observation.consumer_size(dimensions, most))
    mask = torch.ones(1, m, dtype=torch.bool)
    mixed, embedding = torch.zeros(1, 1, features), torch.zeros(1, m, features)
    pair = torch.zeros(1, 1, m, observation.pair_size(dimensions, most))
    tap = torch.zeros(1, 1, taps, features)
    log_attention = torch.zeros(1, 1, m + 1)
    inputs = {
        "encode": {"own": own, "consumers": consumers, "mask": mask},
        "mix": {"taps": tap},
        "attend": {"mixed": mixed, "embedding": embedding, "pair": pair, "mask": mask},
        "advance": {"state_taps": tap, "input_taps": tap},
        "act": {
            "state": mixed, "mixed": mixed, "own": own,
            "embedding": embedding, "pair": pair, "log_attention": log_attention,
        },
    }  # fmt: skip
    return {name: _export(_Stage(policy, name), inputs[name]) for name in STAGES}


def _export(stage: _Stage, inputs: dict[str, Tensor]) -> bytes:
    axes = {name: {axis: label} for name, (axis, label) in _CONSUMER_AXES.items() if name in inputs}
    file: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is the one that takes plain callables and needs milliseconds.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stage.eval(), tuple(inputs.values()), file,
            input_names=list(inputs), dynamic_axes=axes, opset_version=18, dynamo=False,
        )  # fmt: skip
    return file.getvalue()
