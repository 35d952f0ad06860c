"""Plays a recording to viewers, who may pause it, go elsewhere in it, and change its speed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from foxglove.websocket import PlaybackCommand, PlaybackControlRequest, PlaybackState, PlaybackStatus

from sortie_view.view_server import ViewServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcap.records import Channel, Message, Schema

    from sortie_view.recording import Recording

_STEP_S = 0.05
_REFRESH_S = 0.5
"""How often what stands still is shown again, for viewers that have just come."""
_SPEEDS = (0.01, 100.0)


class Clock:
    """The time in a recording, which may stand still, be set, and go faster or slower; used from several threads.

    Args:
        span_ns: first and last time.

    Attributes:
        span_ns: the same.
        status: playing, paused, or ended.
        speed: recorded s per s.
    """

    def __init__(self, span_ns: tuple[int, int]) -> None:
        """Go, from the beginning."""
        self.span_ns, self.status, self.speed = span_ns, PlaybackStatus.Playing, 1.0
        self._set(span_ns[0])

    def now_ns(self) -> int:
        """Where in the recording it is; at its end it stands."""
        now_ns = self._from_ns
        if self.status is PlaybackStatus.Playing:
            now_ns += int((time.monotonic() - self._since_s) * self.speed * 1e9)
        if now_ns >= self.span_ns[1] and self.status is PlaybackStatus.Playing:
            self.status = PlaybackStatus.Ended
            self._set(self.span_ns[1])
            return self.span_ns[1]
        return now_ns

    def control(self, request: PlaybackControlRequest) -> bool:
        """Do as a viewer asks; returns whether the time was set."""
        now_ns = self.now_ns()
        sought_ns = request.seek_time
        self._set(now_ns if sought_ns is None else min(max(sought_ns, self.span_ns[0]), self.span_ns[1]))
        self.speed = min(max(request.playback_speed, _SPEEDS[0]), _SPEEDS[1])
        if self.status is not PlaybackStatus.Ended or sought_ns is not None:
            plays = request.playback_command is PlaybackCommand.Play
            self.status = PlaybackStatus.Playing if plays else PlaybackStatus.Paused
        return sought_ns is not None

    def state(self, *, sought: bool = False, request: str | None = None) -> PlaybackState:
        """For viewers."""
        now_ns = self.now_ns()
        return PlaybackState(self.status, now_ns, self.speed, sought, request)

    def _set(self, to_ns: int) -> None:
        self._from_ns, self._since_s = to_ns, time.monotonic()


class Playback:
    """Shows a recording.

    Args:
        recording: what is played.
        port: of Foxglove's WebSocket; the page has the next one.
        host: the interface.

    Attributes:
        server: that serves it.

    Raises:
        UserError: a port is taken.
    """

    def __init__(self, recording: Recording, port: int, host: str = "127.0.0.1") -> None:
        """Begin to play, at the beginning."""
        self._recording = recording
        self._lock, self._woken = threading.Lock(), threading.Event()
        self._clock = Clock((recording.times_ns[0], recording.times_ns[-1]))
        self._sought = False
        self._wanted: frozenset[str] = frozenset()
        self._messages: Iterator[tuple[Schema, Channel, Message]] = iter(())
        self._next: tuple[Schema, Channel, Message] | None = None
        self._due_ns = recording.times_ns[0]
        self.server = ViewServer(str(recording.path.name), port, host, self._clock.span_ns, self._on_control)
        for schema, channel in recording.channels.values():
            self.server.advertise(channel.topic, schema.name, schema.data.decode())

    def run(self) -> None:
        """Play, until interrupted."""
        shown, due_s, was = -1, 0.0, PlaybackStatus.Playing
        while True:
            due = time.monotonic() >= due_s
            with self._lock:  # which has no viewer hear of an earlier state after it has changed it
                state = self._clock.state()
                sought, self._sought = self._sought, False
                if due or state.status is not was:
                    self.server.tell(state)
            now_ns, was = state.current_time, state.status
            self._pass_on(now_ns, sought)
            tick = self._recording.tick_at(now_ns)
            if tick != shown or sought or due:
                shown, due_s = tick, time.monotonic() + _REFRESH_S
                self.server.show(self._recording.snapshot(tick), self._recording.scene.history, now_ns)
            self._woken.wait(_STEP_S)
            self._woken.clear()

    def _pass_on(self, now_ns: int, sought: bool) -> None:
        """What was recorded since the last time, to those who have asked for its topics."""
        wanted = self.server.wanted()
        if sought:
            self._due_ns = now_ns
        if sought or wanted != self._wanted:
            self._wanted = wanted
            self._messages = self._recording.messages(wanted.__contains__, self._due_ns) if wanted else iter(())
            self._next = next(self._messages, None)
        self._due_ns = now_ns + 1
        while self._next and self._next[2].log_time <= now_ns:
            _, channel, message = self._next
            self.server.pass_on(channel.topic, message.data, message.log_time)
            self._next = next(self._messages, None)

    def close(self) -> None:
        """Serve no more."""
        self.server.close()

    def _on_control(self, request: PlaybackControlRequest) -> PlaybackState:
        with self._lock:
            sought = self._clock.control(request)
            self._sought = self._sought or sought
            state = self._clock.state(sought=sought, request=request.request_id)
        self._woken.set()
        return state
