"""What a Crazyflie tells about itself over its radio protocol (CRTP): tables of variables, and blocks of them logged.

Wire formats as in the firmware's log.c and param_logic.c (protocol version 12), types by cflib's own tables.
"""

from __future__ import annotations

import errno
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cflib.crazyflie import log, param, toc
from cflib.crazyflie.log import LogConfig, LogTocElement
from cflib.crazyflie.param import ParamTocElement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOG_FORMATS = {code: layout[1] for code, (_, layout, _) in LogTocElement.types.items()}
_LOG_CODES = {name: code for code, (name, _, _) in LogTocElement.types.items()}
_PARAM_CODES = {name: code for code, (name, _) in ParamTocElement.types.items()}
_EXTENDED, _READ_ONLY = 0x10, 0x40
_TICK_MS = 10
"""Periods of log blocks are told in this unit."""


class Table:
    """Names and types of variables by number: a table of contents.

    Args:
        types: type byte of each variable by its name, group.name.
        tail: what is told after size and checksum of the table.
    """

    def __init__(self, types: Mapping[str, int], tail: bytes = b"") -> None:
        """Number the variables in their order; the checksum is what a client's cache goes by."""
        self.names = tuple(types)
        self._items = [
            bytes([kind]) + b"".join(part.encode() + b"\0" for part in name.split(".")) for name, kind in types.items()
        ]
        self._info = struct.pack("<HI", len(self._items), zlib.crc32(b"".join(self._items))) + tail

    def answer(self, asked: bytes) -> bytes | None:
        """What to answer on the channel of tables; None: nothing."""
        if asked[0] == toc.CMD_TOC_INFO_V2:
            return asked[:1] + self._info
        if asked[0] == toc.CMD_TOC_ITEM_V2:
            number = struct.unpack_from("<H", asked, 1)[0]
            return asked[:3] + self._items[number] if number < len(self._items) else asked[:1]
        return None


@dataclass
class _Block:
    """Variables that are sent together.

    Attributes:
        names: of the variables.
        formats: struct codes in which they are asked for.
        period_ms: how often they are sent; 0: not at all.
        due_ms: when they are sent next, by the on-board clock.
    """

    names: list[str]
    formats: str
    period_ms: int = 0
    due_ms: int = 0


