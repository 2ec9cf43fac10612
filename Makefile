# make run       from nothing to results: environment, sample images, ResNet-18, jobs/folder.yaml
# make test      the whole test suite
# make test-cv4  its cv2 parts on OpenCV 4
# make lint      ruff, mypy and hadolint
# make wheel     build the wheel, install it in a clean environment, and run a job there
# make docs      the pages of docs/ as a site in site/; a dead link is an error
# make latest    the whole test suite with the newest versions of everything, instead of those of constraints.txt
# make clean     remove what these have made, except models

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := -m pip --quiet --disable-pip-version-check
# Three processes, the one that ends first takes tests from the others: often they wait for what they have started.
PARALLEL := --numprocesses 3 --dist worksteal

.PHONY: run test test-cv4 lint wheel docs latest clean

run: $(VENV)/installed
	@echo "==> Sample images, alone and in a tar file, and videos"
	@$(BIN)/python jobs/samples.py data/images
	@$(BIN)/python jobs/sample_archive.py data/images data/archives/images.tar
	@$(BIN)/python jobs/sample_videos.py data/videos
	@echo "==> Converting ResNet-18"
	@$(BIN)/resnet-pipe convert resnet18 --weights auto
	@echo "==> Running jobs/folder.yaml"
	@$(BIN)/resnet-pipe run jobs/folder.yaml

test: $(VENV)/installed-tests
	@echo "==> Running the tests"
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-cv4: .venv-cv4/installed
	@echo "==> Running the cv2 tests on OpenCV 4.14"
	@.venv-cv4/bin/python -m pytest $(PARALLEL) -m "cv2 and not slow" $(PYTEST_ARGS)

lint: $(VENV)/installed-tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.cuda docker/kubernetes/Dockerfile.ray

wheel: $(VENV)/installed
	@.ci/wheel $(BIN)/python

docs: .venv-docs/installed
	@echo "==> Building the pages in site/"
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs --quiet build --strict

latest:
	@echo "==> Making an environment in .venv-latest, with the newest versions of everything"
	@$(PYTHON) -m venv .venv-latest
	@.venv-latest/bin/python $(PIP) install --upgrade pip
	@.venv-latest/bin/python $(PIP) install --upgrade --upgrade-strategy eager --editable '.[all]' --group lint
	@.venv-latest/bin/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "resnet-pipe needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	@echo "==> Making the environment in $(VENV), with torch for the conversion: several GB, a few minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) install --upgrade pip
	@$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[convert,report]'
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	@echo "==> Adding the other engines and the test tools"
	@$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[all]' --group lint
	@touch $@

.venv-cv4/installed: pyproject.toml constraints.txt
	@echo "==> Making a second environment in .venv-cv4, with OpenCV 4.14 and without torch"
	@$(PYTHON) -m venv .venv-cv4
	@.venv-cv4/bin/python $(PIP) install --upgrade pip
	@grep -v ^opencv constraints.txt >.venv-cv4/constraints.txt
	@.venv-cv4/bin/python $(PIP) install --constraint .venv-cv4/constraints.txt --editable . --group test 'opencv-python-headless==4.14.*'
	@touch $@

.venv-docs/installed: pyproject.toml constraints.txt
	@echo "==> Making an environment for the pages in .venv-docs"
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python $(PIP) install --upgrade pip
	@.venv-docs/bin/python $(PIP) install --constraint constraints.txt --group docs
	@touch $@

clean:
	rm -rf $(VENV) .venv-cv4 .venv-docs .venv-latest build dist site data out
