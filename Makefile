# Needs git, make and Python 3.11 or newer; everything else goes into .venv.

PYTHON ?=
TORCH_INDEX ?=
DATA ?=
SIZE ?= laptop
RUN ?=
CODEC ?=
ARGS ?=
# Not from the environment, where some shells keep a prompt of their own.
PROMPT = rain on a tin roof

BIN := .venv/bin
KEYS := constraints.txt pyproject.toml tools/setup.py

ifeq ($(filter laptop cluster,$(SIZE)),)
$(error SIZE=$(SIZE): choose laptop or cluster)
endif

# make RUN=runs/mine overrides the run folder; else runs/<recipe>, with -cluster and -<data> added,
# so that a run on own sounds stands beside the default one instead of replacing it.
ifeq ($(origin DATA)=$(value DATA),command line=)
$(error DATA= is empty, as of a variable that is not set: name a folder of sounds, or leave DATA out)
endif

# Paths are taken as they were typed ($(value) leaves a dollar sign alone) and quoted for the shell.
quoted = '$(subst ','\'',$1)'
DATA_PATH := $(value DATA)
RUN_PATH := $(value RUN)
CODEC_PATH := $(value CODEC)
ifneq ($(DATA_PATH),)
DATA_NAME := -$(shell sh tools/folder_name.sh $(call quoted,$(DATA_PATH)))
endif
CLUSTER := $(filter cluster,$(SIZE))
RECIPE = recipes/$(if $(CLUSTER),cluster/)$*.yaml
run-of = runs/$1$(CLUSTER:%=-%)$(DATA_NAME)
RUN_DIR = $(or $(RUN_PATH),$(call run-of,$*))
SAVED = $(if $(CODEC_PATH),codec.type=saved $(call quoted,codec.path=$(CODEC_PATH)))
DATA_SETTING = $(if $(DATA_PATH),$(call quoted,data.path=$(DATA_PATH)))
SETTINGS = $(call quoted,run_dir=$(RUN_DIR)) $(DATA_SETTING) $(SAVED) $(ARGS)
LAUNCH ?= $(if $(CLUSTER),$(BIN)/accelerate launch -m audiogen,$(BIN)/audiogen)

.DEFAULT_GOAL := help
.PHONY: help sound base recipe-codec recipes setup setup-dev format lint types test test-slow test-nightly check clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' Makefile | sed -E 's/^([^:]+):[^#]*## /\1|/' | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

sound: setup ## make a sound with the model that comes along: sound [PROMPT="rain on a tin roof"] [ARGS="--count 4"]
	@$(BIN)/audiogen sample base --prompt $(call quoted,$(value PROMPT)) $(ARGS)
	@echo 'more:       make sound PROMPT="..." ARGS="--count 8 --seed 1", or "--loop --bpm 90 --bars 4"'
	@echo 'its words:  $(BIN)/audiogen models base'
	@echo 'a pack:     $(BIN)/audiogen texture make recipes/prompts.txt --out packs/first'
	@echo 'your own:   $(BIN)/audiogen tune FOLDER --word "what they are"'

recipe-%: setup ## prepare, train and evaluate a recipe: recipe-diffusion [DATA=FOLDER] [SIZE=cluster] [RUN=DIR] [CODEC=RUN] [ARGS="key=value"]
	$(BIN)/audiogen prepare $(RECIPE) $(SETTINGS)
	$(LAUNCH) train $(RECIPE) $(SETTINGS)
	$(BIN)/audiogen evaluate $(RECIPE) $(SETTINGS)

recipe-codec: recipe-rvq ## the token codec alone: recipes/rvq.yaml

BASE_CODEC := codec.type=saved codec.path=runs/base-codec

FAMILIES := diffusion flow autoregressive

recipes: ## the three families of generators on the same data, and one table of them [DATA=FOLDER]
	$(foreach family,$(FAMILIES),$(MAKE) --no-print-directory recipe-$(family) && )true
	$(BIN)/audiogen compare $(foreach family,$(FAMILIES),$(call quoted,$(call run-of,$(family))))

base: setup ## train the base models on a large set of recordings, in hours: base DATA=FOLDER
	$(BIN)/audiogen train recipes/base/codec.yaml $(DATA_SETTING) $(ARGS)
	$(BIN)/audiogen evaluate recipes/base/codec.yaml $(DATA_SETTING) $(ARGS)
	$(BIN)/audiogen train recipes/base/flow.yaml $(BASE_CODEC) $(DATA_SETTING) $(ARGS)
	$(BIN)/audiogen evaluate recipes/base/flow.yaml $(BASE_CODEC) $(DATA_SETTING) $(ARGS)

setup: .venv/.setup ## make .venv with what audiogen runs on [TORCH_INDEX=URL] [PYTHON=python3.12]

setup-dev: .venv/.setup-dev ## add what tests, lint and types need

.venv/.setup: $(KEYS)
	@$(call with-python,tools/setup.py --torch-index "$(TORCH_INDEX)")

.venv/.setup-dev: .venv/.setup $(KEYS)
	@$(call with-python,tools/setup.py --dev --torch-index "$(TORCH_INDEX)")

format: setup-dev ## format the code and mend what lint can mend
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lint: setup-dev ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup-dev ## check types
	$(BIN)/mypy --strict audiogen tools

# Tests of one file stay in one process, which they share what they have trained in. Nightly ones
# take minutes each, and whoever has none left takes of the others'; -rP prints their figures.
SPREAD := -n auto --maxprocesses 8 --dist

test: setup-dev ## run the fast tests
	$(BIN)/python -m pytest $(SPREAD) loadfile -m "not slow and not nightly"

test-slow: setup-dev ## run the slow tests: whole recipes, small
	$(BIN)/python -m pytest $(SPREAD) loadfile -m "slow and not nightly"

test-nightly: setup-dev ## run the nightly tests: hundreds of killed and continued trainings
	$(BIN)/python -m pytest $(SPREAD) worksteal --timeout 0 -rP --show-capture=stdout -m nightly

check: lint types test ## lint, types and the fast tests

clean: ## remove caches and build output; .venv and runs stay
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find audiogen tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Runs a script with the first Python that is new enough.
define with-python
for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		exec $$python $(1); \
	fi; \
done; \
echo "audiogen needs Python 3.11 or newer, and none was found; install one, or: make setup PYTHON=/path/to/python" >&2; \
exit 1
endef
