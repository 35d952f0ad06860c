"""Files are whole, and what cannot be written is named in one line."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from sortie_core.config import UserError
from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may become larger than 1 KB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_text_and_bytes_are_written_with_their_folders(tmp_path: Path) -> None:
    for content in ("größer\n", b"\x00\xff"):
        write_atomically(tmp_path / "new" / "file", content)
        expected = content.encode() if isinstance(content, str) else content
        assert (tmp_path / "new" / "file").read_bytes() == expected
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UserError, match=f"cannot write {path} .File too large.; free the place"):
        write_atomically(path, b"x" * 4096)
    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/below"):
        write_atomically(tmp_path / "file" / "below", "text")
