# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's root file system, from unpacked packages to a cpio archive.

Takes the wanted files, the libraries and kernel modules they need, our own
programs and the scripts below root/, and writes them in the format that the
kernel unpacks. No root rights are needed: owners and the one device node exist
only in the archive.
"""

import os
import pathlib
import shutil
import stat
import subprocess

import elf
from packages import BuildError

LIBRARY_FOLDERS = ["usr/lib/x86_64-linux-gnu", "usr/lib"]
LOADER = "ld-linux-x86-64.so.2"
TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
}
EMPTY_FOLDERS = ["dev", "proc", "root", "run", "sys", "tmp", "var"]
LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "/run",
    "init": "usr/bin/busybox",
    f"usr/lib64/{LOADER}": f"../lib/x86_64-linux-gnu/{LOADER}",
}


def copy(source, target):
    """Copy a file or a symbolic link as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target, follow_symlinks=False)


def add_files(stage, tree, names):
    """Copy the named files and folders from the packages into the tree."""
    for name in names:
        source = stage / name
        if name.endswith("/") and source.is_dir():
            shutil.copytree(source, tree / name, symlinks=True)
        elif source.is_symlink() or source.is_file():
            copy(source, tree / name)
        else:
            raise BuildError(f"{name}: in none of the packages; has it moved? "
                             "See contents.py")


def elf_files(tree):
    """Yield the content of each ELF file in the tree."""
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if data.startswith(elf.MAGIC):
                yield data


def library(stage, name):
    """Answer the path of the library called name."""
    for folder in LIBRARY_FOLDERS:
        path = stage / folder / name
        if path.exists():
            return path.resolve()
    raise BuildError(f"library {name}: in none of the packages; name its "
                     "package in contents.py")


def add_libraries(stage, tree, opened):
    """Copy each library that the tree's ELF files need, and what those need."""
    queue = [LOADER, *opened]
    for data in elf_files(tree):
        queue += elf.needed(data)
    found = set()
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        path = library(stage, name)
        shutil.copy(path, tree / LIBRARY_FOLDERS[0] / name)
        queue += elf.needed(path.read_bytes())


class Modules:
    """The kernel modules below stage, and those of them put into tree."""

    def __init__(self, stage, tree):
        self.release, = os.listdir(stage / "usr/lib/modules")
        self.source = stage / "usr/lib/modules" / self.release
        self.target = tree / "usr/lib/modules" / self.release
        self.where = {self.name(path): path
                      for path in self.source.rglob("*.ko")}
        listed = (self.source / "modules.builtin").read_text().split()
        self.builtin = {self.name(pathlib.Path(path)) for path in listed}
        self.below = {}

    @staticmethod
    def name(path):
        """Answer a module's name as the kernel spells it."""
        return path.stem.replace("-", "_")

    def add(self, name):
        """Put in a module and what it needs; answer all these, it last."""
        name = name.replace("-", "_")
        if name in self.builtin:
            return []
        if name not in self.where:
            raise BuildError(f"kernel module {name}: not in {self.release}; "
                             "see contents.py")
        if name not in self.below:
            path = self.where[name]
            copy(path, self.target / path.relative_to(self.source))
            needs = [one for need in elf.module_needs(path.read_bytes())
                     for one in self.add(need)]
            self.below[name] = list(dict.fromkeys(needs))
        return [*self.below[name], name]

    def write_list(self):
        """Write modprobe's list: each module, and what it needs, nearest first."""
        lines = []
        for name in sorted(self.below):
            paths = [str(self.where[one].relative_to(self.source))
                     for one in [name, *reversed(self.below[name])]]
            lines.append(f"{paths[0]}: {' '.join(paths[1:])}\n")
        (self.target / "modules.dep").write_text("".join(lines))


def add_applets(tree):
    """Link busybox's commands to it, where the guest has no program of its own."""
    busybox = tree / "usr/bin/busybox"
    listed = subprocess.run([busybox, "--list-full"], stdout=subprocess.PIPE,
                            text=True, check=True).stdout
    for name in listed.split():
        folder = "usr/sbin" if "sbin/" in name else "usr/bin"
        base = os.path.basename(name)
        taken = [tree / place / base for place in ("usr/bin", "usr/sbin")]
        if not any(os.path.lexists(path) for path in taken):
            (tree / folder).mkdir(parents=True, exist_ok=True)
            (tree / folder / base).symlink_to("/usr/bin/busybox")


def add_frame(tree):
    """Make what every root file system has: folders, links, the one user."""
    for name, text in TEXTS.items():
        (tree / name).write_text(text)
    for name in EMPTY_FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(target)


class Archive:
    """Writes a cpio archive of the kind the kernel calls newc.

    See Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
    """

    def __init__(self, file):
        self.file = file
        self.count = 0

    def entry(self, name, mode, data=b"", device=(0, 0)):
        """Write one file; the owner is root and the time is zero."""
        self.count += 1
        path = name.encode() + b"\0"
        fields = [self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device,
                  len(path), 0]
        header = b"070701" + "".join(f"{field:08X}" for field in fields).encode()
        self.padded(header + path)
        self.padded(data)

    def padded(self, data):
        """Write data and zeros up to a multiple of four."""
        self.file.write(data + bytes(-len(data) % 4))


def write(trees, path):
    """Write the folders, which have no file in common, as one initramfs to path."""
    with open(path, "wb") as file:
        archive = Archive(file)
        for tree in trees:
            add_tree(archive, pathlib.Path(tree))
        archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        archive.entry("TRAILER!!!", 0)


def add_tree(archive, tree):
    """Write all that is in the folder tree to the archive."""
    for item in sorted(tree.rglob("*")):
        name = str(item.relative_to(tree))
        if item.is_symlink():
            archive.entry(name, stat.S_IFLNK | 0o777, os.readlink(item).encode())
        elif item.is_dir():
            archive.entry(name, stat.S_IFDIR | 0o755)
        else:
            mode = 0o755 if item.stat().st_mode & 0o100 else 0o644
            archive.entry(name, stat.S_IFREG | mode, item.read_bytes())
