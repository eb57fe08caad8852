# Railhead, on a machine with Python 3.11 or newer: `make run` and `make test` need nothing else.

ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.venv
endif

PYTHON := .venv/bin/python
INSTALLED := .venv/installed
BROWSER := .venv/browser

# A clone that was moved needs its .venv made again: the programs in it name the folder that they were made in.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

.PHONY: help run test chaos check bench seal new-app clean

help:
	@echo "make run    migrate and serve on http://127.0.0.1:8000, with a PostgreSQL of its own unless DATABASE_URL names one"
	@echo "make test   the tests, on a PostgreSQL of their own unless TEST_DATABASE_URL names one"
	@echo "make chaos  the long tests: races, kills, failovers, browsers"
	@echo "make check  style, types, and whether the manifest is sealed"
	@echo "make seal   replay new migrations and write migrations/manifest.txt"
	@echo "make bench  measure Railhead beside its peers and write docs/benchmarks.md"
	@echo "make new-app NAME=shop  put an application of your own in the place of the sample"
	@echo "make clean  remove what can be made again; the development data in .data/ stay"

run: $(INSTALLED)
	@exec $(PYTHON) -m gunicorn 'app:create_app()'

test: $(INSTALLED)
	@$(PYTHON) -m pytest -n 3 --dist worksteal -m "not long" tests/house tests/engine tests/web tests/test_history.py

chaos: $(INSTALLED) $(BROWSER)
	@$(PYTHON) -m pytest -n 2 -m "not alone" tests/chaos
	@$(PYTHON) -m pytest -n 2 --dist worksteal -m long tests/house tests/engine tests/web
	@$(PYTHON) -m pytest -m alone tests/chaos

check: $(INSTALLED)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) utils/migrate.py seal --check

seal: $(INSTALLED)
	@$(PYTHON) utils/migrate.py seal

bench: $(INSTALLED)
	@$(PYTHON) -m benchmarks

new-app: $(INSTALLED)
	@$(PYTHON) -m utils.new_app $(if $(YES),--yes) -- '$(NAME)'

clean:
	rm -rf .venv .hypothesis .import_linter_cache .grimp_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt requirements-dev.txt
	@set -e; \
	for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found="$$found$$name "; \
			if $$name -c 'import ensurepip, venv' 2>/dev/null; then python=$$name; break; fi; \
		fi; \
	done; \
	if [ -z "$$found" ]; then echo "Railhead needs Python 3.11 or newer; none is on the PATH" >&2; exit 1; fi; \
	if [ -z "$$python" ]; then \
		echo "$${found}has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "installing requirements-dev.txt into .venv (once, with $$($$python --version))"; \
	$$python -m venv --clear .venv; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt; \
	pwd > $@

$(BROWSER): $(INSTALLED) requirements-browser.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-browser.txt && touch $@ \
		|| echo "requirements-browser.txt cannot be installed here: the browser tests are skipped" >&2
