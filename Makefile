# make demo   CAMPE on real weights and pictures, from a bare machine to one HTML report
# make test   the quick tests            make test-slow   the long ones, real weights among them
# make test-cuda  what needs a GPU
# make check  formatting, lint, types    make fix         mend what can be mended
# make bench  every speed claim, both sides in one run
# make docs   the documentation as a site, in build/docs
# make lock   what CI installs, each file by its hash; make install-locked, audit and sbom read it
# make dist   sdist and wheel in dist, after the wheel worked in a bare environment

PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test test-slow test-cuda check fix bench docs dist install lock install-locked audit sbom
.DEFAULT_GOAL := test

install: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/polyprompt demo --out runs/demo

# WORKERS=2: in two processes, a test file in one of them
WORKERS ?= 1
SIDE_BY_SIDE := $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile)

test: install
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-slow: install
	$(BIN)/pytest -m slow

test-cuda: install
	$(BIN)/pytest -m cuda -rs

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

fix: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# reliability.py, fuzz.py and mutants.py count for hours; their slow tests count less
BENCHMARKS := $(filter-out $(addprefix benchmarks/,measure.py page.py reliability.py fuzz.py mutants.py),$(wildcard benchmarks/*.py))

bench: install
	for benchmark in $(BENCHMARKS); do $(BIN)/python $$benchmark || exit 1; done
	$(BIN)/python benchmarks/page.py
	$(BIN)/python docs/methods.py

docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

# a commit's date stands in the archives, so that it builds the same again
dist: install
	rm -rf dist build/bare
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir dist
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -I -m pip install -qq --disable-pip-version-check -c constraints.txt dist/*.whl
	build/bare/bin/python -I tests/smoke.py

# What is installed, known to the byte

LOCK := .ci/lock.txt
TOOLS := build/tools/bin

$(TOOLS)/uv:
	$(PYTHON) -m venv build/tools
	$(TOOLS)/pip install -qq --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1 cyclonedx-bom==7.5.0

lock: install $(TOOLS)/uv
	$(TOOLS)/uv pip compile pyproject.toml --extra dev -c constraints.txt --python $(BIN)/python --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o $(LOCK)

install-locked:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

audit: $(TOOLS)/uv
	$(TOOLS)/pip-audit -r $(LOCK) --require-hashes --disable-pip --strict --progress-spinner off

sbom: $(TOOLS)/uv
	mkdir -p build
	$(TOOLS)/cyclonedx-py requirements $(LOCK) --pyproject pyproject.toml --output-reproducible --of JSON \
		-o build/sbom.json
