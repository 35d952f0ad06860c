"""The files that Sortie ships, configurations and trained policies: where they lie, in a checkout or installed.

They are called by their paths in the project, ``configs/...``. The distribution carries that folder as
``sortie_configs``, beside its packages.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = "configs"
_INSTALLED = Path(__file__).resolve().parents[1] / "sortie_configs"
CHECKOUT = None if _INSTALLED.is_dir() else Path(__file__).resolve().parents[2]
"""The project, with its ROS workspace; None where only the distribution is installed."""


def shipped(name: str | Path) -> Path:
    """Where a file lies that is shipped under the name ``configs/...``."""
    return (CHECKOUT / _FOLDER if CHECKOUT else _INSTALLED) / Path(name).relative_to(_FOLDER)


def find(path: str | Path, folder: Path = Path()) -> Path:
    """The file that a path means: in a folder, or else the one that is shipped under this name.

    Args:
        path: absolute, or from the folder.
        folder: default the working folder.

    Returns:
        In the folder where it is in neither.
    """
    here = folder / path
    if here.exists() or Path(path).parts[:1] != (_FOLDER,) or not shipped(path).is_file():
        return here
    return shipped(path)
