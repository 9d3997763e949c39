# SPDX-License-Identifier: LGPL-2.1-or-later
"""A SPICE server of one's own for tests of the client: it takes every link, and
each connection then says and does what the test wants. With it goes Probe, the
client's end (spice-probe.c)."""

import functools
import queue
import re
import socket
import struct
import subprocess
import threading
import time

import spice
from programs import SAN, Folder, Program
from stream import LIMIT, Closed, Stream


@functools.cache
def public_key():
    """A key as every server makes one for tickets: 1024 bits, DER."""
    with Folder() as folder:
        spice.openssl("genrsa", "-out", folder / "key", "1024")
        return subprocess.run(["openssl", "rsa", "-in", folder / "key", "-pubout", "-outform",
                               "DER"], check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout


class Connection:
    """One connection of the client, linked; `kind` and `ident` name the channel,
    `session` is the connection id that it gave."""

    def __init__(self, sock):
        self.stream = Stream(sock)
        self.stream.read(16)
        self.session, self.kind, self.ident = struct.unpack("<IBB", self.stream.read(6))
        commons, channels, _ = struct.unpack("<III", self.stream.read(12))
        self.stream.read(4 * (commons + channels))
        caps = spice.CAP_AUTH_SELECTION | spice.CAP_AUTH_SPICE | spice.CAP_MINI_HEADER
        # Of a main channel: both ways of migration (bits 0 and 3).
        reply = (struct.pack("<I", spice.OK) + public_key() +
                 struct.pack("<III", 1, 1, spice.REPLY_SIZE) + struct.pack("<II", caps, 9))
        self.stream.send(spice.link_header(len(reply)) + reply)
        self.stream.read(4 + spice.TICKET_SIZE)
        self.stream.send(struct.pack("<I", spice.OK))

    def send(self, kind, body=b""):
        self.stream.send(struct.pack("<HI", kind, len(body)) + body)

    def receive(self, limit=LIMIT):
        kind, size = struct.unpack("<HI", self.stream.read(6, limit))
        return kind, self.stream.read(size, limit)

    def expect(self, wanted, limit=LIMIT):
        kind, body = self.receive(limit)
        if kind != wanted:
            raise AssertionError(f"message {kind} of {len(body)} bytes came for {wanted}")
        return body

    def init(self, session, *channels):
        """What a main channel says first, up to its list of channels."""
        self.send(spice.MAIN_INIT, struct.pack("<8I", session, 0, 3, 1, 0, 0, 0, 0))
        self.expect(spice.ATTACH_CHANNELS)
        pairs = b"".join(struct.pack("<BB", *channel) for channel in channels)
        self.send(spice.MAIN_CHANNELS_LIST, struct.pack("<I", len(channels)) + pairs)

    def port_init(self, name, opened=True):
        name = name.encode() + b"\0"
        self.send(spice.PORT_INIT, struct.pack("<IIB", len(name), 9, opened) + name)

    def close(self):
        self.stream.close()


class FakeServer:
    """Takes links as they come; `accept` hands them out in that order."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.taken = queue.Queue()
        self.connections = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                connection = Connection(sock)
            except (OSError, Closed):
                continue
            # Open until the test closes it, whoever holds it.
            self.connections.append(connection)
            self.taken.put(connection)

    def accept(self, kind):
        connection = self.taken.get(timeout=LIMIT)
        if connection.kind != kind:
            raise AssertionError(f"a link for channel {connection.kind} came for {kind}")
        return connection

    def uri(self):
        return f"spice://127.0.0.1:{self.port}"

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()


class Probe(Program):
    """spice-probe, and what it said that nobody waited for yet."""

    def __init__(self, address, want, how="0", **env):
        self.seen = 0
        super().__init__("tests/peer/spice-probe", address, want, str(how), build=SAN,
                         stdin=subprocess.PIPE, **env)

    def tell(self, text):
        self.say(text.encode() + b"\n")

    def lines(self):
        return self.output().splitlines(keepends=True)[self.seen:]

    def expect(self, pattern, limit=LIMIT):
        """The next thing it says, which has to match."""
        deadline = time.monotonic() + limit
        while not (lines := self.lines()) or not lines[0].endswith("\n"):
            self.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came for '{pattern}'; it says:\n{self.errors()}")
            time.sleep(0.01)
        self.seen += 1
        found = re.fullmatch(pattern, lines[0].rstrip("\n"))
        if not found:
            raise AssertionError(f"'{lines[0].rstrip()}' came for '{pattern}'\n{self.errors()}")
        return found

    def expect_data(self, text):
        """As `expect` for bytes, in hexadecimal, that come in any pieces."""
        data = ""
        while len(data) < len(text):
            data += self.expect("data (.*)")[1]
        if data != text:
            raise AssertionError(f"{data} came for {text}")

    def silent(self):
        """It has said nothing more, up to now."""
        if self.lines():
            raise AssertionError(f"it says {self.lines()}")

    def kill(self):
        super().kill()
        self.process.stdin.close()
