# Two commands: `make demo` and `make test`. Both set up what they need; STACK=onedl runs them on the OneDL fork.
STACK ?= openmmlab
PYTHON ?= python3
VENV := $(if $(filter onedl,$(STACK)),.venv-onedl,.venv)
# mim finds an installed package's scripts where the package is: the upstream one in a wheel install only, the fork's in
# an editable one only (docs/install.md, "mim on each stack").
INSTALL := $(if $(filter onedl,$(STACK)),--editable .,.)
SOURCES := setup.py pyproject.toml model-index.yml $(shell find mmseg_bisenet configs tools -type f -not -path '*/.mim/*' -not -name '*.pyc')

# OpenMP threads that spin while they wait take the cores from whatever else runs.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: env test test-extras demo lint docs clean

env: $(VENV)/package

# onedl-mmcv would compile its operators where it can, and BiSeNet needs none.
$(VENV)/stack: requirements/$(STACK).txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the pins want Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	MMCV_WITH_OPS=0 $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/package: $(VENV)/stack $(SOURCES)
	rm -rf build mmseg_bisenet.egg-info
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall $(INSTALL)
	rm -rf build mmseg_bisenet.egg-info
	touch $@

# Two processes of one thread each, in random order. Again in the same order: make test ARGS=--randomly-seed=N, with the N printed at the end.
test: env
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

# Extras that have an environment of their own, .venv-EXTRA, and their tests, tests/extras/test_EXTRA.py. RUNTIMES add to
# the packages of `make env`, which theirs sees; they are also tested as each runtime is.
EXTRAS := run web
RUNTIMES := litert executorch ncnn

test-extras: $(EXTRAS:%=.venv-%/tested) $(RUNTIMES:%=.venv-%/tested) .venv-examples/tested test-triton

$(EXTRAS:%=.venv-%/tested): .venv-%/tested: .venv-%/package tests/extras/test_%.py $(VENV)/package
	EXPORT_WITH=$(VENV)/bin/mmseg-bisenet OMP_NUM_THREADS=1 .venv-$*/bin/pytest --noconftest -o addopts=-q -o pythonpath=tests tests/extras/test_$*.py
	touch $@

$(EXTRAS:%=.venv-%/package): .venv-%/package: $(SOURCES)
	$(PYTHON) -m venv --clear .venv-$*
	rm -rf build mmseg_bisenet.egg-info
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check ".[run,$*]" pytest
	rm -rf build mmseg_bisenet.egg-info
	touch $@

$(RUNTIMES:%=.venv-%/tested): .venv-%/tested: .venv-%/stack tests/extras/test_%.py tests/deploy/test_backends.py $(SOURCES)
	RUNTIME=$* OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -o addopts=-q tests/extras/test_$*.py tests/deploy/test_backends.py -k $*
	touch $@

# An environment that sees the packages of `make env`: a path in a .pth file comes after the environment's own packages.
define beside_stack
	$(PYTHON) -m venv --clear --without-pip .venv-$*
	.venv-$*/bin/python -c 'import pathlib, sysconfig; own = sysconfig.get_path("purelib"); pathlib.Path(own, "stack.pth").write_text(own.replace(".venv-$*", "$(VENV)"))'
endef

$(RUNTIMES:%=.venv-%/stack): .venv-%/stack: pyproject.toml $(VENV)/stack
	$(beside_stack)
	rm -rf build mmseg_bisenet.egg-info
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation ".[$*]"
	rm -rf build mmseg_bisenet.egg-info
	touch $@

# The examples. Triton Inference Server comes in the wheel of PyTriton, whose other requirements are for older packages.
.venv-examples/tested: .venv-%/tested: tests/extras/test_%.py .venv-%/packages $(wildcard examples/* benchmarks/*.py) $(SOURCES)
	OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -o addopts=-q $<
	touch $@

.venv-examples/packages: .venv-%/packages: requirements/%.txt $(VENV)/stack
	$(beside_stack)
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
	touch $@

# Triton is beside the environment, because PyTorch behaves differently with it.
test-triton: env $(VENV)/triton
	OMP_NUM_THREADS=1 PYTHONPATH=$(VENV)/triton $(VENV)/bin/python -m pytest tests/models/inference/test_upsample_argmax_triton.py

$(VENV)/triton: requirements/triton.txt $(VENV)/stack
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ -r $<
	touch $@

demo: env
	$(VENV)/bin/python tools/demo.py $(ARGS)

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The site, in docs/_build; a warning is an error.
docs: env $(VENV)/docs
	$(VENV)/bin/python -m sphinx -b html -W --keep-going -q docs docs/_build

$(VENV)/docs: requirements/docs.txt $(VENV)/stack
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

clean:
	rm -rf docs/_build .venv .venv-* build dist *.egg-info mmseg_bisenet/.mim
