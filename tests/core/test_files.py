"""Files are whole, and what cannot be written is named in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sortie_core.config import UserError
from sortie_core.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


ON_A_SMALL_DISK = """
import resource, sys
from sortie_core.config import UserError
from sortie_core.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    write_atomically(sys.argv[1], b"x" * 4096)
except UserError as error:
    print(error)
"""


def test_text_and_bytes_are_written_with_their_folders(tmp_path: Path) -> None:
    for content in ("größer\n", b"\x00\xff"):
        write_atomically(tmp_path / "new" / "file", content)
        expected = content.encode() if isinstance(content, str) else content
        assert (tmp_path / "new" / "file").read_bytes() == expected
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """In a process of its own, for the limit is on all its files."""
    path = tmp_path / "file"
    write_atomically(path, "old")
    command = [sys.executable, "-c", ON_A_SMALL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"cannot write {path} (File too large); free the place")
    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/below"):
        write_atomically(tmp_path / "file" / "below", "text")
