# wattledger: `make up` runs it, `make test` proves it. Both set up what they need and return at once when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
TEST_PROCESSES ?= auto

.PHONY: help install up test check lint types floors generated generate bench clean

help: ## show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with everything

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "wattledger needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --group bench --editable '.[controller]'
	@touch $@

up: install ## measure this machine, or simulate one; serve page and metrics (options: ARGS="--simulate --speed 600")
	@$(BIN)/wattledger up $(ARGS)

test: install ## run the tests (a choice of them: ARGS="tests/cli -k config")
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types floors generated ## all four: lint, types, floors of the house, generated files

lint: install ## ruff, and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy and pyright, strict
	$(BIN)/mypy
	$(BIN)/pyright

floors: install ## imports run down only
	$(BIN)/lint-imports

generated: install ## generated pages are what the code makes
	$(BIN)/wattledger metrics --markdown | diff -u docs/metrics.md -
	$(BIN)/wattledger config --markdown | diff -u docs/configuration.md -
	@made=$$(mktemp -d) && $(BIN)/python -m alerts.render $$made && diff -ru alerts/generated $$made; \
		status=$$?; rm -rf $$made; exit $$status

generate: install ## write the generated files again
	$(BIN)/wattledger metrics --markdown > docs/metrics.md
	$(BIN)/wattledger config --markdown > docs/configuration.md
	$(BIN)/python -m alerts.render alerts/generated

bench: install ## time and weigh the agent beside its peers
	$(BIN)/python -m benchmarks.agent

clean: ## remove what was installed and cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
