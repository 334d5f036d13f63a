# Everything happens in .venv; nothing has to be activated. `make help` lists the targets.
# Settings, all optional: PYTHON (an interpreter), TORCH (a torch requirement), PYTEST_ARGS.
PY := $(or $(PYTHON),python3)

.PHONY: help demo test install doctor clean

help:
	@echo "make demo     install, train and test on generated data, track videos"
	@echo "make test     install, run the tests (PYTEST_ARGS='-m \"not slow\"' passes options on)"
	@echo "make install  .venv with pinned packages; compiles mmcv's operators once"
	@echo "make doctor   versions, operators, data sets, device: what is there, what to do"
	@echo "make clean    remove .venv (the compiled operators stay in the user cache)"

demo: install
	@.venv/bin/python tools/demo.py

test: install
	@.venv/bin/python -m lightvit_bench.leaderboard.browser
	@.venv/bin/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

install:
	@command -v $(PY) >/dev/null || { echo "InstallError: $(PY) not found:" \
	  "install Python 3.10, 3.11 or 3.12 (Debian: apt install python3 python3-venv python3-dev)," \
	  "or set PYTHON=/path/to/python." >&2; exit 2; }
	@$(PY) tools/install.py

doctor:
	@test -x .venv/bin/python || { echo "Nothing installed yet: run make install." >&2; exit 2; }
	@.venv/bin/python -m lightvit_bench.doctor

clean:
	rm -rf .venv
