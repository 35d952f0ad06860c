"""Installs the safety gate of Sortie as a ROS package."""

from setuptools import find_packages, setup

NAME = "sortie_flight"

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
    description="The safety gate, the only publisher of setpoints, and what flies real drones.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "safety_node = sortie_flight.safety_node:main",
            "flight_gate_node = sortie_flight.flight_gate_node:main",
            "flight_world_node = sortie_flight.flight_world_node:main",
            "flight_mission_node = sortie_flight.flight_mission_node:main",
            "vehicle_node = sortie_flight.vehicle_node:main",
            "peers = sortie_flight.peers:main",
            "crazyswarm2_peer_node = sortie_flight.crazyswarm2_peer_node:main",
        ]
    },
)
