# Everything is made inside the checkout: Python in .venv, Rust in target. `make help` lists the goals.
# PYTHON names the interpreter (3.11 or newer); SETUP=no keeps root's runs from installing packages.

PYTHON ?= python3
CARGO ?= cargo
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
PIP_BUILD := $(PIP) install --no-deps --no-build-isolation --force-reinstall
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cnidaria

export PYTHON SETUP
export PATH := $(CURDIR)/$(BIN):$(CACHE)/runtimes/bin:$(PATH)
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_ROOT_USER_ACTION := ignore
export LC_ALL := C.UTF-8
# Messages of panics name source files: those of the crates shall not tell where this user keeps them.
CRATES := $(or $(CARGO_HOME),$(HOME)/.cargo)
ifeq ($(findstring --remap-path-prefix,$(RUSTFLAGS))$(word 2,$(CRATES)),)
export RUSTFLAGS := $(strip $(RUSTFLAGS) --remap-path-prefix=$(CRATES)=cargo)
endif

RUST := Cargo.toml Cargo.lock $(shell find core -path core/fuzz -prune -o \( -name "*.rs" -o -name "*.toml" \) -print)
CORE := $(filter-out core/exec/%,$(RUST)) $(wildcard core/python/*/*.py*)
EXEC := $(filter-out core/src/% core/tests/%,$(RUST))

# A virtual environment works only where it was made: a moved checkout makes a new one.
ifneq ($(shell cat $(DONE)/venv 2>/dev/null),$(CURDIR))
.PHONY: $(DONE)/venv
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: build
build: $(DONE)/core $(DONE)/exec $(DONE)/cnidaria ## Build everything into .venv
	@:

$(DONE)/venv:
	@scripts/doctor --install build
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(DONE) && echo "$(CURDIR)" >$@

$(DONE)/tools: constraints.txt pyproject.toml | $(DONE)/venv
	@echo "installing the tools of constraints.txt"
	@$(PIP) install --constraint constraints.txt pip
	@$(PIP) install --constraint constraints.txt --group dev
	@touch $@

$(DONE)/core: $(CORE) | $(DONE)/tools
	@echo "building cnidaria-core"
	@$(PIP_BUILD) ./core
	@touch $@

$(DONE)/exec: $(EXEC) | $(DONE)/tools
	@echo "building cnidaria-exec"
	@$(PIP_BUILD) ./core/exec
	@touch $@

$(DONE)/cnidaria: pyproject.toml | $(DONE)/core $(DONE)/exec
	@echo "installing cnidaria, editable"
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

.PHONY: demo
demo: ## Show the main job on three nodes of namespaces (ARGS="--mode overlay", ARGS=--help)
	@scripts/doctor --install build demo
	@$(MAKE) --no-print-directory build
	@$(BIN)/python examples/demo $(ARGS)

.PHONY: test
test: test-setup ## Set up and run all tests (ARGS="tests/unit -k result" for a part)
	$(CARGO) test --workspace --locked --quiet
	$(CARGO) test --package cnidaria-core --features shuttle --lib --locked --quiet -- interleavings
	scripts/in-namespaces --if-possible $(BIN)/python -m pytest \
		$(if $(filter true,$(CI)),,-m "not slow") $(ARGS)

.PHONY: test-slow
test-slow: test-setup ## Run all tests, the thorough ones among them, with twenty times the effort
	CNIDARIA_EFFORT=20 scripts/in-namespaces --if-possible $(BIN)/python -m pytest $(ARGS)

.PHONY: test-setup
test-setup:
	@scripts/doctor --install build demo test
	@$(MAKE) --no-print-directory build
	@scripts/setup-runtimes
	@# The tests have no network: what Go needs to build the oracle is fetched here.
	@! command -v go >/dev/null || (cd tests/oracle && go build -o /dev/null .) || \
		echo "tests/oracle cannot be built: its tests are left out" >&2

.PHONY: bench
bench: test-setup ## Compare with the reference plugins in one alternating run (JSON in benchmarks/results)
	scripts/in-namespaces $(BIN)/python benchmarks $(ARGS)

.PHONY: bench-core
bench-core: build ## Compare the core's tables with their peers in one run (ARGS="routes --help")
	@$(PIP) install --constraint constraints.txt --group bench || echo "some peers are left out" >&2
	@scripts/setup-bench-peers
	$(BIN)/python benchmarks/core $(ARGS)

.PHONY: bench-policy
bench-policy: test-setup ## What policies cost, beside iptables and NFQUEUE (JSON and plots in benchmarks/results)
	@scripts/setup-bench-peers kube-network-policies
	scripts/in-namespaces $(BIN)/python benchmarks policy $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz the core's parsers and tables (SECONDS=60 for each, ARGS="prefix" for one target)
	scripts/fuzz $(or $(SECONDS),60) $(ARGS)

.PHONY: miri
miri: ## Let Miri watch the core's route table, which has unsafe code (fetches a nightly toolchain)
	@$(CARGO) +nightly miri --version >/dev/null 2>&1 || \
		rustup toolchain install nightly --profile minimal --component miri rust-src --no-self-update
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --package cnidaria-core --locked --quiet \
		--lib -- readers_see crowded_routes a_large_table

.PHONY: lint
lint: ## Check style, types and the direction of imports
	@scripts/doctor --install build lint
	@$(MAKE) --no-print-directory build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest cnidaria_core
	$(BIN)/lint-imports
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path core/fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings

.PHONY: format
format: build ## Bring the sources into shape
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path core/fuzz/Cargo.toml

.PHONY: wheels
wheels: build ## Build the three wheels into dist/ and try them in an empty environment
	@rm -rf dist
	@echo "building three wheels"
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist . ./core ./core/exec
	@scripts/check-wheels dist

.PHONY: docs
docs: build ## Build the documentation into site/
	$(PIP) install --constraint constraints.txt --group docs
	$(BIN)/mkdocs build --strict --quiet

.PHONY: doctor
doctor: ## Say what this machine lacks, with the command that installs it
	@scripts/doctor

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(VENV) dist site target .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List the goals
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r goal text; do \
		printf '%-18s %s\n' "$$goal" "$$text"; done
