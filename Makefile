# Everything a developer types. Each target does only what is out of date.
#   make demo    the tour          make test   unit, fuzz and cluster tests
#   make build   build in the tree  make check  formatters, linters, types, limits
#   make sim     seeds of a simulated cluster (SEEDS=20000 for a night)
#   make unmend  takes each mend out again that the simulator should miss
#   make bench   the table of engines, peers in an environment of their own
SHELL := /bin/bash
.DEFAULT_GOAL := build

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build/dev
JOBS ?= $(shell nproc)
PY := $(VENV)/bin/python
PYTEST_ARGS ?=
SOAK_MINUTES ?= 10
SEEDS ?= 1000
NAMES ?=
SPACE := $(subst ,, )
SHORT := wire net gcs core
LAUNCHER := $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

# `make -j2 test` must not build twice at once in one folder; ninja uses all cores by itself.
.NOTPARALLEL:
.PHONY: setup setup-dev build demo test test-cpp test-asan test-python check bench bench-cpp sim unmend asan tsan fuzz soak format clean

# Stamps: the scripts decide what is missing, the stamps make a second call free.
$(VENV)/.stamp-build: scripts/setup.sh pyproject.toml
	PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh build
	@touch $@
$(VENV)/.stamp-dev: $(VENV)/.stamp-build
	PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh dev
	@touch $@

setup: $(VENV)/.stamp-build $(VENV)/.stamp-dev
setup-dev: $(VENV)/.stamp-dev

build: $(VENV)/.stamp-build
	@BUILD="$(BUILD)" PY="$(PY)" JOBS="$(JOBS)" scripts/build.sh package

demo: build
	@scripts/examples.sh "$(PY)"
	$(PY) examples/demo.py

test: test-cpp test-asan test-python

# ctest runs the fuzz targets' replays too.
test-cpp: $(VENV)/.stamp-build
	@BUILD="$(BUILD)" PY="$(PY)" JOBS="$(JOBS)" scripts/build.sh all
	ctest --test-dir "$(BUILD)" --output-on-failure -j "$(JOBS)"

# The short form of `make asan`: what parses and what decides.
test-asan: $(VENV)/.stamp-build
	cmake --preset asan -DPython_EXECUTABLE="$(abspath $(PY))" $(LAUNCHER)
	cmake --build build/asan -j "$(JOBS)" --target $(addsuffix _tests,$(SHORT))
	ctest --test-dir build/asan --output-on-failure -j "$(JOBS)" -R '^($(subst $(SPACE),|,$(SHORT)))\.'

test-python: $(VENV)/.stamp-dev build
	@scripts/examples.sh "$(PY)"
	$(PY) -m pytest -m "not slow" $(PYTEST_ARGS)

check: $(VENV)/.stamp-dev
	@BUILD="$(BUILD)" PY="$(PY)" JOBS="$(JOBS)" scripts/check.sh

format: $(VENV)/.stamp-dev
	git ls-files '*.cc' '*.h' | xargs $(VENV)/bin/clang-format -i
	$(VENV)/bin/ruff check -q --fix . || true
	$(VENV)/bin/ruff format .

bench: build
	PY="$(PY)" PYTHON="$(PYTHON)" scripts/bench.sh $(BENCH_ARGS)

bench-cpp: $(VENV)/.stamp-build
	@BUILD="$(BUILD)" PY="$(PY)" JOBS="$(JOBS)" scripts/build.sh all
	@for b in $(BUILD)/cpp_tests/*_bench; do echo "== $$b"; $$b --benchmark_min_time=0.2; done

# docs/reliability.md says what it finds.
sim: $(VENV)/.stamp-build
	@BUILD="$(BUILD)" PY="$(PY)" JOBS="$(JOBS)" scripts/build.sh configure
	ninja -C "$(BUILD)" -j "$(JOBS)" cluster_simulator
	$(BUILD)/cpp_tests/cluster_simulator --seeds $(SEEDS)

# One mend after the other, in a copy of the tree: minutes each.
unmend: $(VENV)/.stamp-build
	$(PY) tools/unmend.py $(NAMES)

asan tsan: $(VENV)/.stamp-build
	cmake --preset $@ -DPython_EXECUTABLE="$(abspath $(PY))" $(LAUNCHER)
	cmake --build build/$@ -j "$(JOBS)"
	ctest --test-dir build/$@ --output-on-failure

fuzz: $(VENV)/.stamp-build
	cmake --preset fuzz -DPython_EXECUTABLE="$(abspath $(PY))"
	cmake --build build/fuzz -j "$(JOBS)"
	@mkdir -p build/fuzz/corpus
	@for f in build/fuzz/cpp_tests/*_fuzz; do mkdir -p build/fuzz/corpus/$$(basename $$f); \
	  $$f -max_total_time=60 -rss_limit_mb=2048 build/fuzz/corpus/$$(basename $$f) || exit 1; done

# All Python tests, the slow ones too, over and over. ALARM_MINUTES=60: so long nobody may be taken for dead.
soak: $(VENV)/.stamp-dev build
	@end=$$(( $$(date +%s) + 60 * $(SOAK_MINUTES) )); round=0; \
	while [ $$(date +%s) -lt $$end ]; do round=$$((round + 1)); echo "soak: round $$round"; \
	  $(PY) -m pytest -x $(PYTEST_ARGS) || exit 1; done

clean:
	rm -rf build dist compile_commands.json python/cyray/_bin python/cyray/_raylet*.so
	rm -rf examples/*/build examples/*/*.so examples/*/*/*.so
