# `make help` lists what there is. Everything is installed below this folder, in .venv and .devstack.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-rekey test nightly models newest quick coverage coverage-rooms mutation pythons servers lint types pages site site-serve links bench bench-hot-path bench-guard fuzz no-fuzz fleet hostile soak audit-code audit-deps pins release-check release-smoke \
  localstack-venv no-localstack azurite no-azurite typescript no-typescript clean
# An environment may forbid bytecode. Then each process that a test starts compiles all that it imports, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:

KMS ?= local
ARGS ?=
JOBS ?= 0
UPGRADE ?=
PICTURES ?=
PORT ?= 8000

VENV := .venv
LOCALSTACK_VENV := .devstack/localstack-venv
AZURITE := .devstack/azurite
UV_VENV := .devstack/uv-venv
AUDIT_VENV := .devstack/audit-venv
BENCH_VENV := .devstack/bench-venv
MODELS_VENV := .devstack/models-venv
FUZZ_VENV := .devstack/fuzz-venv
SITE_VENV := .devstack/site-venv
MUTATION_VENV := .devstack/mutation-venv
TYPESCRIPT := examples/typescript
RUN := $(VENV)/bin/python

# The first of some Pythons that runs, is of a fitting version and can make virtual environments.
comma := ,
probe = import sys, venv, ensurepip; v = sys.version_info[:2]; sys.exit(not ($(2)))
first_python = $(firstword $(foreach python,$(1),$(shell $(python) -c '$(probe)' >/dev/null 2>&1 && echo $(python))))
PYTHON ?= $(call first_python,python3.13 python3.12 python3.11 python3.10 python3,v >= (3$(comma) 10))
# There are wheels of the fuzzer for these alone.
FUZZ_PYTHON ?= $(call first_python,python3.13 python3.12 python3.11 python3,(3$(comma) 11) <= v <= (3$(comma) 13) and sys.platform == "linux" and __import__("platform").machine() == "x86_64")
LOCALSTACK_PYTHON ?= $(call first_python,python3.13 python3.12 python3.11 python3,(3$(comma) 11) <= v <= (3$(comma) 13))
SITE_PYTHON ?= $(call first_python,python3.13 python3.12 python3.11 python3,v >= (3$(comma) 11))

# The demo needs fewer packages than the tests do; an environment made for the tests serves the demo too.
DEV := $(VENV)/.dev
DEMO := $(firstword $(wildcard $(VENV)/.dev) $(VENV)/.demo)

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf 'make %-16s %s\n' "$$target" "$$text"; done

demo: $(DEMO) $(if $(filter aws,$(KMS)),localstack-venv) ## encrypt a workflow end to end; KMS=local (default), vault, aws, gcp or azure
	@$(VENV)/bin/envelope-codec demo --kms $(KMS)

demo-rekey: $(DEMO) localstack-venv ## retire a master key that 500 histories need; PICTURES=1 draws those of docs/rekeying.md anew
	@$(VENV)/bin/envelope-codec demo-rekey $(if $(PICTURES),--save docs/pictures) $(ARGS)
	@$(if $(PICTURES),$(RUN) -m tools.pictures.draw)

test: $(DEV) localstack-venv azurite typescript ## run the tests, real servers included; ARGS="-k NAME" for some, JOBS=2 for two files at a time
	$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

nightly: $(DEV) localstack-venv azurite typescript ## run the tests that take long and show little more, which `make test` leaves out
	$(RUN) -m pytest -n $(JOBS) --dist loadfile -m nightly $(ARGS)
	@$(if $(ARGS),,$(MAKE) --no-print-directory models)

models: $(MODELS_VENV)/.models ## run the tests beside libraries of language models, in an environment of their own; `make nightly` does too
	$(MODELS_VENV)/bin/python -m pytest -m nightly tests/e2e/test_language_models.py $(ARGS)

newest: $(DEV) localstack-venv ## try the newest Temporal SDK that pyproject.toml allows, in an environment of its own, if it is not the pinned one
	$(RUN) -m tools.newest $(ARGS)

