# Every target does its own set-up, in a .venv of its own. ARGS go to the command: make search ARGS="--trials 20"
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN := .venv/bin/python

.PHONY: search test test-faults test-cluster test-gpu lint bench bench-gpu docs clean

search: .venv/installed
	$(RUN) -m milair.search --study dense $(ARGS)

test: .venv/installed-dev
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: .venv/installed-dev
	$(RUN) -m pytest -m faults $(ARGS)

test-cluster: .venv/installed-dev
	$(RUN) -m pip install --quiet --editable '.[dev,ray]'
	$(RUN) -m pytest tests/workers/test_cluster.py $(ARGS)

test-gpu: .venv/installed-dev
	$(RUN) -m pytest tests/test_gpu.py tests/features/test_bank.py -rs $(ARGS)

lint: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: .venv/installed
	$(RUN) benchmarks/run.py $(ARGS)

bench-gpu: .venv/installed
	$(RUN) benchmarks/run.py trial ideas --device cuda:0 $(ARGS)

docs: .venv/installed-dev
	.venv/bin/zensical build --strict

clean:
	rm -rf .venv build dist site .cache *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "milair needs Python 3.11 or newer; none was found"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/installed: pyproject.toml | .venv/bin/python
	$(RUN) -m pip install --quiet --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@ .venv/installed
