# One entry for each habit. `make help` lists them; CONTRIBUTING.md says more.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
STAMP := .venv/.setup-done
UV ?= uv

.PHONY: help setup check format test test-all e2e networks clients demo sim bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (PYTHON=/path chooses the interpreter)
	@:

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON='$(PYTHON)' scripts/setup.sh
	@touch $@

check: setup ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check ## check, then every test that needs no browser, server or namespace
	$(BIN)/python -m pytest

test-all: check ## the same with those tests too, where their tools are installed
	$(BIN)/python -m pytest --all

e2e: setup ## conversations over real daemons and a real llama.cpp, built here the first time (cmake, g++)
	scripts/llama_server.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .cache/e2e/python gguf==0.19.0
	$(BIN)/python -m pytest --all tests/node/e2e/test_chat_peers.py

networks: setup ## daemons in network namespaces: cut off, moved, found by mDNS; the slow ones too (root, iproute2)
	$(BIN)/python -m pytest --all tests/node/e2e/test_networks.py tests/node/e2e/test_discovery.py

demo: setup ## four daemons form a federation and do real work (INPUT=file or folder)
	$(BIN)/bizra-node demo $(if $(INPUT),--input '$(INPUT)')

sim: setup ## a run of the simulator (SEED=number)
	$(BIN)/bizra-sim run $(SCENARIO) $(if $(SEED),--seed $(SEED))

clients: setup ## hold the gateway against clients that others wrote (installs them into .clients)
	@scripts/clients.sh

bench: setup ## the benchmarks (WHAT=consensus)
	$(BIN)/bizra-node bench $(or $(WHAT),consensus)

lock: ## resolve requirements.lock anew (needs uv; UV=/path; UPGRADE=1 takes newer versions)
	@command -v $(UV) >/dev/null || { echo "lock: uv is not installed (pip install uv), or name it: make lock UV=/path/to/uv" >&2; exit 1; }
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev $(if $(UPGRADE),--upgrade) \
	  --override overrides.txt --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml requirements.in

clean: ## remove .venv, caches and built files
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
