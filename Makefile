# Everything a newcomer and CI need; `make help` lists it. Works with the make that macOS ships (3.81): no .ONESHELL,
# no `!=`. Needs Python 3.11 to 3.13 and nothing else: the rest is installed, from lock files with hashes, into a
# virtual environment of its own, again only when the lock file has changed.

.NOTPARALLEL:
.DEFAULT_GOAL := help

# PYTHON=python3.13 takes that one, in an environment beside the usual one, so that one can switch to and fro.
ifeq ($(origin PYTHON),undefined)
# The first that fits: on macOS `python3` may be an old one while a newer stands beside it.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then echo $$p; exit; fi; done; echo python3)
VENV := .venv
endif
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV ?= .venv-$(VERSION)
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps

# An environment whose Python was removed or upgraded away from under it is no environment.
LOST := $(shell [ -x $(BIN)/python ] || rm -f $(VENV)/.made-with-* $(VENV)/.installed-*)
MADE := $(VENV)/.made-with-$(VERSION)
RUN := $(VENV)/.installed-run
TEST := $(VENV)/.installed-test
TOOLS := $(VENV)/.installed-tools

.PHONY: help
help:  ## say what there is
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo "  PYTHON=python3.13 chooses another Python, ARGS='...' goes to pytest or the command"

.PHONY: run
run: $(RUN)  ## start everything here; Ctrl-C stops it
	@exec $(BIN)/python -m minuet dev $(ARGS)

# Most tests wait, for leases, timers and processes, so several run beside each other; a file's stay together, in one
# process that has its own Valkey and PostgreSQL. Those marked `alone` follow one by one, unless the first were
# interrupted; then few failures get a second try, with nothing beside them (docs/decisions/0016-a-second-try-alone.md).
# With ARGS it is one plain run of what they say. PROCESSES=1 for a machine with little memory.
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest
.PHONY: test
test: $(TEST)  ## run the tests
ifdef ARGS
	@exec $(PYTEST) $(ARGS)
else
	@$(PYTEST) -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m 'not alone'; beside=$$?; \
	[ $$beside -le 1 ] || exit $$beside; \
	$(PYTEST) -m alone || exit $$?; \
	[ $$beside -eq 0 ] || exec $(PYTEST) -m 'not alone' --second-try
endif

.PHONY: check
check: format-check lint types imports docs-check sdk-test test  ## all that CI runs

.PHONY: format
format: $(TEST)  ## format the code and sort the imports
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

.PHONY: format-check lint types imports docs-check sdk-test
format-check: $(TEST)
	$(BIN)/ruff format --check .
lint: $(TEST)
	$(BIN)/ruff check .
types: $(TEST)
	$(BIN)/mypy
imports: $(TEST)
	$(BIN)/lint-imports
docs-check: $(TEST)
	$(BIN)/python -m minuet docs --check
sdk-test:
	@if command -v node >/dev/null; then set -x; node --test $$(find tests/sdk -name '*.test.mjs' -o -name '*.test.js'); \
	elif [ "$${CI:-}" = true ]; then echo "node is missing: in CI the SDK must be tested" >&2; exit 1; \
	else echo "node is missing: the SDK's tests are skipped"; fi

.PHONY: bench
bench: $(TEST)  ## measure the socket edge beside plain aiohttp
	@exec $(BIN)/python -m loadtests.edge_bench $(ARGS)

.PHONY: bench-relay
bench-relay: $(TEST)  ## measure the whole hub beside other relays
	@exec $(BIN)/python -m loadtests.relay_bench $(ARGS)

# Node's packages are installed from their lock file, which has a hash for each, and none of their scripts is run.
.PHONY: bench-peers
bench-peers:  ## install the relays on Node that bench-relay compares with
	@command -v npm >/dev/null || { echo "bench-peers needs Node 18 or newer, and npm" >&2; exit 1; }
	npm ci --prefix loadtests/peers --ignore-scripts --no-audit --no-fund

.PHONY: bench-match
bench-match: $(TEST)  ## measure the way from queue.join to match.found
	@exec $(BIN)/python -m loadtests.match_bench $(ARGS)

.PHONY: bench-resume
bench-resume: $(TEST)  ## measure a storm of resumes, on the same node and on another
	@exec $(BIN)/python -m loadtests.resume_bench $(ARGS)

.PHONY: bench-capacity
bench-capacity: $(TEST)  ## measure what sessions and calls cost, and reckon what a crowd takes
	@exec $(BIN)/python -m loadtests.capacity $(ARGS)

.PHONY: bench-cross-node
bench-cross-node: $(TEST)  ## measure relays between two nodes, beside other relays
	@exec $(BIN)/python -m loadtests.cross_node_bench $(ARGS)

.PHONY: bench-index
bench-index: $(TEST)  ## measure pairing, with the index by bitsets beside a plain scan
	@exec $(BIN)/python -m loadtests.index_bench $(ARGS)

.PHONY: load
load: $(TEST)  ## let a crowd of 50 meet and talk for 30 s, on a server of its own
	@exec $(BIN)/python -m loadtests.crowd $(ARGS)

# MINUTES=60 for longer, CHAOS_SEED=7 for the same again.
MINUTES ?= 20
.PHONY: chaos
chaos: $(TEST)  ## break a whole deployment again and again, for 20 minutes
	@exec $(BIN)/python -m tests.chaos.long_run --minutes $(MINUTES) $(ARGS)

.PHONY: audit
audit: $(TOOLS)  ## look for known vulnerabilities in what a server runs on
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/image.txt

# The newest versions within setup.cfg's ranges: make lock ARGS=--upgrade. The widest file first, the others take its
# versions, so that what runs is what was tested.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --fork-strategy fewest \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS)
.PHONY: lock
lock: $(TOOLS)  ## write the lock files anew from setup.cfg
	$(COMPILE) setup.cfg --extra dev --extra test --extra load -o requirements/test.txt
	$(COMPILE) setup.cfg --extra dev -c requirements/test.txt -o requirements/run.txt
	$(COMPILE) setup.cfg -c requirements/test.txt -o requirements/image.txt
	$(COMPILE) requirements/load.in -c requirements/test.txt -o requirements/load.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/tools.in -o requirements/tools.txt

.PHONY: clean
clean:  ## remove caches and builds; environments and the state folder stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(MADE):
	@case "$(VERSION)" in 3.11|3.12|3.13) ;; *) \
		echo "Minuet needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $(if $(VERSION),$(VERSION),not installed)." \
		"Say which to use: make PYTHON=python3.13 ..." >&2; exit 1;; esac
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module first" \
		"(Debian, Ubuntu: apt install python$(VERSION)-venv)." >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON) ($(VERSION))"
	@rm -f $(VENV)/.made-with-* $(VENV)/.installed-*
	@found=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true); \
		[ "$$found" = "$(VERSION)" ] || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUN): requirements/run.txt $(MADE)
	@echo "installing what Minuet runs on"
	@$(PIP_INSTALL) -r requirements/run.txt
	@touch $@

$(TEST): requirements/test.txt $(MADE)
	@echo "installing what the tests need"
	@$(PIP_INSTALL) -r requirements/test.txt
	@touch $@ $(RUN)

$(TOOLS): requirements/tools.txt $(MADE)
	@echo "installing the tools"
	@$(PIP_INSTALL) -r requirements/tools.txt
	@touch $@
