# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts the programs under test, watches them and ends them. A program ends
with status 0 on SIGTERM and without a word of a sanitizer, or its test fails.
VSCARD_SAN_BUILD and VSCARD_BUILD name other build folders than the two of
`make check`."""

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# For errors that only a sanitizer sees.
SAN = pathlib.Path(os.environ.get("VSCARD_SAN_BUILD", ROOT / "build/san-address-undefined"))
# For measuring: a sanitizer keeps freed memory.
NORMAL = pathlib.Path(os.environ.get("VSCARD_BUILD", ROOT / "build"))

# How long a program may take to serve, and to end.
START_LIMIT = 20
END_LIMIT = 20
# What a sanitizer or GLib says of a defect of ours.
DEFECTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
           "UndefinedBehaviorSanitizer", "CRITICAL", "assertion failed")


def environment(**more):
    env = dict(os.environ, G_DEBUG="fatal-criticals")
    env.setdefault("ASAN_OPTIONS", "abort_on_error=0:detect_leaks=1:quarantine_size_mb=8")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.update(more)
    return env


class Folder:
    """A temporary folder for sockets and files, short enough for both."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="vscard-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def defects(text):
    """The lines of a log that say a program is broken."""
    return [line for line in text.splitlines() if any(word in line for word in DEFECTS)]


def run(program, *args, build=SAN, limit=60, **env):
    """Runs a program to its end; answers (status, stdout, stderr)."""
    done = subprocess.run([str(build / program), *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=limit, env=environment(**env))
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode < 0 or defects(err):
        raise AssertionError(f"{program} {' '.join(args)}: status {done.returncode}\n{err}")
    return done.returncode, out, err


class Program:
    """A program at work; stdout and stderr go to a file each."""

    def __init__(self, program, *args, build=SAN, stdin=subprocess.DEVNULL, **env):
        self.folder = Folder()
        self.err_path = self.folder / "stderr"
        self.out_path = self.folder / "stdout"
        with open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen([str(build / program), *args], stdin=stdin,
                                            stdout=out, stderr=err, env=environment(**env))
        self.name = program
        # A test that fails on its way to end() leaves nothing behind either.
        atexit.register(self.kill)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.end()
        else:
            self.kill()

    @property
    def pid(self):
        return self.process.pid

    def errors(self):
        """What it said on stderr so far."""
        return pathlib.Path(self.err_path).read_text(errors="replace")

    def output(self):
        return pathlib.Path(self.out_path).read_text(errors="replace")

    def check_alive(self):
        status = self.process.poll()
        if status is not None:
            raise AssertionError(f"{self.name} ended with status {status}:\n{self.errors()}")

    def wait_said(self, words, limit=START_LIMIT):
        """Waits until it has said something on stderr."""
        deadline = time.monotonic() + limit
        while words not in self.errors():
            self.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} never said '{words}', but:\n{self.errors()}")
            time.sleep(0.02)

    def say(self, text):
        """Writes to its standard input, which is a pipe."""
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait(self, limit=END_LIMIT):
        """Waits for its own end; answers the exit status."""
        return self.process.wait(limit)

    def end(self, sig=signal.SIGTERM):
        """Ends it by `sig` and asserts that it goes in order."""
        try:
            self.check_alive()
            self.process.send_signal(sig)
            status = self.wait()
            errors = self.errors()
            if status != 0 or defects(errors):
                raise AssertionError(f"{self.name} ended with status {status}:\n{errors}")
            return errors
        finally:
            self.kill()

    def kill(self):
        """Ends it without asking; for what has failed already."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.remove()
        atexit.unregister(self.kill)

    # ---- Measures ----

    def private_kib(self):
        """The memory it has written to, in KiB. Clean pages are the libraries',
        and count as private whenever no other process happens to use them."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:
            return sum(int(line.split()[1]) for line in rollup
                       if line.startswith("Private_Dirty:"))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Appliance(Program):
    """A vscardd with readers on UNIX sockets of its own: usbN for a usbredir
    host, cardN for a VSCard client."""

    def __init__(self, readers=1, extra=(), build=SAN, ccid="", **env):
        """`ccid`: more keys of each usb-ccid, such as ",slots=2"."""
        self.places = Folder()
        self.ccid = ccid
        args = [word for n in range(readers) for word in self.reader_args(n)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(self.places / "notify")
            super().__init__("vscardd", *args, *extra, build=build,
                             NOTIFY_SOCKET=self.places / "notify", **env)
            try:
                self.wait_ready(ready)
            except BaseException:
                self.kill()
                raise

    def wait_ready(self, ready, limit=START_LIMIT):
        """Returns once vscardd has said, as to a service manager, that it
        serves; fails once it has ended."""
        ready.settimeout(0.2)
        for _ in range(int(limit / 0.2)):
            try:
                if ready.recv(100) == b"READY=1":
                    return
            except socket.timeout:
                self.check_alive()
        raise AssertionError(f"vscardd does not serve after {limit} s:\n{self.errors()}")

    def reader_args(self, n):
        return ["-chardev", f"socket,id=usb{n},path={self.usb(n)},server=on,wait=off",
                "-device", f"usbredir,id=bus{n},chardev=usb{n}",
                "-device", f"usb-ccid,id=ccid{n},bus=bus{n}.0{self.ccid}",
                "-chardev", f"socket,id=card{n},path={self.card(n)},server=on,wait=off",
                "-device", f"ccid-card-passthru,chardev=card{n},bus=ccid{n}.0"]

    def usb(self, n=0):
        """Where reader n's usbredir host connects."""
        return self.places / f"usb{n}"

    def card(self, n=0):
        """Where reader n's VSCard client connects."""
        return self.places / f"card{n}"

    def kill(self):
        super().kill()
        self.places.remove()
