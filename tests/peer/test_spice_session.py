# SPDX-License-Identifier: LGPL-2.1-or-later
"""The SPICE client's session, message by message, against a server that does
what no real one does on request: how the stream is cut into messages, who waits
when the other side is slow, in what order a migration's messages come, and what
a server can do wrong."""

import contextlib
import pathlib
import socket
import struct
import threading
import unittest

import spice
from spice import DATA, FLUSH_MARK, MAIN, MIGRATE, MIGRATE_DATA, PORT, SMARTCARD, USBREDIR
from programs import Folder
from spice_fake import FakeServer, Probe

# VmcSpiceError.
NO_CHANNEL, BUSY, PROTOCOL, GONE = 1, 2, 6, 7
# Of the main channel, from the server and to it.
MIGRATE_BEGIN, MIGRATE_CANCEL, MIGRATE_END = 101, 102, 112
BEGIN_SEAMLESS, SEAMLESS_ACK, SEAMLESS_NACK = 116, 117, 118
TO_CONNECTED, TO_CONNECT_ERROR, TO_MIGRATE_END = 102, 103, 109
TO_DO_SEAMLESS, TO_CONNECTED_SEAMLESS = 110, 111
TO_MIGRATE_DATA = 5
NEED_FLUSH_AND_DATA = struct.pack("<I", 3)
SESSION = 0x1234567


def destination(server, version=None):
    """SpiceMigrationDstInfo, and the source's version if seamless."""
    host = b"127.0.0.1\0"
    version = b"" if version is None else struct.pack("<I", version)
    offset = 20 + len(version)
    return (struct.pack("<HHIIII", server.port, 0xFFFF, len(host), offset, 0, 0) + version + host)


class SessionCase(unittest.TestCase):
    """A server, and a client that has its channel of it."""

    def server(self):
        server = FakeServer()
        self.addCleanup(server.close)
        return server

    def probe(self, server, want, how="0"):
        probe = Probe(server.uri(), want, how)
        self.addCleanup(probe.kill)
        return probe

    def begin(self, want, kind, how="0"):
        """(server, probe, main, channel), with the channel open."""
        server = self.server()
        probe = self.probe(server, want, how)
        main = server.accept(MAIN)
        self.assertEqual(main.session, 0)
        main.init(SESSION, (spice.INPUTS, 0), (kind, 0))
        channel = server.accept(kind)
        self.assertEqual((channel.session, channel.ident), (SESSION, 0))
        if kind == PORT:
            channel.port_init(want.partition("=")[2])
        probe.expect("opened.*")
        return server, probe, main, channel


