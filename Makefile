# Works on a fresh machine with Python 3.11 or newer, its venv module, and pip; nothing is installed outside this folder.

PYTHON ?= python3
# Half the download of [train] on Linux; 'make demo TRAIN=train' uses an NVIDIA card.
TRAIN ?= train-cpu
# Processes that run tests at the same time; each takes up to 2 GB of memory.
WORKERS ?= 2

SOURCES := $(shell find audiocnn configs -type f ! -path '*/__pycache__/*' ! -name '.*') pyproject.toml README.md LICENSE
SHARED := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
CHECKED := audiocnn tests benchmarks data_manifests examples

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Compiled modules are kept: without them every process of the tests would compile its libraries anew.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help demo test quick lint bench constraints clean

help:
	@echo "make demo         the whole path on a small synthesised corpus: features, training, evaluation, report"
	@echo "make test         build the wheel, install it into a fresh environment, run all tests and doctests there"
	@echo "make quick        the tests that are not marked slow, on this folder as it is, without building it"
	@echo "make lint         ruff and mypy"
	@echo "make bench        measure the goals of benchmarks/ side by side with their baselines"
	@echo "make constraints  renew constraints.txt: the versions that all of the above install"
	@echo "make clean        remove everything that these have made"
	@echo
	@echo "PYTHON=$(PYTHON) (3.11 or newer)  TRAIN=$(TRAIN) (train-cpu, or train for an NVIDIA card)  WORKERS=$(WORKERS) (of tests)"
	@echo "The tests open the report in a Chromium if there is one; AUDIOCNN_CHROMIUM names one off the search path."

demo: .venv/installed-$(TRAIN)
	.venv/bin/audiocnn demo

# PYTHONSAFEPATH keeps this folder off the import path, so the tests see what the wheel holds and nothing else.
test: .venv-test/installed-$(TRAIN)
	AUDIOCNN_TEST_INSTALLED=1 PYTHONSAFEPATH=1 .venv-test/bin/pytest -c pyproject.toml $(SHARED) -rfEs tests --pyargs audiocnn

# Only a missing environment is made, so that one need not wait for a wheel after every change.
quick:
	@test -e .venv-test/installed-$(TRAIN) || $(MAKE) .venv-test/installed-$(TRAIN)
	PYTHONPATH="$(CURDIR)" .venv-test/bin/pytest -c pyproject.toml $(SHARED) -m "not slow" tests audiocnn

lint: .venv-test/installed-$(TRAIN)
	.venv-test/bin/ruff check $(CHECKED)
	.venv-test/bin/ruff format --check $(CHECKED)
	.venv-test/bin/mypy

bench: .venv-test/installed-$(TRAIN)
	.venv-test/bin/python -P benchmarks/cold_start.py
	.venv-test/bin/python -P benchmarks/features.py
	.venv-test/bin/python -P benchmarks/training.py

# Resolved for every Python and platform at once, with markers where they differ.
constraints: .venv-constraints/created
	.venv-constraints/bin/pip install --quiet uv
	@echo "# The versions that were tested. 'make constraints' renews them." > constraints.txt.new
	.venv-constraints/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
		--all-extras --no-header --no-annotate pyproject.toml >> constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:
	rm -rf .venv .venv-test .venv-constraints build audiocnn-demo .pytest_cache .mypy_cache .ruff_cache
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-$(TRAIN): .venv/created constraints.txt $(SOURCES)
	@echo "Installing audiocnn with TensorFlow into .venv: a few minutes, 2.2 GB."
	.venv/bin/pip install --quiet --constraint constraints.txt '.[$(TRAIN)]'
	@touch $@

# Through the source distribution, so that a file missing from either is noticed. Without compiling all of the libraries,
# most modules of which no test imports.
.venv-test/installed-$(TRAIN): .venv-test/created constraints.txt $(SOURCES)
	rm -rf build/dist && mkdir -p build
	.venv-test/bin/pip install --quiet --constraint constraints.txt build
	.venv-test/bin/python -m build --outdir build/dist . > build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	.venv-test/bin/pip uninstall --quiet --yes audiocnn
	.venv-test/bin/pip install --quiet --no-compile --constraint constraints.txt \
		"$$(echo build/dist/*.whl)[$(TRAIN),pipelines,dev]"
	@touch $@

%/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		echo "'$(PYTHON)' is not Python 3.11 or newer; name one that is, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	rm -rf $*
	$(PYTHON) -m venv $*
	-$*/bin/pip install --quiet --upgrade pip  # the one that comes with Python takes longer for what follows
	@touch $@
