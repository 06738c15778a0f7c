#!/usr/bin/env bash
# Everything `make test` proves, suite by suite, with seconds each. A suite that cannot run fails.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
passed=0 failed=0
declare -a times

# timeout makes a process group of its own, so that nothing a suite starts outlives it.
limited() { timeout --kill-after=10 "$@"; }

ended() {
  local name=$1 status=$2 seconds=$3
  if [[ $status == 0 ]]; then
    passed=$((passed + 1))
    times+=("$(printf '%-12s %4d s' "$name" "$seconds")")
  else
    failed=$((failed + 1))
    times+=("$(printf '%-12s %4d s  FAILED' "$name" "$seconds")")
  fi
  return "$status"
}

suite() {
  local name=$1 started=$SECONDS status=0
  shift
  echo "== $name"
  limited "$@" || status=$?
  ended "$name" $status $((SECONDS - started))
}

# A suite beside others; `joined` waits for it and shows its output.
declare -A pids
start() {
  local name=$1
  shift
  mkdir -p build
  {
    SECONDS=0 status=0
    limited "$@" > "build/$name.log" 2>&1 || status=$?
    echo $SECONDS > "build/$name.seconds"
    exit $status
  } &
  pids[$name]=$!
}

joined() {
  local name=$1 status=0
  wait "${pids[$name]}" || status=$?
  echo "== $name"
  cat "build/$name.log"
  ended "$name" $status "$(< "build/$name.seconds")"
}

suite build 400 bash scripts/setup.sh test
suite lint 120 bash scripts/lint.sh
suite native 240 bash -c 'cmake -S csrc -B build/native -G Ninja -DOVERREAD_TESTS=ON -DCMAKE_INSTALL_PREFIX=build/native/installed > /dev/null &&
  cmake --build build/native > build/native/build.log 2>&1 && cmake --install build/native > /dev/null && ctest --test-dir build/native -j 2 --output-on-failure && bash scripts/check_install.sh &&
  python -m pytest -q -p no:cacheprovider tests/native; s=$?; tail -n 20 build/native/build.log | grep -i error; exit $s'
emulated=""
# Either emulator keeps one core busy.
start arm 300 bash scripts/arm.sh
start avx512 300 bash scripts/avx512.sh
joined arm && emulated+=" neon (qemu)"
joined avx512 && emulated+=" avx512vbmi avx512 (bochs)"
suite python 300 .venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist worksteal tests/unit tests/detection
suite sanitizers 400 bash -c 'cmake -S csrc -B build/sanitize -G Ninja -DOVERREAD_TESTS=ON -DOVERREAD_SANITIZE=ON -DOVERREAD_SHARED=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 > /dev/null &&
  cmake --build build/sanitize > build/sanitize/build.log 2>&1 && ctest --test-dir build/sanitize -j 2 --output-on-failure'
suite fuzz 300 bash scripts/fuzz.sh 6
suite proxies 700 .venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadfile tests/integration

echo
printf '%s\n' "${times[@]}"
echo "kernels run: $(.venv/bin/python -c 'import overread; print(*overread.kernels())')"
lacks=$(for pair in avx512vbmi:avx512vbmi avx512:avx512bw avx2:avx2 sse42:sse4_2; do grep -qw "${pair#*:}" /proc/cpuinfo || printf ' %s' "${pair%:*}"; done)
echo "kernels this CPU lacks:$lacks neon"
echo "kernels run under emulation:${emulated:- none}"
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
