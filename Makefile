# Every target makes the virtual environment and installs what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast lint format bench wheel clean

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

# The extras of pyproject.toml, each installed once: .venv/.with-test and so on.
$(VENV)/.with-%: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable '.[$*]'
	touch $@

demo: $(VENV)/.with-demo  ## train, prune, palettize, export, verify and report, on real images
	$(BIN)/python demo/digits.py

test: $(VENV)/.with-test  ## the whole test suite
	$(BIN)/python -m pytest -q -n auto

test-fast: $(VENV)/.with-test  ## the test suite without what takes long
	$(BIN)/python -m pytest -q -n auto -m "not slow"

lint: $(VENV)/.with-dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.with-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.with-bench  ## time, memory, error and bytes beside coremltools
	$(BIN)/python -m tests.benchmarks

wheel: $(VENV)/.with-test  ## build the distribution into dist/
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist build
