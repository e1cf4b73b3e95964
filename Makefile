# Everything happens in .venv, in this folder. A second call does not install again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Slow tests that want the machine for themselves: they count seconds, or kill by the progress of what runs
ALONE := tests/runtime/test_worker_group.py tests/runtime/test_worker_group_on_a_cluster.py tests/scaling/test_scale.py \
	tests/runtime/test_train_workers.py tests/scaling/test_timing.py

# A venv with another version of Ray, which takes all else from $(VENV)
RAY_VENV := .venv-ray-$(RAY)
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

# Of the slow and cluster tests all, or with SLOW='not nightly' those that find what no quicker test finds
SLOW ?= (nightly or not nightly)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-cluster test-ray check format

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
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow and not cluster'

test-slow: $(INSTALLED) ## Run the tests marked slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'slow and $(SLOW)' $(addprefix --ignore ,$(ALONE))
	$(BIN)/python -m pytest -m 'slow and $(SLOW)' $(ALONE)

test-cluster: $(INSTALLED) ## Run the tests on several hosts made of namespaces; as root
	$(BIN)/python -m pytest -m 'cluster and $(SLOW)' tests/cluster

test-ray: $(RAY_VENV)/.installed ## Try another version of Ray: make test-ray RAY=2.56.1
	$(RAY_VENV)/bin/python -c 'import ray; assert ray.__version__ == "$(RAY)", ray.__version__'
	$(RAY_VENV)/bin/python -m pytest -m 'not slow' tests/runtime/test_ray_internals.py \
		tests/runtime/test_ray_version.py tests/runtime/test_worker_group.py tests/runtime/other_ray.py

$(RAY_VENV)/.installed: $(INSTALLED)
	$(if $(RAY),,$(error say which version: make test-ray RAY=2.56.1))
	$(BIN)/python -m venv $(RAY_VENV)
	echo "import site; site.addsitedir('$$($(BIN)/python $(SITE))')" > $$($(RAY_VENV)/bin/python $(SITE))/project.pth
	grep -v '^ray==' constraints.txt > $(RAY_VENV)/constraints.txt
	$(RAY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(RAY_VENV)/constraints.txt \
		'ray[default,train,tune]==$(RAY)'
	@touch $@

check: $(INSTALLED) ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

format: $(INSTALLED) ## Put the code into the house's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
