# Commands of the project; `make` alone lists them. docs/development.md tells more.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install up test check format peers bench soak cluster-test lock

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
# What the log and metric tests run kobs against, beside the cluster.
programs := cluster prometheus promtool node_exporter vmagent

help: ## print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

install: $(bin)/kobs ## install kobs and all that it needs into .venv
	@:

up: install ## run kobs on this machine; flags in ARGS="..."
	$(bin)/kobs up $(ARGS)

test: install ## run the tests; those whose real parts are missing are skipped and say so; flags in ARGS="..."
	$(bin)/pytest -m "not soak" $(ARGS)

check: install ## lint, format, types, who imports whom
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

format: install ## put the code into shape
	$(bin)/ruff check --fix
	$(bin)/ruff format

peers: ## install the real parts that tests talk to (root, Go): into KOBS_PEERS, by default ~/.cache/kobs-peers
	tests/cluster/install-debian.sh
	tests/cluster/build.sh $(programs)
	tests/cluster/images.sh pause busybox python

bench: install ## measure speed and size; flags in ARGS="..."
	$(bin)/python -m bench $(ARGS)

soak: install ## run the long form of the fault tests
	$(bin)/pytest -m soak $(ARGS)

cluster-test: install ## run the tests that need a cluster inside a real one (root, make peers)
	trap 'tests/cluster/down.sh --wipe' EXIT; \
	tests/cluster/up.sh --node; \
	tests/cluster/enter.sh $(bin)/pytest -m cluster $(ARGS)

lock: install ## write requirements.lock from pyproject.toml; RAISE=all or RAISE="NAME ..." takes newer versions
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(bin)/uv pip compile --quiet --no-config --universal --fork-strategy fewest \
	  --python-version 3.11 --generate-hashes --extra embedded --extra dev --output-file requirements.lock \
	  $(if $(filter all,$(RAISE)),--upgrade,$(addprefix --upgrade-package=,$(RAISE))) pyproject.toml

# The stamps are what make each step happen once.

.venv/made:
	@for python in python3.11 python3.12 python3.13 python3; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$python" -m venv .venv; touch $@; exit; \
	  fi; \
	done; \
	echo "kobs needs Python 3.11 or later as python3.11 or python3; python3 is $$(python3 --version 2>/dev/null || echo missing)" >&2; \
	exit 1

# Wheels only: to build a package, pip would fetch that package's build tools, and those are not in the lock.
.venv/locked: requirements.lock | .venv/made
	$(pip) install --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(bin)/kobs: pyproject.toml .venv/locked
	$(pip) install --no-deps --no-build-isolation --editable .
	@touch $@
