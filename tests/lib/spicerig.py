# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vscardd whose first reader has its card on SPICE, with a host on it and a
bystander beside it; and the process of its SPICE server by itself, spoken to as
vscardd does."""

import os
import pathlib
import socket
import struct
import subprocess
import time

import spice
import vscard
from ccid import ABSENT, CcidHost
from programs import SAN, Appliance, environment
from rig import ECHO, power_on, round_trip
from spice import Access, Session, SmartcardClient, free_port
from stream import Stream

CHARDEV = "spicevmc,id=card0,name=smartcard"


def until(what, limit=20):
    """Waits until `what` answers something true, and answers that."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)
    return answer


class SpiceAppliance(Appliance):
    """A vscardd whose first reader has its card on SPICE, and the second on a
    socket. Pass `access` for a server that lets people in so."""

    def __init__(self, access=None, more=(), chardev=CHARDEV, **env):
        self.access = access or Access()
        self.chardev = chardev
        super().__init__(2, (*self.access.args, *more), **{**self.access.env, **env})

    def reader_args(self, n):
        args = super().reader_args(n)
        return [self.chardev if n == 0 and word.startswith("socket,id=card0") else word
                for word in args]

    def server_pid(self):
        """The process that holds the SPICE server, or 0."""
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        children = pathlib.Path(path).read_text(encoding="ascii").split()
        return int(children[0]) if children else 0

    def new_server_pid(self, old):
        return until(lambda: self.server_pid() not in (0, old) and self.server_pid())

    def kill(self):
        super().kill()
        self.access.remove()


class Rig:
    """The appliance with a host on each reader and the second reader's card,
    which must never notice what happens on SPICE."""

    def __init__(self, *args, **more):
        self.appliance = SpiceAppliance(*args, **more)
        self.way = self.appliance.access.way()
        try:
            self.host = CcidHost(self.appliance.usb(0)).open()
            self.other = CcidHost(self.appliance.usb(1)).open()
            self.other_client = vscard.Client.with_card(self.appliance.card(1))
            power_on(self.other)
        except BaseException:
            self.appliance.kill()
            raise

    def close(self):
        for end in (self.host, self.other, self.other_client):
            end.close()
        return self.appliance.end()

    def check_other(self):
        round_trip(self.other, self.other_client, ECHO)

    def serve(self, way=None):
        """A session and a card through all of it, and gone again."""
        with Session(way or self.way) as session, SmartcardClient.with_card(session) as client:
            power_on(self.host)
            round_trip(self.host, client, ECHO)
        self.host.wait_icc(ABSENT)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.appliance.kill()


# Between vscardd and the server's process: numbers as in vmc/spice-control.h.
SETTING, START, DEVICE, FRONT, REMOVE = range(1, 6)
FAILED, LISTENING, LOG, OPENED = 8, 7, 9, 10


class Library:
    """The server's process alone, spoken to as vscardd does."""

    def __init__(self, build=SAN):
        self.port = free_port()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.said = []
        with theirs:
            self.process = subprocess.Popen(
                ["sh", "-c", f'exec "$@" 3<&{theirs.fileno()}', "sh",
                 str(build / "vscardd-spice"), "--serve"],
                pass_fds=[theirs.fileno()], env=environment(), stderr=subprocess.DEVNULL)
        for key, text in (("port", str(self.port)), ("addr", "127.0.0.1"),
                          ("disable-ticketing", "on")):
            self.say(SETTING, 0, 0, key, text)
        self.say(START)
        self.hear(LISTENING)
        self.say(DEVICE, 7, 0, "smartcard")
        self.say(FRONT, 7, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.process.kill()
        self.process.wait()

    def say(self, kind, channel=0, value=0, key="", text=""):
        self.control.send(struct.pack(">IIII", kind, channel, value, len(key))
                          + key.encode() + text.encode())

    def hear(self, wanted):
        """The text and the descriptor of the next message of that kind."""
        self.control.settimeout(20)
        while True:
            data, fds, _, _ = socket.recv_fds(self.control, 8192, 1)
            if not data:
                raise AssertionError(f"it ended; it said {self.said}")
            kind, _, _, key = struct.unpack_from(">IIII", data)
            text = data[16 + key:].decode()
            if kind in (LOG, FAILED):
                self.said.append(text)
            if kind == wanted:
                return text, fds

    def smartcard(self, session):
        """(the client's channel, the reader's end of it)"""
        channel = session.open(spice.SMARTCARD)
        _, fds = self.hear(OPENED)
        return channel, Stream(socket.socket(fileno=fds[0]))
