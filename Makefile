# The front door: `make help` says what there is.
#
# Everything that is installed goes into .venv, in the versions of requirements.lock. A set-up
# that was interrupted, or whose Python is gone, is taken up again by the next `make`.

# Candidates, in this order; the first of a right version that can make virtual environments wins.
PYTHON ?= python3.13 python3.12 python3.11 python3
# Processes that share out the tests, or the chapters; each computes with one thread.
WORKERS ?= 2
PORT ?= 8000

VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/camwall-is-set-up
BOOK := _build/html/index.html
EXECUTED := _build/.jupyter_cache
CHAPTERS := $(shell grep -ls '^```{code-cell}' book/*.md)
# What the chapters run beside their own cells: when it changes, they are executed again.
FRESH := _build/.library
LIBRARY := $(shell find src/camwall results -type f -not -name '*.pyc' 2>/dev/null | sed 's/ /\\ /g')

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A relative cache folder is one place, wherever a chapter runs.
ifeq ($(filter /% ~%,$(firstword $(CAMWALL_CACHE)))$(if $(CAMWALL_CACHE),,unset),)
export CAMWALL_CACHE := $(CURDIR)/$(CAMWALL_CACHE)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data book test soak gpu lint links bench serve lock clean distclean

help: ## Show this list
	@echo 'camwall: does a saliency map see through walls?'
	@echo
	@grep -hE '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
	  | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo
	@echo 'The first run downloads about 3 GB and fills .venv with about 7 GB. Python 3.11, 3.12 or'
	@echo '3.13 is looked for; another place: make book PYTHON=/path/to/python'

setup: $(SETUP) ## Make .venv and install the pinned versions

data: $(SETUP) ## Download the data of the chapters to the user's cache folder
	@$(BIN)/camwall fetch

# The chapters are executed side by side into the cache that the build reads. The build executes
# again what failed, and fails with it.
book: $(SETUP) $(FRESH) ## Build the book: _build/html/index.html
	@complete=yes; $(BIN)/camwall fetch || complete=no; \
	  echo 'Executing the chapters, $(WORKERS) at a time (some minutes the first time)'; \
	  export CAMWALL_QUICK=; \
	  $(BIN)/jcache notebook -p $(EXECUTED) add -r myst_nb_md $(CHAPTERS) >/dev/null; \
	  printf '%s\n' $(CHAPTERS) | OMP_NUM_THREADS=1 xargs -n 1 -P $(WORKERS) sh -c \
	    '$(BIN)/jcache notebook -p $(EXECUTED) execute --no-force -t 1200 "$$0" >/dev/null 2>&1; \
	    echo "  $$0"'; \
	  OMP_NUM_THREADS=1 $(BIN)/jupyter-book build . -W --keep-going || exit 1; \
	  test $$complete = yes || { rm $(FRESH); \
	    echo 'Some data is missing (see above): its pages say so. Run `make book` again to retry.'; }

test: $(SETUP) ## Test the library, the notebooks and the chapters (ARGS=--long: in full size)
	@$(BIN)/camwall fetch || echo 'Some data is missing (see above): its chapters are tested without.'
	$(BIN)/pytest --nbmake -n $(WORKERS) $(ARGS)

# What takes longest is shared out; results/soak says what was tried.
TWICE := tests/check/test_resume.py::test_two_processes_give_the_table_of_one \
  tests/train/test_processes.py::test_two_processes_give_the_loss_curve_of_one
soak: $(SETUP) ## Try kills, bad input and random networks for half an hour: results/soak
	$(BIN)/pytest tests/soak tests/wall/test_holes.py $(TWICE) --long --record results/soak -n $(WORKERS) $(ARGS)

gpu: $(SETUP) ## Try on a CUDA machine what only it can show, in eight minutes: results/gpu
	$(BIN)/python benchmarks/gpu.py results/gpu

lint: $(SETUP) ## Check format, lint and types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

links: $(SETUP) ## Check the book's links (needs the network)
	@$(BIN)/jupyter-book build . --builder linkcheck

bench: $(SETUP) ## Run the benchmarks (minutes; wants an idle machine)
	@for script in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

serve: $(BOOK) ## Serve the built book at http://localhost:8000 (PORT=…)
	@$(BIN)/python -m http.server --directory _build/html --bind 127.0.0.1 $(PORT)

lock: $(SETUP) ## Resolve requirements.lock anew from pyproject.toml (ARGS=--upgrade for newer)
	@$(BIN)/python -m pip install --quiet 'uv>=0.5'
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --generate-hashes --extra book --extra test $(ARGS) pyproject.toml -o requirements.lock

clean: ## Remove what was built; keep .venv and the downloads
	@rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis

distclean: clean ## Remove .venv too
	@rm -rf $(VENV) src/camwall.egg-info

$(BOOK):
	@$(MAKE) --no-print-directory book

$(FRESH): $(LIBRARY) requirements.lock
	@rm -rf $(EXECUTED) _build/.doctrees && mkdir -p $(EXECUTED) && touch $@

# The stamp is of no use where the interpreter behind .venv is gone.
ifneq ($(shell $(BIN)/python -c 'print("runs")' 2>/dev/null),runs)
.PHONY: $(SETUP)
endif

# Nothing is installed whose contents are not those of the lock, a build's own tools included.
LOCKED = $(BIN)/python -m pip install --quiet --require-hashes
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(SETUP): requirements.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  fit=; found=; \
	  for python in $(PYTHON); do \
	    "$$python" -c '$(FITS)' 2>/dev/null || continue; \
	    fit=$$python; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null && { found=$$python; break; }; \
	  done; \
	  if [ -z "$$fit" ]; then \
	    echo "camwall needs Python 3.11, 3.12 or 3.13; none of these is one: $(PYTHON)." \
	      'Install one, or name it: make PYTHON=/path/to/python' >&2; exit 1; \
	  elif [ -z "$$found" ]; then \
	    echo "$$fit cannot make virtual environments: install its venv module" \
	      '(on Debian and Ubuntu the package python3-venv), or name another: make PYTHON=…' >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version)"; \
	  "$$found" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo 'Installing the versions of requirements.lock (the first time takes some minutes)'
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock | $(LOCKED) -r /dev/stdin
	@$(LOCKED) --no-build-isolation -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
