"""Writes the reference pages and the schemas for editors: ``python -m sortie_cli.reference``, or ``make reference``.

All of them come from what they describe: the schema of configurations, the comments of the shipped files, and the
definitions of messages. A test holds what is committed against what is made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sortie_cli.configuration_page import configuration_page
from sortie_cli.configurations import NAMES
from sortie_cli.key_reference import described_schema
from sortie_cli.message_page import message_page
from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_core.shipped import CHECKOUT
from sortie_schedule.train_q_scheduler import QTraining
from sortie_train.questions import Question

if TYPE_CHECKING:
    from sortie_cli.configuration_page import Parts

PARTS: Parts = {"delivery": {"evaluation.questions": Question}, "cluster": {"trainings": QTraining}}
"""What entries hold that configurations leave open, by kind."""


def reference(project: Path) -> dict[Path, str]:
    """The files of the reference, by their paths in the project."""
    pages = {
        Path("docs/reference/configuration.md"): configuration_page(PARTS) + "\n",
        Path("docs/reference/messages.md"): message_page(project / "ros2_ws/src/sortie_interfaces"),
    }
    schemas = {
        Path(f"configs/schema/{name}.json"): json.dumps(described_schema(kind, PARTS.get(name)), indent=1) + "\n"
        for name, kind in NAMES.items()
    }
    return pages | schemas


def main() -> int:
    """Write the reference of this checkout."""
    if CHECKOUT is None:
        raise UserError("the reference is part of the project's checkout; this is an installed distribution")
    for path, text in reference(CHECKOUT).items():
        write_atomically(CHECKOUT / path, text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
