# Everything runs in .venv, which is made on first use. `make help` lists the targets.
#   PROFILE=smoke|quick|full   how much a run does (default: quick on a CPU, full on a GPU)
#   NOTEBOOKS="01 05"          which notebooks (default: all)
#   JOBS=1                     how many notebooks run at once (default: 2 on a CPU, 1 on a GPU)
#   PYTHON=python3.12          the Python that .venv is made with
#   CPU=1                      PyTorch without GPU libraries (default: on Linux without an NVIDIA driver)

VERIFY ?= 02
ifeq ($(OS),Windows_NT)
  PYTHON ?= python
  BIN := .venv/Scripts
else
  PYTHON ?= python3
  BIN := .venv/bin
endif
PY := $(BIN)/python
READY := .venv/ready

# Of PyTorch for Linux, the package index has the build for GPUs alone, which fails without 4 GB of
# CUDA libraries. `ready` keeps what was chosen; naming the other sets .venv up anew. Naming none
# leaves one that is there as it is.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
ifdef CPU
  LOCK := $(if $(filter 1,$(CPU)),requirements-cpu.lock,requirements.lock)
  ifneq ($(LOCK),$(or $(shell cat $(READY) 2> /dev/null),requirements.lock))
    OTHER := other-lock
  endif
else
  DRIVER := $(wildcard /proc/driver/nvidia /usr/lib/wsl/lib/nvidia-smi)$(shell which nvidia-smi 2> /dev/null)
  LOCK := $(if $(DRIVER),requirements.lock,$(if $(wildcard /proc/version),requirements-cpu.lock,requirements.lock))
endif
SITE_PACKAGES := course/site/node_modules/.package-lock.json

# A warning-free, quiet set-up on any machine; nothing here reaches the notebooks' results.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# glibc keeps what a training step frees for the next one; else the system hands out each page anew.
export MALLOC_MMAP_THRESHOLD_ := 33554432
export MALLOC_TRIM_THRESHOLD_ := 2147483647
export MALLOC_TOP_PAD_ := 67108864
# Where it is set, each kernel compiles torch, fastai and the rest again, and starts much later.
unexport PYTHONDONTWRITEBYTECODE
ifdef PROFILE
  export NB_PROFILE := $(PROFILE)
endif

# nbval 0.11: one notebook stays on one worker; a dead kernel is noticed within the time-out. Two
# workers with one thread each, because more threads than cores would mostly wait for each other.
# In their own order, since later notebooks use what earlier ones have left.
NBVAL = $(PY) -m pytest -q -p no:cacheprovider --nbval-lax --nbval-current-env \
	--dist loadscope --no-loadscope-reorder -o 'norecursedirs=.*'

.DEFAULT_GOAL := help
.PHONY: help run site epub test test-full test-browser lint lab data bench readme compare verify publish exercises slides doctor audit lock clean

help: ## list the targets
	@$(PYTHON) -c "import re; [print(f'make {t:<12} {h}') for t, h in \
	re.findall(r'^([a-z-]+):.*?## (.*)', open('Makefile', encoding='utf-8').read(), re.M)]"

run: $(READY) $(SITE_PACKAGES) ## execute the notebooks; copies, a table of results, the site (PROFILE=, NOTEBOOKS=, FORCE=1)
	$(PY) -m course run $(NOTEBOOKS) $(if $(FORCE),--force) $(if $(JOBS),--jobs $(JOBS))

site: $(READY) $(SITE_PACKAGES) ## the web site from the committed notebooks, executing nothing: build/site
	$(PY) course/site/build.py

epub: $(READY) $(SITE_PACKAGES) ## the web site, and the whole course as a book in it: reading-handwriting.epub
	$(PY) course/site/build.py --book

# A test that hangs for five minutes says where, fails, and the others go on.
test: lint ## lint, unit tests, notebook hygiene, every notebook and solution at the smoke profile
	@$(PY) -c "import pathlib; f = pathlib.Path('build'); f.mkdir(exist_ok=True); (f / 'test_started').touch()"
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -p no:nbval -n 2 --dist loadfile --no-loadscope-reorder \
	-o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true --junitxml=build/tests.xml tests
	@$(PY) -m course exercises > build/exercises.log
	NB_PROFILE=smoke NB_HEADLESS=1 OMP_NUM_THREADS=1 $(NBVAL) -n 2 --nbval-cell-timeout=600 build/solved
	@$(PY) -c "import pathlib, time; f = pathlib.Path('build/test_started'); \
	s = time.time() - f.stat().st_mtime; f.with_name('test_seconds').write_text(f'{s:.0f}\n'); \
	print(f'make test took {s / 60:.1f} minutes')"

test-full: $(READY) ## every notebook at the full profile, on the real data or not at all
	NB_PROFILE=full NB_HEADLESS=1 NBHELPERS_SAMPLE=never $(NBVAL) --nbval-cell-timeout=3600 notebooks

