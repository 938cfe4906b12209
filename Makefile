# Set-up, demo and checks. `make setup` installs into .venv; every other target sets up first where that is needed.
#   PYTHON=python3.12   the Python that makes .venv (3.11, 3.12 or 3.13)
#   PIP_ARGS='…'        passed through to pip, for instance another index for torch's CPU wheels
#   PYTEST_ARGS='…'     passed through to pytest

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python -m

# Tests of real data find it here; they skip, saying so, where it is missing.
ifneq ($(wildcard ../shared/data),)
export XTLRAY_TEST_DATA ?= $(CURDIR)/../shared/data
endif

.PHONY: help setup demo test test-faults test-slurm test-autoscaling lint types format clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' Makefile | expand -t 22

setup: $(STAMP)  ## make .venv and install the tested set of packages (nothing where nothing changed)

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo "xtlray needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | tail -n 1). Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' lacks the modules venv and ensurepip. Install them (Debian, Ubuntu: apt install python3-venv), or name another Python: make setup PYTHON=…" >&2; exit 1; }
	@$(VENV)/bin/python -c '$(SUPPORTED)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' $(PIP_ARGS)
	@touch $@

demo: setup  ## the whole job on the built-in dataset: pretrain, transfer, leaderboard, prediction
	@$(VENV)/bin/xtlray run jobs/demo.yaml

test: setup  ## lint, types and tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	$(RUN) pytest -m "not faults and not slurm and not autoscaling" $(PYTEST_ARGS)

test-faults: setup  ## tests that kill processes or start servers
	$(RUN) pytest -m faults $(PYTEST_ARGS)

test-slurm: setup  ## cluster/slurm on a real Slurm of this machine (Debian's; fetched where root may), minutes
	$(RUN) pytest -m slurm $(PYTEST_ARGS)

test-autoscaling: setup  ## a sweep on a Ray that brings nodes up and lets them go, on this machine, minutes
	$(RUN) pytest -m autoscaling $(PYTEST_ARGS)

lint: setup  ## ruff: rules and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: setup  ## mypy
	$(RUN) mypy

format: setup  ## mend what ruff can mend
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:  ## remove .venv and caches; never a store
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find xtlray tests -name __pycache__ -type d -prune -exec rm -rf {} +
