# Everything that is installed goes into .venv, .venv-generate and .venv-3.x of this clone, and
# everything that is built into build/. Needed beforehand: Python 3.10 to 3.13, git, make.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test pytest test-thorough compiled test-faults test-integration test-matrix bench bench-peers lint check-generated buf-lint format \
	generate constraints docs check-breaking demo-down clean distclean

PYTHONS := 3.10 3.11 3.12 3.13
# Which real engines `make test-integration` tests: folders of tests/integration, each with a `run`
# that starts what it needs. Those that are not named are skipped where they cannot be had.
DRIVERS ?= $(notdir $(patsubst %/,%,$(wildcard tests/integration/*/)))
COMMA := ,
ENGINES = $(subst $(COMMA), ,$(DRIVERS))
# How many test processes; more arguments for pytest.
WORKERS ?= 5
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
GENERATOR := .venv-generate/.ready

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Installs everything for development into .venv.

# The files that a virtual environment is made from. `make PYTHON=…` chooses the interpreter.
$(READY): pyproject.toml storage/pyproject.toml constraints.txt tools/make_venv tools/find_python
	@python=$$(PYTHON='$(PYTHON)' tools/find_python) && echo "setting up .venv with $$python" && \
		tools/make_venv .venv "$$python" -c constraints.txt -e '.[all,dev,docs,examples]' \
			-e './storage[s3,hdfs]'
	@touch $@

# The oldest grpcio-tools that we support keeps the floor of the runtime low; it must not share an
# environment with what we run on.
$(GENERATOR): Makefile $(READY)
	@echo 'setting up .venv-generate'
	@tools/make_venv .venv-generate "$$($(BIN)/python -c 'import sys; print(sys.executable)')" \
		'grpcio-tools==1.66.2' 'setuptools<81'
	@touch $@

# Our own modules too, where PYTHONDONTWRITEBYTECODE keeps Python from doing so.
compiled: $(READY)
	@$(BIN)/python -m compileall -q subgrpc storage examples

demo: compiled ## Starts a server of its own and runs examples/digits on it.
	@$(BIN)/python tools/demo.py

test: lint compiled ## Lints, checks the generated code, runs the quick tests (about 4 minutes).
	@$(MAKE) --no-print-directory pytest

pytest: compiled ## Runs the quick tests only; ARGS='-k name' goes to pytest.
	$(BIN)/pytest -n $(WORKERS) tests --ignore=tests/integration --ignore=tests/interop \
		--ignore=tests/faults -m 'not thorough' $(ARGS)

test-thorough: compiled ## Runs what the quick tests leave out because it takes long (3 minutes).
	$(BIN)/pytest -n $(WORKERS) tests --ignore=tests/integration --ignore=tests/interop \
		--ignore=tests/faults -m thorough $(ARGS)

test-faults: compiled ## Stops, starves and cuts off servers, tasks and connections (4 minutes).
	@tests/faults/run -n 2 $(ARGS)

test-integration: compiled ## Runs the tests with foreign clients and real engines (DRIVERS=s3,hdfs).
	@for driver in $(ENGINES); do \
		test -d "tests/integration/$$driver" || { echo "no tests for driver $$driver in tests/integration" >&2; exit 1; }; \
	done
	@echo 'foreign clients: grpcurl, a Go client; real engines: $(ENGINES)'
	$(BIN)/pytest -rs tests/interop $(ARGS)
	@for driver in $(ENGINES); do \
		WORKERS=2 "tests/integration/$$driver/run" \
			$(if $(filter file,$(origin DRIVERS)),--where-possible) $(ARGS) || exit 1; \
	done

test-matrix: $(READY) ## Runs the quick tests on every installed Python of 3.10 to 3.13.
	@tools/test_matrix $(PYTHONS)

bench: compiled ## Measures it beside its limits: QUICK=1 (2 minutes), MILLION=1, ARGS='calls follow'.
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(MILLION),--million) $(if $(DATABASE),--database $(DATABASE)) $(ARGS)

bench-peers: compiled ## The same jobs on MLflow, Ray Jobs, Prefect, which it installs: QUICK=1, ARGS='ray'.
	@$(BIN)/python -m benchmarks.peers $(if $(QUICK),--quick) $(ARGS)

.PHONY: crash
crash: compiled ## Kills servers and counts what is lost: MINUTES=10 SEED=7, REPORT=1, MUTANTS=1.
	@$(BIN)/python -m tests.crash $(if $(REPORT),--report) $(if $(MUTANTS),--mutants) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: check-generated buf-lint ## ruff, mypy, buf, import rules, the agent's floor, generated code.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vermin --quiet --no-tips --violations -t=3.8- subgrpc/agent
	tools/check_breaking

check-generated: $(GENERATOR)
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/make_sync_client.py --check

buf-lint: check-generated
	$(BIN)/buf lint

format: $(READY) ## Formats the code and applies safe fixes.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write proto

generate: $(GENERATOR) ## Generates the Python code of the protos, and the client that blocks.
	$(BIN)/python tools/generate.py
	$(BIN)/python tools/make_sync_client.py
	$(BIN)/python tools/spec_reference.py

check-breaking: $(GENERATOR) ## Compares the protos with those of the last release.
	tools/check_breaking

docs: $(READY) ## Builds the documentation's site in build/site, without a network.
	@$(BIN)/python tools/make_docs.py

constraints: $(READY) ## Updates constraints.txt; ARGS=--upgrade for the newest of everything.
	tools/update_constraints $(ARGS)

demo-down: ## Stops the server that `make demo` left running.
	@if [ -d build/demo ] && [ -x $(BIN)/subgrpc ]; then $(BIN)/subgrpc down --data-dir build/demo; fi

clean: demo-down ## Removes what was built and cached; keeps the virtual environments.
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find subgrpc storage tests tools examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Removes the virtual environments too.
	rm -rf .venv .venv-generate .venv-3.*
