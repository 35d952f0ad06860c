"""What the tests of the command line share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _a_domain_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands choose their DDS domain as users' do, where `make test` gives all of its workers the same one."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
