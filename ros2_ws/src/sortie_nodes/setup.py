"""Installs the nodes of Sortie as a ROS package."""

from setuptools import find_packages, setup

NAME = "sortie_nodes"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Sortie developers",
    maintainer_email="sortie@example.org",
    description="The nodes of a delivery mission: agents, radio relay, world, mission manager.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "agent_node = sortie_nodes.agent_node:main",
            "agent_host = sortie_nodes.agent_node:host",
            "comm_relay_node = sortie_nodes.comm_relay_node:main",
            "world_node = sortie_nodes.world_node:main",
            "mission_node = sortie_nodes.mission_node:main",
            "recorder_node = sortie_nodes.recorder_node:main",
            "viewer_node = sortie_nodes.viewer_node:main",
        ]
    },
)
