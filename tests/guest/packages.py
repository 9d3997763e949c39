# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian packages as a source of files.

Finds through apt which packages are needed, downloads them without installing
anything, and unpacks the wanted files. The host's own libraries stay out of it,
so that the guest is the same wherever it is built.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile

MERGED = re.compile(r"(bin|sbin|lib|lib64)(/|$)")
RELATIONS = re.compile(r"^ [ |](?:Pre)?Depends: ([^<\s]+)$")


class BuildError(Exception):
    """Something the host lacks; the text says what, and what to do."""


def run(command, **options):
    """Run a host command and answer its output; its failure is a BuildError."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, **options)
    except FileNotFoundError:
        raise BuildError(f"{command[0]}: not found on this host") from None
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: status {done.returncode}\n"
                         f"{done.stderr.strip()}")
    return done.stdout


def depends(names):
    """Answer {package: [packages it depends on]} for the packages and all below.

    Virtual packages are left out; of alternatives all are named.
    """
    text = run(["apt-cache", "depends", "--recurse", "--no-recommends",
                "--no-suggests", "--no-conflicts", "--no-breaks",
                "--no-replaces", "--no-enhances", *names],
               env={**os.environ, "LC_ALL": "C"})
    graph, current = {}, None
    for line in text.splitlines():
        if not line.startswith(" "):
            current = graph.setdefault(line.strip(), [])
        elif match := RELATIONS.match(line):
            current.append(match.group(1).split(":")[0])
    missing = [name for name in names if name not in graph]
    if missing:
        raise BuildError(f"apt knows no package {' '.join(missing)}: run "
                         "'apt-get update'; the guest needs Debian 12, amd64")
    return graph


def with_libraries(names):
    """Answer the packages and every library package below them, sorted."""
    graph = depends(names)
    found, queue = set(names), list(names)
    while queue:
        for name in graph.get(queue.pop(), []):
            if name.startswith("lib") and name not in found:
                found.add(name)
                queue.append(name)
    return sorted(found)


def kernel_image(meta):
    """Answer the package that holds the kernel the meta package stands for."""
    images = [name for name in depends([meta])[meta]
              if name.startswith("linux-image-")]
    if len(images) != 1:
        raise BuildError(f"{meta} should depend on one kernel image, "
                         f"not on {images or 'none'}")
    return images[0]


def wanted_files(names):
    """Answer {package: file name of its candidate}, as apt would download it."""
    text = run(["apt-get", "--print-uris", "download", *names])
    files = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1].endswith(".deb"):
            files[fields[1].split("_")[0]] = fields[1]
    missing = sorted(set(names) - set(files))
    if missing:
        raise BuildError(f"apt offers no download of {' '.join(missing)}")
    return files


def download(names, folder):
    """Bring the packages to folder, unless there already; answer {name: path}.

    apt checks what it downloads against its signed lists; a file gets its
    final name only after that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = wanted_files(names)
    lacking = [name for name in names if not (folder / files[name]).exists()]
    if lacking:
        part = folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root",
             "download", *lacking], cwd=part)
        for name in lacking:
            os.replace(part / files[name], folder / files[name])
        part.rmdir()
    return {name: folder / files[name] for name in names}


def unpack(package, target, wanted=None):
    """Unpack a package's files below target; wanted(name) may refuse some.

    Only files, folders and symbolic links: the guest needs no device nodes or
    owners, so this works for any user.
    """
    target = pathlib.Path(target)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)],
                          stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name and (wanted is None or wanted(name)):
                    put(archive, member, target / merged(name))
        process.stdout.read()
    if process.returncode != 0:
        raise BuildError(f"{package}: dpkg-deb cannot unpack it; remove it "
                         "and build again")


def merged(name):
    """Answer where a file lies once /bin, /sbin and /lib are links below /usr."""
    return f"usr/{name}" if MERGED.match(name) else name


def put(archive, member, path):
    """Write one member of a package's archive to path."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
    elif member.isfile():
        with archive.extractfile(member) as source, open(path, "wb") as file:
            shutil.copyfileobj(source, file)
        path.chmod(member.mode & 0o777)
