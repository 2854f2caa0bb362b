# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` work in a fresh clone with nothing but python3 (3.11 to 3.13):
# each prepares .venv by itself, once, and again when setup.cfg changes.
PYTHON := .venv/bin/python
READY := .venv/ready
FITS := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: demo test lint clean

# TensorFlow writes to stderr before any setting can silence it, so stderr is kept in a file
# and shown when something went wrong.
demo: $(READY)
	@mkdir -p build/demo
	@$(PYTHON) examples/digits.py 2> build/demo/stderr.log || \
	  { code=$$?; cat build/demo/stderr.log >&2; exit $$code; }

# Two processes: most of a small fit is tracing, which uses one core. Files stay whole, so that
# what a file prepares is prepared once. A process that crashes ends the run and names its test:
# started anew, it would leave pytest-xdist 3.8 waiting for ever.
test: $(READY)
	@$(PYTHON) -m pytest -n 2 --dist loadfile --max-worker-restart 0

lint: $(READY)
	@$(PYTHON) -m ruff check && $(PYTHON) -m ruff format --check && $(PYTHON) -m mypy

clean:
	rm -rf build .pytest_cache .hypothesis

$(READY): setup.cfg pyproject.toml
	@if ! $(PYTHON) -c "$(FITS)" 2>/dev/null; then \
	  for found in python3 python3.13 python3.12 python3.11 none; do \
	    if $$found -c "$(FITS)" 2>/dev/null; then break; fi; \
	  done; \
	  if [ $$found = none ]; then \
	    echo "tfprune needs Python 3.11, 3.12 or 3.13 with the venv module;" \
	      "python3 here is: $$(python3 --version 2>&1)." \
	      "Install one of them so that python3 or python3.X is on the PATH." >&2; \
	    exit 1; \
	  fi; \
	  $$found -m venv --clear .venv; \
	fi
	@echo "Preparing .venv with $$($(PYTHON) --version): a few minutes, once."
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --editable ".[demo,test]"
	@touch $@
