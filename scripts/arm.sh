#!/usr/bin/env bash
# The core for AArch64, cross-compiled and run under qemu: kernels and streams as on x86-64, and the same verdict, byte for
# byte, on a leaking and a clean page. Usage: scripts/arm.sh [--full], after the native suite.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
cmake -S csrc -B build/arm -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static -DOVERREAD_SHARED=OFF -DOVERREAD_TESTS=ON > /dev/null
cmake --build build/arm > build/arm/build.log 2>&1 || { tail -n 30 build/arm/build.log; exit 1; }
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
"$qemu" build/arm/tests/test_kernels | tail -n 1
if [[ ${1:-} == --full ]]; then "$qemu" build/arm/tests/test_streams | tail -n 2; else "$qemu" build/arm/tests/test_streams --short | tail -n 2; fi

python scripts/leaking_page.py build/arm
for page in leak clean; do
  for side in native arm; do
    run=(build/$side/tests/scan_file)
    [[ $side == arm ]] && run=("$qemu" "${run[@]}")
    "${run[@]}" build/arm/$page.html > build/arm/$page.$side && code=0 || code=$?
    [[ $code == $([[ $page == leak ]] && echo 1 || echo 0) ]] || { echo "scan_file on $side ended with $code for the $page page"; exit 1; }
  done
  cmp build/arm/$page.native build/arm/$page.arm
done
echo "a leak found on AArch64 as on x86-64: $(head -n 1 build/arm/leak.arm)"