test-browser: $(READY) $(SITE_PACKAGES) ## the drawing pad and the site in a real browser; pictures in build/browser
	$(PY) -m pip install -q playwright
	$(PY) -m pytest -q --junitxml=build/tests-browser.xml tests/browser

lint: $(READY) ## style, import arrows, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pyrefly check --summary=none --min-severity error
	$(BIN)/codespell .

lab: $(READY) ## open JupyterLab on the series
	$(BIN)/jupyter lab --notebook-dir=notebooks

data: $(READY) ## fetch the data sets and check them
	$(PY) -m course data

bench: $(READY) ## the published ways of training beside ours, on this machine
	$(PY) course/bench/bench.py

readme: $(READY) ## write the measured results into the README
	$(PY) -m course readme

compare: $(READY) ## this machine's results beside the committed reference (PROFILE=, NOTEBOOKS=)
	$(PY) -m course compare $(NOTEBOOKS)

verify: $(READY) ## execute all twice from scratch: the same again? (NOTEBOOKS= in small, VERIFY= at full)
	$(PY) -m course verify $(NOTEBOOKS) --full $(VERIFY)

publish: $(READY) ## execute on the full data and commit-ready: notebooks, results, README
	NB_PROFILE=full NBHELPERS_SAMPLE=never $(PY) -m course run $(NOTEBOOKS) --force --publish
	$(PY) -m course readme

exercises: $(READY) ## notebooks with room for your answers, which they check: build/exercises (NOTEBOOKS=)
	$(PY) -m course exercises $(NOTEBOOKS)

slides: $(READY) $(SITE_PACKAGES) ## guesses, figures and recaps of the chapters as slides: build/slides (NOTEBOOKS=)
	$(PY) -m course slides $(NOTEBOOKS)

doctor: $(READY) ## what this machine has, and what a run would use
	$(PY) -m course doctor

audit: $(READY) ## known weaknesses of the packages in requirements.lock; needs the internet
	UV_HTTP_TIMEOUT=15 UV_HTTP_RETRIES=1 $(BIN)/uvx --quiet pip-audit --requirement requirements.lock \
	--strict --no-deps --disable-pip --progress-spinner off --timeout 15

lock: $(READY) ## resolve requirements.txt into requirements.lock, and that without CUDA into requirements-cpu.lock
	$(BIN)/uv pip compile -q requirements.txt --universal --python-version 3.11 --upgrade \
	--custom-compile-command "make lock" -o requirements.lock
	@$(PY) -c "import re; lock = open('requirements.lock', encoding='utf-8').read(); \
	open('requirements-cpu.lock', 'w', encoding='utf-8', newline='\n').write(re.sub( \
	r'^(nvidia|cuda|triton)\S*==.*\n(    #.*\n)+', '', lock, flags=re.M))"

clean: ## remove what runs have made; downloads, results and your own files stay
	rm -rf $(filter-out build/exercises,$(wildcard build/*)) .venv course/site/node_modules .pytest_cache .ruff_cache nbhelpers.egg-info

# uv is many times faster than pip; where it cannot be had, pip does the same. PyTorch's index is asked
# for PyTorch alone, and not for long: where it does not answer, the large set works as well.
$(READY): requirements.lock requirements.txt pyproject.toml nbhelpers/waiting_threads.pth $(OTHER)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; \
	this is ' + sys.version.split()[0] + '. Name another with PYTHON=...')"
	$(PYTHON) -m venv $(if $(OTHER),--clear) .venv
	@set -e; lock=$(LOCK); \
	if $(PY) -m pip install -q uv; then install="$(BIN)/uv pip install -q --python $(PY)"; \
	else install="$(PY) -m pip install -q"; fi; \
	if [ $$lock = requirements-cpu.lock ] && ! UV_HTTP_CONNECT_TIMEOUT=5 UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=1 \
	  PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=10 $$install --no-deps --index-url $(TORCH_CPU) -c $$lock torch torchvision \
	  2> .venv/torch-cpu.log; then \
	  lock=requirements.lock; echo "PyTorch's CPU wheels cannot be had from $(TORCH_CPU)" \
	  "(.venv/torch-cpu.log says why): the large set, with 4 GB of CUDA libraries, is installed instead."; \
	fi; \
	$$install -r $$lock; $$install --no-deps -e .
	@$(PY) -c "import shutil, sysconfig; shutil.copy('nbhelpers/waiting_threads.pth', sysconfig.get_path('purelib'))"
	@echo $(LOCK) > $(READY)

.PHONY: other-lock
other-lock:

# Fonts and the playground's runtime. Where they cannot be had, the site is built without.
$(SITE_PACKAGES): course/site/package.json course/site/package-lock.json
	@if command -v npm > /dev/null; then \
	  npm ci --prefix course/site --ignore-scripts --no-audit --no-fund --loglevel=error \
	    --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=60000 || \
	  echo "npm could not fetch the site's packages: the site will do without them"; \
	else \
	  echo "npm is not installed (https://nodejs.org): the site will do without its packages"; \
	fi
