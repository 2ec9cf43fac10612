# make run    from nothing to results: environment, sample images, ResNet-18, jobs/folder.yaml
# make test   the whole test suite
# make clean  remove what these have made, except models

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Two processes, each with whole files: half of the time the tests wait for runs that they have started.
PARALLEL := --numprocesses 2 --dist loadfile

.PHONY: run test test-cv4 lint clean

run: $(VENV)/installed
	@echo "==> Sample images and videos"
	@$(BIN)/python jobs/samples.py data/images
	@$(BIN)/python jobs/sample_videos.py data/videos
	@echo "==> Converting ResNet-18"
	@$(BIN)/resnet-pipe convert resnet18 --weights auto
	@echo "==> Running jobs/folder.yaml"
	@$(BIN)/resnet-pipe run jobs/folder.yaml

test: $(VENV)/installed-tests
	@echo "==> Running the tests"
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# The parts that touch cv2, on OpenCV 4 as well.
test-cv4: .venv-cv4/installed
	@echo "==> Running the cv2 tests on OpenCV 4.14"
	@.venv-cv4/bin/python -m pytest $(PARALLEL) -m "cv2 and not slow" $(PYTEST_ARGS)

lint: $(VENV)/installed-tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.cuda

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "resnet-pipe needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	@echo "==> Making the environment in $(VENV), with torch for the conversion: several GB, a few minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@$(PIP) install --editable '.[convert,report]'
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	@echo "==> Adding the other engines and the test tools"
	@$(PIP) install --editable '.[all]' --group lint
	@touch $@

.venv-cv4/installed: pyproject.toml
	@echo "==> Making a second environment in .venv-cv4, with OpenCV 4.14 and without torch"
	@$(PYTHON) -m venv .venv-cv4
	@.venv-cv4/bin/python -m pip --quiet install --upgrade pip
	@.venv-cv4/bin/python -m pip --quiet install --editable . --group test 'opencv-python-headless==4.14.*'
	@touch $@

clean:
	rm -rf $(VENV) .venv-cv4 data out
