# Two commands are all a newcomer needs:
#   make demo   sets everything up, trains the sample LoRA while you watch, leaves the front end running
#   make test   sets everything up, runs all tests
# TEST_JOBS is how many files of tests run at once.
# PIP_ARGS is handed to every `pip install` (an index of your own, a proxy, a wheel folder).

PYTHON ?= python3
PIP_ARGS ?=
TEST_JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)
SAY := @printf '\n\033[1m%s\033[0m\n'

.PHONY: help demo up test lint format bench browser clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -4

demo: $(VENV)/ready
	@$(BIN)/lorapool demo --data-dir $(DATA) $(DEMO_ARGS)

up: $(VENV)/ready
	@$(BIN)/lorapool up --data-dir $(DATA)

test: $(VENV)/ready-test browser
	$(SAY) 'Running the tests'
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile $(TEST_ARGS) tests/unit tests/integration
	$(SAY) 'Running the tests of whole deployments, and those in a browser'
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS) tests/browser tests/e2e tests/chaos

lint: $(VENV)/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready-test
	@$(BIN)/python -m benchmarks

browser: $(VENV)/ready-test
	@$(BIN)/python -m tests.browser.install

# The virtual environment is remade when what it is made from changes. torch comes first, so that no other package
# chooses it.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) scripts/check_python.py
	$(SAY) 'Setting up: a virtual environment in $(VENV) (once; a few minutes)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing torch' && $(PIP) -c constraints.txt torch
	@echo 'installing lorapool and what it stands on' && $(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(SAY) 'Setting up what the tests need'
	@$(PIP) -c constraints.txt -e '.[test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
