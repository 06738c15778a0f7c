#!/usr/bin/env bash
# `make test` and the slow suites: packages as a user gets them, the whole grids, and the soak. Takes a package registry and some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/test.sh
echo "== packages"
timeout --kill-after=10 1200 .venv/bin/python -m pytest -q -p no:cacheprovider tests/packaging
echo "== 5 GiB of clean text"
OVERREAD_CLEAN_MIB=5120 timeout --kill-after=10 240 .venv/bin/python -m pytest -q -p no:cacheprovider tests/detection -k do_not_grow
echo "== every split on AArch64"
timeout --kill-after=10 1200 bash scripts/arm.sh --full
echo "== the whole grid with AVX-512"
timeout --kill-after=10 1200 bash scripts/avx512.sh --full
echo "== every combination of nginx"
OVERREAD_NGINX_FULL=1 timeout --kill-after=10 600 .venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadfile tests/integration/test_nginx*.py
echo "== soak"
bash scripts/soak.sh 60
