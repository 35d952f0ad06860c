"""A recorded run, read back: its scene at every tick, and its messages."""

from __future__ import annotations

import bisect
import json
import struct
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, SeekingReader
from mcap_ros2.decoder import DecoderFactory

from sortie_cluster.live_config import graph_kind, load_graph_config
from sortie_core.config import UserError
from sortie_view.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcap.records import Channel, Message, Schema

    from sortie_core.config import Config

CONFIGURATION = "config.yaml"
"""The attachment that says what was run."""
_PACKING = 1
_CUT_OFF = (EndOfFile, struct.error)
"""What the reader raises where a file ends in the middle of a record."""


class Recording:
    """The scenes of a run, T ticks.

    Args:
        path: the MCAP file, or the folder of a run that holds one.
        progress: called with the share read so far.

    Attributes:
        path: the file.
        config: of the run.
        scene: as it was at the end, with the whole history.
        times_ns: [T] when each tick was recorded.
        channels: of each topic, with the definition of its messages.

    Raises:
        UserError: it cannot be read, is damaged, holds no run, or is not of this version.
    """

    def __init__(self, path: Path, progress: Callable[[float], object] = lambda _: None) -> None:
        """Read it through once."""
        self.path = _file(path)
        self.config = self._configuration()
        self.scene = Scene(self.config)
        self.times_ns: list[int] = []
        self.channels: dict[str, tuple[Schema, Channel]] = {}
        self._ticks: list[bytes] = []
        self._offset = 0
        decoders: dict[int, Any] = {}
        factory, size = DecoderFactory(), max(1, self.path.stat().st_size)
        for schema, channel, message in self.messages(lambda _: True):
            self.channels.setdefault(channel.topic, (schema, channel))
            if not Scene.reads(channel.topic):
                continue
            try:
                if channel.id not in decoders:
                    decoders[channel.id] = factory.decoder_for(channel.message_encoding, schema)
                decoded = decoders[channel.id](message.data)
            except Exception as error:  # of damaged bytes, libraries make any error
                raise self._damaged(error) from None
            try:
                complete = self.scene.hear(channel.topic, decoded)
            except AttributeError as error:
                raise UserError(f"{self.path} was recorded by another version of Sortie ({error})") from None
            if complete:
                self._keep(message.log_time)
                progress(self._offset / size)
        if not self.times_ns:
            raise UserError(f"{self.path} holds no tick of a run; record one with ros.record=true")

    def _keep(self, time_ns: int) -> None:
        self.times_ns.append(time_ns)
        packed = json.dumps(self.scene.snapshot(), separators=(",", ":")).encode()
        self._ticks.append(zlib.compress(packed, _PACKING))

    def __len__(self) -> int:
        """How many ticks there are."""
        return len(self.times_ns)

    def snapshot(self, tick: int) -> dict[str, Any]:
        """The scene at a tick of the recording, as of `Scene.snapshot`."""
        found: dict[str, Any] = json.loads(zlib.decompress(self._ticks[tick]))
        return found

    def tick_at(self, time_ns: int) -> int:
        """The last tick of the recording that is not after a time; the first where there is none."""
        return max(0, bisect.bisect_right(self.times_ns, time_ns) - 1)

    def messages(self, wanted: Callable[[str], bool], from_ns: int = 0) -> Iterator[tuple[Schema, Channel, Message]]:
        """Messages of the topics that are wanted, in the order of recording, as far as a killed recording goes.

        Args:
            wanted: whether a topic is.
            from_ns: time of recording.

        Raises:
            UserError: the file is damaged.
        """
        with self.path.open("rb") as file, self._reading(file) as reader:
            topics = None
            if summary := reader.get_summary() if isinstance(reader, SeekingReader) else None:
                topics = [each.topic for each in summary.channels.values() if wanted(each.topic)]
            ordered = summary is not None
            for schema, channel, message in reader.iter_messages(topics, starting_at=from_ns, log_time_order=ordered):
                self._offset = file.tell()
                if schema and wanted(channel.topic):
                    yield schema, channel, message

    @contextmanager
    def _reading(self, file: IO[bytes]) -> Iterator[SeekingReader | NonSeekingReader]:
        """A reader of the file, which checks what it reads.

        Raises:
            UserError: the file is damaged.
        """
        whole = _is_whole(file)
        try:
            yield SeekingReader(file, validate_crcs=True) if whole else NonSeekingReader(file, validate_crcs=True)
        except Exception as error:  # of damaged bytes, libraries make any error
            if whole or not isinstance(error, _CUT_OFF):
                raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> UserError:
        what = next(iter(str(error).splitlines()), "") or type(error).__name__
        return UserError(
            f"{self.path} is damaged, or no MCAP file ({what}); `mcap recover` saves what is left of a damaged one"
        )

    def _configuration(self) -> Config:
        text = None
        try:
            with self.path.open("rb") as file, self._reading(file) as reader:
                text = next((each.data for each in reader.iter_attachments() if each.name == CONFIGURATION), None)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror})") from None
        if text is None and (beside := self.path.parent / CONFIGURATION).exists():
            text = beside.read_bytes()
        if text is None:
            raise UserError(f"{self.path} does not say what was run; put the run's {CONFIGURATION} beside it")
        try:
            return _configuration_of_any_version(text.decode())
        except UserError as error:
            raise UserError(f"{self.path} was recorded by another version of Sortie ({error})") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise self._damaged(error) from None


def _configuration_of_any_version(text: str) -> Config:
    """A run's configuration; keys that have come since are as shipped.

    Raises:
        UserError: a key of it is gone, or may not have its value any more.
    """
    kind = graph_kind(yaml.safe_load(text))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / CONFIGURATION
        copy.write_text(f"extends: {kind.EXAMPLE}\n{text}", encoding="utf-8")
        try:
            return load_graph_config(copy)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), CONFIGURATION)) from None


def _file(path: Path) -> Path:
    """The recording that a path means.

    Raises:
        UserError: there is none.
    """
    if path.is_dir():
        found = sorted(path.glob("*.mcap"))
        if len(found) != 1:
            raise UserError(f"{path} holds {len(found) or 'no'} recordings (*.mcap); name the file")
        return found[0]
    if not path.exists():
        raise UserError(f"no recording {path}; runs write theirs to runs/<UTC time>/run.mcap")
    return path


def _is_whole(file: IO[bytes]) -> bool:
    """Whether a file has its index, which a recording that was killed lacks."""
    try:
        return SeekingReader(file).get_summary() is not None
    except Exception:  # of damaged bytes, libraries make any error
        return False
    finally:
        file.seek(0)
