"""Figures of flights on disk: each in a file named by what it is of, so that none can be taken for another's.

The name ends in a hash of all that the figures depend on: configuration, checkpoint and program. An evaluation that
goes on in a folder takes over what has its names, and flies the rest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sortie_core.config import UserError, content_hash
from sortie_core.files import write_atomically
from sortie_policy.checkpoint import load_metadata, locate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sortie_train.flights import Flight
    from sortie_train.play import Figures

_WITHOUT_EFFECT = {"train", "safety", "ros"}
_PROGRAM = ("sortie_core", "sortie_sim", "sortie_train.play", "sortie_train.teams")
_OF_AGREEMENT = ("sortie_train.agreement", "sortie_expert")
_OF_LEARNED = ("sortie_policy", "sortie_train.policy_team", "sortie_train.outlook", "sortie_train.radio_load")
_OF_REFERENCES = ("sortie_expert",)


def result_path(folder: Path, flight: Flight) -> Path:
    """Where a flight's figures lie in an evaluation's folder, once it has been flown."""
    return folder / "results" / f"{flight.name}-{content_key(flight)}.npz"


def keep(path: Path, figures: Figures) -> None:
    """Write figures atomically."""
    data = io.BytesIO()
    np.savez_compressed(data, **figures)  # type: ignore[arg-type]
    write_atomically(path, data.getvalue())


def recall(path: Path) -> Figures:
    """Figures that `keep` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for changed bytes
        raise UserError(f"{path} is damaged ({error}); delete it and resume") from None


def content_key(flight: Flight) -> str:
    """A hash of all that the figures of a flight depend on: configuration, checkpoint and program."""
    config = flight.config
    data = {name: value for name, value in config.model_dump().items() if name not in _WITHOUT_EFFECT}
    flown = config.evaluation
    data["evaluation"] = [flown.first_seed, flown.n_layouts, flown.agreement]
    checkpoint = data["policy"].pop("checkpoint")
    programs = [*_PROGRAM, *(_OF_LEARNED if flight.learned else _OF_REFERENCES)]
    programs += _OF_AGREEMENT if flown.agreement else ()
    own = flight.method
    if flight.learned:
        file = locate(checkpoint)
        data["checkpoint"], own = _trained(file, file.stat().st_mtime_ns)
    if ":" in own:
        data["own"] = _beside(own.partition(":")[0])
    return content_hash(data | {"method": flight.method, "programs": [_program(name) for name in programs]})


@cache
def _trained(checkpoint: Path, _written_ns: int) -> tuple[str, str]:
    """A hash of a checkpoint as it was written then, and its `policy.network`."""
    network = load_metadata(checkpoint)["config"].get("policy", {}).get("network", "")
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest(), str(network)


@cache
def _program(module: str) -> str:
    """A hash of what a module or package does; comments, docstrings and layout do not count."""
    found = importlib.import_module(module)
    paths = [Path(folder) for folder in getattr(found, "__path__", [])] or [Path(found.__file__ or "")]
    return _meanings(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


@cache
def _beside(module: str) -> str:
    """A hash of what a user's module does, and all that lie beside it, which it may import."""
    return _meanings(Path(importlib.import_module(module).__file__ or "").parent.glob("*.py"))


def _meanings(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"\n".join(map(meaning, sorted(files)))).hexdigest()


def meaning(file: Path) -> bytes:
    """What a file does, in a form that comments, docstrings and layout do not change."""
    content = file.read_bytes()
    if file.suffix != ".py":
        return content
    try:
        program = ast.parse(content)
    except (SyntaxError, ValueError):  # such as a stray file beside a user's own
        return content
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(program):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(program).encode()
