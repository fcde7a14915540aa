# Every verb works on a fresh machine with make and a Python 3.11+ that has venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-floor test-system test-system-limits check lint types vectors docs docs-check fmt dev bench bench-quick bench-policy bench-starting \
    bench-execution bench-authentication bench-caller bench-soak bench-edge bench-audit bench-trail clean

demo: $(VENV)/installed
	@$(BIN)/rexecd demo

test: $(VENV)/developed
	$(BIN)/python -m pytest -n 4 --dist loadfile -m "not slow" $(PYTEST)

# Those that take long: thousands of connections, gigabytes, a thousand reloads.
test-slow: $(VENV)/developed
	$(BIN)/python -m pytest -n 4 --dist loadscope -m slow $(PYTEST)

# The same with what Debian 12 packages, which is the oldest that has to do; skipped where that is not there.
test-floor:
	tests/floor $(SYSTEM)

# A real systemd, booted over a throw-away view of this machine; as root, and skipped where that cannot be.
test-system:
	tests/system/run $(SYSTEM)

# Limits of memory and processes, in a virtual machine with a kernel that has the controllers.
test-system-limits: $(VENV)/developed
	tests/system/limits $(SYSTEM)

check: lint types vectors docs-check test test-slow

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developed
	$(BIN)/mypy

# The checked-in protocol vectors are exactly what their builder makes.
vectors: $(VENV)/developed
	$(BIN)/python tests/vectors/build.py --check

# The manual pages of both files, and the tables of AUDIT.md, are made from the tables in the code; those of
# PERFORMANCE.md from the newest run of `make bench`.
docs: $(VENV)/developed
	$(BIN)/python docs/man/build.py
	$(BIN)/python docs/build_audit.py
	$(BIN)/python -m benchmarks.page

docs-check: $(VENV)/developed
	$(BIN)/python docs/man/build.py --check
	$(BIN)/python docs/build_audit.py --check
	$(BIN)/python -m benchmarks.page --check

fmt: $(VENV)/developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dev: $(VENV)/developed

# Everything side by side with what does the same job, and docs/PERFORMANCE.md from it (benchmarks/README.md);
# PEERS=--install fetches what it compares with (as root, on Debian).
bench: $(VENV)/installed
	benchmarks/peers.sh $(BIN)/python $(PEERS)
	$(BIN)/python -m benchmarks.bench $(BENCH)
	$(BIN)/python -m benchmarks.plots
	$(BIN)/python -m benchmarks.page

bench-quick: $(VENV)/installed
	$(BIN)/python -m benchmarks.quick

bench-caller: $(VENV)/installed
	$(BIN)/python -m benchmarks.caller

bench-policy: $(VENV)/installed
	$(BIN)/python benchmarks/policy.py

bench-starting: $(VENV)/installed
	$(BIN)/python -m benchmarks.starting

bench-execution: $(VENV)/installed
	$(BIN)/python -m benchmarks.execution

bench-authentication: $(VENV)/installed
	$(BIN)/python -m benchmarks.authentication

bench-soak: $(VENV)/installed
	$(BIN)/python -m benchmarks.soak

bench-edge: $(VENV)/installed
	$(BIN)/python -m benchmarks.edge

bench-audit: $(VENV)/installed
	$(BIN)/python -m benchmarks.audit

bench-trail: $(VENV)/installed
	$(BIN)/python -m benchmarks.trail

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "make: $(PYTHON) is not a Python 3.11 or newer; on Debian: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "make: this Python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/developed: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
