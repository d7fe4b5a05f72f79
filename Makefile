PYTHON ?= python3.11
TORCH ?= torch==2.13.0
OUT ?= medllm-demo
MARK ?= not slow
LIBRARIES = transformers|trl|peft|accelerate|datasets|huggingface_hub
EXTRAS = train,eval,serve,web,xlsx,test
# constraints.txt without what constraints-oldest.txt names.
OTHERS = grep -vE "^($$(sed -n 's/==.*//p' constraints-oldest.txt | paste -sd'|'))==" constraints.txt

.PHONY: demo test test-oldest test-newest lint clean

demo: .venv/installed
	.venv/bin/medllm demo --out $(OUT) --overwrite

# A process a core, with a thread each.
test: .venv/installed lint
	OMP_NUM_THREADS=1 .venv/bin/pytest -m "$(MARK)" --numprocesses auto --dist loadfile --no-loadscope-reorder

# The two ends of the range that setup.cfg names, for the tests of what touches these libraries.
test-oldest test-newest: test-%: .venv-%/installed
	.venv-$*/bin/pip list 2>/dev/null | grep -E "^($(LIBRARIES)) "
	OMP_NUM_THREADS=1 .venv-$*/bin/pytest @tests/libraries.txt -m "$(MARK)" --numprocesses auto --dist loadfile

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# torch comes first and by itself, so that no other package chooses its build.
.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet $(TORCH)
	.venv/bin/pip install --quiet --constraint constraints.txt --editable ".[train,eval,serve,harness,llamacpp,web,xlsx,test]"
	touch $@

.venv-oldest/installed: setup.cfg constraints.txt constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet $(TORCH)
	($(OTHERS); cat constraints-oldest.txt) > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --constraint .venv-oldest/constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

# What is newest today, outside of the range too, which pip then says.
.venv-newest/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet $(TORCH)
	$(OTHERS) > .venv-newest/constraints.txt
	.venv-newest/bin/pip install --quiet --constraint .venv-newest/constraints.txt --editable ".[$(EXTRAS)]"
	.venv-newest/bin/pip install --quiet --upgrade $(subst |, ,$(LIBRARIES))
	touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest $(OUT)
