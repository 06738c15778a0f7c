"""Disk image of the emulated machine: boot parameters, kernel, and an initial file system with programs and their libraries.

Usage: disk.py VMLINUZ IMAGE NAME=FILE...: FILE as /NAME; of programs the shared libraries too. Prints boot.S's symbols for as(1).
"""

import re
import struct
import subprocess
import sys
from pathlib import Path

MEMORY = 128 << 20
PARAMETERS = 0x90000  # the addresses Documentation/arch/x86/boot.rst suggests
KERNEL = 0x100000
INITRD = 96 << 20  # above what the kernel needs to unpack itself
COMMAND_LINE = 0x1000  # behind the boot parameters' page
OPTIONS = (
    "console=ttyS0,115200 loglevel=4 panic=-1 reboot=triple",  # an error ends the emulator
    "acpi=off nosmp lpj=1000000 tsc=reliable mitigations=off random.trust_cpu=on lsm=",  # nothing to wait for
    # The emulator's protection keys and compacted register areas do not add up: Linux would hide the vector registers.
    "clearcpuid=pku,xsaves,xsavec",
    # Half of the start, and nothing that programs here use.
    "cryptomgr.notests initcall_blacklist=crypto_algapi_init,load_system_certificate_list,trace_eval_init",
)


def cpio(files: list[tuple[str, int, tuple[int, int], bytes]]) -> bytes:
    """Archive of (name, mode, device number, content) in the format of Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = b""
    for inode, (name, mode, device, data) in enumerate([*files, ("TRAILER!!!", 0, (0, 0), b"")], 1):
        path = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


def libraries(program: Path) -> list[str]:
    """Paths of what the dynamic linker loads for a program, itself included."""
    if program.read_bytes()[:4] != b"\x7fELF":
        return []
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(", listed)


def file_system(pairs: list[str]) -> bytes:
    files = {name: Path(path) for name, path in (pair.split("=", 1) for pair in pairs)}
    for path in list(files.values()):
        files.update((library.lstrip("/"), Path(library)) for library in libraries(path))
    folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."} | {"dev"}
    return cpio(
        [(name, 0o040755, (0, 0), b"") for name in sorted(folders)]
        + [("dev/console", 0o020600, (5, 1), b""), ("dev/ttyS1", 0o020600, (4, 65), b"")]
        + [(name, 0o100755, (0, 0), path.read_bytes()) for name, path in files.items()]
    )


def boot_parameters(image: bytes, initrd_size: int) -> bytes:
    """The "zero page" and the command line behind it."""
    page = bytearray(COMMAND_LINE)
    end = 0x202 + image[0x201]
    page[0x1F1:end] = image[0x1F1:end]
    page[0x210] = 0xFF  # an unknown boot loader
    struct.pack_into("<II", page, 0x218, INITRD, initrd_size)
    struct.pack_into("<I", page, 0x228, PARAMETERS + COMMAND_LINE)
    usable = ((0, 0x9FC00), (KERNEL, MEMORY - KERNEL))
    page[0x1E8] = len(usable)
    for i, (start, size) in enumerate(usable):
        struct.pack_into("<QQI", page, 0x2D0 + 20 * i, start, size, 1)
    return bytes(page) + " ".join(OPTIONS).encode() + b"\0"


def padded(data: bytes, to: int = 512) -> bytes:
    return data + b"\0" * (-len(data) % to)


def main() -> None:
    vmlinuz, target, *pairs = sys.argv[1:]
    image = Path(vmlinuz).read_bytes()
    initrd = file_system(pairs)
    parts = {
        "PARAMETERS": (PARAMETERS, padded(boot_parameters(image, len(initrd)))),
        "KERNEL": (KERNEL, padded(image[(image[0x1F1] + 1) * 512 :])),
        "INITRD": (INITRD, padded(initrd)),
    }
    assert INITRD + len(initrd) < MEMORY, "the programs do not fit into the emulated memory"
    Path(target).write_bytes(padded(b"".join(data for _, data in parts.values()), 1 << 20))
    symbols = [("ROM", 0xFFFF0000)]
    for name, (address, data) in parts.items():
        symbols += [(name, address), (f"{name}_SECTORS", len(data) // 512)]
    print(*(f"--defsym {name}={value}" for name, value in symbols))


main()
