"""Shows a scene to whoever looks: Foxglove by its WebSocket protocol, and a web page that speaks the same protocol."""

from __future__ import annotations

import json
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foxglove
from foxglove.channels import SceneUpdateChannel
from foxglove.websocket import Capability, PlaybackState, ServerListener

from sortie_core.config import UserError
from sortie_view.scene_update import scene_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from foxglove.websocket import ChannelView, Client, PlaybackControlRequest, WebSocketServer

PAGE = Path(__file__).parent / "page"
SCENE_TOPIC, HISTORY_TOPIC, MARKS_TOPIC = "/view/scene", "/view/history", "/view/marks"
_ALSO_LOCALHOST = ("127.0.0.1", "0.0.0.0", "localhost")
_HISTORY_PERIOD_S = 1.0
_BACKLOG = 64
"""Messages that wait for a slow viewer; older ones are dropped, so that it sees the present."""


class ViewServer(ServerListener):
    """Serves Foxglove at one port and the page at the next.

    Nothing is put together for topics to which nobody has subscribed.

    Args:
        title: what the viewers name this run.
        port: of Foxglove's WebSocket; the page has the next one.
        host: the interface; 127.0.0.1 lets in nobody from outside.
        span_ns: first and last time of a recording, whose playback viewers then control.
        on_control: called, in another thread, with what they ask for; returns what has become of it.

    Raises:
        UserError: a port is taken.
    """

    def __init__(
        self,
        title: str,
        port: int,
        host: str = "127.0.0.1",
        span_ns: tuple[int, int] | None = None,
        on_control: Callable[[PlaybackControlRequest], PlaybackState] | None = None,
    ) -> None:
        """Begin to serve."""
        self._on_control = on_control
        self._context = foxglove.Context()
        self._raw: dict[str, foxglove.Channel] = {}
        self._scene = foxglove.Channel(SCENE_TOPIC, message_encoding="json", context=self._context)
        self._history = foxglove.Channel(HISTORY_TOPIC, message_encoding="json", context=self._context)
        self._marks = SceneUpdateChannel(MARKS_TOPIC, context=self._context)
        self._history_due_s = 0.0
        self._page = _serve_page(host, port + 1, {"port": port, "title": title})
        try:
            self._server: WebSocketServer = foxglove.start_server(
                name=title,
                host=host,
                port=port,
                capabilities=[Capability.Time],
                server_listener=self,
                context=self._context,
                playback_time_range=span_ns,
                message_backlog_size=_BACKLOG,
            )
        except (OSError, RuntimeError) as error:
            self._close_page()
            raise _cannot_serve(host, port, error) from None
        name = "localhost" if host in _ALSO_LOCALHOST else host
        self.page_url, self.foxglove_url = f"http://{name}:{port + 1}", f"ws://{name}:{port}"

    def advertise(self, topic: str, kind: str, definition: str) -> None:
        """Offer a topic of the graph.

        Args:
            topic: full name.
            kind: of its messages, e.g. std_msgs/msg/String.
            definition: of the same, in the form of ros2msg.
        """
        if topic not in self._raw:
            schema = foxglove.Schema(name=kind, encoding="ros2msg", data=definition.encode())
            self._raw[topic] = foxglove.Channel(topic, schema=schema, message_encoding="cdr", context=self._context)

    def wants(self, topic: str) -> bool:
        """Whether somebody has subscribed to a topic of the graph."""
        return topic in self._raw and self._raw[topic].has_sinks()

    def wanted(self) -> frozenset[str]:
        """The topics of the graph to which somebody has subscribed."""
        return frozenset(topic for topic in self._raw if self.wants(topic))

    def pass_on(self, topic: str, data: bytes, time_ns: int) -> None:
        """A message of the graph, as it was sent."""
        if self.wants(topic):
            self._raw[topic].log(data, log_time=time_ns)

    @property
    def watched(self) -> bool:
        """Whether somebody wants to see the scene."""
        return any(channel.has_sinks() for channel in (self._scene, self._history, self._marks))

    def show(self, snapshot: dict[str, Any], history: Callable[[], dict[str, Any]], time_ns: int) -> None:
        """A tick of a run, to those who look; the history goes with it once a second, and when somebody has come.

        Args:
            snapshot: of `sortie_view.scene.Scene`.
            history: makes that of the same.
            time_ns: when.
        """
        self._server.broadcast_time(time_ns)
        if self._scene.has_sinks():
            self._scene.log(_packed(snapshot), log_time=time_ns)
        if self._marks.has_sinks() and "drones" in snapshot:
            self._marks.log(scene_update(snapshot, time_ns), log_time=time_ns)
        if self._history.has_sinks() and time.monotonic() >= self._history_due_s:
            self._history_due_s = time.monotonic() + _HISTORY_PERIOD_S
            self._history.log(_packed(history()), log_time=time_ns)

    def tell(self, state: PlaybackState) -> None:
        """How the playback goes, to all viewers."""
        self._server.broadcast_playback_state(state)

    def close(self) -> None:
        """Serve no more."""
        self._server.stop()
        self._close_page()

    def _close_page(self) -> None:
        self._page.shutdown()
        self._page.server_close()

    # What viewers ask for, in other threads.

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """Somebody has come who has not seen the history."""
        if channel.topic in (HISTORY_TOPIC, SCENE_TOPIC):
            self._history_due_s = 0.0

    def on_playback_control_request(self, playback_control_request: PlaybackControlRequest) -> PlaybackState | None:
        """Somebody plays, pauses or seeks."""
        return self._on_control(playback_control_request) if self._on_control else None


def _packed(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


class _PageHandler(SimpleHTTPRequestHandler):
    """The page's files, and where its data are."""

    def __init__(self, *args: Any, connection: dict[str, Any], **options: Any) -> None:
        self._connection = connection
        super().__init__(*args, directory=str(PAGE), **options)

    def do_GET(self) -> None:
        if self.path != "/connection.json":
            super().do_GET()
            return
        body = json.dumps(self._connection).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # another run may serve another version here
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def _serve_page(host: str, port: int, connection: dict[str, Any]) -> ThreadingHTTPServer:
    try:
        server = ThreadingHTTPServer((host, port), partial(_PageHandler, connection=connection))
    except OSError as error:
        raise _cannot_serve(host, port, error) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _cannot_serve(host: str, port: int, error: Exception) -> UserError:
    return UserError(
        f"cannot serve the view at {host}:{port} ({error}); name another port, or another interface: "
        "ros.view_port and ros.view_host of a run, --port of a replay"
    )