class LogBlocks:
    """The log subsystem: a table of variables, and blocks of them that are sent again and again.

    Args:
        types: of the variables by name, as C types.
        read: the values of all variables now.
    """

    def __init__(self, types: Mapping[str, str], read: Callable[[], Mapping[str, float]]) -> None:
        """Nothing is logged yet."""
        codes = {name: _LOG_CODES[kind] for name, kind in types.items()}
        self.table = Table(codes, bytes([log.Log.MAX_BLOCKS, log.Log.MAX_VARIABLES]))
        self._read = read
        self._blocks: dict[int, _Block] = {}

    def clear(self) -> None:
        """Forget all blocks."""
        self._blocks.clear()

    def set_up(self, asked: bytes, now_ms: int) -> bytes:
        """Do what the channel of settings asks for, and what to answer.

        Args:
            asked: the packet's data.
            now_ms: the on-board clock.
        """
        command, number = asked[0], asked[1] if len(asked) > 1 else 0
        status = 0
        if command == log.CMD_RESET_LOGGING:
            self.clear()
        elif command == log.CMD_CREATE_BLOCK_V2:
            status = errno.EEXIST if number in self._blocks else self._append(number, _Block([], ""), asked[2:])
        elif number not in self._blocks:
            status = errno.ENOENT
        elif command == log.CMD_APPEND_BLOCK_V2:
            status = self._append(number, self._blocks[number], asked[2:])
        elif command == log.CMD_DELETE_BLOCK:
            del self._blocks[number]
        elif command in (log.CMD_START_LOGGING, log.CMD_STOP_LOGGING):
            period_ms = _TICK_MS * asked[2] if command == log.CMD_START_LOGGING else 0
            self._blocks[number].period_ms, self._blocks[number].due_ms = period_ms, now_ms + period_ms
        else:
            status = errno.ENOEXEC
        return bytes([command, number, status])

    def _append(self, number: int, block: _Block, settings: bytes) -> int:
        if len(self._blocks) >= log.Log.MAX_BLOCKS and number not in self._blocks:
            return errno.ENOMEM
        names, formats = list(block.names), block.formats
        # cflib leaves the first byte of the next variable at the end of a packet that is full
        for kind, variable in struct.iter_unpack("<BH", settings[: len(settings) // 3 * 3]):
            if variable >= len(self.table.names):
                return errno.ENOENT
            names.append(self.table.names[variable])
            formats += _LOG_FORMATS[kind & 0x0F]
        if struct.calcsize("<" + formats) > LogConfig.MAX_LEN:
            return errno.E2BIG
        self._blocks[number] = _Block(names, formats, block.period_ms, block.due_ms)
        return 0

    def due(self, now_ms: int) -> Iterator[bytes]:
        """The data of all packets that are due: block, clock in 24 bits, values.

        Args:
            now_ms: the on-board clock.
        """
        values: Mapping[str, float] = {}
        for number, block in self._blocks.items():
            if not block.period_ms or now_ms < block.due_ms:
                continue
            values = values or self._read()
            # what was missed while the machine was busy is lost, as on board
            block.due_ms = max(block.due_ms + block.period_ms, now_ms)
            told = (
                values[name] if code in "fe" else int(values[name])
                for name, code in zip(block.names, block.formats, strict=True)
            )
            yield struct.pack("<I", number | (now_ms & 0xFFFFFF) << 8) + struct.pack("<" + block.formats, *told)


@dataclass
class Parameter:
    """A parameter.

    Attributes:
        kind: C type.
        value: now, and after each boot.
        read_only: it cannot be written.
        persistent: it can be kept over a reboot; told as an extended type.
    """

    kind: str
    value: float
    read_only: bool = False
    persistent: bool = False


class Parameters:
    """The parameter subsystem.

    Args:
        parameters: by name, group.name.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        """Values as given."""
        self._parameters = [replace(each) for each in parameters.values()]
        self._names = list(parameters)
        self.table = Table({name: self._code(each) for name, each in parameters.items()})
        self._booted = [each.value for each in self._parameters]

    def value(self, name: str) -> float:
        """The value of one."""
        return self._parameters[self._names.index(name)].value

    def clear(self) -> None:
        """Back to the values after a boot."""
        for each, value in zip(self._parameters, self._booted, strict=True):
            each.value = value

    def read(self, asked: bytes) -> bytes:
        """What to answer on the channel of readings."""
        found = self._find(asked, 0)
        return asked[:2] + (bytes([errno.ENOENT]) if found is None else b"\0" + self._packed(found))

    def write(self, asked: bytes) -> bytes:
        """Write a value, and what to answer."""
        found = self._find(asked, 0)
        if found is None:
            return asked[:2] + bytes([errno.ENOENT])
        if not found.read_only:
            found.value = struct.unpack(self._layout(found), asked[2:])[0]
        return asked[:2] + self._packed(found)

    def more(self, asked: bytes) -> bytes | None:
        """What to answer on the channel of all other requests; None: nothing."""
        if asked[0] not in (param.MISC_GET_EXTENDED_TYPE_V2, param.MISC_GET_DEFAULT_VALUE_V2):
            return None
        found = self._find(asked, 1)
        if found is None:
            return asked[:3] + bytes([errno.ENOENT])
        if asked[0] == param.MISC_GET_DEFAULT_VALUE_V2:
            return asked[:3] + b"\0" + struct.pack(self._layout(found), self._booted[self._parameters.index(found)])
        if not found.persistent:
            return asked[:3] + bytes([errno.ENOENT])
        return asked[:3] + bytes([0, ParamTocElement.EXTENDED_PERSISTENT])

    def _find(self, asked: bytes, offset: int) -> Parameter | None:
        number = struct.unpack_from("<H", asked, offset)[0]
        return self._parameters[number] if number < len(self._parameters) else None

    @staticmethod
    def _code(each: Parameter) -> int:
        return _PARAM_CODES[each.kind] | _READ_ONLY * each.read_only | _EXTENDED * each.persistent

    @staticmethod
    def _layout(each: Parameter) -> str:
        return str(ParamTocElement.types[_PARAM_CODES[each.kind]][1])

    def _packed(self, each: Parameter) -> bytes:
        return struct.pack(self._layout(each), each.value)
