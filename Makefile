# Reprise. `make` alone lists the commands; everything is installed into .venv under constraints.txt.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install demo up test attacks lint format train train-corpus train-separator train-drums train-bass bench clean distclean

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
# audiocraft's own pins cannot be met beside a current torch: it comes alone, for training and tests.
AUDIOCRAFT := audiocraft==1.3.0

# Two cores are enough; OpenMP threads that spin while they wait are what makes two cores slow.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
# Read by the recipes through the environment, so that any file name or style survives the shell.
export TRACK PART STYLE SEED DENSITY FILLS SWING REDO PORT

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo takes  TRACK=song.mp3  PART=drums|bass  STYLE=\"…\"  SEED=7  PORT=8000  SERVE=0"
	@echo "                   DENSITY=sparse|normal|busy  FILLS=1|0  SWING=1|0  REDO=8-16,24-30"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found (PYTHON=/path/to/python3.11 names one)." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older (PYTHON=/path/to/python3.11 names another)." >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)" || { echo "The venv module is missing (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

# Stamps make the second run quick: pip runs again only when the pins change.
$(VENV)/.run-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Reprise into $(VENV) (once; a minute or two) …"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Reprise with its tests and training into $(VENV) (once; some minutes) …"
	@$(PIP) --editable '.[test,train]'
	@$(PIP) --no-deps $(AUDIOCRAFT)
	@touch $@ $(VENV)/.run-installed

# A second C2PA implementation, for tests alone; without npm they are skipped (and fail in CI).
$(VENV)/.node-installed: tests/independent/package-lock.json | $(VENV)/bin/python
	@if command -v npm >/dev/null; then npm ci --prefix tests/independent --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; else echo "npm is not here: the tests with a second C2PA reader are skipped."; fi

install: $(VENV)/.run-installed ## Install what a running service needs

demo: $(VENV)/.run-installed ## Play one remix from end to end and serve the page that plays it
	@exec $(VENV)/bin/reprise demo \
	  $${TRACK:+--track "$$TRACK"} $${PART:+--part "$$PART"} $${STYLE:+--style "$$STYLE"} \
	  $${SEED:+--seed "$$SEED"} $${PORT:+--port "$$PORT"} \
	  $${DENSITY:+--density "$$DENSITY"} $${FILLS:+--fills "$$FILLS"} $${SWING:+--swing "$$SWING"} \
	  $${REDO:+--redo "$$REDO"} \
	  $(if $(filter 0 no false,$(SERVE)),--no-serve)

up: $(VENV)/.run-installed ## Serve the API, the page and one worker with the embedded parts
	@exec $(VENV)/bin/reprise up $${PORT:+--port "$$PORT"}

lint: $(VENV)/.test-installed ## Check style, types and the import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# A process for each core, up to four; files stay whole, for their fixtures are dear.
# A process that dies takes its tests with it: the run ends there, with its trace, and goes not on.
PROCESSES := --numprocesses logical --maxprocesses 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

test: export OMP_NUM_THREADS ?= 1
test: lint $(VENV)/.node-installed ## Run everything (about 20 minutes on two cores)
	$(VENV)/bin/python -m pytest $(PROCESSES)

attacks: export OMP_NUM_THREADS ?= 1
attacks: $(VENV)/.test-installed ## Try every attack of docs/attacks.md and count the tries (DEEP=1: many more requests)
	$(if $(filter-out 0 no false,$(DEEP)),REPRISE_TEST_DEEP=1 )$(VENV)/bin/python -m pytest -m attack $(PROCESSES)

format: $(VENV)/.test-installed ## Put the code in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Where runs keep their state, and the folder that the trained checkpoints are written to.
TRAINING ?= $(or $(REPRISE_HOME),.reprise)/training
TRAINED = $(TRAINING)/checkpoints

# For a trial of minutes: make train PIECES=12 DURATION=12 STEPS=2 (the weights are of no use).
STEPPED = $(if $(STEPS),--steps $(STEPS))
TRAINER = $(VENV)/bin/python -m workers.training

train: train-corpus train-separator train-drums train-bass ## Train the bundled models from their seeds (hours; goes on where it stopped)
	$(VENV)/bin/reprise bench quality --corpus $(TRAINING)/corpus --folder $(TRAINED) $(if $(STEPS),--pieces 2 --seeds 1)

train-corpus: $(VENV)/.test-installed
	$(TRAINER) data --out $(TRAINING)/corpus --jobs 2 $(if $(PIECES),--pieces $(PIECES)) $(if $(DURATION),--duration $(DURATION))

# glibc gives memory back to the system after every step otherwise: a third of a CPU step's time.
train-separator train-drums train-bass: export GLIBC_TUNABLES = glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184
train-separator: train-corpus
	$(TRAINER) separator --corpus $(TRAINING)/corpus --state $(TRAINING)/separator --export $(TRAINED)/reprise-separator $(STEPPED)

train-drums train-bass: train-%: train-separator
	$(TRAINER) codec --part $* --corpus $(TRAINING)/corpus --state $(TRAINING)/codec-$* --export $(TRAINED)/reprise-$*-codec --codes $(TRAINING)/codes/$* $(STEPPED)
	$(TRAINER) generator --part $* --corpus $(TRAINING)/corpus --codec $(TRAINED)/reprise-$*-codec --codes $(TRAINING)/codes/$* --separator $(TRAINED)/reprise-separator --cache $(TRAINING)/examples --state $(TRAINING)/generator-$* --export $(TRAINED)/reprise-$* $(STEPPED)

bench: $(VENV)/.test-installed ## Print the quality table of the bundled models
	$(VENV)/bin/reprise bench quality

clean: ## Remove .reprise (keys and training too), caches and what the demo wrote
	rm -rf .reprise build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -f demo/*-drums-[0-9]*.* demo/*-bass-[0-9]*.*

distclean: clean ## Remove .venv too
	rm -rf "$(VENV)"
