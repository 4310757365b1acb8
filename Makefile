# make demo: the story in a minute and a half.  make test: the tests, four to nine minutes.  make lint: style, types.
# make docs: the site, a minute.  make setup: only the .venv.  make test-matrix: many networks and hundreds of drawn
# ones, 25 minutes on two cores.  make test-long: hours of damaged files, kills, drawn networks and modules.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo docs test test-matrix test-long lint clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/isoprune demo

# The site, from docs/ alone; a link that leads nowhere is an error.
docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "Site: build/docs/index.html"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# One torch thread a process: the machine's cores go to the test processes. A file's tests stay with one of them,
# which makes what they share once. Modules are compiled once, not by every command that is tried.
test: export OMP_NUM_THREADS := 1
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not matrix and not long"

# A network's tests stay with one process, which prunes it once.
test-matrix: export OMP_NUM_THREADS := 1
test-matrix: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m matrix

test-long: export OMP_NUM_THREADS := 1
test-long: $(READY)
	$(BIN)/python -m pytest -n 2 -m long

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