# The rooms at the edges have tests that start processes and servers. `make test ARGS=tests/unit` runs those too.
edges := aws provider providers server cli testing
quick: $(DEV) ## run fast unit tests of the wire format, keys, temporal and storage; before a commit: make lint types quick
	$(RUN) -m pytest tests/unit $(edges:%=--ignore=tests/unit/%) -m 'not slow' -q -n 2 --dist loadfile $(ARGS)

coverage: $(DEV) localstack-venv azurite typescript ## run the same, and hold the branches they took to their floors; .coverage/html shows them
	$(coverage) run -m pytest -n $(JOBS) --dist loadfile $(ARGS)
	$(coverage_report)
	$(RUN) -m tools.coverage_floors .coverage/report.json

wire_format := envelope second_reader spec vectors
coverage-rooms: $(DEV) ## the same for the rooms that have a floor of their own, by their own unit tests
	$(coverage) run -m pytest tests/unit/keys tests/unit/temporal $(wire_format:%=tests/unit/test_%.py) -m 'not slow' -q -n $(JOBS) --dist loadfile $(ARGS)
	$(coverage_report)
	$(RUN) -m tools.coverage_floors .coverage/report.json --unit

mutation: $(MUTATION_VENV)/.mutation ## change envelope.py and keys/ in one place at a time, and see that a test fails; ARGS=lease for one module
	$(MUTATION_VENV)/bin/python -m tools.mutation $(ARGS)

pythons: ## run the unit tests on every Python from 3.10 on that is on PATH or was made by pyenv
	$(need_python); $(PYTHON) tools/pythons.py $(ARGS)

servers: $(DEV) localstack-venv azurite ## install every server for trials; python localstack/devstack.py up starts them

lint: $(DEV) ## check rules and format with ruff
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(DEV) ## check types: mypy over everything, pyright over the library and its providers
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN)

pages: $(DEV) ## write the generated parts of the documents and of deploy/ anew
	$(RUN) -m tools.pages

site: $(SITE_VENV)/.site ## build the documentation site into build/site; any warning fails
	$(SITE_VENV)/bin/python -m sphinx --builder html --conf-dir tools/site --doctree-dir build/site-doctrees --fresh-env \
	  --jobs 2 --fail-on-warning --quiet . build/site
	@echo 'build/site/index.html is there.'

site-serve: site ## build the site and serve it on http://127.0.0.1:8000, or PORT=another
	$(SITE_VENV)/bin/python -m http.server --bind 127.0.0.1 --directory build/site $(PORT)

links: $(DEV) ## ask whether the pages' links to other hosts lead somewhere; needs a network, and is no part of the tests
	$(RUN) -m tools.links

bench: $(DEV) $(BENCH_VENV)/.bench ## measure everything beside other libraries, write docs/benchmarks.md; ARGS=--quick for a short run
	$(BENCH_VENV)/bin/python benchmarks/bench.py $(ARGS)

bench-hot-path: $(DEV) ## measure encode and decode time beside a static-key codec, and the time to import
	$(RUN) benchmarks/hot_path.py $(ARGS)
	$(RUN) benchmarks/import_time.py $(ARGS)

bench-guard: $(DEV) ## fail if the hot path became slower than benchmarks/baseline.json allows; ARGS=--write writes that anew
	$(RUN) benchmarks/guard.py $(ARGS)

fuzz: $(if $(FUZZ_PYTHON),$(FUZZ_VENV)/.fuzz,no-fuzz) ## fuzz all that reads what others wrote, 2 minutes; ARGS="--minutes 60" longer, "--target NAME" one
	@$(if $(FUZZ_PYTHON),$(FUZZ_VENV)/bin/python -m tests.fuzz.run $(ARGS))

no-fuzz:
	@echo 'No fuzzing: its tool, atheris, needs Linux on x86-64, and Python 3.11, 3.12 or 3.13 with the venv module.' >&2
	@[ "$${ENVELOPE_REQUIRE_SERVERS:-}" != 1 ]

