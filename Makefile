PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GSM8K ?= ../shared/data/gsm8k/test.jsonl
STAMP := $(VENV)/.installed

.PHONY: demo test soak lint bench lucene clean

demo: $(STAMP)
	$(BIN)/tir-gym doctor
	$(BIN)/tir-gym rollout all --policy oracle --policy null --episodes 20 --out runs
	@if [ -f "$(GSM8K)" ]; then $(BIN)/python examples/gsm8k.py "$(GSM8K)"; \
	else echo "For real problems: make demo GSM8K=PATH/TO/gsm8k/test.jsonl (none at $(GSM8K))"; fi

test: $(STAMP)
	$(BIN)/python -m tests.halves

soak: $(STAMP)
	$(BIN)/python -m tests.soak

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks.throughput

# The package is installed already: pip adds what the extra asks for.
lucene: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check 'tir-gym[lucene]'
	$(BIN)/tir-gym lucene setup --yes

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
