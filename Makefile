# Needs only make and Python >= 3.11 with venv; all else goes into .venv, at the versions of requirements/*.lock.
# Written for GNU make 3.81 and a POSIX shell, so that it runs on macOS as it comes.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
LOCKS := requirements/runtime.lock requirements/dev.lock

# make PYTHON=... chooses the Python; otherwise it is the first of these that is new enough and can make a venv.
PYTHON :=
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
# Fails if the Python does not suit; else prints its path, or that of the Python behind it if it is a venv's (.venv may
# be activated while it is remade).
FIND := 'import sys, ensurepip, venv; assert sys.version_info >= (3, 11); print(sys._base_executable)'

# Settings of the calling shell that would make tools in .venv behave differently.
unexport PYTHONHOME PYTHONPATH PYTHONOPTIMIZE PIP_PREFIX PIP_TARGET PIP_REQUIRE_HASHES
unexport UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX
export PIP_USER := 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test bench check format-check lint types imports pytest format lock clean remake

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## Record a simulated meeting and show what comes out
	@$(VENV)/bin/discord-recorder demo

test: check pytest ## The whole gate: all checks and all tests

bench: $(VENV)/.dev ## Run the benchmarks
	$(PY) -m benchmarks

check: format-check lint types imports ## All static checks

format-check: $(VENV)/.dev ## Check the formatting
	$(PY) -m ruff format --check

lint: $(VENV)/.dev ## Check the code with ruff
	$(PY) -m ruff check

types: $(VENV)/.dev ## Check the types with mypy
	$(PY) -m mypy

imports: $(VENV)/.dev ## Check that imports keep to the layers
	$(VENV)/bin/lint-imports --no-logo

# Two at a time for each processor: half of a test's time is waiting.
pytest: $(VENV)/.dev ## Run the tests (ARGS="-k name" to choose)
	$(PY) -m pytest --numprocesses `$(PY) -c 'import os; print(min(8, 2 * (os.cpu_count() or 1)))'` $(ARGS)

format: $(VENV)/.dev ## Format the code and mend what ruff can mend
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

UV_COMPILE = $(PY) -m uv --no-config --quiet pip compile pyproject.toml --python $(PY) --python-version 3.11 \
	--universal --fork-strategy fewest --generate-hashes --no-header --no-annotate $(ARGS)

lock: $(VENV)/.dev ## Remake requirements/*.lock (ARGS=--upgrade for newer versions)
	$(UV_COMPILE) --group build --group dev --output-file requirements/dev.lock
	$(UV_COMPILE) --group build --constraint requirements/dev.lock --output-file requirements/runtime.lock

clean: ## Remove .venv, caches and build output
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The venv, step by step. It is remade when a lock changed, when the tree was moved or when its Python is gone;
# a change of pyproject.toml alone only installs the project again.
USABLE := $(shell test -x $(PY) && test "`cat $(VENV)/.made 2>/dev/null`" = "$(CURDIR)" && echo yes)

$(VENV)/.made: $(LOCKS) $(if $(USABLE),,remake)
	@for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
		if base=`"$$python" -c $(FIND) 2>/dev/null`; then \
			echo "Making $(VENV) with $$base"; \
			rm -rf $(VENV) && "$$base" -m venv $(VENV) && printf '%s\n' "$(CURDIR)" > $@; \
			exit; \
		fi; \
	done; \
	{ echo "No Python >= 3.11 with venv was found (looked for: $(if $(PYTHON),$(PYTHON),$(PYTHONS)))."; \
	echo "  Debian, Ubuntu: apt install python3 python3-venv"; \
	echo "  macOS:          brew install python@3.13, or the installer of python.org"; \
	echo "  elsewhere:      make PYTHON=/path/to/python3 ..."; } >&2; \
	exit 1

# Runtime dependencies and the build backend.
$(VENV)/.libraries: $(VENV)/.made
	@echo "Installing requirements/runtime.lock"
	@$(PIP) install --quiet --require-hashes --only-binary :all: --requirement requirements/runtime.lock
	@touch $@

$(VENV)/.runtime: pyproject.toml $(VENV)/.libraries
	@echo "Installing discord-recorder"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing requirements/dev.lock"
	@$(PIP) install --quiet --require-hashes --only-binary :all: --requirement requirements/dev.lock
	@touch $@
