# One command per habit. Everything happens in .venv, made from the lock files at the first call.
# The first Python that runs (a shim may be there for one that does not) and is new enough.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" --quiet pyproject.toml --group build
WORKERS ?= 3
INSTANCE = dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && export EARSHOT_RUNTIME_DIR="$$dir/run" EARSHOT_STATE_DIR="$$dir/state" &&

.PHONY: demo test test-quick check format bench chaos soak lock clean fuzz

demo: .venv/.installed ## a conversation with the rehearsal kit: no microphone, no GPU, no network
	@$(INSTANCE) $(BIN)/supervisor start --config config/demo.toml

test: .venv/.installed-dev ## everything but the long runs; several files at once, for most tests mostly wait, and the quick ones (unit) last
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: .venv/.installed-dev ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed-dev ## ratios against a baseline measured in the same run
	$(BIN)/python -m bench

chaos: .venv/.installed-dev ## turns under faults drawn from a seed: make chaos SEED=7 TURNS=1000 KILLS=1000
	$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(TURNS),--turns $(TURNS)) $(if $(KILLS),--kills $(KILLS)) $(ARGS)

soak: .venv/.installed-dev ## thousands of turns at full pace, and what each process holds after them
	$(BIN)/python -m chaos.soak $(if $(TURNS),--turns $(TURNS)) $(ARGS)

fuzz: .venv/.installed-dev ## every socket under attack: SEED=… MESSAGES=…
	$(BIN)/python -m tests.fuzz --seed $(or $(SEED),1) --messages $(or $(MESSAGES),100000)

lock: .venv/.installed-dev ## take the newest versions that pyproject.toml allows
	$(LOCK) --upgrade -o requirements.lock
	$(LOCK) --group dev --constraint requirements.lock -o requirements-dev.lock

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later found; install one, or say make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv (once, about a minute) ..."
	@$(PYTHON) -m venv .venv || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -C editable_mode=compat -e .
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
