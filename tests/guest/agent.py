# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's side of the agent in the guest; agent.c is the other one.

Runs shell commands in the guest over one stream of frames, many at a time. A
thread reads what comes; whoever waits for it sleeps on a condition.
"""

import dataclasses
import itertools
import re
import signal
import socket
import struct
import threading
import time

HEADER = struct.Struct(">cII")
NUMBER = struct.Struct(">i")
CONTENT_MAX = 65536     # as in agent.c
INPUT_MAX = 65536       # as in agent.c
SEND_SECONDS = 60       # a guest that takes no byte for so long is stuck


class GuestError(Exception):
    """The guest, or QEMU, did not do what it should."""


class GuestTimeout(GuestError):
    """Something in the guest took longer than it may."""


@dataclasses.dataclass
class Result:
    """What a command did: its status and its output, errors included.

    The status is minus the signal's number if a signal ended the command.
    """

    status: int
    output: bytes

    @property
    def text(self):
        """The output as a string."""
        return self.output.decode(errors="replace")


class Process:
    """A command that runs in the guest. Made by Agent.spawn."""

    def __init__(self, agent, number, command):
        self.command = command
        self._agent = agent
        self._number = number
        self._changed = threading.Condition()
        self._output = bytearray()
        self._seen = 0          # how much read_until has passed on
        self._on_the_way = 0    # input sent and not yet taken
        self._status = None
        self._error = None

    def _frame(self, kind, content):
        """Take a frame of the agent's that is about this command."""
        with self._changed:
            if kind == b"O":
                self._output += content
            elif kind == b"A":
                self._on_the_way -= NUMBER.unpack(content)[0]
            elif kind == b"X":
                self._status = NUMBER.unpack(content)[0]
            else:
                self._error = content.decode(errors="replace")
            self._changed.notify_all()

    def _until(self, condition, timeout, what):
        """Wait, with the lock held, until condition() or an error."""
        done = self._changed.wait_for(lambda: condition() or self._error,
                                      timeout)
        if self._error and not condition():
            raise GuestError(f"{self.command}: {self._error}")
        if not done:
            raise GuestTimeout(f"{self.command}: no {what} in {timeout} s; "
                               f"output so far:\n{self._text()}")

    def _text(self):
        return self._output.decode(errors="replace")

    @property
    def output(self):
        """All output so far."""
        with self._changed:
            return bytes(self._output)

    @property
    def running(self):
        """Whether the command has not ended yet."""
        with self._changed:
            return self._status is None and self._error is None

    def write(self, data, timeout=60):
        """Give the command input; waits while it takes none.

        What comes after the command's end is dropped.
        """
        view = memoryview(data)
        while view:
            with self._changed:
                self._until(lambda: self._on_the_way < INPUT_MAX or
                            self._status is not None, timeout, "room for input")
                if self._status is not None:
                    return
                size = min(len(view), INPUT_MAX - self._on_the_way, CONTENT_MAX)
                self._on_the_way += size
            self._agent.send(b"I", self._number, bytes(view[:size]))
            view = view[size:]

    def close_input(self):
        """End the command's input."""
        self._agent.send(b"I", self._number)

    def kill(self, number=signal.SIGKILL):
        """Send a signal to the command and to all that it started."""
        self._agent.send(b"K", self._number, bytes([number]))

    def read_until(self, pattern, timeout=60):
        """Wait until new output matches the regular expression pattern.

        Answers the match; the next call looks behind it. An end of the command
        before that is a GuestError.
        """
        regex = re.compile(pattern.encode() if isinstance(pattern, str)
                           else pattern)
        with self._changed:
            def match():
                return regex.search(self._output, self._seen)

            self._until(lambda: match() or self._status is not None, timeout,
                        f"output that matches {pattern!r}")
            found = match()
            if not found:
                raise GuestError(f"{self.command}: ended with {self._status} "
                                 f"before {pattern!r}:\n{self._text()}")
            self._seen = found.end()
            return regex.search(bytes(found[0]))

    def chunks(self, timeout=60):
        """Yield output as it comes, from the first to the command's end."""
        end, done = time.monotonic() + timeout, False
        while not done:
            with self._changed:
                self._until(lambda: self._status is not None or
                            len(self._output) > self._seen,
                            max(0, end - time.monotonic()), "end")
                done = self._status is not None
                chunk = bytes(self._output[self._seen:])
                self._seen += len(chunk)
            if chunk:
                yield chunk

    def wait(self, timeout=60):
        """Wait for the command's end; answers its Result."""
        with self._changed:
            self._until(lambda: self._status is not None, timeout, "end")
            return Result(self._status, bytes(self._output))


class Agent:
    """Talks to the agent over sock, which it then owns."""

    def __init__(self, sock):
        # Only sending has a time limit, which a socket object cannot have.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                        struct.pack("ll", SEND_SECONDS, 0))
        self._sock = sock
        self._numbers = itertools.count(1)
        self._processes = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ready = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        """Take frames until the guest hangs up."""
        try:
            with self._sock.makefile("rb") as stream:
                while len(header := stream.read(HEADER.size)) == HEADER.size:
                    kind, number, size = HEADER.unpack(header)
                    self._frame(kind, number, stream.read(size))
        except OSError:
            pass
        with self._lock:
            self._lost = True
            left = list(self._processes.values())
            self._processes.clear()
        for process in left:
            process._frame(b"E", b"the guest is gone")
        self._ready.set()

    def _frame(self, kind, number, content):
        if kind == b"H":
            self._ready.set()
            return
        with self._lock:
            process = self._processes.get(number)
            if kind in (b"X", b"E"):
                self._processes.pop(number, None)
        if process:
            process._frame(kind, content)

    def wait_ready(self, timeout):
        """Wait for the agent's hello."""
        if not self._ready.wait(timeout):
            raise GuestTimeout(f"no word from the guest's agent in {timeout} s")
        if self._lost:
            raise GuestError("the guest ended before its agent spoke")

    def send(self, kind, number, content=b""):
        """Send one frame."""
        try:
            with self._sending:
                self._sock.sendall(HEADER.pack(kind, number, len(content)) +
                                   content)
        except OSError as error:
            raise GuestError(f"cannot send to the guest: {error}") from error

    def spawn(self, command):
        """Start a shell command; answers its Process at once."""
        content = command.encode()
        if len(content) > CONTENT_MAX:
            raise ValueError("the command is too long; use its input")
        process = Process(self, next(self._numbers), command)
        with self._lock:
            if self._lost:
                raise GuestError("the guest is gone")
            self._processes[process._number] = process
        self.send(b"R", process._number, content)
        return process

    def power_off(self):
        """Have the guest power itself off."""
        self.send(b"Q", 0)

    def close(self):
        """Hang up, which powers the guest off, and end the thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        self._sock.close()


def run(agent, command, input=None, timeout=60):
    """Run a command to its end; answers its Result. Kills it at the time-out."""
    end = time.monotonic() + timeout
    process = agent.spawn(command)
    try:
        if input:
            process.write(input, timeout)
        process.close_input()
        return process.wait(max(0, end - time.monotonic()))
    except GuestTimeout:
        process.kill()
        raise
