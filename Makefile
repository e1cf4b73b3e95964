# Everything happens in .venv, in this folder. A second call does not install again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Slow tests that want the machine for themselves: they count seconds, or kill by the progress of what runs
ALONE := tests/runtime/test_worker_group.py tests/runtime/test_worker_group_on_a_cluster.py tests/runtime/test_scale.py \
	tests/runtime/test_train_workers.py tests/training/test_timing.py

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format

help: ## Say what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Set up .venv with exact versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## Tune SuperCM on handwritten digits and show what it found
	PATH="$(CURDIR)/$(BIN):$$PATH" launch/local.sh search_spaces/digits.yaml

test: $(INSTALLED) ## Run the tests, those marked slow aside
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' --ignore tests/runtime
	$(BIN)/python -m pytest -m 'not slow' tests/runtime

test-slow: $(INSTALLED) ## Run the tests marked slow
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(addprefix --ignore ,$(ALONE))
	$(BIN)/python -m pytest -m slow $(ALONE)

check: $(INSTALLED) ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

format: $(INSTALLED) ## Put the code into the house's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
