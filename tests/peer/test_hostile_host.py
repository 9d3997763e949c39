# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hosts that break the VSCard protocol, against a real vscclient with a card
over a certificate database. What it can take, it takes, and the card goes on
to answer; what it cannot ends the conversation in order, and never more."""

import os
import random
import subprocess
import unittest

import vscard
from programs import NORMAL, ROOT, SAN, Folder, Program, defects
from vscard import (APDU, ATR, CARD_REMOVE, ERROR, FLUSH, FLUSH_COMPLETE, INIT, READER_ADD,
                    READER_REMOVE, pack)

# SELECT of the card capability container of a CAC, and of no applet there is.
SELECT = bytes.fromhex("00a4040007a000000116db0000")
SELECT_NOTHING = bytes.fromhex("00a4040005f00000000100")
NOT_FOUND = b"\x6a\x82"
# Exit statuses of vscclient (its --help).
REFUSED, LOST = 3, 5
FOLDER = Folder()
GARBAGE_TYPES = (0, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, FLUSH_COMPLETE, 10, 0x100,
                 0xFFFFFFFF)


def setUpModule():
    """One database for all."""
    subprocess.run([str(ROOT / "fixtures/make-nssdb"), FOLDER / "nssdb", "--pin", "1234"],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(FOLDER.remove)


class HostCase(unittest.TestCase):
    """Each conversation has a vscclient of its own, as its next attempt would
    come after a second and later each time."""

    build = SAN

    def setUp(self):
        self.program = None
        self.listener = vscard.Listener(FOLDER / "host")
        self.addCleanup(os.unlink, FOLDER / "host")
        self.addCleanup(self.listener.sock.close)

    def start(self, *args):
        self.program = Program("vscclient", "--nssdb", FOLDER / "nssdb", "--cert", "id",
                               "--cert", "signing", "--cert", "encryption", *args,
                               f"unix:{FOLDER / 'host'}", build=self.build)
        self.addCleanup(self.program.kill)

    def accept(self):
        """A new client's connection."""
        self.start()
        host = self.listener.accept()
        self.addCleanup(host.close)
        return host

    def said_init(self):
        host = self.accept()
        host.expect(INIT)
        return host

    def begin(self):
        """A host that has a new client's reader and card."""
        return self.greet(self.accept())

    def greet(self, host):
        host.take_init()
        host.take_reader()
        host.take_card()
        return host

    def works(self, host):
        """The card answers, and each answer is its command's."""
        self.program.check_alive()
        self.assertEqual(host.transmit(SELECT)[-2:], b"\x90\x00")
        self.assertEqual(host.transmit(SELECT_NOTHING), NOT_FOUND)

    def ends(self, host):
        """The conversation is over: the client says so and ends in order."""
        host.stream.wait_closed()
        host.close()
        self.assertEqual(self.program.wait(), LOST, self.program.errors())
        self.assertEqual(defects(self.program.errors()), [])
        self.assertRegex(self.program.errors(), "connection to .* lost: ")
        self.program.kill()


class Conversations(HostCase):
    """What the client takes without ending the conversation."""

    def test_messages_of_no_meaning(self):
        host = self.begin()
        for kind in GARBAGE_TYPES:
            for size in (0, 1, 8, 65524, vscard.PAYLOAD_MAX):
                with self.subTest(type=kind, size=size):
                    host.send(kind, bytes(size))
                    self.works(host)
        self.program.end()

    def test_errors(self):
        host = self.begin()
        for payload in (b"", b"\1", b"\1\1", b"\1\1\1", bytes(4), b"\0\0\0\1", b"\1\0\0\0",
                        b"\xff" * 4, bytes(5)):
            for reader in (0, 1, 0xFFFFFFFF):
                host.send(ERROR, payload, reader)
                self.works(host)
        self.program.end()

    def test_init_again(self):
        host = self.begin()
        host.stream.send(vscard.pack_init(0) + vscard.pack_init(1, 2, 3))
        self.works(host)
        self.program.end()

    def test_commands_for_nobody(self):
        host = self.begin()
        for reader in (1, 16, 0x80000000, 0xFFFFFFFF):
            with self.subTest(reader=reader):
                host.send(APDU, SELECT, reader)
                message = host.expect(ERROR)
                self.assertEqual((message.reader, message.data), (reader, b"\0\0\0\1"))
                self.works(host)
        self.program.end()

    def test_commands_that_are_none(self):
        """Each gets one answer, a status word."""
        host = self.begin()
        chance = random.Random(1)
        commands = [b"", b"\0", b"\0\xa4", b"\0\xa4\4", bytes(65544), b"\xff" * 65544]
        commands += [chance.randbytes(chance.randrange(1, 300)) for _ in range(100)]
        for command in commands:
            with self.subTest(command=command[:8].hex()):
                self.assertGreaterEqual(len(host.transmit(command)), 2)
        self.works(host)
        self.program.end()

    def test_pipelined_commands(self):
        """Commands sent without waiting are answered one each, in order, and
        FlushComplete comes after them all."""
        host = self.begin()
        host.stream.send(pack(APDU, 0, SELECT_NOTHING) * 4 + pack(FLUSH))
        for _ in range(4):
            self.assertEqual(host.expect(APDU).data, NOT_FOUND)
        host.expect(FLUSH_COMPLETE)
        self.works(host)
        self.program.end()

    def test_flood(self):
        """More commands than any host has in flight: each is answered once,
        by its response or, where it is not run, an Error."""
        host = self.begin()
        host.stream.send(pack(APDU, 0, SELECT_NOTHING) * 100)
        for _ in range(100):
            message = host.receive()
            self.assertIn((message.type, message.data), ((APDU, NOT_FOUND),
                                                         (ERROR, b"\0\0\0\1")))
        self.works(host)
        self.program.end()

    def test_byte_by_byte(self):
        host = self.begin()
        for byte in pack(APDU, 0, SELECT_NOTHING):
            host.stream.send(bytes([byte]))
        self.assertEqual(host.expect(APDU).data, NOT_FOUND)
        self.program.end()


