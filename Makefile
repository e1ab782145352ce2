# Everything a person does with a checkout. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
FLOWER := .venv-flower/bin
PARTS := shared client server simulations
PROJECTS := pyproject.toml $(PARTS:%=%/pyproject.toml)
EDITABLE := $(PARTS:%=-e ./%)
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest

# Nothing here reports home.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help env demo demo-deployed demo-flower chaos chaos-postgres test test-slow lint format bench calibration coverage env-flower test-flower attacks wheels sbom lock clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

env: .venv/.stamp ## make .venv with everything installed in place

.venv/.stamp: requirements.txt constraints.txt $(PROJECTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

demo: env ## run the built-in study on simulated homes and write its report
	$(BIN)/skyglow simulate

demo-deployed: env ## run the study between real processes on loopback, over mutual TLS, at a tenth of the homes
	OMP_NUM_THREADS=1 $(BIN)/python -m skyglow_simulations.deployed --scale 0.1

demo-flower: env-flower ## the same over Flower's deployment: a SuperLink and five SuperNodes
	OMP_NUM_THREADS=1 $(FLOWER)/python -m skyglow_simulations.deployed_flower

chaos: env ## kill -9 an office and five suppliers 500 times while they run studies, and check all that is left
	OMP_NUM_THREADS=1 $(BIN)/python -m skyglow_simulations.chaos --kills 500

chaos-postgres: env ## the same, with what the office receives in a PostgreSQL server that crashes too
	OMP_NUM_THREADS=1 $(BIN)/python -m skyglow_simulations.chaos --kills 500 --postgres

test: env ## run the tests that take minutes at most
	$(PYTEST) -n 2 -q

test-slow: env ## run the slow tests too: fresh environments, long simulations
	$(PYTEST) -n 2 -q -m "slow or not slow"

lint: env ## check style, types and the walls between the distributions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env ## lay the code out as `make lint` wants it
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: env ## run every benchmark in its quick form, and at the end list those that missed a goal
	@missed=; for name in $(filter-out common,$(notdir $(basename $(wildcard benchmarks/*.py)))); do \
		echo "== $$name"; OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$name --quick || missed="$$missed $$name"; done; \
	if [ -n "$$missed" ]; then echo "a goal missed, or no figure, in:$$missed"; exit 1; fi

calibration: env ## print simulated homes beside real ones, where those are at hand
	OMP_NUM_THREADS=1 $(BIN)/python -m skyglow_simulations.population.calibration

coverage: env ## see how often the intervals contain the truth, over many simulated studies
	rest=; if [ -d ../shared/data/census2021 ]; then rest="--area E06000045 E06000019 E06000015 E07000146 --census ../shared/data/census2021"; fi; \
	$(BIN)/python -m skyglow_simulations.replication --replicates 200 --methods $$rest --start \
		2026-03-09 2026-06-22 2026-10-05 2027-01-18 2027-05-03 2027-08-16 2027-11-29 2028-03-13

wheels: env ## build the five wheels into dist/, twice, and see that they are the same bytes
	rm -rf dist
	for place in dist/again dist; do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m pip wheel --quiet --no-deps \
			--wheel-dir $$place $(PARTS:%=./%) . || exit 1; done
	for wheel in dist/*.whl; do cmp $$wheel dist/again/$${wheel#dist/} || exit 1; done
	rm -r dist/again
	cd dist && sha256sum *.whl > SHA256SUMS && cat SHA256SUMS

sbom: env ## write what an installation consists of to dist/sbom.json, in CycloneDX's form
	mkdir -p dist
	$(BIN)/python deploy/sbom.py > dist/sbom.json

lock: env ## pin for the images what is installed here
	$(BIN)/python deploy/sbom.py --lock > deploy/lock.txt.new && mv deploy/lock.txt.new deploy/lock.txt

env-flower: .venv-flower/.stamp ## make .venv-flower, which also has Flower's simulation engine

.venv-flower/.stamp: requirements.txt constraints.txt $(PROJECTS)
	test -x $(FLOWER)/python || $(PYTHON) -m venv .venv-flower
	$(FLOWER)/python -m pip install --quiet -c constraints.txt $(EDITABLE) -e '.[dev,flower]'
	touch $@

test-flower: env-flower ## run the tests that need Flower
	OMP_NUM_THREADS=1 $(FLOWER)/pytest -q -m "slow or not slow" -k flower

attacks: env env-flower .venv-openfl/.stamp ## run every attack: on other frameworks, where it succeeds, and on skyglow
	$(PYTEST) -q -m "slow or not slow" tests/attacks

.venv-openfl/.stamp:
	test -x .venv-openfl/bin/python || $(PYTHON) -m venv .venv-openfl
	.venv-openfl/bin/python -m pip install --quiet 'openfl==1.9.*' pycryptodome
	touch $@

clean: ## remove the environments, caches and built packages; runs in out/ stay
	rm -rf .venv .venv-* build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
