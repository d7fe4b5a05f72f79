PYTHON ?= python3.11
TORCH ?= torch==2.13.0
OUT ?= medllm-demo
MARK ?= not slow

.PHONY: demo test lint clean

demo: .venv/installed
	.venv/bin/medllm demo --out $(OUT) --overwrite

# A process a core, with a thread each.
test: .venv/installed lint
	OMP_NUM_THREADS=1 .venv/bin/pytest -m "$(MARK)" --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# torch comes first and by itself, so that no other package chooses its build.
.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet $(TORCH)
	.venv/bin/pip install --quiet --constraint constraints.txt --editable ".[train,eval,serve,harness,llamacpp,web,test]"
	touch $@

clean:
	rm -rf .venv $(OUT)
