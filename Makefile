# make demo    a fresh clone -> a trained model -> text it wrote; with all that `unrolled demo TASK` needs
# make test    lint, format, types and the test suite
# make check   lint, format and types alone;  make docs   the documentation as HTML in build/docs
# Nothing is installed outside $(VENV).

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs constraints clean

demo: $(VENV)/.demo
	$(BIN)/unrolled demo

test: check
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs build/docs
	@echo "open build/docs/index.html"

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plots,speech,translate,vision]'
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# What is installed now, as pins: run after changing pyproject.toml, in a new environment with every extra.
constraints: $(VENV)/.docs
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > constraints.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
