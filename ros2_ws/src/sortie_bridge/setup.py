"""Installs the bridge to a compute cluster as a ROS package."""

from setuptools import find_packages, setup

NAME = "sortie_bridge"

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
    description="Shows a compute cluster to the agents as consumers and stocks, and places the tasks they claim.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["bridge_node = sortie_bridge.bridge_node:main"]},
)
