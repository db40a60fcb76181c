# make demo: set up, and measure a simulated machine    make check: set up, and pass all checks
PYTHON ?= python3
BIN := .venv/bin
# a file's tests stay together: they share servers; in the order of tests/conftest.py
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: demo lint test test-faults test-web check fuzz audit docs lock doctor bench bench-load bench-live bench-pages bench-parts bench-monitor bench-scrapes bench-statistics bench-capacity bench-storage bench-soak real clean

demo: .venv/installed
	$(BIN)/python bench.py --demo
	@echo 'before that: source $(BIN)/activate'

lint: .venv/tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/tests-installed
	$(BIN)/python -m pytest -q -n 6 $(BY_FILE)

test-faults: .venv/tests-installed
	$(BIN)/python -m pytest -q -n 4 $(BY_FILE) -m faults

test-web: .venv/tests-installed  # on Debian it installs chromium where there is none
	@command -v chromium chromium-browser google-chrome >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	$(BIN)/python -m pytest -q -m web

check: lint test test-faults test-web

fuzz: .venv/tests-installed  # Linux, Python 3.11 to 3.13: ten minutes for each parser
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	$(BIN)/python tests/fuzz.py | xargs -n 1 -P $$(nproc) $(BIN)/python tests/fuzz.py

audit:  # needs pypi.org: what is known against the pinned packages
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

doctor: .venv/installed  # what to paste where you ask for help
	@$(BIN)/python -m ollama_bench.doctor

docs: .venv/installed
	$(BIN)/python tools/describe.py
	$(BIN)/python tools/describe_options.py
	$(BIN)/python tools/describe_metrics.py
	$(BIN)/python tools/level_schema.py
	rm -rf .venv/docs && mkdir .venv/docs
	$(BIN)/python bench.py --demo --db .venv/docs/results.db
	$(BIN)/python analyze.py --db .venv/docs/results.db --out .venv/docs/data
	cp .venv/docs/data/deepseek-r1-7b/timeline.png docs/demo.png

lock:  # needs uv; after a change of requirements.txt. Not pip: on Windows it does not replace itself
	uv pip compile --universal --python-version 3.10 --generate-hashes --no-emit-package pip requirements.txt -o requirements.lock
	uv pip compile --universal --python-version 3.10 --generate-hashes --no-emit-package pip tests/requirements.txt -o tests/requirements.lock

bench: .venv/installed
	$(BIN)/python benchmarks/bench_client.py

bench-parts: .venv/installed
	$(BIN)/python benchmarks/bench_client.py --parts --streams 256 --runs 5

bench-load: .venv/installed  # Linux with a C compiler: some minutes
	$(BIN)/python benchmarks/bench_load.py

bench-live: .venv/tests-installed  # Linux with a C compiler and chromium: some minutes
	$(BIN)/python benchmarks/bench_live.py

bench-pages: .venv/installed  # some minutes
	$(BIN)/python benchmarks/bench_pages.py

bench-storage: .venv/installed
	$(BIN)/python benchmarks/bench_storage.py

bench-statistics: .venv/installed  # some minutes
	$(BIN)/python benchmarks/bench_statistics.py

bench-capacity: .venv/installed  # some minutes
	$(BIN)/python benchmarks/bench_capacity.py

bench-monitor: .venv/installed
	$(BIN)/python benchmarks/bench_monitor.py

bench-scrapes: .venv/installed  # a minute
	$(BIN)/python benchmarks/bench_scrapes.py

.venv/installed: requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo 'no $(PYTHON) is there: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

.venv/tests-installed: .venv/installed tests/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.lock
	touch $@

SERVERS ?= servers.toml
real: .venv/installed  # real servers that you have: what the file says, see CONTRIBUTING
	$(BIN)/python benchmarks/bench_real.py $(SERVERS)

bench-soak: .venv/installed
	$(BIN)/python benchmarks/bench_soak.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
