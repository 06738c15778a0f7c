# Thin: every target names the script that does the work.
SHELL := /bin/bash
PYTHON := .venv/bin/python
PORT ?= 8080
MODE ?=
BLOCK_FROM ?=
HOLD ?=
UPSTREAM ?=

DESTDIR ?=

.PHONY: bench-proxies nginx nginx-install run test test-full soak bench calibrate reliability recall peers evaluate fuzz lint rules fingerprints

run:
	@bash scripts/setup.sh run
ifeq ($(UPSTREAM),)
	@exec .venv/bin/overread demo --port $(PORT) $(if $(MODE),--mode $(MODE)) $(if $(BLOCK_FROM),--block-from $(BLOCK_FROM)) $(if $(HOLD),--hold $(HOLD))
else
	@exec .venv/bin/overread proxy --upstream '$(UPSTREAM)' --port $(PORT) $(if $(MODE),--mode $(MODE)) $(if $(BLOCK_FROM),--block-from $(BLOCK_FROM)) $(if $(HOLD),--hold $(HOLD))
endif

test:
	@bash scripts/test.sh

test-full:
	@bash scripts/test_full.sh

soak:
	@bash scripts/setup.sh test
	@bash scripts/soak.sh $(or $(SECONDS),60)

# What the filter costs inside nginx and Envoy, beside both without it, and nginx with ModSecurity; docs/performance.md.
bench-proxies:
	@bash scripts/setup.sh proxies
	@bash scripts/nginx.sh
	$(PYTHON) -m benchmarks.proxies
	$(PYTHON) -m benchmarks.proxies.envoy
	$(PYTHON) -m benchmarks.report

# The C ABI and the Python calls beside their peers, and what a registry costs; redraws the tables and plots of docs/performance.md and
# docs/foreign-secrets.md.
bench:
	@bash scripts/setup.sh bench
	$(PYTHON) -m benchmarks.native
	$(PYTHON) -m benchmarks.calls
	$(PYTHON) -m benchmarks.registry
	$(PYTHON) -m benchmarks.report
	$(PYTHON) -m pytest benchmarks -q --benchmark-timer=time.thread_time --benchmark-max-time=0.1 --benchmark-json=.cache/bench/pytest.json

calibrate:
	@bash scripts/setup.sh test
	$(PYTHON) -m calibration.calibrate $(if $(LIMIT),--limit $(LIMIT))
	@$(MAKE) --no-print-directory rules

# The law on packages that no weight was counted on; redraws the table and the plot of docs/detection.md.
reliability:
	@bash scripts/setup.sh test
	$(PYTHON) -m calibration.reliability

# Recall on windows freshly cut from the memory of nginx, Apache, Squid and HAProxy.
recall:
	@bash scripts/setup.sh leaks
	$(PYTHON) -m calibration.leaks.recall $(if $(SEED),--seed $(SEED))

# overread beside ModSecurity with the CRS, detect-secrets, YARA-X and plain expressions, on the same windows and bodies.
peers:
	@bash scripts/setup.sh peers
	$(PYTHON) -m benchmarks.peers

evaluate:
	@bash scripts/setup.sh test
	@test -n "$(CORPUS)" || { echo "name the corpus: make evaluate CORPUS=path"; exit 2; }
	$(PYTHON) $(CORPUS)/evaluate.py $(CORPUS)/adapters/overread_adapter.py --dev $(CORPUS)

fuzz:
	@bash scripts/setup.sh test
	@bash scripts/fuzz.sh $(or $(SECONDS_EACH),600)

# The nginx module, build/nginx/ngx_http_overread_module.so; docs/nginx.md says how to load it.
nginx:
	@bash scripts/nginx.sh

nginx-install:
	@DESTDIR='$(DESTDIR)' bash scripts/nginx.sh install

lint:
	@bash scripts/lint.sh

# The embedded default: compiled from the packs and the calibration, committed, checked by the tests.
rules:
	$(PYTHON) scripts/embed_rules.py

# Where in each anchor the kernel looks: chosen on text sampled from packages, then part of the blob.
fingerprints:
	@bash scripts/setup.sh test
	$(PYTHON) -m calibration.fingerprints
	@$(MAKE) --no-print-directory rules
