"""A process of simulated drones, each behind the wire format that a configuration names for it.

They stand where the layout of the configuration's seed has them, share one PyBullet world, and fly in real time. Faults
come as lines of JSON on standard input, where that is a pipe: ``{"drone": 3, "fault": "silent"}``, as
`sortie_peers.peer.spoil` has them.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import stat
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from sortie_core.config import UserError, load
from sortie_core.flight_config import FlightConfig
from sortie_core.layout import sample_layout
from sortie_peers.flight_stack import CRAZYFLIE, PX4, Failsafe, FlightStack
from sortie_peers.peer import Peer, spoil
from sortie_sim.motion import make_motion
from sortie_sim.quadrotor_motion import QuadrotorMotion

if TYPE_CHECKING:
    from collections.abc import Sequence

_PEERS = {
    "mavlink": ("sortie_peers.mavlink_peer", "MavlinkPeer"),
    "cflib": ("sortie_peers.crazyflie_peer", "CrazyfliePeer"),
}
_RULES: dict[str, Failsafe] = {"mavlink": PX4, "cflib": CRAZYFLIE}
_PERIOD_S = 0.005
_MOST_S = 0.1
"""What the machine keeps this process from doing for longer is time lost, not made up for."""


def make_peers(config: FlightConfig, adapter: str, drones: Sequence[int]) -> tuple[FlightStack, list[Peer]]:
    """The simulated drones of one adapter.

    Args:
        config: of the flight.
        adapter: whose wire format they speak.
        drones: their numbers.

    Raises:
        UserError: an address is no place for a peer, or the backend has no quadrotors.
    """
    module, name = _PEERS[adapter]
    kind = getattr(import_module(module), name)
    stack = make_stack(config, drones, _RULES[adapter])
    peers = [kind(autopilot, config.place(k).address, k) for k, autopilot in zip(drones, stack.autopilots, strict=True)]
    return stack, peers


def make_stack(config: FlightConfig, drones: Sequence[int], rules: Failsafe) -> FlightStack:
    """Simulated drones on the ground, where the layout has them.

    Raises:
        UserError: the backend has no quadrotors.
    """
    motion = make_motion(config, len(drones))
    if not isinstance(motion, QuadrotorMotion):
        motion.close()
        raise UserError(f"world.backend: {config.world.backend} has no quadrotors; set it to pybullet")
    place = sample_layout(config, [config.seed]).position[0, list(drones), :2]
    return FlightStack(motion, place, rules)


class Service:
    """Lets peers fly in real time until it is stopped."""

    def __init__(self, stack: FlightStack, peers: dict[int, Peer]) -> None:
        """Nothing has flown yet."""
        self._stack, self._peers = stack, peers
        self._selector = selectors.DefaultSelector()
        for peer in peers.values():
            self._selector.register(peer.fileno(), selectors.EVENT_READ, peer)
        self._line = b""
        self.stopped = False

    def listen(self, stream: int) -> None:
        """Take faults from a file descriptor."""
        os.set_blocking(stream, False)
        self._selector.register(stream, selectors.EVENT_READ, None)
        self._stream = stream

    def run(self) -> None:
        """Fly until `stopped`."""
        last_s = time.monotonic()
        while not self.stopped:
            due_s = last_s + _PERIOD_S
            while (rest_s := due_s - time.monotonic()) > 0:
                self._take(rest_s)
            self._take(0.0)
            now_s = time.monotonic()
            self._stack.advance(min(now_s - last_s, _MOST_S))
            last_s = now_s
            for peer in self._peers.values():
                peer.send(self._stack.now_s)

    def close(self) -> None:
        """Close all sockets."""
        for peer in self._peers.values():
            peer.close()
        self._selector.close()

    def _take(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            if key.data is None:
                self._obey()
            else:
                key.data.receive(self._stack.now_s)

    def _obey(self) -> None:
        text = os.read(self._stream, 65536)
        if not text:
            self._selector.unregister(self._stream)
            return
        *lines, self._line = (self._line + text).split(b"\n")
        for line in lines:
            order = json.loads(line)
            spoil(self._peers[order["drone"]], order["fault"], order.get("value", 0.0))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the drones that one adapter of a configuration flies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="YAML file of a flight")
    parser.add_argument("--adapter", required=True, choices=_PEERS)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(argv)
    try:
        config = load(FlightConfig, options.config, options.overrides)
        drones = config.adapters.get(options.adapter, ())
        if not drones:
            raise UserError(f"flight.adapter: no drone is flown by {options.adapter}")
        stack, peers = make_peers(config, options.adapter, drones)
    except UserError as error:
        print(f"sortie: {error}", file=sys.stderr)
        return 2
    service = Service(stack, dict(zip(drones, peers, strict=True)))
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        service.listen(sys.stdin.fileno())

    def stop(*_: object) -> None:
        service.stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"{len(peers)} {options.adapter} peers are up", flush=True)
    try:
        service.run()
    finally:
        service.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
