# make demo: set up, and measure a simulated machine    make test: set up, and pass the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench-monitor clean

demo: .venv/installed
	$(BIN)/python bench.py --demo

test: .venv/tests-installed
	$(BIN)/python -m pytest -q

check: test
	$(BIN)/python -m compileall -q *.py tests benchmarks

bench-monitor: .venv/installed
	$(BIN)/python benchmarks/bench_monitor.py

.venv/installed: requirements.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/tests-installed: .venv/installed tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache __pycache__ tests/__pycache__
