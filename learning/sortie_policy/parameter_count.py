"""Networks of equal size, so that methods differ by their design alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

_WIDEST = 512


def n_parameters(module: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def equal_width(network: Callable[[int], nn.Module], model: Callable[[], nn.Module]) -> int:
    """The width, up to 512, that gives a network as many parameters as its model has, as nearly as possible.

    Args:
        network: makes one of a given width; more width, more parameters.
        model: makes the other one.
    """
    with torch.random.fork_rng(devices=[]):  # trial networks take no random numbers from what follows
        size = n_parameters(model())
        low, high = 1, _WIDEST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if n_parameters(network(middle)) <= size else (low, middle)
        return min((low, high), key=lambda width: abs(n_parameters(network(width)) - size))
