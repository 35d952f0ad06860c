"""What tests of clusters share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hand_made_clusters import configuration

if TYPE_CHECKING:
    from sortie_cluster.config import ClusterConfig


@pytest.fixture(scope="session")
def config() -> ClusterConfig:
    """The shipped configuration with few tasks."""
    return configuration()
