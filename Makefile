# Two commands set everything up: `make demo` and `make test`. Each makes its own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test dev lint types bench bench-quick onnx tensorflow conformance clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

demo: $(BIN)/python
	$(BIN)/pip install --quiet . scikit-learn tqdm
	$(BIN)/funtorch run --report examples/digits_cnn.py --epochs 12

# The oracle is real PyTorch. It is asked for by its exact version, on its own, so that pip never
# picks a build with CUDA for it.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

dev: $(VENV)/.dev

test: dev
	$(BIN)/python -m pytest -n 2

lint: dev
	$(BIN)/ruff check .

# mypy cannot follow the mapping of three folders to one name in the source tree, but it can in an
# unpacked wheel.
types: dev
	rm -rf build/types && mkdir -p build/types
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/types .
	cd build/types && ../../$(BIN)/python -m zipfile -e funtorch-*.whl unpacked
	cd build/types/unpacked && ../../../$(BIN)/mypy --config-file ../../../pyproject.toml

bench: dev
	$(BIN)/python -m benchmarks

# The same ratios in under three minutes, beside those of the run in docs/performance.md.
bench-quick: dev
	$(BIN)/python -m benchmarks --rounds 3 --tables record,steps --compare benchmarks/reference.json

# All of ONNX's own backend tests, with a table of passes per suite; then there and back again; every
# module at every opset.
onnx: dev
	$(BIN)/pip install --quiet pillow
	$(BIN)/python -m benchmarks.onnx_suite
	$(BIN)/python -m benchmarks.onnx_closure
	FUNTORCH_EVERY_OPSET=1 $(BIN)/python -m pytest -q tests/onnx/test_export_modules.py

# TensorFlow both ways: ONNX's backend tests, round trips, the families of keras.applications.
tensorflow: dev
	$(BIN)/python -m benchmarks.tensorflow_suite
	$(BIN)/python -m benchmarks.tensorflow_round_trips
	FUNTORCH_MODE=whole $(BIN)/python -m benchmarks.keras_applications

# How much of PyTorch's behaviour is reproduced. The tool that measures it lives beside the project;
# CONFORMANCE names the folder that holds it.
CONFORMANCE ?= ../shared
conformance: dev
	@test -d $(CONFORMANCE)/conformance || { echo "no conformance tool in $(CONFORMANCE)"; exit 2; }
	mkdir -p build
	JAX_PLATFORMS=cpu PYTHONPATH=$(CONFORMANCE) $(BIN)/python -m conformance all --aspects every \
		--samples 4 --json build/conformance.json
	$(BIN)/python -m benchmarks.conformance_table build/conformance.json > docs/conformance.md.new
	mv docs/conformance.md.new docs/conformance.md

clean:
	rm -rf build dist *.egg-info $(VENV)
