# `make sim` and `make test` set up whatever is missing first; `make setup` does only that.
# PYTHON names the interpreter to set up with: Python 3.11, or the ROS installation's where one is sourced.

PYTHON ?= $(if $(AMENT_PREFIX_PATH),python3,$(or $(shell command -v python3.11),python3))
CONFIG ?= configs/delivery.yaml
IN_WORKSPACE := .venv/bin/python -m sortie_cli.environment

.PHONY: help setup sim train evaluate bench doctor reference test clean

help:
	@echo "make sim      fly the mission of $(CONFIG)        make test   all tests and checks"
	@echo "make train    train a policy (CONFIG=...)                 make bench  speed on this machine, against targets"
	@echo "make setup    install and build only                      make doctor what is missing or broken here"
	@echo "make evaluate figures of a trained policy                 make clean  remove what was built"
	@echo "make reference write docs/reference and configs/schema anew, from the code"

setup:
	@command -v $(PYTHON) >/dev/null || { echo "setup: no $(PYTHON) here; install it (Debian 12: apt install python3.11 python3.11-venv python3.11-dev) or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) ros2_ws/build_workspace.py

sim: setup
	@.venv/bin/sortie sim $(CONFIG)
	@echo "sortie is in .venv/bin; to have it at hand: . .venv/bin/activate"

train: setup
	@.venv/bin/sortie train $(CONFIG)

evaluate: setup
	@.venv/bin/sortie evaluate $(CONFIG)

bench: setup
	@for name in point_world pybullet_world agent_tick lockstep_mission; do .venv/bin/sortie bench $$name || exit; done

doctor: setup
	@.venv/bin/sortie doctor

# docs/reference and configs/schema, from the schema, the shipped files and the definitions of messages
reference: setup
	@.venv/bin/python -m sortie_cli.reference

# every check runs, whatever the one before it found; a worker that crashes ends the tests, which else wait forever
test: setup
	@failed=0; \
	.venv/bin/python tests/browser.py || failed=1; \
	.venv/bin/ruff check . || failed=1; \
	.venv/bin/ruff format --check --quiet . || failed=1; \
	.venv/bin/mypy || failed=1; \
	.venv/bin/interrogate sim learning ros2_ws/src || failed=1; \
	$(IN_WORKSPACE) .venv/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 --cov --cov-report= || failed=1; \
	echo "coverage of what runs in the tests' own processes: $$(.venv/bin/coverage report --format=total) %; all files: .venv/bin/coverage report"; \
	exit $$failed

# the virtual environment goes too: it is what takes the minutes to make again
clean:
	rm -rf .venv build dist ros2_ws/build ros2_ws/install ros2_ws/log .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
