# TumorLens. `make` alone lists the targets. Each sets up .venv by itself; the second call is instant.
#
#   PYTHON=/path/to/python3.12   the interpreter for a new .venv (3.11 or newer)
#   ARGS="…"                     passed on to the command, e.g. make test ARGS="tests/imaging -x"

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
ARGS ?=
# Held against our Grad-CAM in a test. Alone: it asks for torchvision, which that test does without.
ORACLE := grad-cam==1.5.7

# The first interpreter that really runs and is new enough; a version manager's shim may do neither.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if "$$p" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then command -v "$$p"; break; fi; done)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# --- environments: a stamp file stands for a finished installation ---------------------------

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "TumorLens needs Python 3.11 or newer, and none was found on PATH;" \
		     "install one, or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 1; fi
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
		echo "TumorLens needs Python 3.11 or newer; $(PYTHON) is" \
		     "$$("$(PYTHON)" -V 2>&1); name another: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment;" \
		     "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TumorLens into $(VENV) (no torch; about a minute, once) …"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TumorLens with training and test tools into $(VENV) (a few minutes, once) …"
	@$(PIP) --editable '.[train,docs,dev]'
	@$(PIP) --no-deps '$(ORACLE)'
	@touch $(VENV)/.base $@

# --- what people do ---------------------------------------------------------------------------

.PHONY: run
run: $(VENV)/.base ## start the page and the API on http://127.0.0.1:8000
	@exec $(BIN)/tumorlens serve $(ARGS)

.PHONY: train
train: $(VENV)/.dev ## train a network; settings in ARGS, e.g. ARGS="model=notebook"
	@exec $(BIN)/tumorlens train $(ARGS)

.PHONY: bench
bench: $(VENV)/.dev ## measure latency, throughput and memory on this machine
	@exec $(BIN)/tumorlens bench $(ARGS)

.PHONY: race
race: $(VENV)/.dev ## race other servers of the same network (a quarter of an hour; an idle machine)
	@exec $(BIN)/python -m benchmarks.race $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## run the tests; what this machine lacks for some of them is skipped and named
	@export OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}"; \
	processes=$$(( $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1 )); \
	$(BIN)/python -m pytest --numprocesses=$$processes --maxprocesses=5 --dist=loadscope \
		--no-loadscope-reorder $(ARGS)

.PHONY: test-system
test-system: system test ## the same with Chromium, dcmtk and Prometheus (apt, as root or by sudo)

.PHONY: system
system: $(VENV)/.dev
	@missing="$$($(BIN)/python -m tests.requirements)"; [ -z "$$missing" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "apt-get is not here; install what Debian calls: $$missing" >&2; exit 1; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	echo "Installing $$missing …"; \
	$$as_root apt-get update --quiet=2 && \
	$$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet=2 --yes --no-install-recommends $$missing >/dev/null

.PHONY: docs
docs: $(VENV)/.dev ## build the documentation into build/site; a broken link ends the build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)
	@echo "build/site/index.html; with the search: python3 -m http.server --directory build/site"

.PHONY: notebook
notebook: $(VENV)/.dev ## execute notebooks/quickstart.ipynb and write its outputs anew
	@$(BIN)/python -m tests.docs.notebook

.PHONY: faults
faults: $(VENV)/.dev ## attack a server on loopback, in full (a quarter of an hour)
	@$(BIN)/python -m benchmarks.faults $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## style only: ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: check
check: lint ## ruff, formatting and mypy --strict
	@$(BIN)/mypy --strict

.PHONY: format
format: $(VENV)/.dev ## put the code into the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: clean
clean: ## remove .venv, caches and builds; runs/ and data stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
