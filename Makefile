# What a person types and what CI runs: the same targets. Every target does its own set-up; a second call is quick.

SOURCE ?= samples/clip.mp4
BASE ?= HEAD~1
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv
DEV := .venv-dev
PACKAGED := setup.cfg pyproject.toml framecap/__init__.py

.PHONY: run view test lint faults bench bench-compare docs clean

run: $(RUN)/.installed           ## capture SOURCE and caption it: make run SOURCE=video.mp4
	$(RUN)/bin/framecap run "$(SOURCE)"

view: $(RUN)/.viewer             ## the live page over ./frames, beside make run
	$(RUN)/bin/framecap view

test: $(DEV)/.installed          ## every test; three at a time, since many wait, and a module's one after the other
	$(DEV)/bin/python -m pytest -n 3 --dist loadfile

lint: $(DEV)/.installed          ## format, lint, types
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

faults: $(DEV)/.installed        ## the fault table in its full size
	$(DEV)/bin/python -m pytest -m faults --full --numprocesses 3 --dist worksteal --durations 20 tests

bench: $(DEV)/.installed         ## how fast this machine captions, beside the naive loop: make bench BENCH="--full --json"
	$(DEV)/bin/framecap bench $(BENCH)

bench-compare: $(DEV)/.installed ## whether this version is slower than another: make bench-compare BASE=main
	$(DEV)/bin/python -m benchmarks.compare "$(BASE)" $(BENCH)

docs: $(DEV)/.installed          ## what is generated: docs/command-line.md, framecap/sidecar.schema.json
	$(DEV)/bin/python docs/generate.py

clean:                           ## what the other targets made, except frames and sidecars
	rm -rf $(RUN) $(DEV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The light installation: what a user gets from `pip install framecap`.
$(RUN)/.installed: $(PACKAGED)
	@echo "Installing framecap into $(RUN) (about 400 MB, a minute) ..."
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/pip install --quiet --editable .
	touch $@

$(RUN)/.viewer: $(RUN)/.installed
	$(RUN)/bin/pip install --quiet --editable '.[viewer]'
	touch $@

# With everything the tests, the linters and train/ need. torch and torchvision are resolved together, so that they fit.
$(DEV)/.installed: $(PACKAGED)
	@echo "Installing what the tests need into $(DEV) (torch and its CUDA libraries among it: about 5 GB, some minutes) ..."
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --editable '.[dev]'
	touch $@
