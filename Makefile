# Everything runs in .venv, which `make` makes. Nothing else needs to be installed but Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than there are cores: the tests also wait, for disks, servers and children.
JOBS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 1 )))

.PHONY: setup demo test test-user coverage torture lint man session screenshots docs-check bench clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.dev                      ## the virtual environment, with everything to work on mgmt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	$(BIN)/python -m compileall -q mgmt migrations
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo,postgres]'
	$(BIN)/python -m compileall -q mgmt migrations    # as pip does with what it copies
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo                      ## the tour: real media to a real S3 server and back (STORE=file:///... for none)
	$(BIN)/python -m demo.tour $(if $(STORE),--store $(STORE))

test: lint                               ## every test, against real servers on loopback; prints what they cover
	$(BIN)/python -m pytest -p tests.measured -n $(JOBS) --dist worksteal

test-user: $(VENV)/.dev                 ## for root: the same as an ordinary user (ARGS=tests/cli: a part of them)
	$(BIN)/python -m tests.ordinary_user $(or $(ARGS),-n $(JOBS) --dist worksteal)

coverage: $(VENV)/.dev                   ## the same with the lines and branches missed in each file, which takes a third more time
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov=mgmt --cov-branch --cov-report=term:skip-covered

torture: $(VENV)/.dev                    ## every promise under every fault, into docs/promises.md (CATALOG=postgresql: with that)
	$(BIN)/python -m tests.faults.torture $(or $(CATALOG),sqlite)

lint: $(VENV)/.dev                       ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

man: $(VENV)/.dev                        ## the manual pages in docs/man, from the commands
	$(BIN)/python -m manual.man

session: $(VENV)/.dev                    ## the terminal session of the README, docs/images/session.svg
	$(BIN)/python -m manual.session

screenshots: $(VENV)/.dev                ## images of the pages, into docs/images (with Chromium)
	$(BIN)/python -m demo.screenshots

docs-check: $(VENV)/.dev                 ## links and anchors in all Markdown files
	$(BIN)/python -m tests.links

bench: $(VENV)/.dev                      ## figures beside other tools, into docs/benchmarks.md (ROWS=upload: a part of them)
	$(BIN)/python -m benchmarks.run $(ROWS)

clean:                                   ## remove what make made
	rm -rf $(VENV) build dist demo/work .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
