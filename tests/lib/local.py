# SPDX-License-Identifier: LGPL-2.1-or-later
"""This machine in a guest's place: the scripts that prove a card in a guest
(tests/guest/opensc.py) run here, with a pcscd of the test's own. Files of /tmp
are in a folder of its own, and the guest's tools are on the path."""

import os
import pathlib
import select
import subprocess
import time
from typing import NamedTuple

from programs import NORMAL, Folder, environment


class Result(NamedTuple):
    status: int
    text: str


class Spawned:
    """A command under way, whose output is read as it comes."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        self.output = b""

    def read_until(self, words, timeout=60):
        deadline = time.monotonic() + timeout
        while words.encode() not in self.output:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"it did not say '{words}', but: {self.output.decode()}")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise AssertionError(f"it never said '{words}', but: {self.output.decode()}")
            self.output += data

    @property
    def running(self):
        return self.process.poll() is None

    def wait(self, timeout=60):
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return Result(self.process.returncode, (self.output + rest).decode(errors="replace"))


class Local:
    """Runs commands as clients of the pcscd of a pcscrig.Rig."""

    def __init__(self, rig):
        self.folder = Folder()
        self.env = environment(PATH=f"{NORMAL / 'tests/guest'}:{os.environ['PATH']}", **rig.env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.remove()

    def here(self, command):
        return command.replace("/tmp/", self.folder / "")

    def spawn(self, command):
        return Spawned(self.here(command), self.env)

    def run(self, command, timeout=60, check=False):
        done = self.spawn(command).wait(timeout)
        if check and done.status != 0:
            raise AssertionError(f"{command}: status {done.status}\n{done.text}")
        return done

    def put(self, path, data):
        pathlib.Path(self.here(path)).write_bytes(data)

    def get(self, path):
        return pathlib.Path(self.here(path)).read_bytes()
