# Two commands do everything on a machine with Python alone: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin

.PHONY: demo test check clean

demo: $(VENV)/.demo
	$(RUN)/python examples/make_pictures.py demo/pictures
	test -f demo/run.yaml || $(RUN)/wan22lora init --preset style --images demo/pictures --name demo \
		--trigger paperworld -o demo/run.yaml
	$(RUN)/wan22lora train demo/run.yaml --rehearse

test: $(VENV)/.test
	$(RUN)/python -m pytest -n 4 --dist worksteal

check: $(VENV)/.test
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo
