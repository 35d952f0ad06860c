"""Shows a recorded run in the browser and to Foxglove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import Progress

from sortie_view.playback import Playback
from sortie_view.recording import Recording

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def replay(path: Path, port: int, console: Console, host: str = "127.0.0.1") -> None:
    """Play a recording, again and again as viewers like, until Ctrl-C.

    Args:
        path: MCAP file, or the folder of a run.
        port: of Foxglove's WebSocket; the page has the next one.
        console: for people.
        host: the interface.

    Raises:
        UserError: the recording cannot be read, or a port is taken.
    """
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        reading = bar.add_task("reading", total=1.0)
        recording = Recording(path, lambda share: bar.update(reading, completed=share))
    playback = Playback(recording, port, host)
    last_s = recording.scene.time_s
    console.print(
        f"{recording.path}: {len(recording)} ticks, {last_s:.1f} s, at {playback.server.page_url} "
        f"(Foxglove: {playback.server.foxglove_url}); Ctrl-C ends",
        soft_wrap=True,
    )
    try:
        playback.run()
    except KeyboardInterrupt:
        pass
    finally:
        playback.close()
