"""Installs the fleet description and the runner of Sortie as a ROS package."""

from setuptools import find_packages, setup

NAME = "sortie_bringup"

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
    description="The fleet as node descriptions, and the runner that starts it without ros2 launch.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["runner = sortie_bringup.runner:main"]},
)
