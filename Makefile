# make demo   an answer on a fresh machine: from the built-in guide, or from a model:  make demo MODEL=story.gguf
# make test   everything that must pass; sets up what it needs
# make test-amx       the repair of llama.cpp's AMX kernels, in an emulator, on a processor without AMX
# make attack         everything that may not hurt, in the whole counts: a table of what held [ROWS=frames,floods] [SEED=N]
# make test-pythons   the built package in each Python that is here, and eleven commands of it [PYTHONS="3.10 newest"]
#
# PYTHON=python3.12   the interpreter of .venv
# TORCH_INDEX=URL     a package index with the build of torch to take (README, "Which build of torch")
# LLMCTL_LLAMA_CPP=FOLDER  llama.cpp's sources (vendor/llama.cpp in llama-cpp-python's sdist): the tests try all templates and vocabularies there
# LLAMA_INDEX=URL     a package index with ready-made llama-cpp-python wheels

PYTHON ?= python3
TORCH_INDEX ?=
LLAMA_INDEX ?=
MODEL ?=
PEER ?=
PYSERVER ?=
DRAFT ?=
DATA ?=
ROUNDS ?= 5
ROWS ?=
PEER_FLAGS ?=
JOBS ?= 2
PYTEST_ARGS ?=
CPUINFO ?=
PYTHONS ?=
SEEDS ?=
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q
INDEXES := $(addprefix --extra-index-url=,$(TORCH_INDEX) $(LLAMA_INDEX))
SOURCES := pyproject.toml constraints.txt Makefile
STRESS ?= 1.0

.PHONY: help install demo test attack test-pythons check lint format generate generated bench bench-busy bench-cache bench-draft bench-engine bench-guide bench-torch guide stress clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make check  the static part of it;  make lint  without the generated files;  make format  mends what a tool can"
	@echo "make test-real MODEL=FILE.gguf  the tests that take a real model"
	@echo "make bench  the numbers [MODEL=FILE.gguf];  make bench-engine PEER=FOLDER MODEL=FILE.gguf  against llama-server"
	@echo "make bench-draft  drafts over real texts;  make bench-torch  a folder, eight at once;  make stress  the long tests;  make generate  writes generated files;  make clean"
	@echo "make bench-busy MODEL=FILE.gguf [PEER=FOLDER]  beside busy programs"
	@echo "make bench-cache DATA=FOLDER  the caches over real questions"
	@echo "make guide  trains the built-in guide model and measures it [SEEDS=1];  make bench-guide  only measures"

# Where the processor has AMX and the compiler drops its tile configurations, llama.cpp is built with a header of ours (see
# daemon/llmctld/native), unless CMAKE_ARGS says how to build, or ready-made wheels are taken. Not from or into pip's cache of
# wheels, which does not know what they were built with; once, though a library without the header be there already.
TILES := daemon/llmctld/native/tile_config.py
REPAIRED := $(VENV)/.llama-with-tiles
LLAMA = args=$$($(BIN)/python $(TILES) $(CPUINFO)); \
	if [ -n "$$args" ] && [ -z "$${CMAKE_ARGS+set}$(LLAMA_INDEX)" ] && [ ! -e $(REPAIRED) ]; then \
	    echo "llama.cpp is built with a tile configuration that this compiler does not drop: CMAKE_ARGS=\"$$args\"" >&2; \
	    CMAKE_ARGS="$$args" $(PIP) -c constraints.txt --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python >&2 && touch $(REPAIRED); \
	fi

# ---- setting up: a stamp per kind of install, so that the second time installs nothing --------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("llmctl needs Python 3.10 or newer: make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)' >&2
	@$(PYTHON) -m venv --clear $(VENV) >&2
	@$(PIP) 'pip>=23' >&2

$(RUN): $(SOURCES) | $(BIN)/python
	@echo "installing llmctl into $(VENV); the first time llama-cpp-python is compiled, which takes minutes" >&2
	@$(LLAMA)
	@$(PIP) $(INDEXES) -c constraints.txt -e '.[semantic]' >&2
	@touch $@

$(DEV): $(SOURCES) | $(BIN)/python
	@echo "installing llmctl and its tests into $(VENV); the first time llama-cpp-python is compiled, which takes minutes" >&2
	@$(LLAMA)
	@$(PIP) $(INDEXES) -c constraints.txt -e '.[dev]' >&2
	@touch $(RUN) $@

install: $(RUN)

# ---- a first answer ---------------------------------------------------------------------------------------------------
# It runs in .demo and stops its hub at the end; the user's own hub and files are left alone. Without MODEL the built-in guide answers.

QUESTION := How do I use my own model file?

demo: $(RUN)
	@set -e; \
	LLMCTL_HOME="$(CURDIR)/.demo/$(if $(MODEL),model,guide)"; export LLMCTL_HOME; unset LLMCTL_CONFIG; \
	trap 'exit 130' INT; trap 'exit 143' TERM; \
	trap '$(BIN)/llmctl daemon stop -q >&2' EXIT; \
	if [ -n "$(MODEL)" ]; then \
	    $(BIN)/llmctl models add demo "$(MODEL)" --force >&2; \
	    $(BIN)/llmctl ask "Once upon a time" -m demo --temperature 0 --max-tokens 60 --refresh --no-stdin; \
	else \
	    $(BIN)/llmctl ask "$(QUESTION)" --refresh --no-stdin; \
	fi

# ---- what must pass ---------------------------------------------------------------------------------------------------

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint generated

