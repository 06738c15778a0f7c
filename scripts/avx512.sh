#!/usr/bin/env bash
# The AVX-512 kernels under an emulator that runs their very instructions (Bochs, with Linux inside): the native suite's own
# binaries, and the same verdict, byte for byte, on a leaking and a clean page. Usage: scripts/avx512.sh [--full], after the
# native suite.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
folder=build/avx512
mkdir -p $folder
python scripts/leaking_page.py $folder
gcc -O2 -Wall -Wextra tests/emulated/init.c -o $folder/init
{
  if [[ ${1:-} == --full ]]; then echo "/test_kernels avx512vbmi avx512"; else echo "/test_kernels --short avx512vbmi avx512"; fi
  for kernel in avx512vbmi avx512; do
    for page in leak clean; do echo "OVERREAD_KERNEL=$kernel /scan_file /$page.html"; done
  done
} > $folder/commands
symbols=$(python tests/emulated/disk.py .cache/linux/vmlinuz $folder/disk.img init=$folder/init commands=$folder/commands \
  test_kernels=build/native/tests/test_kernels scan_file=build/native/tests/scan_file leak.html=$folder/leak.html clean.html=$folder/clean.html)
# shellcheck disable=SC2086
as --32 $symbols tests/emulated/boot.S -o $folder/boot.o
ld -m elf_i386 --oformat binary -Ttext 0 -e 0 $folder/boot.o -o $folder/boot.rom
rm -f $folder/*.txt $folder/disk.img.lock
# Debian's build waits in its debugger for a "c" and draws on a terminal; its exit code is 1 whatever happened.
(cd $folder && TERM=vt100 bochs -q -f ../../tests/emulated/bochsrc <<< c > bochs.txt 2>&1) || true
if ! grep -q 'shutdown requested' $folder/bochs.txt || ! grep -qx '= 0' <(sed '/^= /q' $folder/output.txt); then
  tail -n 20 $folder/bochs.txt $folder/console.txt
  sed '/^= /q' $folder/output.txt
  exit 1
fi
sed -n '2,/^= /p' $folder/output.txt | grep -v '^= '

# What scan_file printed there, and here.
sed '1,/^= /d' $folder/output.txt > $folder/emulated.txt
for kernel in avx512vbmi avx512; do
  for page in leak clean; do
    echo "\$ OVERREAD_KERNEL=$kernel /scan_file /$page.html"
    OVERREAD_KERNEL=scalar build/native/tests/scan_file $folder/$page.html && code=0 || code=$?
    [[ $code == $([[ $page == leak ]] && echo 1 || echo 0) ]] || { echo "scan_file ended with $code for the $page page" >&2; exit 1; }
    echo "= $code"
  done
done > $folder/native.txt
cmp $folder/native.txt $folder/emulated.txt
echo "a leak found with AVX-512 as without: $(sed -n 2p $folder/emulated.txt)"
