# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guest's build has to know of ELF files.

Which libraries a program needs, which modules a kernel module needs, and the
kernel inside a bzImage. The last is there because QEMU starts an ELF kernel
through its PVH entry, and so spares the guest to unpack itself under emulation.
"""

import gzip
import lzma
import re
import struct

MAGIC = b"\x7fELF"
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def segments(data):
    """Yield (type, offset, address, size) of a 64 bit little-endian ELF file."""
    start, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, start + index * size)
        yield kind, offset, address, length


def dynamic(data):
    """Yield (tag, value) of the file's dynamic section; none if it is static."""
    for kind, offset, _, length in segments(data):
        if kind != PT_DYNAMIC:
            continue
        for at in range(offset, offset + length, 16):
            tag, value = struct.unpack_from("<QQ", data, at)
            if tag == DT_NULL:
                return
            yield tag, value


def needed(data):
    """Answer the names of the libraries an ELF file asks for."""
    entries = list(dynamic(data))
    tables = [value for tag, value in entries if tag == DT_STRTAB]
    if not tables:
        return []
    table = next(offset + tables[0] - address
                 for kind, offset, address, length in segments(data)
                 if kind == PT_LOAD and address <= tables[0] < address + length)
    return [text(data, table + value) for tag, value in entries
            if tag == DT_NEEDED]


def text(data, start):
    """Answer the zero-terminated string at start."""
    return data[start:data.index(b"\0", start)].decode()


def module_needs(data):
    """Answer the names of the modules that have to be loaded before this one."""
    names = []
    for listed in re.findall(rb"\0depends=([^\0]*)\0", data):
        names += [name for name in listed.decode().split(",") if name]
    for listed in re.findall(rb"\0softdep=pre: ([^\0]*)\0", data):
        names += listed.decode().split(" post:")[0].split()
    return [name.replace("-", "_") for name in names]


def kernel(image):
    """Answer the ELF kernel inside a bzImage, or None if it is not understood.

    The place of the payload is in the boot protocol's header, see
    Documentation/arch/x86/boot.rst of Linux, setup_sects and payload_offset.
    """
    if image[0x202:0x206] != b"HdrS":
        return None
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1f1] + 1) * 512 + offset
    payload = image[start:start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        unpacked = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        unpacked = gzip.decompress(payload[:-4])
    else:
        return None
    return unpacked if unpacked.startswith(MAGIC) else None
