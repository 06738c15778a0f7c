#!/usr/bin/env bash
# Style and types: ruff, mypy --strict on the public API, clang-format.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/ruff check src tests calibration scripts benchmarks demo
.venv/bin/ruff format --check src tests calibration scripts benchmarks demo
.venv/bin/mypy --strict src/overread
mapfile -t sources < <(git ls-files 'csrc/*.cpp' 'csrc/*.h' 'tests/native/*' 'tests/emulated/*' 'benchmarks/native/*' 'benchmarks/registry/*' 'fuzz/*.cpp' 'envoy/*.cpp' 'envoy/*.h' 'nginx/*.c' 'demo/*.c' 'src/overread/*.cpp' 'src/overread/*.h' | grep -E '\.(c|cpp|h)$' | grep -v default_blob.cpp)
.venv/bin/clang-format --dry-run --Werror "${sources[@]}"