class Requests(HostCase):
    """A host with CAP_REQUESTS that breaks its rules. Each request has one
    answer, and the card goes on."""

    def begin(self):
        host = self.accept()
        host.take_init(vscard.CAP_APDU_LEVEL | vscard.CAP_REQUESTS)
        self.assertIn(b"Virtual Reader", host.take_info())
        host.take_reader()
        host.take_card()
        self.token = 0
        return host

    def ask(self, host, kind, data=b""):
        self.token += 1
        host.request(self.token, kind, data)
        return host.expect_answer(self.token)

    def works(self, host):
        self.program.check_alive()
        self.assertEqual(self.ask(host, vscard.POWER_ON), (vscard.OK, host.atr))
        outcome, response = self.ask(host, vscard.TRANSMIT, SELECT)
        self.assertEqual((outcome, response[-2:]), (vscard.OK, b"\x90\x00"))
        self.assertEqual(self.ask(host, vscard.TRANSMIT, SELECT_NOTHING), (vscard.OK, NOT_FOUND))

    def test_power(self):
        """No power, no command; a reset forgets what was selected."""
        host = self.begin()
        nothing = (vscard.NOT_POWERED, b"")
        for _ in range(2):
            self.assertEqual(self.ask(host, vscard.TRANSMIT, SELECT), nothing)
            self.assertEqual(self.ask(host, vscard.RESET), nothing)
            self.assertEqual(self.ask(host, vscard.POWER_OFF), (vscard.OK, b""))
            self.works(host)
            self.assertEqual(self.ask(host, vscard.RESET), (vscard.OK, host.atr))
            self.assertEqual(self.ask(host, vscard.POWER_OFF), (vscard.OK, b""))
        self.program.end()

    def test_messages_of_no_meaning(self):
        host = self.begin()
        for kind in (vscard.ANSWER, vscard.WORKING, vscard.READER_INFO, vscard.CANCEL,
                     vscard.REQUEST, APDU, 0x105):
            for size in (0, 1, 3, 5, 7, 65544):
                if kind != vscard.REQUEST or size < 8:
                    host.send(kind, bytes(size))
            self.works(host)
        self.program.end()

    def test_kinds(self):
        host = self.begin()
        for kind in (0, 5, 0x80000000, 0xFFFFFFFF):
            self.assertEqual(self.ask(host, kind, SELECT), (vscard.FAILED, b""))
        self.works(host)
        self.program.end()

    def test_readers(self):
        host = self.begin()
        for reader in (1, 16, 0x80000000, vscard.UNDEFINED_READER):
            for kind in range(5):
                host.request(7, kind, SELECT, reader)
                message = host.expect(vscard.ANSWER)
                self.assertEqual((message.reader, message.data),
                                 (reader, vscard.pack_request(7, vscard.NO_CARD)))
        self.works(host)
        self.program.end()

    def test_commands_that_are_none(self):
        host = self.begin()
        self.works(host)
        chance = random.Random(2)
        commands = [b"", b"\0", b"\0\xa4\4", bytes(65544), b"\xff" * 65544]
        commands += [chance.randbytes(chance.randrange(1, 300)) for _ in range(100)]
        for command in commands:
            outcome, response = self.ask(host, vscard.TRANSMIT, command)
            self.assertEqual(outcome, vscard.OK)
            self.assertGreaterEqual(len(response), 2)
        self.works(host)
        self.program.end()

    def test_many_at_once(self):
        """Of a thousand at once each is answered, once."""
        host = self.begin()
        self.works(host)
        chance = random.Random(3)
        first, count = 1000, 1000
        for token in range(first, first + count):
            host.request(token, chance.randrange(6), SELECT_NOTHING)
            host.send(vscard.CANCEL, chance.randrange(first, token + 2).to_bytes(4, "big"))
        answered = set()
        while len(answered) < count:
            token, outcome, _ = vscard.unpack_request(host.expect(vscard.ANSWER).data)
            self.assertNotIn(token, answered)
            self.assertIn(outcome, (vscard.OK, vscard.FAILED, vscard.NOT_POWERED,
                                    vscard.CANCELLED))
            answered.add(token)
        self.assertEqual(answered, set(range(first, first + count)))
        self.token = first + count
        self.works(host)
        self.program.end()

    def test_too_long(self):
        host = self.begin()
        host.stream.send(pack(vscard.REQUEST, 0, b"", vscard.payload_max(vscard.REQUEST) + 1))
        self.ends(host)


