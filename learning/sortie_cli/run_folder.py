"""The folder one run writes to, and shares with no other."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


def create_run_folder(out: Path | None, root: Path = Path("runs"), *, resumable: bool = False) -> Path:
    """A new, empty folder for a run.

    Args:
        out: the folder asked for; None for one under `root` named by the time in UTC.
        root: where unnamed runs go.
        resumable: whether the command can go on with a run; who names a folder that is taken is then told so.

    Raises:
        UserError: `out` holds something already, is a file, or cannot be created.
    """
    if out is None:
        return _create_by_time(root)
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except FileExistsError:
        raise UserError(f"--out {out} is a file; name a new folder") from None
    except OSError as error:
        raise UserError(f"cannot create the folder --out {out}: {error.strerror}") from None
    if taken:
        go_on = ", or add --resume to go on with the run in it" if resumable else ""
        raise UserError(f"--out {out} is not empty; name a new folder or empty it{go_on}")
    return out


def open_run_folder(out: Path | None) -> Path:
    """The folder of a run to go on with.

    Raises:
        UserError: none is named, or it does not exist.
    """
    if out is None:
        raise UserError("--resume needs the run's folder: --out DIR")
    if not out.is_dir():
        raise UserError(f"no run in --out {out}; name the folder of the run to resume, or leave --resume out")
    return out


@contextmanager
def resumable_run(
    command: str, config: Path, overrides: list[str] | None, out: Path | None, resume: bool
) -> Iterator[Path]:
    """The folder of a run that can go on, for a block of code; whatever interrupts it says how.

    Args:
        command: of `sortie`.
        config: its first argument.
        overrides: its further ones.
        out: --out.
        resume: --resume.

    Raises:
        UserError: as `create_run_folder` and `open_run_folder`.
    """
    folder = open_run_folder(out) if resume else create_run_folder(out, resumable=True)
    try:
        yield folder
    except KeyboardInterrupt:
        say_how_to_go_on(command, config, overrides, folder)
        raise


def say_how_to_go_on(command: str, config: Path, overrides: list[str] | None, folder: Path) -> None:
    """Tell on stderr what to enter to go on with a run."""
    again = shlex.join(["sortie", command, str(config), *(overrides or []), "--out", str(folder), "--resume"])
    print(f"sortie: interrupted; go on with: {again}", file=sys.stderr)


def _create_by_time(root: Path) -> Path:
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    for attempt in range(1, 1000):
        path = root / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if root.exists() and not root.is_dir():
                break
            continue
        except OSError as error:
            raise UserError(f"cannot create the folder {path.absolute()}: {error.strerror}; use --out DIR") from None
        return path
    raise UserError(f"cannot create a folder in {root.absolute()}; use --out DIR")
