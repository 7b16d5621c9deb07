# Two commands are all one needs: `make run` and `make test`. Each makes its own virtual environment first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without bytecode files every Ray process compiles everything anew, which doubles each start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run e2e test chaos check format bench diagram iam lock mutants clean

help:
	@echo "make run      start everything with a sandbox and play the story (MANUAL=1 waits for your click)"
	@echo "make e2e      the same, and exit: 0 only if every step was seen"
	@echo "make test     every test"
	@echo "make chaos    every crash point, 1,000 kills of executors and 50 of actors (KILLS=N STORE=URL ACTOR_KILLS=N)"
	@echo "make check    lint, format, types, layers, house rules"
	@echo "make format   put the code in form"
	@echo "make bench    every benchmark, into benchmarks/results/ (DATA=DIR for real data)"
	@echo "make diagram  draw the two lives into ARCHITECTURE.md"
	@echo "make iam      write cluster/iam-policy.json from the catalog of actions"
	@echo "make mutants  change the code that decides what may run, and see whether its tests notice (ONLY='safety proof')"
	@echo "make lock     resolve the dependencies anew"

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sentinel needs Python 3.11 or newer; set PYTHON=")'
	@echo "setting up $(VENV), which takes a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib || true
	@$(BIN)/python -m sentinel.detection.warm
	@touch $(READY)

run: $(READY)
	@$(BIN)/sentinel demo $(if $(MANUAL),--manual)

e2e: $(READY)
	@$(BIN)/sentinel e2e $(if $(MANUAL),--manual-approval,--auto-approve)

test: $(READY)
	$(BIN)/pytest

chaos: $(READY)
	$(BIN)/pytest tests/chaos
	$(BIN)/python -m tests.chaos.campaign --kills $(or $(KILLS),1000) --pauses 200 $(if $(STORE),--store $(STORE))
	$(BIN)/python -m tests.chaos.actor_campaign --kills $(or $(ACTOR_KILLS),50)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/house

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	@for script in benchmarks/[a-z]*.py; do \
	  echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py) $(if $(DATA),--data $(DATA)) || exit 1; \
	done

diagram: $(READY)
	$(BIN)/python -m sentinel.incidents.diagram ARCHITECTURE.md

iam: $(READY)
	$(BIN)/python -m sentinel.remediation.iam cluster/iam-policy.json

MUTANTS := build/mutants
mutants: $(READY)
	test -d $(MUTANTS) || $(BIN)/pip install --quiet --target $(MUTANTS) cosmic-ray==8.7.0
	PYTHONPATH=$(MUTANTS) $(BIN)/python -m tests.mutation.campaign $(if $(ONLY),--only $(ONLY))

UV := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --quiet

lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(UV) --extra dev --output-file requirements-dev.lock
	$(UV) --constraint requirements-dev.lock --output-file requirements.lock

clean:
	rm -rf $(VENV) .sentinel build *.egg-info