class Ends(HostCase):
    """What ends the conversation, and how the client takes it."""

    def check(self, begin, data=b""):
        """The client ends the conversation because of `data`."""
        host = begin()
        host.stream.send_anyway(data)
        self.ends(host)

    def test_lengths(self):
        for length in (vscard.PAYLOAD_MAX + 1, 1 << 31, (1 << 32) - 1):
            for begin in (self.begin, self.accept):
                with self.subTest(length=length, begin=begin.__name__):
                    self.check(begin, pack(APDU, 0, b"", length))

    def test_inits(self):
        for payload in (b"", b"VSCD", b"DCSV" + bytes(8), vscard.pack_init(0)[12:-1]):
            with self.subTest(payload=payload.hex()):
                self.check(self.said_init, pack(INIT, 0, payload))

    def test_closing(self):
        """At the stages of a conversation, in and within a command."""
        command = pack(APDU, 0, SELECT)
        init = vscard.pack_init(vscard.CAP_APDU_LEVEL)
        for begin, data in ((self.accept, b""), (self.said_init, b""), (self.said_init, init[:5]),
                            (self.said_init, init), (self.begin, command),
                            (self.begin, command[:15]), (self.begin, command[:-1])):
            with self.subTest(begin=begin.__name__, data=data.hex()):
                host = begin()
                host.stream.send(data)
                host.close()
                self.ends_after_close()

    def ends_after_close(self):
        self.assertEqual(self.program.wait(), LOST, self.program.errors())
        self.assertEqual(defects(self.program.errors()), [])
        self.program.kill()

    def test_comes_again(self):
        """With --reconnect it is back in a second or so, as good as new."""
        self.start("--reconnect=1")
        with self.greet(self.listener.accept()) as host:
            host.stream.send(pack(APDU, 0, b"", 1 << 31))
            host.stream.wait_closed()
        with self.greet(self.listener.accept()) as host:
            self.works(host)
            self.program.end()


class Refused(HostCase):
    """A host that takes no reader: the client says so and ends with 3."""

    def test_refused(self):
        for code in (vscard.GENERAL_ERROR, vscard.CANNOT_ADD_MORE_READERS):
            with self.subTest(code=code):
                self.check_refused(code)

    def check_refused(self, code):
        with self.said_init() as host:
            host.stream.send(vscard.pack_init(vscard.CAP_APDU_LEVEL))
            host.expect(READER_ADD)
            host.stream.send(vscard.pack_error(code, 0xFFFFFFFF))
            host.stream.wait_closed()
        self.assertEqual(self.program.wait(), REFUSED, self.program.errors())
        self.assertEqual(defects(self.program.errors()), [])
        self.assertIn("refused", self.program.errors())
        self.program.kill()


class Memory(HostCase):
    """What a host can make a client hold, in the normal build."""

    build = NORMAL
    GROWTH_KIB = 512

    def burst(self, host, seed):
        chance = random.Random(seed)
        data = bytes(chance.randrange(60000))
        host.stream.send(pack(chance.choice(GARBAGE_TYPES), seed & 3, data)
                         + pack(ERROR, 0, bytes(seed & 7)))
        for _ in range(5):
            host.send(APDU, chance.randbytes(chance.randrange(4, 200)))
            host.expect(APDU)

    def test_hostile_messages(self):
        host = self.begin()
        for seed in range(200):
            self.burst(host, seed)
        before = self.program.private_kib()
        for seed in range(200, 1200):
            self.burst(host, seed)
        self.works(host)
        after = self.program.private_kib()
        print(f"# vscclient: {before} KiB, after 1,000 more bursts {after} KiB", flush=True)
        self.assertLess(after - before, self.GROWTH_KIB)
        self.program.end()


if __name__ == "__main__":
    unittest.main()
