# Needs GNU make and Python 3.11 to 3.14 with venv; everything else goes into .local/.

PYTHON ?= python3
DEV := .local/venv/dev/bin
LOCK := UV_CACHE_DIR=$${UV_CACHE_DIR:-.local/cache/uv} .local/venv/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-strip-extras

FUNCTIONS := $(patsubst %/,%,$(sort $(dir $(wildcard functions/*/*.py))))
BUNDLED := $(patsubst %/requirements.in,%,$(wildcard layers/*/requirements.in functions/*/requirements.in))

# In Lambda a function's folder is the root of its imports.
space := $() $()
export MYPYPATH := $(subst $(space),:,$(FUNCTIONS))
export PYTHONPYCACHEPREFIX := $(CURDIR)/.local/pycache

.PHONY: help tools demo test chaos interleavings bench lint format local stop events check-events build lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## Play a short story on this machine: webhook in, rows in PostgreSQL out
	@$(DEV)/python -m sandbox.demo

# Those on the local stack come last and have the machine to themselves: some measure times.
test: tools ## Run all tests, the real template on the local stack included
	@$(DEV)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cov --ignore tests/pipeline
	@$(DEV)/python -m pytest tests/pipeline

# Functions and layer, for what is no test: there tests/conftest.py does it.
ON_THE_PATH := PYTHONPATH=layers/buttersync:$(MYPYPATH)

WEBHOOKS ?= 2000
STORIES ?= 10000
SEED ?= 1

chaos: tools ## Make all fail: STORIES random ones in memory, then WEBHOOKS with SEED on the local stack; is anything lost?
	@test $(STORIES) = 0 || STORIES=$(STORIES) $(DEV)/python -m pytest -q -s tests/contract/test_whole.py -k whatever_happens
	@test $(WEBHOOKS) = 0 || $(ON_THE_PATH) $(DEV)/python -m sandbox.chaos --webhooks $(WEBHOOKS) --seed $(SEED) --json .local/chaos.json

interleavings: tools ## Try every order in which two workers can go on, one of which may die; hours for all of them
	@$(ON_THE_PATH) $(DEV)/python -m tests.interleavings

ROUNDS ?= 15

bench: tools ## Measure what buttersync adds to what it uses; PARTS="ingest postgres", ROUNDS=15, JSON=<file>
	@$(ON_THE_PATH) $(DEV)/python -m tests.bench $(PARTS) --rounds $(ROUNDS) $(JSON:%=--json %)

lint: tools ## Check style, types and the template
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy .
	$(DEV)/python -m sandbox.deployment validate

format: tools ## Format the code and mend what can be mended unasked
	@$(DEV)/ruff format
	@$(DEV)/ruff check --fix

local: tools ## Leave the local stack running, and say how to talk to it
	@$(DEV)/python -m sandbox.local up

stop: tools ## Stop what `make local` left running
	@$(DEV)/python -m sandbox.local down

events: tools ## Write the example events anew
	@$(DEV)/python -m sandbox.events

check-events: tools ## Fail if the example events are not what `make events` writes
	@$(DEV)/python -m sandbox.events --check

build: tools ## Build the bundles for this machine, into .local/build
	@$(DEV)/python -m sandbox.deployment build

lock: tools ## Lock the newest versions that fit the requirements, with their hashes
	$(LOCK) --upgrade requirements/dev.in $(BUNDLED:%=%/requirements.in) -o requirements/dev.txt
	$(foreach name,ministack sam uv,$(LOCK) --upgrade requirements/$(name).in -o requirements/$(name).txt &&) true
	$(foreach folder,$(BUNDLED),$(LOCK) -c requirements/dev.txt $(folder)/requirements.in -o $(folder)/requirements.txt &&) true

clean: ## Remove all that was installed, built and logged
	rm -rf .local .aws-sam .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Makes what is missing or out of date of the virtual environments; at once if nothing is.
tools:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is missing: install Python 3.11 to 3.14, or name another: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m sandbox.tools
