#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, two at a time, seeds and regression inputs first. Usage: scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
export seconds=${1:?usage: scripts/fuzz.sh SECONDS}
export PATH=$PWD/.venv/bin:$PATH
# As libFuzzer's guide has it, -O1: most of the time here goes into compiling (https://llvm.org/docs/LibFuzzer.html).
CC=clang-16 CXX=clang++-16 cmake -S csrc -B build/fuzz -G Ninja -DOVERREAD_FUZZ=ON -DOVERREAD_SHARED=OFF -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" > /dev/null
cmake --build build/fuzz > build/fuzz/build.log 2>&1 || { tail -n 40 build/fuzz/build.log; exit 1; }

run() {
  local target=$1
  mkdir -p "build/fuzz/corpus-$target"
  timeout $((seconds + 60)) "build/fuzz/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=3000 -seed=1 -verbosity=0 \
    -artifact_prefix="build/fuzz/" "build/fuzz/corpus-$target" "fuzz/regressions/$target" > "build/fuzz/$target.log" 2>&1 ||
    { echo "fuzz target $target failed; the input lies in build/fuzz:"; tail -n 30 "build/fuzz/$target.log"; return 1; }
  echo "fuzz $target: $seconds s, $(ls "build/fuzz/corpus-$target" | wc -l) inputs kept"
}
export -f run
printf '%s\n' stream blob head content policy operation registry envoy | xargs -P 2 -I {} bash -c 'run {}'
