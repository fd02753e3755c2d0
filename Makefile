# Everything runs in a virtual environment in the clone; the targets make it themselves.
PYTHON ?= python3
STORE  ?= data
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DATASETS := vggsound audioset msrvtt ave avs llp
SHARDS := $(DATASETS:%=%-shards)

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast lint typecheck check bench reproduce-sample clean $(SHARDS)

help: ## what can be made
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	@echo "$(SHARDS)" | tr ' ' '\n' | sed 's/$$/       SOURCE=… ANNOTATIONS=… STORE=data RECIPE=…/'

setup: $(READY) ## the virtual environment, pinned

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed, and $(PYTHON) is older: make PYTHON=python3.11 …" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Through the environment, so that a path may hold any character.
export STORE SOURCE ANNOTATIONS RECIPE WORKERS
$(SHARDS): %-shards: $(READY) ## a dataset's shards and manifest
	@$(BIN)/avstore build $* --store "$$STORE" \
	    $${SOURCE:+--source "$$SOURCE"} $${ANNOTATIONS:+--annotations "$$ANNOTATIONS"} \
	    $${RECIPE:+--recipe "$$RECIPE"} $${WORKERS:+--workers "$$WORKERS"} $(ARGS)

test: $(READY) ## the whole suite, in JOBS processes (default 2)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(READY) ## the suite without what takes long
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

typecheck: $(READY)
	@$(BIN)/mypy

check: lint typecheck test ## lint, types, tests

bench: $(READY) ## the benchmarks; JSON in benchmarks/out
	@$(BIN)/python -m benchmarks.extract

reproduce-sample: $(READY) ## methods side by side on the embedded sample, 3 seeds (half an hour)
	@test -f "$$STORE/manifest.duckdb" || $(BIN)/avstore build vggsound --store "$$STORE"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
	    $(BIN)/python train/reproduce.py --shards "$$STORE" --stream sample-4 $(ARGS)

clean: ## remove the virtual environment and caches (never the store)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
