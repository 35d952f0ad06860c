"""Run folders: each run its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sortie_cli.run_folder import create_run_folder, open_run_folder
from sortie_core.config import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_unnamed_runs_are_named_by_time_and_never_shared(tmp_path: Path) -> None:
    folders = [create_run_folder(None, tmp_path / "runs") for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", folder.name) and folder.is_dir() for folder in folders)


def test_an_empty_or_new_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/nested"):
        assert create_run_folder(tmp_path / name) == tmp_path / name
        assert (tmp_path / name).is_dir()


def test_a_file_or_a_full_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="not empty"):
        create_run_folder(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        create_run_folder(tmp_path / "file")
    with pytest.raises(UserError, match="cannot create"):
        create_run_folder(tmp_path / "file" / "below")
    with pytest.raises(UserError, match="--out"):
        create_run_folder(None, tmp_path / "file")


def test_only_an_existing_run_is_resumed(tmp_path: Path) -> None:
    assert open_run_folder(tmp_path) == tmp_path
    for out in (None, tmp_path / "absent"):
        with pytest.raises(UserError, match="resume"):
            open_run_folder(out)
