"""Installs the fleet description, the runner and the launch files of Sortie as a ROS package."""

from glob import glob

from setuptools import find_packages, setup

NAME = "sortie_bringup"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", [*glob("../../../launch/*.launch.py"), *glob("../../../launch/*.rviz")]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Sortie developers",
    maintainer_email="sortie@example.org",
    description="The fleet as node descriptions, and the runner that starts it without ros2 launch.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["runner = sortie_bringup.runner:main"]},
)
