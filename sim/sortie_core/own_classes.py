"""Classes of the user's own, by ``package.module:Class``; what they raise is told in a line that says where."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


def import_class(path: str, key: str) -> Any:
    """What ``package.module:Class`` names.

    Args:
        path: the name.
        key: of the configuration, for messages.

    Raises:
        UserError: it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        with told_in_a_line(f"{key}: {path} cannot be imported"):
            return getattr(importlib.import_module(module), name)
    except UserError as error:
        raise UserError(f"{error}; modules are looked for in the working folder and in PYTHONPATH") from None


@contextmanager
def told_in_a_line(what: str) -> Iterator[None]:
    """Whatever is raised within, in or because of what the user wrote, as a `UserError` that begins with `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a user's code may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what} ({reason}{_place(error)})") from None


def _place(error: Exception) -> str:
    """Where in the user's own files it happened; what is installed, and this project, are not theirs to mend."""
    places = [each for each in traceback.extract_tb(error.__traceback__) if _is_own(Path(each.filename))]
    return f", at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""


def _is_own(file: Path) -> bool:
    installed = Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"])
    ours = any(part.startswith("sortie_") for part in file.parts)
    return file.is_file() and not ours and not any(file.is_relative_to(folder) for folder in installed)
