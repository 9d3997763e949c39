# SPDX-License-Identifier: LGPL-2.1-or-later
"""The channels of vscardd's SPICE server: smartcard messages of each length that
the library alone fails at, in its process by itself; ports, the agent and USB
devices joined to sockets."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
import unittest

import spice
import vscard
from programs import NORMAL, Folder
from spice import Session, Way
from spicerig import DEVICE, FRONT, LOG, OPENED, Library, Rig, until
from stream import Closed, Late, Stream, connect

PORT_NAME = "org.vscard.test.0"


class Lengths(unittest.TestCase):
    """What the library alone hangs at or corrupts its memory with: in vscardd's
    hands each message arrives byte for byte, in both directions."""

    sizes = (0, 1, *range(256, 300), 564, 600, 2000, 4000, 16384, 65536, 65556, 131072)

    def to_client(self, reader, channel, size):
        data = os.urandom(size)
        reader.send(vscard.pack(vscard.APDU, 0, data))
        self.assertEqual(channel.expect(spice.DATA), spice.pack_card(vscard.APDU, 0, data))

    def to_reader(self, reader, channel, size):
        data = os.urandom(size)
        channel.send(spice.DATA, spice.pack_card(vscard.APDU, 0, data))
        self.assertEqual(reader.read(12 + size), vscard.pack(vscard.APDU, 0, data))

    def test_each(self):
        with Library() as library, Session(Way(("127.0.0.1", library.port))) as session:
            channel, reader = library.smartcard(session)
            with channel, reader:
                for size in self.sizes:
                    self.to_client(reader, channel, size)
                    self.to_reader(reader, channel, size)

    def test_many_at_once(self):
        with Library() as library, Session(Way(("127.0.0.1", library.port))) as session:
            channel, reader = library.smartcard(session)
            with channel, reader:
                messages = [os.urandom(size) for size in self.sizes[:-1]]
                reader.send(b"".join(vscard.pack(vscard.APDU, 0, data) for data in messages))
                for data in messages:
                    self.assertEqual(channel.expect(spice.DATA)[12:], data)

    def test_byte_by_byte(self):
        with Library() as library, Session(Way(("127.0.0.1", library.port))) as session:
            channel, reader = library.smartcard(session)
            with channel, reader:
                for byte in vscard.pack(vscard.APDU, 0, b"a" * 300):
                    reader.send(bytes([byte]))
                    time.sleep(0.001)
                self.assertEqual(channel.expect(spice.DATA)[12:], b"a" * 300)

    def test_too_long(self):
        """Longer than anything there is: dropped with a word, and nothing lost."""
        with Library() as library, Session(Way(("127.0.0.1", library.port))) as session:
            channel, reader = library.smartcard(session)
            with channel, reader:
                reader.send(vscard.pack(vscard.APDU, 0, bytes(131073))
                            + vscard.pack(vscard.APDU, 0, b"after"))
                self.assertEqual(channel.expect(spice.DATA)[12:], b"after")
                self.assertIn("131073 bytes is too long", library.hear(LOG)[0])

    def test_half_a_message(self):
        """What the reader began to say to a client that left is not what the
        next one hears first; nor the other way round."""
        with Library() as library:
            for _ in range(3):
                with Session(Way(("127.0.0.1", library.port))) as session:
                    channel, reader = library.smartcard(session)
                    with reader:
                        with channel:
                            self.to_client(reader, channel, 300)
                            self.to_reader(reader, channel, 300)
                            reader.send(vscard.pack(vscard.APDU, 0, b"x" * 1000)[:500])
                            channel.stream.send(b"\x65\0\x20\0\0\0half")
                            time.sleep(0.1)
                        # A reader that leaves first is another case.
                        reader.wait_closed()

    def test_reader_that_hangs_up(self):
        """The library cannot send a smartcard's client away: the process ends, and
        asks for the next."""
        with Library() as library, Session(Way(("127.0.0.1", library.port))) as session:
            _, reader = library.smartcard(session)
            reader.close()
            self.assertEqual(library.process.wait(20), 75)

    def test_second_registration(self):
        """It would assert in the library: a new process is asked for instead."""
        with Library() as library:
            library.say(FRONT, 7, 0)
            self.assertEqual(library.process.wait(20), 75)

    def test_reader_that_does_not_read(self):
        """The library keeps what such a reader does not take, without a bound; ours
        is the process's memory, whose end ends nothing else."""
        with Library(build=NORMAL) as library:
            with Session(Way(("127.0.0.1", library.port))) as session:
                channel, reader = library.smartcard(session)
                message = spice.pack_card(vscard.APDU, 0, bytes(1 << 20))
                with channel, reader, self.assertRaises((Closed, Late)):
                    for _ in range(1000):
                        channel.send(spice.DATA, message)