test: check
	$(BIN)/pytest -n $(JOBS) $(PYTEST_ARGS)

# With one real model, at llmctl's defaults: its text against llama.cpp's own plain loop, a long file, a schema, eight at once.
.PHONY: test-real-model test-real
test-real-model:
	@if [ -z "$(MODEL)" ]; then \
	    echo "make test-real needs a real model that generates text: give it a GGUF file," >&2; \
	    echo "    make test-real MODEL=FILE.gguf" >&2; \
	    exit 2; \
	fi

test-real: test-real-model $(DEV)
	LLMCTL_TEST_MODEL="$(MODEL)" $(BIN)/pytest -n 0 -rP --timeout 7200 tests/real $(PYTEST_ARGS)

# llama.cpp with AMX on a processor without it: built as the compiler leaves it and with our header, and run in an emulator, which
# says what is computed and what crashes, and nothing of speed. The libraries take some minutes, once, and stay in .amx.
.PHONY: test-amx
test-amx: $(DEV)
	nice $(BIN)/python -m tests.amx.llama_build .amx
	LLMCTL_AMX=.amx $(BIN)/pytest -n 0 -rs --timeout 7200 tests/amx $(PYTEST_ARGS)

test-pythons: $(DEV)
	$(BIN)/python -m tests.pythons $(PYTHONS)

# Odd frames, floods, torn files, hostile hubs and endpoints (tests/attack); `make test` runs a twentieth. As root it plays another user too.
attack: $(DEV)
	$(BIN)/python -m tests.attack $(if $(ROWS),--rows "$(ROWS)") $(if $(SEED),--seed "$(SEED)")

stress: $(DEV)
	LLMCTL_STRESS=$(STRESS) $(BIN)/pytest -n 0 -s --timeout 7200 tests/stress $(PYTEST_ARGS)

bench: $(DEV)
	$(BIN)/python -m tests.bench $(if $(MODEL),--model "$(MODEL)")

bench-draft: $(DEV)
	$(BIN)/python -m tests.bench.bench_draft $(if $(MODEL),--model "$(MODEL)")

# DATA is a folder with questions_stream.jsonl.gz, near_pairs.jsonl.gz and question_pairs.jsonl.gz; rows that need none run without.
bench-cache: $(DEV)
	$(BIN)/python -m tests.bench.cache $(if $(DATA),--data "$(DATA)") $(if $(ROWS),--rows "$(ROWS)")

# How threads wait, how many there are, and how many programs are busy beside them; with PEER llama-server too.
bench-busy: $(DEV)
	@if [ -z "$(MODEL)" ]; then echo "make bench-busy needs a model: make bench-busy MODEL=FILE.gguf [PEER=FOLDER] [ROUNDS=3]" >&2; exit 2; fi
	$(BIN)/python -m tests.bench.bench_busy --model "$(MODEL)" --rounds $(ROUNDS) $(if $(PEER),--peer "$(PEER)")

bench-torch: $(DEV)
	$(BIN)/python -m tests.bench.bench_torch --rounds $(ROUNDS)

# Against llama-server in PEER, and where PYSERVER names a python that has it, llama-cpp-python's server. DRAFT is
# a smaller model of MODEL's vocabulary. ROWS=one,four takes some of
# the rows, ROUNDS=1 is a quick look, PEER_FLAGS="-fa on" saves trying which of the peer's flags are the best.
.PHONY: bench-engine-peers
bench-engine-peers:
	@if [ -z "$(PEER)" ] || [ -z "$(MODEL)" ]; then \
	    echo "make bench-engine needs a llama-server to compare with and a model for both: give the folder of the one and the file of the other," >&2; \
	    echo "    make bench-engine PEER=FOLDER MODEL=FILE.gguf [ROUNDS=5] [ROWS=one,four] [PYSERVER=PYTHON] [DRAFT=FILE.gguf]" >&2; \
	    exit 2; \
	fi

bench-engine: bench-engine-peers $(DEV)
	$(BIN)/python -m tests.bench.engine --peer "$(PEER)" --model "$(MODEL)" --rounds $(ROUNDS) \
	    $(if $(ROWS),--rows "$(ROWS)") $(if $(PYSERVER),--python "$(PYSERVER)") $(if $(DRAFT),--draft "$(DRAFT)") $(if $(PEER_FLAGS),--flags="$(PEER_FLAGS)")

# The built-in model that answers questions about llmctl: trained on daemon/tools/guide/texts, written into the package, measured
# (docs/guide-model.md). SEEDS=1 is one training instead of three, of which the best is taken. It goes on where it was stopped.
guide: $(DEV)
	$(BIN)/python -m tools.guide make $(if $(SEEDS),--seeds "$(SEEDS)")

bench-guide: $(DEV)
	$(BIN)/python -m tools.guide measure

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# ---- what is written by the program itself ----------------------------------------------------------------------------

generate: $(DEV)
	$(BIN)/python -m tests.meta.generate

generated: $(DEV)
	$(BIN)/python -m tests.meta.generate --check

clean:
	@if [ -x $(BIN)/llmctl ]; then for home in .demo/*/; do [ ! -d "$$home" ] || LLMCTL_HOME="$(CURDIR)/$$home" $(BIN)/llmctl daemon stop >&2 || true; done; fi
	rm -rf .demo .pythons .amx build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find llmctl daemon tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "$(VENV) stays; rm -rf $(VENV) removes it too"
