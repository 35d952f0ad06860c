"""What all protocol peers have in common: a simulated autopilot, a link that may be bad, and somebody who spoils it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sortie_peers.flight_stack import Autopilot


@dataclass
class Trouble:
    """What is wrong with a drone's link and sensors.

    Attributes:
        loss: share of packets that are lost, each way.
        silent: nothing gets through, either way.
        frozen: its estimate of where it is stands still.
    """

    loss: float = 0.0
    silent: bool = False
    frozen: bool = False


class Peer(ABC):
    """One simulated drone behind the wire format of a real one.

    Args:
        autopilot: what flies it.
        seed: of the packets that get lost.

    Attributes:
        trouble: what is wrong with it.
    """

    def __init__(self, autopilot: Autopilot, seed: int = 0) -> None:
        """All is well."""
        self.autopilot = autopilot
        self.trouble = Trouble()
        self._luck = random.Random(seed)

    def passes(self) -> bool:
        """Whether the next packet gets through, either way; none does while the drone boots."""
        if self.trouble.silent or not self.autopilot.up:
            return False
        return self._luck.random() >= self.trouble.loss

    @abstractmethod
    def fileno(self) -> int:
        """The socket to wait for."""

    @abstractmethod
    def receive(self, now_s: float) -> None:
        """Take in all packets that are there.

        Args:
            now_s: time of the simulation, s.
        """

    @abstractmethod
    def send(self, now_s: float) -> None:
        """Send what is due; called every few milliseconds.

        Args:
            now_s: time of the simulation, s.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the socket."""


def spoil(peer: Peer, fault: str, value: float = 0.0) -> None:
    """Let something go wrong.

    Args:
        peer: with what.
        fault: silent, heard (again), loss, frozen, thawed, reboot, battery.
        value: of loss the share of packets; of battery the voltage of a cell, V.

    Raises:
        ValueError: there is no such fault.
    """
    match fault:
        case "silent" | "heard":
            peer.trouble.silent = fault == "silent"
        case "loss":
            peer.trouble.loss = value
        case "frozen" | "thawed":
            peer.trouble.frozen = fault == "frozen"
        case "reboot":
            peer.autopilot.reboot()
        case "battery":
            peer.autopilot.battery_v = value
        case _:
            raise ValueError(f"no fault {fault}")
