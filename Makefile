# Two commands do all the set-up: `make demo` shows what this is, `make test` shows that it is right.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install oracles demo test test-without-bfloat16 lint tables clean

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; run: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Other people's implementations, which some tests compare ours with; these tests skip without them.
oracles: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-oracles.txt

demo: install
	$(BIN)/vse features scenes --out demo/features
	$(BIN)/vse train scenes --features demo/features --out demo/run --recipe best --epochs 8 --resume
	$(BIN)/vse evaluate demo/run scenes --features demo/features --json demo/row.json
	$(BIN)/vse page demo/run scenes --features demo/features --out demo/index.html
	$(BIN)/scnlm trigram scenes --out demo/trigram.arpa --discount-fallback
	$(BIN)/scnlm train scenes --encoder demo/run --out demo/scnlm --epochs 8 --resume
	rm -rf demo/set
	$(BIN)/scnlm assemble scenes --features demo/features --encoder demo/run --decoder demo/scnlm --trigram demo/trigram.arpa --out demo/set --dev-images 40
	$(BIN)/scnlm caption demo/set data/scenes/images/00[0-9]0*.jpg --data scenes --html demo/captions.html
	$(BIN)/scnlm caption $$($(BIN)/python -m experiments.free_photos) --html demo/photos.html
	@echo 'Open demo/index.html (retrieval), demo/captions.html (captions of drawn scenes) and demo/photos.html (captions of photos).'
	@echo 'Then try: $(BIN)/vse search demo/run "a red car in the snow" --images data/scenes/images --features demo/features'

# One torch thread a worker: two threads each on two cores would collapse.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# What depends on the processor, once more as on one without units for bfloat16 (most laptops).
test-without-bfloat16: install
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 \
		tests/system/test_precision.py tests/vse/test_train.py tests/vse/test_model.py tests/vse/test_fusion.py tests/features \
		$(addprefix tests/scnlm/,test_lm_data.py test_lm_train.py test_generate.py test_git.py test_beam.py test_train_git.py captions)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

tables: install
	$(BIN)/python -m experiments.tables

clean:
	rm -rf .venv demo data/scenes
