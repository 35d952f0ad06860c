"""The file from which a training goes on after a kill."""

from __future__ import annotations

import io
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
import yaml

from sortie_core.config import UserError, content_hash
from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sortie_core.config import Config

NAME = "train_state.pt"
# What torch and pickle raise for changed bytes, and for objects that this version does not have.
DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, UnpicklingError,
)  # fmt: skip


def write(out: Path, state: dict[str, Any]) -> None:
    """Replace the state in a run's folder, atomically.

    Args:
        out: the folder.
        state: with the configuration as YAML under ``config``, and one entry for each process under ``workers``.
    """
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(out / NAME, content.getvalue())


def read(out: Path, config: Config, n_workers: int) -> dict[str, Any]:
    """The state to go on from.

    Args:
        out: the run's folder.
        config: that the training is to go on with.
        n_workers: processes that are to go on.

    Raises:
        UserError: there is none, it is damaged, or it is of another configuration or number of processes.
    """
    path = out / NAME
    if not path.exists():
        raise UserError(f"nothing to resume in {out}: no {NAME}; train in a new folder")
    try:
        saved = torch.load(path, weights_only=False)
        earlier = content_hash(yaml.safe_load(saved["config"]))
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is truncated or damaged ({reason}); train again in a new folder") from None
    if earlier != config.hash():
        raise UserError(
            f"{out} was trained with {_difference(yaml.safe_load(saved['config']), config)}; "
            f"resume with {out / 'config.yaml'}, or name a new folder"
        )
    if len(saved["workers"]) != n_workers:
        raise UserError(
            f"{out} was trained by {len(saved['workers'])} processes, these are {n_workers}; resume with as many"
        )
    return saved


def _difference(earlier: dict[str, Any], config: Config) -> str:
    """The first key that differs, with both values, and how many more there are."""
    now, then = (dict(_leaves(data)) for data in (config.model_dump(mode="python"), earlier))
    keys = [key for key in now | then if now.get(key) != then.get(key)]
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{keys[0]}={then.get(keys[0])}, but here it is {now.get(keys[0])}{more}"


def _leaves(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