class Ports(unittest.TestCase):
    """spiceport: a plain pipe whose other side is seen to come and go."""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        path = self.folder / "out"
        more = ("-chardev", f"spiceport,id=port0,name={PORT_NAME},debug=3",
                "-chardev", f"socket,id=out,path={path},server=on,wait=off",
                "-device", "chardev-join,chardev=port0,with=out")
        self.rig = Rig(more=more)
        self.addCleanup(self.rig.appliance.kill)
        self.path = path

    def tearDown(self):
        self.rig.serve()
        self.rig.close()

    def test_bytes_both_ways(self):
        with Session(self.rig.way) as session, connect(self.path) as out:
            with session.port(PORT_NAME) as port:
                port.wait_opened()
                for size in (1, 270, 283, 4000, 100000, 1000000):
                    data = os.urandom(size)
                    port.send(data)
                    self.assertEqual(out.read(size), data)
                    out.send(data)
                    self.assertEqual(port.read(size), data)

    def test_front_end_is_seen(self):
        with Session(self.rig.way) as session, session.port(PORT_NAME) as port:
            self.assertFalse(port.opened)
            with connect(self.path):
                port.wait_opened()
            port.wait_opened(False)

    def test_client_that_leaves(self):
        """Who is on the other side hears of it, and the next client is new."""
        for _ in range(3):
            with connect(self.path) as out:
                with Session(self.rig.way) as session, session.port(PORT_NAME) as port:
                    port.wait_opened()
                    port.send(b"hello")
                    self.assertEqual(out.read(5), b"hello")
                out.wait_closed()

    def test_other_side_that_leaves(self):
        """The client keeps its channel, and finds who comes next on it."""
        with Session(self.rig.way) as session, session.port(PORT_NAME) as port:
            for n in range(3):
                with connect(self.path) as out:
                    port.wait_opened()
                    out.send(b"hello %d" % n)
                    self.assertEqual(port.read(7), b"hello %d" % n)
                    port.send(b"and %d" % n)
                    self.assertEqual(out.read(5), b"and %d" % n)
                port.wait_opened(False)


    def test_last_words(self):
        """What was said before the other side left arrives, however slow the
        client is."""
        words = os.urandom(8 << 20)

        def say(out):
            with out:
                out.send(words)

        with Session(self.rig.way) as session, session.port(PORT_NAME) as port:
            speaker = threading.Thread(target=say, args=(connect(self.path),))
            speaker.start()
            time.sleep(0.5)
            self.assertEqual(port.read(len(words)), words)
            port.wait_opened(False)
            speaker.join()


class ManyPorts(unittest.TestCase):
    """More than the socket to a process that has not started yet holds words of."""

    count = 150

    def test_new_process(self):
        folder = Folder()
        self.addCleanup(folder.remove)
        paths = [folder / f"out{n}" for n in range(self.count)]
        more = [word for n, path in enumerate(paths) for word in (
            "-chardev", f"spiceport,id=port{n},name=org.vscard.test.{n}",
            "-chardev", f"socket,id=out{n},path={path},server=on,wait=off",
            "-device", f"chardev-join,chardev=port{n},with=out{n}")]
        with Rig(more=more) as rig, contextlib.ExitStack() as outs:
            for path in paths:
                outs.enter_context(connect(path))
            first = rig.appliance.server_pid()
            os.kill(first, signal.SIGKILL)
            rig.appliance.new_server_pid(first)
            rig.serve()
            # It was told of all of them, and that somebody is at each.
            with Session(rig.way) as session:
                ports = [ident for kind, ident in session.channels if kind == spice.PORT]
                self.assertEqual(len(ports), self.count)
                for ident in (min(ports), max(ports)):
                    with session.open(spice.PORT, ident) as port:
                        self.assertEqual(port.expect(spice.PORT_INIT)[8], 1)


