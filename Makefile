# `make` shows the targets. Everything runs from .venv, which `install` makes from the hash-pinned lock.
SHELL := /bin/sh
PYTHON ?= python3
export UV_PYTHON_DOWNLOADS := never
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo serve test check fix bench bench-check bench-profile bench-paused bench-peers lock properties faults fuzz clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: .venv/.installed ## make .venv with the locked dependencies and the command workflow-engine

.venv/.installed: requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit("workflow-engine needs Python 3.11 or newer; name one with: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/uv || $(BIN)/pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: install ## a real workflow, killed half-way with SIGKILL, that finishes all the same
	@$(BIN)/python examples/demo/demo.py

serve: install ## the HTTP service on http://127.0.0.1:8000 (options: ARGS="--port 9000")
	@$(BIN)/workflow-engine serve $(ARGS)

test: install ## the whole test suite
	@$(BIN)/python -m pytest

check: install ## lint, types, import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fix: install ## format and mend what the linter can mend
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: install ## measure throughput, latency and cost per step (options: ARGS="engine http", ARGS=--long)
	@$(BIN)/python -m bench $(ARGS)

bench-check: install ## has a step become more expensive than recorded? (a new baseline: ARGS=--record)
	@$(BIN)/python -m bench.check $(ARGS)

bench-profile: install ## where the time of a step goes, as a table
	@$(BIN)/python -m bench.profile

bench-paused: install ## what 100,000 paused executions cost
	@$(BIN)/python -m bench.paused 100

bench-peers: install ## the same works for other engines beside this one, in one run (options: ARGS="--quick")
	@$(BIN)/python -m bench.peers $(ARGS)

properties: install ## the long property tests and simulations
	@PROPERTIES=long $(BIN)/python -m pytest tests/properties tests/simulation

faults: install ## every fault once as it is (must be survived) and once unprotected (must not be)
	@$(BIN)/python tests/faults/fault_runner.py

fuzz: install ## Schemathesis against a real server for FUZZ_SECONDS (120)
	@$(BIN)/python tests/fuzz/fuzz_server.py

lock: ## renew requirements.txt from pyproject.toml (no registry host is ever written)
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements.txt

clean: ## remove what the other targets made
	@rm -rf .venv bench/.venv-peers bench/peers/restate/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
