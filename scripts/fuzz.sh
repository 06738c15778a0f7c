#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, seeds and regression inputs first. Usage: scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS}
export PATH=$PWD/.venv/bin:$PATH
CC=clang-16 CXX=clang++-16 cmake -S csrc -B build/fuzz -G Ninja -DOVERREAD_FUZZ=ON -DOVERREAD_SHARED=OFF > /dev/null
cmake --build build/fuzz > build/fuzz/build.log 2>&1 || { tail -n 40 build/fuzz/build.log; exit 1; }
for target in stream blob head content policy operation envoy; do
  mkdir -p "build/fuzz/corpus-$target"
  timeout $((seconds + 60)) "build/fuzz/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=3000 -seed=1 -verbosity=0 \
    -artifact_prefix="build/fuzz/" "build/fuzz/corpus-$target" "fuzz/regressions/$target" > "build/fuzz/$target.log" 2>&1 ||
    { echo "fuzz target $target failed; the input lies in build/fuzz:"; tail -n 30 "build/fuzz/$target.log"; exit 1; }
  echo "fuzz $target: $seconds s, $(ls "build/fuzz/corpus-$target" | wc -l) inputs kept"
done
