# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that break the VSCard protocol, against a real vscardd on real
sockets. What each gets in answer is the table at the head of vscard/host.c;
after each one the process is alive, a good client is served, another reader
of the same process has not noticed, and each CCID command has had exactly one
answer. Memory is measured in the build without sanitizers."""

import random
import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, FAILED, HW_ERROR, ICC_MUTE, INACTIVE
from hostile import COMMAND, NO_CARD_NOW, PROBE, HostileCase, said_until_probe
from programs import NORMAL
from rig import Rig, power_on, round_trip
from stream import Closed, Late
from vscard import (APDU, ATR, CARD_REMOVE, ERROR, FLUSH, FLUSH_COMPLETE, INIT, READER_ADD,
                    READER_REMOVE, UNDEFINED_READER, pack)

TYPES = (0, *vscard.TYPES, 10, 0xFF, 0x105, 0x80000000, 0xFFFFFFFF)
SUCCESS = (vscard.SUCCESS, 0)
GENERAL = (vscard.GENERAL_ERROR, 0)
FULL = (vscard.CANNOT_ADD_MORE_READERS, UNDEFINED_READER)
# What a host with one slot, a reader and a card answers to zeros of a type.
ANSWERS = {READER_ADD: [FULL], READER_REMOVE: [SUCCESS], ATR: [GENERAL], CARD_REMOVE: [SUCCESS]}


class Lengths(HostileCase):
    """Messages of every type whose length is what they should not have."""

    def check_type(self, kind, size):
        data = pack(kind, 0, bytes(size))
        if kind == INIT:
            self.assertEqual(self.assert_closes(data), b"")
        else:
            self.assertEqual(self.after(data), ANSWERS.get(kind, []))

    def check_size(self, size):
        for kind in TYPES:
            with self.subTest(type=kind):
                self.check_type(kind, size)
                self.rig.check()

    def test_0(self):
        self.check_size(0)

    def test_1(self):
        self.check_size(1)

    def test_8(self):
        self.check_size(8)

    def test_65524(self):
        self.check_size(65524)

    def test_longest(self):
        self.check_size(vscard.PAYLOAD_MAX)

    def check_too_long(self, length=None):
        for kind in TYPES:
            with self.subTest(type=kind):
                header = pack(kind, 0, b"", length or vscard.payload_max(kind) + 1)
                self.assertEqual(self.assert_closes(header), b"")
                self.assertEqual(self.assert_closes(header + bytes(1000)), b"")
                self.assertEqual(self.assert_closes(header, vscard.Client), b"")

    def test_one_too_long(self):
        self.check_too_long()

    def test_2_31(self):
        self.check_too_long(1 << 31)

    def test_2_32_less_1(self):
        self.check_too_long((1 << 32) - 1)


class Beginnings(HostileCase):
    """What comes first is not what should."""

    def test_short_init_pipelined(self):
        whole = vscard.pack_init(0)[12:]
        for size in (0, 4, 8):
            for follower in (pack(READER_ADD, UNDEFINED_READER, b"r"), pack(ATR, 0, b""),
                             vscard.pack_init(0)):
                with self.subTest(size=size, follower=follower.hex()):
                    self.check_init(whole[:size], follower)

    def check_init(self, payload, follower):
        """Magic and version make an Init; less is none and ends it all."""
        data = pack(INIT, 0, payload) + follower
        if len(payload) < 8:
            self.assertEqual(self.assert_closes(data, vscard.Client), b"")
            return
        with self.rig.client() as client:
            client.stream.send(data + PROBE)
            version, caps = vscard.unpack_init(client.receive().data)
            self.assertEqual((version, len(caps)), (vscard.VERSION, 1))
            answers = {READER_ADD: [SUCCESS], ATR: [GENERAL], INIT: []}
            self.assertEqual(said_until_probe(client), answers[follower[3]])

    def test_init_with_many_words(self):
        with self.rig.client() as client:
            client.stream.send(vscard.pack_init(*range(1, 2000)) + PROBE)
            self.assertEqual(len(vscard.unpack_init(client.receive().data)[1]), 1)
            self.assertEqual(said_until_probe(client), [])

    def test_wrong_magic(self):
        for magic in (b"DCSV", b"vscd", b"\0\0\0\0", b"GET "):
            with self.subTest(magic=magic):
                data = pack(INIT, 0, magic + bytes(8))
                self.assertEqual(self.assert_closes(data, vscard.Client), b"")

    def test_init_broken_word(self):
        for size in (9, 10, 11, 13):
            with self.subTest(size=size):
                data = pack(INIT, 0, (vscard.pack_init(0, 0)[12:])[:size])
                self.assertEqual(self.assert_closes(data, vscard.Client), b"")

    def test_no_init(self):
        with self.rig.client() as client:
            client.add_reader()
            client.insert()
            power_on(self.rig.host)
            round_trip(self.rig.host, client, COMMAND)

    def test_other_protocols(self):
        for hello in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00",
                      b"SSH-2.0-OpenSSH_9.2\r\n"):
            with self.subTest(hello=hello):
                with self.rig.client() as client:
                    client.stream.send_anyway(hello.ljust(12, b" "))
                    self.assertEqual(client.stream.wait_closed(), b"")

    def test_nothing_at_all(self):
        for _ in range(20):
            self.rig.client().close()


def chained_atr(levels):
    """An ATR whose TD bytes announce `levels` more levels each with all
    interface characters, and then ends."""
    return bytes([0x3B, 0xF0]) + bytes([0x11, 0x11, 0x11, 0xF1]) * levels


# Broken ATRs: what breaks them, and the bytes.
BAD_ATRS = {
    "0 bytes": b"",
    "1 byte": b"\x3b",
    "TS unknown": b"\x00\x00",
    "TS unknown, long": b"\xff" * 33,
    "34 bytes": vscard.make_atr(b"x" * 15).ljust(34, b"\0"),
    "41 bytes": b"\x3b" + bytes(40),
    "255 bytes": b"\x3b\x0f" + bytes(253),
    "TA announced, nothing follows": b"\x3b\x10",
    "TD announced, nothing follows": b"\x3b\x80",
    "TD chain of one, cut": b"\x3b\x80\x80",
    "TD chain to 33 bytes": chained_atr(7) + b"\x11\x11\x11",
    "TD chain past 33 bytes": chained_atr(16),
    "historical bytes missing": b"\x3b\x05abcd",
    "one byte too many": b"\x3b\x00\x00",
    "TCK missing": vscard.make_atr(b"echo")[:-1],
    "TCK wrong": vscard.make_atr(b"echo")[:-1] + bytes([vscard.make_atr(b"echo")[-1] ^ 1]),
}


def longest_atr():
    """33 bytes: T=1 in specific mode, every interface character of three
    levels and three of T=15, all historical bytes, TCK."""
    body = bytes([0xFF, 0x11, 0, 0, 0xF1, 0x81, 0, 0x0A, 0xF1, 0xFE, 0x45, 0, 0x7F, 7, 0, 0])
    body += b"h" * 15
    return b"\x3b" + body + vscard.check_byte(body)


# 2 and 33 bytes that are ATRs: the shortest, and the longest.
GOOD_ATRS = {2: b"\x3b\x00", 33: longest_atr()}


class Atrs(HostileCase):
    """Answers to reset that are none."""

    def test_bad(self):
        for name, atr in BAD_ATRS.items():
            with self.subTest(name):
                self.check_bad(atr)

    def test_65536_bytes(self):
        self.check_bad(b"\x3b" + bytes(65535))

    def check_bad(self, atr):
        """Refused, and the card that was there before is there no more."""
        with self.rig.client_with_card() as client:
            client.send(ATR, 0, atr)
            client.expect_error(vscard.GENERAL_ERROR)
            self.rig.host.wait_icc(ABSENT)
            self.assertEqual(self.rig.host.power_on().verdict, NO_CARD_NOW)
            client.insert()
            power_on(self.rig.host)

    def test_good(self):
        for size, atr in GOOD_ATRS.items():
            with self.subTest(size=size):
                self.assertEqual(len(atr), size)
                with vscard.Client.with_card(self.rig.appliance.card(0), atr) as client:
                    power_on(self.rig.host, atr)
                    round_trip(self.rig.host, client, COMMAND)
                self.rig.host.wait_icc(ABSENT)

    def test_random(self):
        chance = random.Random(20)
        for _ in range(300):
            atr = b"\x3b" + chance.randbytes(chance.randrange(40))
            codes = self.quick_atr(atr)
            self.assertIn(codes, ([SUCCESS], [GENERAL]))

    def quick_atr(self, atr):
        with self.rig.client() as client:
            client.stream.send(vscard.pack_init(0) + pack(READER_ADD, UNDEFINED_READER)
                               + pack(ATR, 0, atr) + PROBE)
            client.receive()
            first, *rest = said_until_probe(client)
            self.assertEqual(first, SUCCESS)
            return rest


class Messages(HostileCase):
    """Whole messages that do not fit what was before."""

    def test_error_sizes(self):
        for size in (0, 1, 2, 3, 5, 8):
            with self.subTest(size=size):
                self.assertEqual(self.after(pack(ERROR, 0, b"\1" * size)), [])

    def test_error_codes(self):
        for code in (0, 1, 0x01000000, 3, 0xFFFFFFFF):
            with self.subTest(code=code):
                self.assertEqual(self.after(vscard.pack_error(code)), [])

    def test_apdu_with_nothing_pending(self):
        for size in (0, 1, 2, 258, 65538):
            with self.subTest(size=size):
                with self.rig.client_with_card() as client:
                    client.answer(bytes(size))
                    client.stream.send(PROBE)
                    self.assertEqual(said_until_probe(client), [])
                    round_trip(self.rig.host, client, COMMAND)

    def test_two_answers(self):
        with self.rig.client_with_card() as client:
            for i in range(20):
                self.check_two_answers(client, i)

    def check_two_answers(self, client, i):
        seq = self.rig.host.start(COMMAND)
        client.take_command()
        first, second = bytes([i, 0x90, 0x00]), b"\xee\x6f\x00"
        client.stream.send(pack(APDU, 0, first) + pack(APDU, 0, second) + PROBE)
        self.assertEqual(said_until_probe(client), [])
        reply = self.rig.host.final(seq)
        self.assertEqual((reply.verdict, reply.data), ((DATA_BLOCK, ACTIVE, 0), first))

    def test_reader_add_twice(self):
        more = pack(READER_ADD, UNDEFINED_READER, b"second")
        with self.rig.client_with_card() as client:
            client.stream.send(more + more + PROBE)
            self.assertEqual(said_until_probe(client), [FULL, FULL])
            round_trip(self.rig.host, client, COMMAND)

    def test_reader_names(self):
        for name in (b"\0" * 9, b"\xff\xfe" * 40, b"%s%n%x\r\n\x1b[2J", b"n" * 65544):
            with self.subTest(name=name[:9]):
                with self.rig.client() as client:
                    client.init()
                    client.add_reader(name)
                    client.insert()
                    power_on(self.rig.host)
                    round_trip(self.rig.host, client, COMMAND)
                self.rig.host.wait_icc(ABSENT)

    def test_unknown_types(self):
        for kind in (0, FLUSH, FLUSH_COMPLETE, 10, 0x100, 0xFFFFFFFF):
            with self.subTest(type=kind):
                self.assertEqual(self.after(pack(kind, 0, b"data") * 50), [])

    def test_wrong_readers(self):
        for reader in (1, 15, 16, 255, 0x7FFFFFFF, 0x80000000, UNDEFINED_READER):
            for kind in (READER_REMOVE, ATR, CARD_REMOVE, APDU):
                with self.subTest(reader=reader, type=kind):
                    codes = self.after(pack(kind, reader, vscard.ECHO_ATR))
                    self.assertEqual(codes, [(vscard.GENERAL_ERROR, reader)])

    def test_card_without_reader(self):
        with self.rig.client() as client:
            client.init()
            client.stream.send(pack(ATR, 0, vscard.ECHO_ATR) + PROBE)
            self.assertEqual(said_until_probe(client), [GENERAL])

    def test_remove_twice(self):
        with self.rig.client_with_card() as client:
            client.stream.send(pack(CARD_REMOVE) * 3 + PROBE)
            self.assertEqual(said_until_probe(client), [SUCCESS] * 3)
            self.rig.host.wait_icc(ABSENT)


class Pending(HostileCase):
    """A command is at the client when it misbehaves. Whatever it does, the
    command gets one answer, and the next command gets its own."""

    def check_pending(self, data, verdict):
        """The verdict on a command whose client sends `data` instead of an
        answer."""
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            client.take_command()
            client.stream.send_anyway(data)
            self.assertEqual(self.rig.host.final(seq).verdict, verdict)
        self.rig.host.wait_icc(ABSENT)
        self.rig.check()

    def test_card_remove(self):
        self.check_pending(pack(CARD_REMOVE), NO_CARD_NOW)

    def test_reader_remove(self):
        self.check_pending(pack(READER_REMOVE), NO_CARD_NOW)

    def test_card_remove_and_answer(self):
        self.check_pending(pack(CARD_REMOVE) + pack(APDU, 0, b"\x90\x00"), NO_CARD_NOW)

    def test_bad_atr(self):
        self.check_pending(pack(ATR, 0, b"\x3b"), NO_CARD_NOW)

    def test_second_card(self):
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            client.take_command()
            client.insert()
            reply = self.rig.host.final(seq)
            self.assertEqual((reply.type, reply.error), (DATA_BLOCK, ICC_MUTE))
            self.assertIn(reply.status, (FAILED | ABSENT, FAILED | INACTIVE))
            power_on(self.rig.host)
            round_trip(self.rig.host, client, COMMAND)

    def test_close(self):
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            client.take_command()
        self.assertEqual(self.rig.host.final(seq).verdict, NO_CARD_NOW)

    def test_close_before_reading(self):
        """Input that the client never read makes the close a reset."""
        with self.rig.client_with_card():
            seq = self.rig.host.start(COMMAND)
        self.assertEqual(self.rig.host.final(seq).verdict, NO_CARD_NOW)

    def test_broken_stream(self):
        for data in (pack(APDU, 0, b"", 1 << 31), pack(INIT), pack(7, 0, b"", 0xFFFFFFFF)):
            with self.subTest(data=data.hex()):
                self.check_pending(data, NO_CARD_NOW)

    def test_answers_that_are_none(self):
        for size in (0, 1, 65539, 65544):
            with self.subTest(size=size):
                self.check_pending(pack(APDU, 0, bytes(size)), (DATA_BLOCK, FAILED, HW_ERROR))

    def test_error_for_answer(self):
        self.check_pending(vscard.pack_error(vscard.GENERAL_ERROR),
                           (DATA_BLOCK, FAILED, HW_ERROR))

    def test_success_for_answer(self):
        """Error SUCCESS is no answer: the command waits for the real one."""
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            client.take_command()
            client.stream.send(vscard.pack_error(vscard.SUCCESS) + pack(ERROR, 0, b"\1\1")
                               + pack(0x100, 0, b"x") + vscard.pack_init(0))
            client.answer(vscard.echo_answer(COMMAND))
            self.assertEqual(self.rig.host.final(seq).data, vscard.echo_answer(COMMAND))

    def test_answer_from_wrong_reader(self):
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            client.take_command()
            client.stream.send(pack(APDU, 1, b"\xee\x90\x00") + PROBE)
            self.assertEqual(said_until_probe(client), [(vscard.GENERAL_ERROR, 1)])
            client.answer(b"\x90\x00")
            self.assertEqual(self.rig.host.final(seq).data, b"\x90\x00")

    def test_answer_cut_at_every_byte(self):
        answer = pack(APDU, 0, b"\x01\x02\x90\x00")
        for cut in range(len(answer)):
            with self.subTest(cut=cut):
                with self.rig.client_with_card() as client:
                    seq = self.rig.host.start(COMMAND)
                    client.take_command()
                    client.stream.send(answer[:cut])
                self.assertEqual(self.rig.host.final(seq).verdict, NO_CARD_NOW)
                self.rig.check()


class Streams(HostileCase):
    """How the bytes come."""

    conversation = (vscard.pack_init(0) + pack(READER_ADD, UNDEFINED_READER, b"name")
                    + pack(ATR, 0, vscard.ECHO_ATR) + pack(APDU, 0, b"\x90\x00")
                    + pack(CARD_REMOVE) + pack(READER_REMOVE))

    def test_closing_at_every_byte(self):
        for cut in range(len(self.conversation) + 1):
            with self.subTest(cut=cut):
                with self.rig.client() as client:
                    client.stream.send(self.conversation[:cut])
                self.rig.check()

    def test_byte_by_byte(self):
        with self.rig.client() as client:
            for byte in self.conversation + PROBE:
                client.stream.send(bytes([byte]))
            self.assertEqual(client.receive().type, INIT)
            self.assertEqual(said_until_probe(client), [SUCCESS] * 4)

    def test_ten_thousand_with_one_trailing(self):
        chance = random.Random(10000)
        message = pack(0x200, 0, bytes(90)) + pack(ERROR, 0, bytes(4)) + pack(APDU, 0, b"\x90\0")
        stream = message * 3334
        with self.rig.client_with_card() as client:
            at = 0
            while at < len(stream):
                # Ends within a message: its length is no multiple of 3.
                step = chance.randrange(1, 40) * len(message) + chance.randrange(1, 100)
                client.stream.send(stream[at:at + step])
                at += step
            client.stream.send(PROBE)
            self.assertEqual(said_until_probe(client), [])
            round_trip(self.rig.host, client, COMMAND)

    def test_garbage(self):
        for seed in range(100):
            data = random.Random(seed).randbytes(400)
            with self.rig.client() as client:
                client.stream.send_anyway(data)

    def test_mutations(self):
        """A good conversation with a few bytes changed."""
        for seed in range(200):
            chance = random.Random(seed)
            data = bytearray(self.conversation)
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            with self.rig.client() as client:
                client.stream.send_anyway(bytes(data))
        self.rig.host.wait_icc(ABSENT)

    def test_stops_reading(self):
        """Answers nobody takes are bounded, and hold up nobody else."""
        before = self.rig.appliance.open_files()
        with self.rig.client() as client:
            client.init()
            self.stuff(client)
            for _ in range(20):
                self.rig.check_other()
        self.rig.check()
        self.assertLessEqual(self.rig.appliance.open_files(), before)

    def stuff(self, client):
        """Sends requests until the appliance takes no more, or ends it."""
        with self.assertRaises((Late, Closed)):
            for _ in range(4000):
                client.stream.send(PROBE * 1000, limit=2)

    def test_command_nobody_reads(self):
        """The host's largest command to a client that reads nothing."""
        with self.rig.client_with_card() as client:
            command = vscard.echo_command(0, bytes(65535), 65536)
            seq = self.rig.host.start(command)
            self.rig.check_other()
            self.assertEqual(client.take_command(), command)
            client.answer(vscard.echo_answer(command))
            self.assertEqual(len(self.rig.host.final(seq).data), 65538)


