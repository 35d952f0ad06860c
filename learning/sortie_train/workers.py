"""Several processes that train one policy, as `torchrun` starts them; a single one without it.

Each process steps its share of the environments, and gradients are averaged, so that all hold the same weights.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Made = TypeVar("_Made")
_PATIENCE = timedelta(days=1)
"""The others wait so long for what one does alone, such as solving layouts ahead."""


class Workers:
    """The processes of this training.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        device: where this process computes.
    """

    def __init__(self) -> None:
        """Join the others where ``torchrun`` has set the environment for it."""
        self.rank, self.count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=_PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, total: int, key: str) -> int:
        """This process's part of `total`.

        Raises:
            UserError: the processes cannot share it evenly.
        """
        if total % self.count:
            raise UserError(f"{key}: {total} cannot be shared evenly by {self.count} processes; make it a multiple")
        return total // self.count

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients by their mean over the processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """The mean over the processes of figures that all of them have, in the same order."""
        if self.count == 1:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return dict(zip(figures, (values / self.count).tolist(), strict=True))

    def once(self, make: Callable[[], _Made]) -> _Made:
        """What the process that leads makes, in all of them."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.leads else None]
        dist.broadcast_object_list(made, device=self.device)
        return made[0]

    def part(self) -> None:
        """End the talk between the processes, once all of them have come so far: exits without it may abort."""
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank, in the one that leads; an empty list in the others."""
        if self.count == 1:
            return [value]
        values = [None] * self.count if self.leads else None
        dist.gather_object(value, values)
        return values or []
