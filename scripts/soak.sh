#!/usr/bin/env bash
# The scanner and the real proxies under load for so many seconds each, then every cell of docs/compatibility.md.
# Usage: scripts/soak.sh SECONDS, after scripts/setup.sh test
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/soak.sh SECONDS}
limited() { timeout --kill-after=10 "$@"; }
limited $((seconds + 180)) .venv/bin/python scripts/soak.py "$seconds"
for proxy in nginx envoy; do limited $((seconds + 180)) .venv/bin/python -m tests.integration.soak $proxy "$seconds"; done
OVERREAD_NGINX_FULL=1 limited 600 .venv/bin/python -m pytest -q -p no:cacheprovider -n 2 tests/integration/test_compatibility.py