class PortAlone(unittest.TestCase):
    """A port in the server's process by itself."""

    def setUp(self):
        self.library = Library()
        self.addCleanup(self.library.__exit__)
        self.library.say(DEVICE, 8, 0, "port", PORT_NAME)
        self.library.say(FRONT, 8, 1)

    def conversation(self):
        _, fds = self.library.hear(OPENED)
        return Stream(socket.socket(fileno=fds[0]))

    def test_hang_up(self):
        """Its front end ends the conversation and stays: the client keeps its
        channel, and the next one begins."""
        with Session(Way(("127.0.0.1", self.library.port))) as session:
            with session.port(PORT_NAME) as port:
                for n in range(3):
                    with self.conversation() as front:
                        port.wait_opened()
                        front.send(b"words %d" % n)
                        port.send(b"and %d" % n)
                        self.assertEqual(front.read(5), b"and %d" % n)
                    self.assertEqual(port.read(7), b"words %d" % n)
                    port.wait_opened(False)

    def test_goes_and_returns(self):
        """The next front end may be there before the client has heard the last
        one out."""
        with Session(Way(("127.0.0.1", self.library.port))) as session:
            with session.port(PORT_NAME) as port:
                for n in range(3):
                    with self.conversation() as front:
                        front.send(b"words %d" % n)
                        self.library.say(FRONT, 8, 0)
                        self.library.say(FRONT, 8, 1)
                    self.assertEqual(port.read(7), b"words %d" % n)
                    port.wait_opened(False)
                    port.wait_opened()
                with self.conversation() as front:
                    self.library.say(FRONT, 8, 0)
                port.wait_opened(False)

    def test_client_that_leaves(self):
        """And comes back while the port is closed, or is open again."""
        for n in range(3):
            with Session(Way(("127.0.0.1", self.library.port))) as session:
                with session.port(PORT_NAME) as port:
                    with self.conversation():
                        port.wait_opened()
                        if n == 1:
                            self.library.say(FRONT, 8, 0)
                    if n < 2:
                        port.wait_opened(False)
            if n == 1:
                self.library.say(FRONT, 8, 1)


class Joined(unittest.TestCase):
    """The other two names of a spicevmc, each joined to a socket."""

    def rig(self, name):
        folder = Folder()
        self.addCleanup(folder.remove)
        more = ("-chardev", f"spicevmc,id=vmc0,name={name}",
                "-chardev", f"socket,id=out,path={folder / 'out'},server=on,wait=off",
                "-device", "chardev-join,chardev=vmc0,with=out")
        return Rig(more=more), folder / "out"

    def until_agent(self, rig, there):
        """A session that sees the agent, or none."""
        def look():
            with Session(rig.way) as session:
                return session.agent_connected == there
        until(look)

    def test_agent_is_there_while_somebody_is(self):
        rig, path = self.rig("vdagent")
        with rig:
            self.until_agent(rig, False)
            for _ in range(2):
                with connect(path):
                    self.until_agent(rig, True)
                self.until_agent(rig, False)
            rig.serve()

    def test_agent_that_breaks_the_protocol(self):
        """The library lets it go, and takes the next."""
        rig, path = self.rig("vdagent")
        with rig, Session(rig.way) as session:
            for _ in range(3):
                with connect(path) as agent:
                    session.main.expect(spice.MAIN_AGENT_CONNECTED)
                    session.main.send(spice.AGENT_START, struct.pack("<I", 10))
                    # A chunk for the client whose message is of no protocol there is.
                    agent.send(struct.pack("<II", 1, 20) + struct.pack("<IIQI", 99, 1, 0, 0))
                    agent.wait_closed()
                session.main.expect(spice.MAIN_AGENT_DISCONNECTED)
            rig.check_other()

    def test_usb_channel(self):
        rig, path = self.rig("usbredir")
        with rig:
            for _ in range(2):
                with connect(path) as out:
                    with Session(rig.way) as session:
                        until(lambda: (spice.USBREDIR, 0) in session.channels)
                        with session.usbredir() as usb:
                            for size in (1, 4000, 300000):
                                data = os.urandom(size)
                                usb.send(data)
                                self.assertEqual(out.read(size), data)
                                out.send(data)
                                self.assertEqual(usb.read(size), data)
                    out.wait_closed()
            rig.serve()


if __name__ == "__main__":
    unittest.main()
