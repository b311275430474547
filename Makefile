# make help lists what there is. Everything runs in .venv, made here on first use.
PYTHON ?= python3
ACCELERATOR ?= cpu
BIN := .venv/bin
RUNTIME := .venv/.installed-$(ACCELERATOR)
DEV := .venv/.installed-$(ACCELERATOR)-dev

ifeq ($(filter $(ACCELERATOR),cpu cuda12 cuda13),)
$(error ACCELERATOR=$(ACCELERATOR): cpu, cuda12 or cuda13 wanted)
endif
comma := ,
EXTRA := $(if $(filter cpu,$(ACCELERATOR)),,$(ACCELERATOR))

.DEFAULT_GOAL := help
.PHONY: help install train test test-all check format bench results docs docs-serve clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ACCELERATOR=cpu|cuda12|cuda13 (now $(ACCELERATOR)), PYTHON=python3.x (now $(PYTHON))"

install: $(RUNTIME) ## Make .venv with what training needs

train: $(RUNTIME) ## Train an arm to pick a puck out of a hole, on this machine's CPU
	$(BIN)/crl train pick-out-of-hole --preset metaworld_cpu --until 0.95 --total-env-steps 1M

test: $(DEV) ## Run the tests that are not slow
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-all: $(DEV) ## Run every test
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"
	$(BIN)/pytest -n 2 --dist loadfile -m slow

check: $(DEV) ## Lint, formatting, types, and the docs without a warning
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

docs: $(DEV) ## Build the documentation under docs/_build/html
	@echo "Building the docs (about a minute) ..."
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-serve: docs ## Build the documentation and show it at http://localhost:8000
	$(BIN)/python -m http.server 8000 --bind localhost --directory docs/_build/html

format: $(DEV) ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(RUNTIME) ## Measure env steps/s and the parts of an iteration here
	$(BIN)/crl bench env_throughput
	$(BIN)/crl bench train_throughput

results: $(RUNTIME) ## Make the tables and figures of README.md and the docs from the kept runs
	$(BIN)/python -m experiments.pages

clean: ## Remove .venv, caches and build leftovers (runs/ stays)
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@rm -rf .venv
	@$(PYTHON) -m venv .venv

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crl-jax for $(ACCELERATOR) into .venv (minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$(if $(EXTRA),[$(EXTRA)])"
	@touch $@

$(DEV): $(RUNTIME)
	@echo "Installing test and lint tools into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs,view,robotics,data,cluster$(if $(EXTRA),$(comma)$(EXTRA))]"
	@touch $@
