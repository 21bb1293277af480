# Every target sets up what it needs in $(VENV), from a fresh clone on; the first call takes minutes, later ones seconds.
#
#   make                     what there is
#   make test PYTHON=python3.12 ARGS="-k gram"

VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint wheel clean distclean

help:
	@echo 'make demo       train a small network on the digits with clipped gradients'
	@echo 'make test       run the ordinary test suite, on two processes where there are two CPUs'
	@echo 'make lint       ruff check, ruff format --check, mypy'
	@echo 'make wheel      build the wheel into dist/'
	@echo 'make clean      remove build output and caches'
	@echo 'make distclean  remove these and $(VENV)'
	@echo
	@echo 'Each sets up $(VENV) first, with $(TORCH) and the pins of constraints.txt.'
	@echo 'ARGS="..."       is handed to the program:  make test ARGS="-k gram"'
	@echo 'PYTHON=python3.12  picks the interpreter that $(VENV) is made from (3.11, 3.12 or 3.13)'

demo: $(VENV)/.installed-demo
	$(PY) docs/examples/train_digits.py $(ARGS)

# Two workers with many threads each would fight over the CPUs: one thread each. Neighbours share what they compile, so
# each worker takes one half of the suite, and helps the other at the end.
test: $(VENV)/.installed-test
	@cpus=$$($(PY) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())') && \
	if [ "$$cpus" -ge 2 ]; then workers='-n 2 --dist worksteal'; export OMP_NUM_THREADS=1; else workers=; fi && \
	echo "$(PY) -m pytest $$workers" && \
	$(PY) -m pytest $$workers $(ARGS)

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# A stale build/ would put deleted modules into the wheel.
wheel: $(VENV)/.installed-dev
	rm -rf build dist
	$(PY) -m build --wheel --no-isolation
	@ls -l dist

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf '$(VENV)'


# --- the environment ---------------------------------------------------------------------------------------------

# Prints why an interpreter will not do; any Python since 2.6 can run it.
define PROBE
import sys
version = sys.version_info[:2]
if not (3, 11) <= version <= (3, 13):
    sys.exit("it is Python %d.%d" % version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("its venv module is missing (on Debian and Ubuntu: apt-get install python%d.%d-venv)" % version)
endef
export PROBE

define NO_PYTHON
Error: clipcompiler needs Python 3.11, 3.12 or 3.13 with the venv module, and none was found.
Install one from your system's packages or from python.org, or name one: add PYTHON=/path/to/python3.12 to the command
endef
export NO_PYTHON

define NO_INSTALL

Error: pip could not install what is needed; its message stands above.
  - "Failed to establish a new connection" or "Temporary failure in name resolution": no package index was reached.
    Check the network; behind a proxy set HTTPS_PROXY, for a mirror PIP_INDEX_URL.
  - "conflicting dependencies" or "No matching distribution found" without these: the index has no such version for
    this machine and Python. Try another Python (make distclean, then the same command with PYTHON=python3.12), or
    change the pin in constraints.txt.
  - "No space left on device": torch needs up to 8 GB with its CUDA libraries, under 1 GB without.
What was installed is kept: the same make command goes on from there.
endef
export NO_INSTALL

$(PY):
	@for python in $(CANDIDATES); do \
	  command -v "$$python" >/dev/null 2>&1 || { echo "    $$python: not found"; continue; }; \
	  why=$$("$$python" -c "$$PROBE" 2>&1) || { echo "    $$python: will not do: $$(echo "$$why" | head -n 1)"; continue; }; \
	  echo "==> Making $(VENV) with $$("$$python" -V), $$(command -v "$$python")"; \
	  "$$python" -m venv --clear '$(VENV)' && exit 0; \
	  echo "Error: '$$python -m venv $(VENV)' failed; its message stands above." >&2; exit 1; \
	done; \
	echo "$$NO_PYTHON" >&2; exit 1

# torch first and alone: it is by far the largest, and a torch that is there already is kept by what follows.
$(VENV)/.installed-torch: constraints.txt $(PY)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade || \
	  { echo "Error: $(VENV) has no pip, and ensurepip failed. Start again: make distclean" >&2; exit 1; }
	@echo "==> Installing $(TORCH) (200 to 500 MB, and on Linux the CUDA libraries it asks for)"
	@$(PIP) install '$(TORCH)' -c constraints.txt || { echo "$$NO_INSTALL" >&2; exit 1; }
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt $(VENV)/.installed-torch
	@echo "==> Installing clipcompiler[$*] from this folder"
	@$(PIP) install -e '.[$*]' -c constraints.txt || { echo "$$NO_INSTALL" >&2; exit 1; }
	@touch $@
