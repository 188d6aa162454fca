# make demo   the whole job on bundled data, results in joulecut-demo/
# make test   all tests, on two cores
# make check  format, lint, types, import layers, and the built wheel in an empty environment
#
# All of them set up .venv first, once: as long as pyproject.toml and constraints.txt stay as they are,
# nothing is installed again and no network is needed. Overridable: PYTHON (3.11 or newer), and
# TORCH_BACKEND (cpu, cu128, auto ...), which uv knows as UV_TORCH_BACKEND.
#
# make docs   docs/devices from the device files
# make perf-env   .venv-perf, with what the benchmarks in perf/ compare with (6 GB; Python 3.11, on which
#                 torch 2.14.1, torchvision 0.29.1 and timm 1.0.31 install together)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := demo

NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p $(NEW_ENOUGH) >/dev/null 2>&1 && echo $$p && break; done)
TORCH_BACKEND ?=
BIN := .venv/bin
KEY := $(shell cat pyproject.toml constraints.txt | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-16)
STAMP := .venv/installed-$(KEY)

.PHONY: demo test check format lint types layers wheel setup docs perf-env clean

demo: setup
	$(BIN)/joulecut demo -o joulecut-demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: format lint types layers wheel

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/pyright

layers: setup
	$(BIN)/lint-imports

wheel: setup
	.ci/wheel $(BIN)/python

docs: setup
	$(BIN)/python -m perf.device_pages

setup: $(STAMP)

$(STAMP):
	@echo 'setting up .venv (once; a few minutes with an empty package cache)'
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python "$(or $(PYTHON),3.11)" .venv; \
		$(if $(TORCH_BACKEND),UV_TORCH_BACKEND="$(TORCH_BACKEND)") uv pip install --quiet --python $(BIN)/python \
			-c constraints.txt -e '.[dev]'; \
	elif [ -n "$(PYTHON)" ]; then \
		"$(PYTHON)" -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	else \
		echo 'make: found no Python 3.11 or newer; name one with PYTHON=...' >&2; exit 1; \
	fi
	@rm -f .venv/installed-*
	@touch $@

perf-env:
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python 3.11 .venv-perf; \
		$(if $(TORCH_BACKEND),UV_TORCH_BACKEND="$(TORCH_BACKEND)") uv pip install --quiet \
			--python .venv-perf/bin/python -r perf/requirements.txt -e .; \
	else \
		python3.11 -m venv .venv-perf; \
		.venv-perf/bin/python -m pip install --quiet --disable-pip-version-check -r perf/requirements.txt -e .; \
	fi

clean:
	rm -rf .venv .venv-perf build dist joulecut-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
