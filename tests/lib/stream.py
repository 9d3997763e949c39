# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connected socket read with deadlines: each read brings all the bytes asked
for, or says that the other side closed, or fails when time is up. The protocol
peers of the tests stand on it."""

import socket
import time

# A peer that does not answer within this has hung; far above what a loaded
# machine with sanitizers takes.
LIMIT = 20.0


class Closed(Exception):
    """The other side ended the conversation."""


class Late(Exception):
    """The other side did not say what was waited for in time."""


def connect(address, limit=LIMIT):
    """A Stream to `address`: a UNIX path, or (host, port). Tries again while
    nobody listens yet, as after the start of a program."""
    deadline = time.monotonic() + limit
    pause = 0.002
    while True:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.connect(address)
            return Stream(sock)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            sock.close()
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


class Stream:
    """One side of a conversation in bytes."""

    def __init__(self, sock):
        self.sock = sock
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = bytearray()
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data, limit=LIMIT):
        self.sock.settimeout(limit)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed("closed while we sent") from error
        except TimeoutError as error:
            raise Late("the other side does not read") from error

    def send_anyway(self, data):
        """Sends what goes; a side that closes meanwhile is fine."""
        try:
            self.send(data)
        except Closed:
            pass

    def fill(self, deadline):
        """Takes more input, at least a byte."""
        self.sock.settimeout(max(deadline - time.monotonic(), 0.000001))
        try:
            data = self.sock.recv(1 << 18)
        except (TimeoutError, BlockingIOError) as error:
            raise Late("nothing came") from error
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            raise Closed("end of stream")
        self.input += data

    def read(self, size, limit=LIMIT):
        """Exactly `size` bytes."""
        deadline = time.monotonic() + limit
        while len(self.input) < size:
            self.fill(deadline)
        data = bytes(self.input[:size])
        del self.input[:size]
        return data

    def wait_closed(self, limit=LIMIT):
        """Reads until the other side closes; answers what it still said."""
        deadline = time.monotonic() + limit
        try:
            while not self.ended:
                self.fill(deadline)
        except Closed:
            pass
        data = bytes(self.input)
        self.input.clear()
        return data