class Streams(SessionCase):
    """The stream and its messages."""

    def test_smartcard_messages(self):
        """However it is written, each VSCard message is one of SPICE's."""
        _, probe, _, channel = self.begin("smartcard", SMARTCARD)
        messages = [spice.pack_card(7, 0, bytes(range(n % 256)) * (1 + n // 256))
                    for n in (0, 1, 5, 255)]
        stream = b"".join(messages).hex()
        for piece in (len(stream), 2, 24, 26, 22):
            with self.subTest(piece=piece // 2):
                for at in range(0, len(stream), piece):
                    probe.tell(f"send {stream[at:at + piece]}")
                for message in messages:
                    self.assertEqual(channel.expect(DATA), message)
        largest = spice.pack_card(7, 0, bytes(65544))
        probe.tell(f"send {largest.hex()}")
        self.assertEqual(channel.expect(DATA), largest)
        probe.end()

    def test_port_messages(self):
        _, probe, _, channel = self.begin("port=a", PORT)
        probe.tell("fill 300000")
        probe.expect("filled")
        got = 0
        while got < 300000:
            body = channel.expect(DATA)
            self.assertLessEqual(len(body), 65536)
            got += len(body)
        self.assertEqual(got, 300000)
        probe.end()

    def test_server_that_does_not_read(self):
        """The user is told to wait, and to go on; nothing is lost."""
        _, probe, _, channel = self.begin("port=a", PORT)
        size = 20000000
        probe.tell(f"fill {size}")
        for _ in range(50):
            channel.send(DATA, b"x")
            probe.expect("data 78")
        probe.silent()
        got = 0
        while got < size:
            got += len(channel.expect(DATA))
        self.assertEqual(got, size)
        probe.expect("filled")
        probe.end()

    def test_user_that_does_not_read(self):
        """What the client holds for it is bounded."""
        _, probe, _, channel = self.begin("port=a", PORT)
        probe.tell("pause")
        probe.tell("send 00")
        channel.expect(DATA)
        sent = 0
        with self.assertRaises(Exception):
            while sent < 200000000:
                channel.stream.send(struct.pack("<HI", DATA, 60000) + bytes(60000), 1)
                sent += 60000
        self.assertLess(sent, 100000000)
        self.assertLess(probe.private_kib(), 100000)
        probe.silent()
        probe.end()

    def test_user_that_only_writes(self):
        """Who does not read what comes is heard all the same, and all that came
        is there when it reads."""
        _, probe, _, channel = self.begin("port=a", PORT)
        probe.tell("pause")
        for at in range(30):
            channel.send(DATA, bytes([at]) * 10000)
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        size = 3000000
        probe.tell(f"fill {size}")
        got = 0
        while got < size:
            got += len(channel.expect(DATA))
        probe.expect("filled")
        probe.silent()
        probe.tell("go")
        probe.expect_data("".join(f"{at:02x}" * 10000 for at in range(30)))
        probe.end()

    def test_port_closes_and_opens(self):
        _, probe, _, channel = self.begin("port=a", PORT)
        channel.send(DATA, b"one")
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_CLOSED]))
        probe.expect_data(b"one".hex())
        probe.expect("closed . the port's other side closed")
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_BREAK]))
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_OPENED]))
        probe.expect("opened")
        # At once: the end of one and the start of the next.
        channel.send(DATA, b"two")
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_CLOSED]))
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_OPENED]))
        channel.send(DATA, b"three")
        heard = [probe.expect("(opened|closed|data).*")[0] for _ in range(3)]
        if heard[0].startswith("data"):
            self.assertEqual(heard.pop(0), f"data {b'two'.hex()}")
            heard.append(probe.expect(".*")[0])
        self.assertEqual([word.split()[0] for word in heard], ["closed", "opened", "data"])
        self.assertEqual(heard[2], f"data {b'three'.hex()}")
        probe.end()

    def test_silent_usbredir(self):
        """A device that says nothing is there all the same."""
        _, probe, _, channel = self.begin("usbredir", USBREDIR)
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        probe.end()

    def test_usbredir_taken(self):
        """The server closes one that is in use; the next is tried."""
        server = self.server()
        probe = self.probe(server, "usbredir")
        main = server.accept(MAIN)
        main.init(SESSION, (USBREDIR, 0), (USBREDIR, 3))
        server.accept(USBREDIR).close()
        free = server.accept(USBREDIR)
        self.assertEqual(free.ident, 3)
        free.send(DATA, b"hello")
        probe.expect("opened")
        probe.expect_data(b"hello".hex())
        probe.end()