class Memory(unittest.TestCase):
    """What hostile clients leave behind, in the normal build."""

    WARM_UP, MEASURED = 150, 450
    # An allocator's pages; a leak of 2 KiB a conversation is far above.
    GROWTH_KIB = 512

    def setUp(self):
        self.rig = Rig(build=NORMAL)
        self.addCleanup(self.rig.close)

    def converse(self, seed):
        chance = random.Random(seed)
        data = chance.choice((
            pack(INIT, 0, bytes(chance.randrange(12))),
            pack(chance.choice(TYPES), 0, b"", (1 << 32) - 1),
            Streams.conversation[:chance.randrange(len(Streams.conversation))],
            pack(READER_ADD, UNDEFINED_READER, bytes(65000)) * 3,
            vscard.pack_init(0) + pack(READER_ADD) + pack(ATR, 0, bytes(65536))[:40000],
            pack(0x300, 5, bytes(60000)) * 4 + pack(APDU, 0, bytes(65544)) * 2,
        ))
        with self.rig.client() as client:
            client.stream.send_anyway(data)

    def converse_pending(self, seed):
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(vscard.echo_command(0, bytes(65535), 65536))
            client.take_command()
            client.stream.send_anyway(pack(APDU, 0, bytes(65544))[:seed * 997 % 65500])
        self.assertEqual(self.rig.host.final(seq).verdict, NO_CARD_NOW)

    def grow(self, what, name):
        """Private memory before and after many conversations."""
        for seed in range(self.WARM_UP):
            what(seed)
        self.rig.check()
        before, files = self.rig.appliance.private_kib(), self.rig.appliance.open_files()
        for seed in range(self.MEASURED):
            what(self.WARM_UP + seed)
        self.rig.check()
        after = self.rig.appliance.private_kib()
        print(f"# {name}: {before} KiB, after {self.MEASURED} more conversations {after} KiB",
              flush=True)
        self.assertLess(after - before, self.GROWTH_KIB)
        self.assertLessEqual(self.rig.appliance.open_files(), files)

    def test_hostile_conversations(self):
        self.grow(self.converse, "hostile clients")

    def test_lost_answers(self):
        self.grow(self.converse_pending, "clients lost in an answer")

    def test_ten_thousand_messages(self):
        """One conversation of many messages, the last one never whole."""
        message = pack(0x200, 0, bytes(500)) + pack(APDU, 0, bytes(300))
        with self.rig.client_with_card() as client:
            client.stream.send(message * 500 + message[:7] + message[7:] + PROBE)
            said_until_probe(client)
            before = self.rig.appliance.private_kib()
            client.stream.send(message[:7])
            for _ in range(10000):
                client.stream.send(message[7:] + message[:7])
            client.stream.send(message[7:] + PROBE)
            self.assertEqual(said_until_probe(client), [])
            after = self.rig.appliance.private_kib()
        print(f"# 20,000 messages with one trailing: {before} KiB, then {after} KiB", flush=True)
        self.assertLess(after - before, self.GROWTH_KIB)

    def test_stops_reading(self):
        """While a client reads nothing: the queue's 1 MiB and the buffers."""
        before = self.rig.appliance.private_kib()
        with self.rig.client() as client:
            client.init()
            with self.assertRaises((Late, Closed)):
                for _ in range(4000):
                    client.stream.send(PROBE * 1000, limit=1)
            held = self.rig.appliance.private_kib()
            busy = self.rig.appliance.cpu_seconds()
            for _ in range(50):
                self.rig.check_other()
        self.rig.check()
        print(f"# a client that does not read: {before} KiB, held {held} KiB, "
              f"{self.rig.appliance.cpu_seconds() - busy:.2f} s of CPU for 50 commands", flush=True)
        self.assertLess(held - before, 2048 + self.GROWTH_KIB)


if __name__ == "__main__":
    unittest.main()