fleet: $(DEV) ## model and simulate the KMS calls of fleets of workers, and what they cost
	$(RUN) benchmarks/fleet.py $(ARGS)

hostile: $(DEV) ## measure what one hostile party costs the others
	$(RUN) benchmarks/hostile.py $(ARGS)

audit-code: $(AUDIT_VENV)/.audit ## hold the library and its providers to bandit's rules
	$(AUDIT_VENV)/bin/python -m tools.bandit_findings envelope_codec providers

audit-deps: audit-code ## the same, and look for known vulnerabilities of what is pinned, where advisories are to be had
	$(AUDIT_VENV)/bin/python -m tools.advisories requirements/*.txt
soak: $(DEV) localstack-venv ## break everything around workers for ten minutes, and hold an invariant; ARGS="--minutes 60 --seed 7"
	$(RUN) -m tests.soak $(ARGS)

clean: ## remove the environments and all caches
	rm -rf -- $(VENV) .devstack $(TYPESCRIPT)/node_modules $(TYPESCRIPT)/lib .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .mutation build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf -- {} +

# Pins that still fit stay: uv reads them from the files that it writes.
compile = $(UV_VENV)/bin/python -m uv pip compile --quiet --universal --no-annotate --no-emit-index-url \
  --generate-hashes --custom-compile-command 'make pins' $(upgrade)
upgrade = $(if $(filter 1,$(UPGRADE)),--upgrade,$(addprefix --upgrade-package=,$(UPGRADE)))

pins: $(UV_VENV)/.uv ## bring requirements/*.txt in line with pyproject.toml; UPGRADE=1 takes newer versions, UPGRADE=NAME of one package
	$(compile) --python-version 3.10 --extra all --group dev -o requirements/dev.txt pyproject.toml
	$(compile) --python-version 3.10 --extra aws --extra azure --extra gcp --extra vault --extra server --group demo -c requirements/dev.txt -o requirements/demo.txt pyproject.toml
	$(compile) --python-version 3.10 --extra aws -c requirements/dev.txt -o requirements/bench.txt requirements/bench.in pyproject.toml
	$(compile) --python-version 3.10 -o requirements/models.txt requirements/models.in pyproject.toml
	$(compile) --python-version 3.11 --extra all -c requirements/dev.txt -o requirements/fuzz.txt requirements/fuzz.in pyproject.toml
	$(compile) --python-version 3.10 --extra all -c requirements/dev.txt -o requirements/mutation.txt requirements/mutation.in pyproject.toml
	$(compile) --python-version 3.10 --extra all --group image -c requirements/dev.txt -o requirements/image.txt pyproject.toml
	$(compile) --python-version 3.11 --extra all -c requirements/image.txt -o requirements/site.txt requirements/site.in pyproject.toml
	$(compile) --python-version 3.11 -o requirements/localstack.txt requirements/localstack.in
	$(compile) --python-version 3.10 -o requirements/uv.txt requirements/uv.in
	$(compile) --python-version 3.10 -o requirements/audit.txt requirements/audit.in

release-check: $(DEV) ## build wheel, sdist and SBOM twice without a network, and check all that a release would upload
	$(RUN) -m tools.release_check dist

release-smoke: ## install the wheel of dist/ with all extras on every Python from 3.10 on, in fresh environments, and use it
	$(need_python); $(PYTHON) -m tools.wheel_smoke $(ARGS)

localstack-venv: ## install LocalStack (AWS KMS and S3), which the AWS tests need, in an environment of its own
ifdef ENVELOPE_LOCALSTACK_PYTHON
	@echo 'LocalStack: $(ENVELOPE_LOCALSTACK_PYTHON)'
else
	@$(MAKE) --no-print-directory $(if $(LOCALSTACK_PYTHON),$(LOCALSTACK_VENV)/.localstack,no-localstack)
endif

no-localstack:
	@echo 'No LocalStack: it needs Python 3.11, 3.12 or 3.13 with the venv module. AWS tests are skipped without it.' >&2
	@[ "$${ENVELOPE_REQUIRE_SERVERS:-}" != 1 ] && [ '$(KMS)' != aws ]

node_modules := $(TYPESCRIPT)/node_modules/.package-lock.json
has_node := $(shell node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm)
typescript: $(if $(has_node),$(node_modules),no-typescript) ## install what the example in TypeScript needs, with npm

no-typescript:
	@echo 'No example in TypeScript: it needs Node 20 or later, with npm. Its tests are skipped without it.' >&2
	@[ "$${ENVELOPE_REQUIRE_SERVERS:-}" != 1 ]

# npm itself writes this file last. It installs from the lock file alone, and anew only if that has changed.
$(node_modules): $(TYPESCRIPT)/package-lock.json
	@echo 'Installing the packages of $(TYPESCRIPT) (300 MB) …'
	@cd $(TYPESCRIPT) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

azurite_installed := $(AZURITE)/node_modules/.package-lock.json
azurite: $(if $(has_node),$(azurite_installed),no-azurite) ## install Azurite, which the tests of Azure Blob Storage need, with npm

no-azurite:
	@echo 'No Azurite: it needs Node 20 or later, with npm. Tests of Azure Blob Storage are skipped without it.' >&2
	@[ "$${ENVELOPE_REQUIRE_SERVERS:-}" != 1 ]

# npm itself writes this file last. It installs from the lock file alone, which has the hash of each package.
$(azurite_installed): localstack/azurite/package-lock.json
	@echo 'Installing Azurite in $(AZURITE) (190 MB) …'
	@mkdir -p $(AZURITE) && cp localstack/azurite/package.json localstack/azurite/package-lock.json localstack/azurite/.npmrc $(AZURITE)
	@cd $(AZURITE) && npm ci --loglevel=error
	@touch $@

coverage = mkdir -p .coverage && $(RUN) -m coverage erase && $(RUN) -m coverage
define coverage_report
$(RUN) -m coverage combine --quiet
$(RUN) -m coverage json --quiet -o .coverage/report.json
$(RUN) -m coverage html --quiet -d .coverage/html
endef

environment = $(need_python); $(PYTHON) localstack/environment.py
need_python = [ -n '$(PYTHON)' ] || { \
  echo 'No Python 3.10 or newer with the venv module is on PATH (on Debian: apt install python3-venv).' >&2; exit 1; }

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@$(environment) $(VENV) $< --project

$(VENV)/.demo: requirements/demo.txt pyproject.toml
	@$(environment) $(VENV) $< --project

$(BENCH_VENV)/.bench: requirements/bench.txt pyproject.toml
	@$(environment) $(BENCH_VENV) $< --project

$(MODELS_VENV)/.models: requirements/models.txt pyproject.toml
	@$(environment) $(MODELS_VENV) $< --project

$(AUDIT_VENV)/.audit: requirements/audit.txt
	@$(environment) $(AUDIT_VENV) $<

$(FUZZ_VENV)/.fuzz: requirements/fuzz.txt
	@$(FUZZ_PYTHON) localstack/environment.py $(FUZZ_VENV) $< --project

$(SITE_VENV)/.site: requirements/site.txt pyproject.toml
	@[ -n '$(SITE_PYTHON)' ] || { echo 'The site needs Python 3.11 or newer with the venv module.' >&2; exit 1; }
	@$(SITE_PYTHON) localstack/environment.py $(SITE_VENV) $< --project

$(MUTATION_VENV)/.mutation: requirements/mutation.txt pyproject.toml
	@$(environment) $(MUTATION_VENV) $< --project

$(UV_VENV)/.uv: requirements/uv.txt
	@$(environment) $(UV_VENV) $<

$(LOCALSTACK_VENV)/.localstack: requirements/localstack.txt
	@$(LOCALSTACK_PYTHON) localstack/environment.py $(LOCALSTACK_VENV) $<