class Lists(SessionCase):
    """The server's list of channels."""

    def test_port_that_comes_later(self):
        server = self.server()
        probe = self.probe(server, "port=late")
        main = server.accept(MAIN)
        main.init(SESSION, (SMARTCARD, 0), (PORT, 1))
        server.accept(PORT).port_init("early")
        probe.expect(f"failed 0 {NO_CHANNEL} the server has no port 'late'.*")
        main.send(spice.MAIN_CHANNELS_LIST, struct.pack("<IBB", 1, PORT, 2))
        again = server.accept(PORT)
        self.assertEqual(again.ident, 1)
        again.port_init("early")
        late = server.accept(PORT)
        self.assertEqual(late.ident, 2)
        late.port_init("late")
        probe.expect("opened")
        probe.end()

    def test_card_on_either(self):
        """The port is preferred; without it, the smartcard channel."""
        for name, opened in (("org.vscard.ccid.0", "opened"), ("other", "opened smartcard")):
            with self.subTest(name):
                server = self.server()
                probe = self.probe(server, "card")
                server.accept(MAIN).init(SESSION, (SMARTCARD, 0), (PORT, 0))
                server.accept(PORT).port_init(name)
                if name == "other":
                    server.accept(SMARTCARD)
                probe.expect(opened)
                probe.end()

    def test_list_of_many(self):
        server = self.server()
        probe = self.probe(server, "smartcard")
        main = server.accept(MAIN)
        main.init(SESSION, *((n // 256, n % 256) for n in range(4096)), (SMARTCARD, 0))
        probe.expect(f"failed 0 {NO_CHANNEL} .*")
        probe.end()


class Ends(SessionCase):
    """What a server can do wrong."""

    def test_no_list(self):
        server = self.server()
        probe = self.probe(server, "smartcard")
        server.accept(MAIN)
        probe.expect(f"failed 0 {PROTOCOL} .*does not name its channels")
        probe.end()

    def test_short_init(self):
        server = self.server()
        probe = self.probe(server, "smartcard")
        server.accept(MAIN).send(spice.MAIN_INIT, b"short")
        probe.expect(f"failed 0 {PROTOCOL} .+")
        probe.end()

    def test_junk_is_passed_over(self):
        _, probe, main, channel = self.begin("smartcard", SMARTCARD)
        for kind in (101, 102, 112, 113, 116, 117, 118, 999, 1, 2):
            for body in (b"", bytes(3), b"\xff" * 40):
                if kind not in (113, ):
                    main.send(kind, body)
                if kind not in (101, ):
                    channel.send(kind, body)
        while main.receive()[0] != FLUSH_MARK:
            pass
        channel.send(DATA, b"alive")
        probe.expect_data(b"alive".hex())
        probe.end()

    def test_port_renamed(self):
        """One that was found and is another now is gone."""
        server, probe, _, channel = self.begin("port=a", PORT, 1)
        channel.port_init("b")
        probe.expect(f"closed {PROTOCOL} the server gave the port another name")
        channel.stream.wait_closed()
        server.accept(PORT).port_init("a")
        probe.expect("opened")
        probe.end()

    def test_disconnecting(self):
        _, probe, main, _ = self.begin("smartcard", SMARTCARD)
        main.send(spice.DISCONNECTING, struct.pack("<QI", 0, spice.OK))
        main.close()
        probe.expect(f"closed {GONE} .+")
        probe.end()

    def test_channel_ends(self):
        """It is got again; the session goes on."""
        server, probe, _, channel = self.begin("smartcard", SMARTCARD, 1)
        channel.send(DATA, b"x")
        probe.expect("data 78")
        channel.close()
        probe.expect(f"closed {GONE} .+")
        self.assertEqual(server.accept(SMARTCARD).session, SESSION)
        probe.expect("opened smartcard")
        probe.end()

    def test_channel_refused(self):
        _, probe, _, channel = self.begin("smartcard", SMARTCARD)
        channel.close()
        probe.expect(f"closed {BUSY} the smartcard channel is taken by another client.*")
        probe.end()


class Proxy:
    """An HTTP proxy that leads to `server`, whatever host is named, or refuses;
    `asked` is what each client said to it."""

    def __init__(self, server, answer="200 OK"):
        self.server, self.answer = server, answer
        self.asked = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self.lead, args=[sock], daemon=True).start()

    def lead(self, sock):
        with contextlib.suppress(OSError), sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            self.asked.append(head.decode("ascii"))
            sock.sendall(f"HTTP/1.0 {self.answer}\r\n\r\n".encode("ascii"))
            if "200" not in self.answer:
                return
            with socket.create_connection(("127.0.0.1", self.server.port)) as far:
                back = threading.Thread(target=self.copy, args=[far, sock], daemon=True)
                back.start()
                self.copy(sock, far)
                back.join()

    @staticmethod
    def copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Proxies(SessionCase):
    """A server that a proxy leads to, by a name that only the proxy knows."""

    NAME = "pvespiceproxy:1a2b:100:node::3c4d"

    def through(self, server, answer="200 OK"):
        """(proxy, probe) with a .vv file of that way."""
        proxy = Proxy(server, answer)
        self.addCleanup(proxy.close)
        folder = Folder()
        self.addCleanup(folder.remove)
        path = folder / "console.vv"
        way = proxy.uri.replace("//", "//me:secret@")
        pathlib.Path(path).write_text(f"[virt-viewer]\ntype=spice\nhost={self.NAME}\nport=61000\n"
                                      f"proxy={way}\n", encoding="ascii")
        probe = Probe(path, "smartcard")
        self.addCleanup(probe.kill)
        return proxy, probe

    def test_led(self):
        server = self.server()
        proxy, probe = self.through(server)
        server.accept(MAIN).init(SESSION, (SMARTCARD, 0))
        channel = server.accept(SMARTCARD)
        probe.expect("opened smartcard")
        channel.send(DATA, b"hello")
        probe.expect_data(b"hello".hex())
        self.assertEqual(len(proxy.asked), 2)
        for asked in proxy.asked:
            self.assertTrue(asked.startswith(f"CONNECT {self.NAME}:61000 HTTP/1"), asked)
            self.assertIn("Proxy-Authorization: Basic bWU6c2VjcmV0", asked)
        probe.end()

    def test_refused(self):
        _, probe = self.through(self.server(), "403 Forbidden")
        probe.expect(f"failed 0 {GONE} cannot connect to .*{self.NAME}.* by its proxy: "
                     ".*not allowed")
        probe.end()


class Migrations(SessionCase):
    """The order of a migration's messages."""

    def follow(self, seamless, kind=PORT, want="port=a"):
        """(probe, main, channel) at the old host, (main, channel) at the new."""
        _, probe, main, channel = self.begin(want, kind)
        new = self.server()
        if seamless:
            main.send(BEGIN_SEAMLESS, destination(new, 7))
        else:
            main.send(MIGRATE_BEGIN, destination(new))
        new_main = new.accept(MAIN)
        self.assertEqual(new_main.session, SESSION)
        if seamless:
            self.assertEqual(new_main.expect(TO_DO_SEAMLESS), struct.pack("<I", 7))
            new_main.send(SEAMLESS_ACK)
        new_channel = new.accept(kind)
        self.assertEqual((new_channel.session, new_channel.ident), (SESSION, 0))
        main.expect(TO_CONNECTED_SEAMLESS if seamless else TO_CONNECTED)
        return probe, main, channel, new_main, new_channel

    def test_seamless(self):
        probe, main, channel, new_main, new_channel = self.follow(True)
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        # What the new one says early is for later.
        new_channel.port_init("a")
        new_channel.send(DATA, b"later")
        channel.send(MIGRATE, NEED_FLUSH_AND_DATA)
        channel.expect(FLUSH_MARK)
        probe.tell("send 02")
        channel.send(DATA, b"sooner")
        probe.expect_data(b"sooner".hex())
        channel.send(MIGRATE_DATA, b"the state")
        self.assertEqual(new_channel.expect(TO_MIGRATE_DATA), b"the state")
        self.assertEqual(new_channel.expect(DATA), b"\x02")
        probe.expect_data(b"later".hex())
        main.send(MIGRATE, NEED_FLUSH_AND_DATA)
        main.expect(FLUSH_MARK)
        main.send(MIGRATE_DATA, b"the main state")
        self.assertEqual(new_main.expect(TO_MIGRATE_DATA), b"the main state")
        main.stream.wait_closed()
        channel.stream.wait_closed()
        probe.tell("send 03")
        self.assertEqual(new_channel.expect(DATA), b"\x03")
        probe.silent()
        probe.end()

    def test_without_an_announcement(self):
        """The server moves a session that is a viewer's: its channels end, and
        until then go on."""
        _, probe, _, channel = self.begin("port=a", PORT)
        channel.send(MIGRATE, NEED_FLUSH_AND_DATA)
        channel.expect(FLUSH_MARK)
        channel.send(MIGRATE_DATA, b"the state")
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        probe.end()

    def test_new_host_lost(self):
        """It was there at first: the conversation ends, and begins anew."""
        probe, main, channel, _, new_channel = self.follow(True)
        new_channel.close()
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        channel.send(MIGRATE, NEED_FLUSH_AND_DATA)
        channel.expect(FLUSH_MARK)
        channel.send(MIGRATE_DATA, b"the state")
        probe.expect("closed . the VM moved to another host.*")
        probe.end()

    def test_new_host_lost_while_closed(self):
        """The same without a conversation: the port is looked for anew."""
        server, probe, main, channel = self.begin("port=a", PORT)
        channel.send(spice.PORT_EVENT, bytes([spice.PORT_CLOSED]))
        probe.expect("closed . the port's other side closed")
        new = self.server()
        main.send(BEGIN_SEAMLESS, destination(new, 7))
        new_main = new.accept(MAIN)
        new_main.expect(TO_DO_SEAMLESS)
        new_main.send(SEAMLESS_ACK)
        new_channel = new.accept(PORT)
        main.expect(TO_CONNECTED_SEAMLESS)
        new_channel.close()
        for _ in range(3):
            channel.send(spice.PING, bytes(12))
            channel.expect(spice.PONG)
        channel.send(MIGRATE, NEED_FLUSH_AND_DATA)
        channel.expect(FLUSH_MARK)
        channel.send(MIGRATE_DATA, b"the state")
        probe.expect("failed 1 . the VM moved to another host.*")
        server.accept(PORT).port_init("a")
        probe.expect("opened")
        probe.end()

    def test_seamless_refused(self):
        _, probe, main, _ = self.begin("port=a", PORT)
        new = self.server()
        main.send(BEGIN_SEAMLESS, destination(new, 7))
        new_main = new.accept(MAIN)
        new_main.expect(TO_DO_SEAMLESS)
        new_main.send(SEAMLESS_NACK)
        new.accept(PORT)
        main.expect(TO_CONNECTED)
        probe.silent()
        probe.end()

    def test_semi_seamless(self):
        probe, main, _, new_main, new_channel = self.follow(False)
        main.send(MIGRATE_END)
        new_main.expect(TO_MIGRATE_END)
        new_main.init(SESSION, (PORT, 0))
        new_channel.port_init("a")
        new_channel.send(DATA, b"new")
        probe.expect("closed . the VM moved to another host")
        probe.expect("opened")
        probe.expect_data(b"new".hex())
        probe.tell("send 03")
        self.assertEqual(new_channel.expect(DATA), b"\x03")
        probe.end()

    def test_semi_seamless_with_much_unread(self):
        """What the user has not read does not keep it from what comes after."""
        probe, main, channel, new_main, new_channel = self.follow(False)
        probe.tell("pause")
        channel.send(DATA, b"x" * 70000)
        for _ in range(10):
            probe.tell("send 01")
            self.assertEqual(channel.expect(DATA), b"\x01")
        main.send(MIGRATE_END)
        new_main.expect(TO_MIGRATE_END)
        new_main.init(SESSION, (PORT, 0))
        new_channel.port_init("a")
        new_channel.send(DATA, b"new")
        channel.stream.wait_closed()
        probe.tell("go")
        probe.expect_data("78" * 70000)
        probe.expect("closed . the VM moved to another host")
        probe.expect("opened")
        probe.expect_data(b"new".hex())
        probe.end()

    def test_end_after_move(self):
        """A main channel that has moved is there, whatever it is told then."""
        probe, main, channel, new_main, new_channel = self.follow(True)
        main.send(MIGRATE, NEED_FLUSH_AND_DATA)
        main.expect(FLUSH_MARK)
        main.send(MIGRATE_DATA, b"the main state")
        new_main.expect(TO_MIGRATE_DATA)
        new_main.send(MIGRATE_END)
        channel.send(MIGRATE, NEED_FLUSH_AND_DATA)
        channel.expect(FLUSH_MARK)
        channel.send(MIGRATE_DATA, b"the state")
        self.assertEqual(new_channel.expect(TO_MIGRATE_DATA), b"the state")
        new_channel.send(DATA, b"on")
        probe.expect_data(b"on".hex())
        probe.end()

    def test_cancel(self):
        probe, main, channel, new_main, new_channel = self.follow(True)
        main.send(MIGRATE_CANCEL)
        new_main.stream.wait_closed()
        new_channel.stream.wait_closed()
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        probe.silent()
        probe.end()

    def test_out_of_reach(self):
        _, probe, main, channel = self.begin("port=a", PORT)
        gone = FakeServer()
        gone.close()
        main.send(MIGRATE_BEGIN, destination(gone))
        main.expect(TO_CONNECT_ERROR)
        probe.tell("send 01")
        self.assertEqual(channel.expect(DATA), b"\x01")
        probe.silent()
        probe.end()


if __name__ == "__main__":
    unittest.main()
