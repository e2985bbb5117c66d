# The main job: `make up`. Everything else: `make help`.
PYTHON ?= python3
STATE ?=
PORT ?=
SETTINGS ?=
ARGS ?=
ENV := .venv/bin
options := $(if $(STATE),--state "$(STATE)") $(if $(PORT),--port $(PORT)) $(if $(SETTINGS),--settings "$(SETTINGS)") $(ARGS)
pytest := $(ENV)/pytest
compile := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-strip-extras
where := $(if $(STATE),--state "$(STATE)") $(ARGS)

.PHONY: help up down destroy status verify check test coverage golden fix e2e faults bench lock .venv

help:  ## this list
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv:  ## the virtual environment, from the locks
	@$(PYTHON) bootstrap/environment.py $(if $(SETTINGS),--settings "$(SETTINGS)")

up: .venv  ## bring the platform up on this machine (STATE=folder PORT=number SETTINGS=file)
	@$(ENV)/clinical-ai up $(options)

down: .venv  ## stop it in order; data stays
	@$(ENV)/clinical-ai down $(where)

destroy: .venv  ## stop it and remove its state folder, after asking
	@$(ENV)/clinical-ai destroy $(where)

status: .venv  ## what runs
	@$(ENV)/clinical-ai status $(where)

verify: .venv  ## every check, with evidence
	@$(ENV)/clinical-ai verify $(where)

check: .venv  ## ruff, mypy --strict, import-linter, docs
	@$(ENV)/ruff format --check --quiet . && $(ENV)/ruff check --quiet .
	@$(ENV)/mypy
	@$(ENV)/lint-imports --no-cache
	@$(pytest) tests/repository

test: alone := not platform and not served and not cluster
test: export PYTHONDONTWRITEBYTECODE :=
test: .venv  ## all tests that need no cluster
	@mkdir -p build; status=0; \
	$(pytest) -m platform tests/local > build/platform.log 2>&1 & platform=$$!; \
	nice -n 2 $(pytest) -m "served and not cluster" > build/served.log 2>&1 & served=$$!; \
	nice -n 5 $(pytest) -m "$(alone)" tests/steps tests/bootstrap > build/steps.log 2>&1 & steps=$$!; \
	nice -n 5 $(pytest) -m "$(alone)" --ignore=tests/steps --ignore=tests/bootstrap || status=$$?; \
	for each in $$steps $$served $$platform; do wait $$each || status=$$?; done; \
	cat build/steps.log build/served.log build/platform.log; exit $$status

coverage: .venv  ## the same, and the lines that they never reach; takes twice the time
	@$(ENV)/coverage erase
	@$(MAKE) --no-print-directory test pytest="$(ENV)/coverage run -m pytest"
	@$(ENV)/coverage combine --quiet && $(ENV)/coverage report

e2e: .venv  ## what only a real Kubernetes can show (KUBECONFIG)
	@$(if $(ARGS),exec $(pytest) -m cluster $(ARGS);) \
	mkdir -p build; status=0; \
	nice -n 5 $(pytest) -m cluster --ignore=tests/cluster > build/steps.log 2>&1 & steps=$$!; \
	$(pytest) -m "cluster and parts" --durations 20 tests/cluster > build/parts.log 2>&1 & parts=$$!; \
	$(pytest) -m "cluster and not parts" --durations 20 tests/cluster || status=$$?; \
	wait $$steps || status=$$?; wait $$parts || status=$$?; \
	cat build/steps.log build/parts.log; exit $$status

golden: .venv  ## write tests/golden anew; its diff is for a person to read
	@GOLDEN=write $(pytest) tests/unit/test_manifests*.py tests/adapters/test_prefect_yaml.py

fix: .venv  ## format and mend what ruff can
	@$(ENV)/ruff check --quiet --fix . ; $(ENV)/ruff format --quiet .

faults: .venv  ## long seeded loops of kills and faults (ARGS="--seed 3 --rounds 10")
	@$(ENV)/python -m tests.faults $(ARGS)

bench: .venv  ## the ratios that docs claim, into benchmarks/RESULTS.md
	@$(ENV)/python -m benchmarks $(ARGS)

lock:  ## the three locks, one resolution, with hashes and no index address (needs uv)
	$(compile) pyproject.toml -o requirements.lock
	$(compile) --extra k8s -c requirements.lock pyproject.toml -o requirements-k8s.lock
	$(compile) --extra k8s --extra dev -c requirements-k8s.lock pyproject.toml -o requirements-dev.lock
