# make demo   a private environment, then a network that learns handwritten digits
# make test   the test suite
# `make help` lists the rest. PYTHON=/path/to/python3.11 chooses the interpreter; nothing outside this folder changes.

PYTHON ?=
PYTHONS ?= 3.11 3.12 3.13
DEMO_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2

VENV := .venv
ENVIRONMENT := tools/environment.sh
# One thread of BLAS for each test process: two processes share two cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-peers test-all-pythons bench docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: ## train a small convolutional network on real digits (DEMO_ARGS="--shuffle-labels")
	@$(ENVIRONMENT) $(VENV) demo "$(PYTHON)"
	@$(VENV)/bin/python -m pellucid demo $(DEMO_ARGS)

test: ## the suite in fast mode (PYTEST_ARGS="-k view")
	@$(ENVIRONMENT) $(VENV) test "$(PYTHON)"
	$(ONE_THREAD) $(VENV)/bin/python $(PYTEST)

test-full: ## the whole suite, then the tests that want the machine to themselves
	@$(ENVIRONMENT) $(VENV) test "$(PYTHON)"
	$(ONE_THREAD) $(VENV)/bin/python $(PYTEST) --full -m "not alone"
	$(VENV)/bin/python -m pytest --full -m alone $(PYTEST_ARGS)

test-peers: ## the suite with PyTorch installed beside it, so that the tests that compare with it run too
	@$(ENVIRONMENT) .venvs/peers test,peers "$(PYTHON)"
	$(ONE_THREAD) .venvs/peers/bin/python $(PYTEST)

test-all-pythons: ## the suite on each of PYTHONS ("3.11 3.12 3.13"), one environment each
	@failed=; for version in $(PYTHONS); do \
	    printf '\n== Python %s\n' $$version; \
	    $(ENVIRONMENT) .venvs/$$version test $$version && \
	    $(ONE_THREAD) .venvs/$$version/bin/python $(PYTEST) || failed="$$failed $$version"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed on Python$$failed" >&2; exit 1; fi

bench: ## eager speed side by side with PyTorch
	@$(ENVIRONMENT) .venvs/peers test,peers "$(PYTHON)"
	.venvs/peers/bin/python benchmarks/eager.py

docs: ## the documentation as HTML, into site/
	@$(ENVIRONMENT) $(VENV) docs "$(PYTHON)"
	$(VENV)/bin/python tools/docs.py site

clean: ## remove everything that make and Python made here
	rm -rf $(VENV) .venvs site demo-output build dist .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
