# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
SHELL := /bin/bash

.PHONY: demo up test check contract bench chaos browser clean

demo: .venv/base.stamp
	scripts/demo

up: .venv/base.stamp
	scripts/up

test: .venv/dev.stamp
	scripts/test

check: .venv/dev.stamp
	scripts/check

contract: .venv/dev.stamp
	scripts/contract

bench: .venv/dev.stamp
	scripts/bench

chaos: .venv/dev.stamp
	scripts/chaos

browser: .venv/dev.stamp
	scripts/browser

.venv/base.stamp: pyproject.toml constraints.txt
	PYTHON=$(PYTHON) scripts/install ""
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt
	PYTHON=$(PYTHON) scripts/install "[dev]"
	touch .venv/base.stamp $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
