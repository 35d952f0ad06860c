"""Files that are whole or not there at all, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

from sortie_core.config import UserError


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file, and the folders it lies in, so that it holds the old content or the new, and nothing in between.

    Args:
        path: the file.
        content: text becomes UTF-8.

    Raises:
        UserError: it cannot be written; what was there before still is.
    """
    path = Path(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(fresh, path)
    except OSError as error:
        _remove(fresh)
        raise UserError(f"cannot write {path} ({error.strerror}); free the place or name another folder") from None


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:  # what cannot be written may not be there to be removed
        return
