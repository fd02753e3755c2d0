# Everything runs in a virtual environment in the clone; the targets make it themselves.
PYTHON ?= python3
STORE  ?= data
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV_LOCK := $(VENV)/uv.lock

.DEFAULT_GOAL := help
.PHONY: help setup lock test test-fast lint typecheck check docs tour bench reproduce-sample reproduce-uavm reproduce-avsa uavm-vggsound valor-llp clean

help: ## list the targets
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	@! test -f $(READY) || $(BIN)/python -c 'from avstore.datasets.registry import names; print(*names())' \
	    | tr ' ' '\n' | sed 's/$$/-shards\tSOURCE=… ANNOTATIONS=… STORE=data RECIPE=…/' | expand -t 22

setup: $(READY) ## make the virtual environment with pinned packages

# uv comes first, by the hashes that the lock has for it; uv then installs the rest by theirs.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed, and $(PYTHON) is older: make PYTHON=python3.11 …" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV) (once)"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(UV_LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(UV_LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(READY) ## pin the newest packages that pyproject.toml allows, with hashes
	@$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate --upgrade --output-file requirements.lock

# Through the environment, so that a path may hold any character.
export STORE SOURCE ANNOTATIONS NAMES RECIPE WORKERS AUDIO VIDEO FEATS CLIP CLAP CONFIG
%-shards: $(READY) ## build a dataset's shards and manifest
	@AVSTORE_BY_MAKE=1 $(BIN)/avstore build $* --store "$$STORE" \
	    $${SOURCE:+--source "$$SOURCE"} $${ANNOTATIONS:+--annotations "$$ANNOTATIONS"} \
	    $${NAMES:+--names "$$NAMES"} $${RECIPE:+--recipe "$$RECIPE"} $${WORKERS:+--workers "$$WORKERS"} $(ARGS)

test: $(READY) ## run the whole suite in JOBS processes (default 2)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(READY) ## run the suite without its slow tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

lint: $(READY) ## check style and format with ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

typecheck: $(READY) ## check types with mypy (strict) and pyright
	@$(BIN)/mypy && $(BIN)/pyright

check: lint typecheck test ## lint, typecheck and test

docs: $(READY) ## build the documentation in site/; a warning or a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict $(ARGS)

tour: $(READY) ## run the notebook docs/tour.ipynb again and keep its outputs
	@$(BIN)/python -m docs.tools.notebook

bench: $(READY) ## run the extraction benchmark (JSON in benchmarks/out)
	@$(BIN)/python -m benchmarks.extract

reproduce-sample: $(READY) ## compare methods on the embedded sample, 3 seeds (half an hour)
	@test -f "$$STORE/manifest.duckdb" || $(BIN)/avstore build vggsound --store "$$STORE"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
	    $(BIN)/python train/reproduce.py --shards "$$STORE" --stream sample-4 $(ARGS)

# Frames of 64 pixels, one a second, and 3.3 s of sound: at full size ConvNeXt-Base takes half an hour
# on two cores. Its weights are random: those for sound are on the page of UAVM's authors only.
reproduce-uavm: STORE := runs/uavm-store
reproduce-uavm: TINY := --dataset vggsound --recipe uavm_tiny --random-weights 0
reproduce-uavm: $(READY) ## train small UAVM models on the embedded sample and draw their figures (10 minutes)
	@$(BIN)/avstore build vggsound --store "$$STORE" --recipe uavm_tiny
	@$(BIN)/avstore features build convnext-visual $(TINY) --store "$$STORE"
	@$(BIN)/avstore features build convnext-audio --set length=330 $(TINY) --store "$$STORE"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
	    $(BIN)/python train/reproduce_uavm.py --shards "$$STORE" $(ARGS)
	@$(BIN)/avstore figures uavm runs/uavm --per-class 2 --output runs/uavm/figures

reproduce-avsa: STORE := runs/avsa-store
reproduce-avsa: $(READY) ## train a small AVSA on the spatial sample and check its scores (5 minutes)
	@$(BIN)/avstore build yt360 --source sample --store "$$STORE"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
	    $(BIN)/python train/reproduce_avsa.py --shards "$$STORE" $(ARGS)

# An import that could not use some arrays (exit code 1) has said so, and the rest is trained on.
uavm-vggsound: STORE := uavm-features
uavm-vggsound: $(READY) ## UAVM from its released features to the table (AUDIO=… VIDEO=… ANNOTATIONS=…)
	@test -n "$$AUDIO" -a -n "$$VIDEO" || \
	    { echo "give the archives: make uavm-vggsound AUDIO=a_feat.zip VIDEO=v_feat.zip ANNOTATIONS=vggsound.csv" >&2; exit 2; }
	@$(BIN)/avstore features import convnext-audio "$$AUDIO" --dataset vggsound --store "$$STORE" \
	    $${ANNOTATIONS:+--annotations "$$ANNOTATIONS"} || test $$? -eq 1
	@$(BIN)/avstore features import convnext-visual "$$VIDEO" --dataset vggsound --store "$$STORE" || test $$? -eq 1
	@$(BIN)/avstore train --shards "$$STORE" --config uavm $(ARGS)

# Imports what CONFIG reads and the store lacks; both archives of VALOR have a folder `features`.
valor-llp: STORE := llp-features
valor-llp: CONFIG := valor
valor-llp: $(READY) ## HAN or VALOR from released features to the scores (FEATS=… CLIP=… CLAP=… ANNOTATIONS=… CONFIG=valor)
	@archive() { case "$$1" in *clip*) echo "$$CLIP";; *clap*) echo "$$CLAP";; *) echo "$$FEATS";; esac; }; \
	features=$$($(BIN)/python -c 'import sys; from avstore.pipelines.features.feature_sets import FEATURE_SETS as sets; \
	    own = {name: features for name, (dataset, features) in sets.items() if dataset == "llp"}; \
	    sys.argv[1] in own or sys.exit("CONFIG is one of " + ", ".join(own)); print(*own[sys.argv[1]])' "$$CONFIG") || exit 2; \
	for feature in $$features; do \
	    test -n "$$(archive $$feature)" || { echo "$$CONFIG reads $$feature, of an archive that is not given:" \
	        "make valor-llp FEATS=feats.zip CLIP=CLIP.zip CLAP=CLAP.zip ANNOTATIONS=AVVP_train.csv,…" >&2; exit 2; }; \
	done; \
	for feature in $$features; do \
	    $(BIN)/avstore features import $$feature "$$(archive $$feature)" --dataset llp --store "$$STORE" \
	        $${ANNOTATIONS:+--annotations "$$ANNOTATIONS"} || { code=$$?; test $$code -eq 1 || exit $$code; }; \
	done
	@$(BIN)/avstore train --shards "$$STORE" --config "$$CONFIG" $(ARGS)

clean: ## remove the virtual environment and caches (never the store)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
