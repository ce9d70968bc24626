# Two commands are enough: `make demo` and `make test`. `make help` lists the rest.
# Needs Python 3.11 or later and make; everything else is installed into this folder.

PYTHON ?= python3
DURATION ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --require-hashes
# Compiled when the package is installed; see docs/performance.md.
NOTE := $(BIN)/python -c 'from stream_proxy.wire.alpaca.walk import COMPILED; COMPILED or \
	print("note: not compiled, so half as fast; with gcc installed, run: touch hatch_build.py; make test")'
COMPILED := hatch_build.py src/stream_proxy/hub/distribute.py src/stream_proxy/wire/alpaca/walk.py \
	src/stream_proxy/wire/grpc/boundaries.py src/stream_proxy/wire/grpc/transcode.py
PACKAGE := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

ALONE := $(patsubst %,tests/integration/test_%.py,interpreted order_kills real_data stalled_consumer \
	throughput)

.DEFAULT_GOAL := help
.PHONY: help demo serve test check static lock docs proto clean python bench bench-quick

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## Simulator and proxy, live, no keys; DURATION=10 ends by itself.
	@$(BIN)/stream-proxy demo $(if $(DURATION),--duration $(DURATION))

serve: $(VENV)/run.stamp ## The proxy with your keys: ALPACA_KEY=... ALPACA_SECRET=... make serve
	@$(BIN)/stream-proxy serve

test: static .venv-legacy/stamp javascript ## Everything, the real SDKs included.
	@# File beside file, since most of them wait for other programs; those that measure, alone.
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests $(ALONE:%=--ignore=%); first=$$?; \
		$(BIN)/python -m pytest $(ALONE) tests/test_nothing_leaks.py && exit $$first

check: static ## Format, lint, types, import contracts and the fast tests.
	@$(BIN)/python -m pytest -m "not slow"

static: $(VENV)/dev.stamp
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; exit 1; }

.PHONY: javascript
javascript:
	@if command -v npm > /dev/null; then \
		test tests/sdk/js/node_modules/.stamp -nt tests/sdk/js/package-lock.json || { \
			npm ci --silent --no-fund --no-audit --prefix tests/sdk/js \
			&& touch tests/sdk/js/node_modules/.stamp; }; \
	else \
		echo "*** Node is missing: the JavaScript SDKs will be left out ***"; \
	fi

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		echo "error: Python 3.11 or later is needed, and $(PYTHON) is not. Name one that is:" \
			"make demo PYTHON=python3.12" >&2; exit 1; }

$(VENV)/bin/pip: | python
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: locks/run.txt pyproject.toml $(COMPILED) | $(VENV)/bin/pip
	@$(BIN)/pip install $(PIP_FLAGS) -r locks/run.txt
	@$(PACKAGE)
	@$(NOTE)
	@touch $@

$(VENV)/dev.stamp: locks/dev.txt pyproject.toml $(COMPILED) | $(VENV)/bin/pip
	@$(BIN)/pip install $(PIP_FLAGS) -r locks/dev.txt
	@$(PACKAGE)
	@$(NOTE)
	@touch $@ $(VENV)/run.stamp

# The legacy SDK pins libraries that contradict everybody else's: it gets a folder of its own.
.venv-legacy/stamp: locks/legacy.txt | python
	@$(PYTHON) -m venv .venv-legacy
	@PIP_CONSTRAINT=locks/legacy.in .venv-legacy/bin/pip install $(PIP_FLAGS) -r locks/legacy.txt
	@touch $@

bench: $(VENV)/bench.stamp ## Compare with nats-server and a hand-written proxy (about 35 minutes).
	@for question in fanout latency grpc growth ingest orders isolation overload; do $(BIN)/python -m bench.$$question || exit 1; done

bench-quick: $(VENV)/bench.stamp
	@for question in fanout latency grpc growth ingest orders isolation overload; do \
		$(BIN)/python -m bench.$$question --quick || exit 1; done

$(VENV)/bench.stamp: locks/bench.txt $(VENV)/dev.stamp
	@$(BIN)/pip install $(PIP_FLAGS) -r locks/bench.txt
	@touch $@

.PHONY: fault-bench planted-bugs
fault-bench: $(VENV)/dev.stamp ## Every fault, 10,000 simulated hours or 30 minutes; writes docs/faults.md.
	@PYTHONPATH=tests:. $(BIN)/python -m faults.bench --hours 10000 --minutes 30 --write docs

planted-bugs: $(VENV)/dev.stamp ## Plant known bugs one by one: the fault bench has to find each.
	@PYTHONPATH=tests:. $(BIN)/python -m faults.planted

docs: $(VENV)/dev.stamp ## Write the generated pages of docs/ again.
	@$(BIN)/stream-proxy document --write docs

proto: $(VENV)/dev.stamp ## Write the code of the gRPC contract again.
	@$(BIN)/buf format -w protos
	@$(BIN)/buf lint protos
	@$(BIN)/python protos/generate.py

lock: ## Resolve the lock files again (needs uv).
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--group dev --extra parquet --extra otel pyproject.toml -o locks/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--group build --extra otel -c locks/dev.txt pyproject.toml -o locks/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--group bench -c locks/dev.txt pyproject.toml -o locks/bench.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		locks/legacy.in -o locks/legacy.txt

clean: ## Remove what was installed and built here.
	rm -rf .venv .venv-legacy .autobahn tests/sdk/js/node_modules dist
	find src -name '*.so' -delete
