# Everything runs from .venv, which the first target that needs it makes from the lock.
# Written for GNU make 3.81 and later.

PYTHON ?= python3
CORES ?= all
UV_VERSION := 0.13.9
LOCK := requirements/dev.txt

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Errors only: pip's advice and the notes of a machine's own settings are not about this project.
PIP := python -m pip --quiet --quiet --no-input --disable-pip-version-check
SETUP := .venv/installed
PLUGINS := $(wildcard plugins/*/)

.PHONY: help
help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- The environment --------------------------------------------------------

# Begun afresh when the lock changes, so that nothing stays which the lock no longer names.
# Compiled at once and on all cores: the first import of scikit-learn takes 4 s without.
.venv/locked: $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say which: make PYTHON=...")'
	@echo "making .venv (about a minute, once)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(PIP) install --root-user-action=ignore --no-compile --require-hashes -r $(LOCK)
	@python -m compileall -qq -j 0 .venv/lib || true  # some libraries ship files that are not meant to compile
	@touch $@

# No build isolation: hatchling is in the lock, so that this needs no network.
.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --root-user-action=ignore --no-deps --no-build-isolation --editable .
	@python -m compileall -qq ml_experiment plugins  # every job imports the boot folder
	@touch $@

.PHONY: setup
setup: $(SETUP)  ## Make .venv, or bring it up to date

# --- What people run --------------------------------------------------------

.PHONY: demo
demo: $(SETUP)  ## Run the repository's own experiment (CORES=4; all by default)
	@snakemake --cores $(CORES)
	@printf '%s\n' '' 'table:  results/tables/results.md' 'figure: results/figure/figure.svg'

.PHONY: test
test: $(SETUP)  ## Run the tests, on all cores (ARGS="-k seeds")
	@pytest -n auto --dist worksteal $(ARGS)

.PHONY: lint
lint: lint-style lint-types lint-layers lint-boot lint-schema lint-dvc  ## Check style, types, layers, and what is generated

.PHONY: lint-style lint-types lint-layers lint-boot lint-schema lint-dvc
lint-style: $(SETUP)
	@ruff check --quiet
	@ruff format --check --quiet || { echo "make format would change these"; ruff format --check; }
lint-types: $(SETUP)
	@mypy --no-error-summary ml_experiment tests $(PLUGINS)
lint-layers: $(SETUP)
	@report=$$(lint-imports --no-cache --no-logo) || { echo "$$report"; exit 1; }
lint-boot: $(SETUP)  # the boot folder runs in the user's image, whatever its Python is
	@vermin --quiet --no-tips --target=3.8- --violations ml_experiment/boot
	@! grep -rnE --include='*.py' '^ *(from|import) +ml_experiment\b' ml_experiment/boot
lint-schema: $(SETUP)
	@python -m ml_experiment.schema | diff -u schemas/experiment.schema.json - \
	  || { echo "schemas/experiment.schema.json is stale: make schema"; exit 1; }
lint-dvc: $(SETUP)
	@ml-experiment dvc --check

.PHONY: faults
faults: $(SETUP)  ## Kill studies at 200 random moments (FAULTS=200), where the tests do at 21, and more
	@ML_EXPERIMENT_FAULTS=$(or $(FAULTS),200) pytest -n auto $(ARGS) tests/e2e/test_study_kills.py tests/e2e/test_studies.py

.PHONY: bench
bench: $(SETUP)  ## Measure the speed, one to two hours (ARGS="status boot --rounds 5")
	@python benchmarks $(ARGS)

# --- What people run after a change -----------------------------------------

.PHONY: format
format: $(SETUP)  ## Put the code into the common form
	@ruff check --quiet --fix --exit-zero
	@ruff format --quiet

.PHONY: schema
schema: $(SETUP)  ## Write the published schema of the experiment file anew
	@mkdir -p schemas
	@python -m ml_experiment.schema > .venv/schema.json
	@mv .venv/schema.json schemas/experiment.schema.json

# uv, because it resolves for every platform at once; in a place of its own, because nothing else
# needs it. Versions stay as they are unless UPGRADE=1.
.PHONY: lock
lock:  ## Write the lock anew from pyproject.toml (UPGRADE=1 for the newest versions)
	@test -x .lock/bin/uv || $(PYTHON) -m venv .lock
	@.lock/bin/$(PIP) install "uv==$(UV_VERSION)"
	@.lock/bin/uv --quiet --no-config pip compile pyproject.toml --all-extras --output-file $(LOCK) \
	  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean:  ## Remove the environment and all caches; results stay
	@rm -rf .venv .lock .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
