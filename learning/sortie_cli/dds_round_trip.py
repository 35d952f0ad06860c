"""Two processes that find each other over DDS: one asks, the other echoes, and the asker prints the time it took."""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from std_msgs.msg import String

_QUESTION, _ANSWER = "sortie_doctor/question", "sortie_doctor/answer"
_QOS = QoSProfile(depth=10)


def echo() -> None:
    """Answer every question until interrupted."""
    node = rclpy.create_node("sortie_doctor_echo")
    publisher = node.create_publisher(String, _ANSWER, _QOS)
    node.create_subscription(String, _QUESTION, publisher.publish, _QOS)
    rclpy.spin(node)


def ask(limit_s: float) -> bool:
    """Ask until an answer comes; print the time from the start and the last round trip, both in s.

    Returns:
        Whether an answer came within `limit_s`.
    """
    node = rclpy.create_node("sortie_doctor_ask")
    answers: list[str] = []
    publisher = node.create_publisher(String, _QUESTION, _QOS)
    node.create_subscription(String, _ANSWER, lambda message: answers.append(message.data), _QOS)
    begin = time.monotonic()
    while not answers and time.monotonic() - begin < limit_s:
        publisher.publish(String(data=repr(time.monotonic())))
        rclpy.spin_once(node, timeout_sec=0.1)
    if answers:
        now = time.monotonic()
        print(now - begin, now - float(answers[-1]))
    return bool(answers)


def main() -> int:
    """``echo``, or ``ask LIMIT_S`` (exit code 1 without an answer)."""
    rclpy.init()
    try:
        if sys.argv[1] == "echo":
            echo()
            return 0
        return 0 if ask(float(sys.argv[2])) else 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
