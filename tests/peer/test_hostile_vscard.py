# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that break the VSCard protocol, against a real vscardd on real
sockets. What each gets in answer is the table at the head of vscard/host.c;
after each one the process is alive, a good client is served, another reader
of the same process has not noticed, and each CCID command has had exactly one
answer. Memory is measured in the build without sanitizers."""

import random
import unittest

import usbredir
import vscard
from ccid import (ABORT, ABSENT, ACTIVE, DATA_BLOCK, FAILED, HW_ERROR, ICC_MUTE, INACTIVE,
                  POWER_ON, SLOT_STATUS, CcidHost)
from programs import NORMAL, Appliance
from rig import Rig, RigCase, power_on, round_trip
from stream import Closed, Late
from vscard import (APDU, ATR, CARD_REMOVE, ERROR, FLUSH, FLUSH_COMPLETE, INIT, READER_ADD,
                    READER_REMOVE, UNDEFINED_READER, pack)

TYPES = (0, *vscard.TYPES, 10, 0xFF, 0x105, 0x80000000, 0xFFFFFFFF)
# Nobody has this reader: a message for it is answered by an Error at once, so
# its answer tells that everything before has been dealt with.
NOBODY = 77
PROBE = pack(CARD_REMOVE, NOBODY)

SUCCESS = (vscard.SUCCESS, 0)
GENERAL = (vscard.GENERAL_ERROR, 0)
FULL = (vscard.CANNOT_ADD_MORE_READERS, UNDEFINED_READER)
# What a host with one slot, a reader and a card answers to zeros of a type.
ANSWERS = {READER_ADD: [FULL], READER_REMOVE: [SUCCESS], ATR: [GENERAL], CARD_REMOVE: [SUCCESS]}

NO_CARD_NOW = (DATA_BLOCK, FAILED | ABSENT, ICC_MUTE)
COMMAND = vscard.echo_command(3, b"pending", 20)


def said_until_probe(client):
    """(code, reader) of each Error up to the probe's; nothing else may come."""
    codes = []
    while True:
        message = client.receive()
        if message.type != ERROR or len(message.data) != 4:
            raise AssertionError(f"{message} came")
        code = int.from_bytes(message.data, "big")
        if message.reader == NOBODY:
            if code != vscard.GENERAL_ERROR:
                raise AssertionError(f"Error {code} for a reader that nobody has")
            return codes
        codes.append((code, message.reader))


class HostileCase(RigCase):
    """Hostile clients of one appliance."""

    def tearDown(self):
        self.settle()

    def after(self, data):
        """What a client with a card is told after it sent `data`."""
        with self.rig.client_with_card() as client:
            client.stream.send(data + PROBE)
            return said_until_probe(client)

    def assert_closes(self, data, before=vscard.Client.with_card):
        """The appliance ends the conversation once `data` is there."""
        with before(self.rig.appliance.card(0)) as client:
            client.stream.send_anyway(data)
            return client.stream.wait_closed()


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


AGREED = vscard.CAP_EXTENDED | vscard.CAP_REQUESTS
CARD_OK = (DATA_BLOCK, ACTIVE, 0)


class NamedRig(Rig):
    """Readers that do not become others by what a client calls itself."""

    def start(self, **more):
        return super().start(ccid=",name=fixed", **more)


class Requests(HostileCase):
    """Clients with CAP_REQUESTS that break its rules. Requests end as they would
    have, once; nothing is answered with an Error."""

    new_rig = NamedRig

    def client(self):
        """One whose card is in, and has no power."""
        client = vscard.Client.with_card(self.rig.appliance.card(0), caps=AGREED)
        self.rig.host.wait_icc(INACTIVE)
        return client

    def powered(self):
        client = self.client()
        self.power_on(client)
        return client

    def power_on(self, client, before=lambda token: b""):
        """A power on; `before` makes what comes before its Answer."""
        seq = self.rig.host.command(POWER_ON)
        token, _ = client.take_request(vscard.POWER_ON)
        client.stream.send(before(token))
        client.answer_request(token, vscard.ECHO_ATR)
        reply = self.rig.host.final(seq)
        self.assertEqual((reply.verdict, reply.data), (CARD_OK, vscard.ECHO_ATR))

    def transmit(self, client, before=lambda token: b""):
        """A command, as power_on()."""
        seq = self.rig.host.start(COMMAND)
        token, data = client.take_request(vscard.TRANSMIT)
        self.assertEqual(data, COMMAND)
        client.stream.send(before(token))
        client.answer_request(token, vscard.echo_answer(COMMAND))
        reply = self.rig.host.final(seq)
        self.assertEqual((reply.verdict, reply.data), (CARD_OK, vscard.echo_answer(COMMAND)))

    def probe(self, client):
        client.stream.send(PROBE)
        self.assertEqual(said_until_probe(client), [])

    def test_good(self):
        with self.powered() as client:
            self.transmit(client)
            self.probe(client)

    def test_lengths(self):
        """Of messages that mean nothing, or nothing yet."""
        with self.powered() as client:
            for kind in (*range(0x100, 0x106), 0xFFFFFFFF):
                for size in (0, 1, 3, 4, 5, 7, 8, 9, 65544):
                    for reader in (0, 5, UNDEFINED_READER):
                        client.stream.send(pack(kind, reader, bytes(size)))
                self.probe(client)
            self.transmit(client)

    def test_longest(self):
        """An Answer of the longest response, and of more."""
        with self.powered() as client:
            for size, verdict in ((65538, CARD_OK), (65539, None), (65544, None)):
                seq = self.rig.host.start(COMMAND)
                token, _ = client.take_request(vscard.TRANSMIT)
                client.answer_request(token, bytes(size))
                reply = self.rig.host.final(seq)
                self.assertEqual(reply.verdict, verdict or (DATA_BLOCK, FAILED, HW_ERROR))

    def test_other_tokens(self):
        """Answers and Workings of requests there are not, before the right one."""
        def others(token):
            wrong = vscard.pack_request(token ^ 1, vscard.OK, b"\xee" * 20)
            right = vscard.pack_request(token, vscard.OK, b"\xee" * 20)
            return (pack(vscard.ANSWER, 0, wrong) + pack(vscard.ANSWER, 1, right)
                    + pack(vscard.ANSWER, UNDEFINED_READER, right) + pack(APDU, 0, b"\x90\x00")
                    + pack(vscard.WORKING, 0, wrong[:4]) + pack(vscard.WORKING, 9, right[:4])
                    + pack(vscard.ANSWER, 0, right[:7])
                    + pack(vscard.ANSWER, 0, vscard.pack_request(0, 0)))
        with self.client() as client:
            self.power_on(client, others)
            self.transmit(client, others)

    def test_answered_twice(self):
        with self.powered() as client:
            seq = self.rig.host.start(COMMAND)
            token, _ = client.take_request(vscard.TRANSMIT)
            client.answer_request(token, b"\x01\x90\x00")
            client.answer_request(token, b"\x02\x90\x00")
            self.assertEqual(self.rig.host.final(seq).data, b"\x01\x90\x00")
            # And once more, when the next is out.
            self.transmit(client, lambda _: pack(
                vscard.ANSWER, 0, vscard.pack_request(token, 0, b"\x03\x90\x00")))

    def test_outcomes(self):
        """Each that there is, and those there are not."""
        with self.powered() as client:
            for outcome in (*range(1, 8), 0x7FFFFFFF, 0xFFFFFFFF):
                with self.subTest(outcome=outcome):
                    self.check_outcome(client, outcome)

    def check_outcome(self, client, outcome):
        seq = self.rig.host.start(COMMAND)
        token, _ = client.take_request(vscard.TRANSMIT)
        client.answer_request(token, b"\x90\x00", outcome)
        reply = self.rig.host.final(seq)
        self.assertNotEqual(reply.status & 0xC0, 0)
        self.assertEqual(reply.data, b"")
        if self.rig.host.slot_status().icc != ACTIVE:
            self.power_on(client)

    def test_bad_atrs(self):
        with self.client() as client:
            for atr in (b"", b"\x3b", bytes(34), bytes(60000)):
                seq = self.rig.host.command(POWER_ON)
                token, _ = client.take_request(vscard.POWER_ON)
                client.answer_request(token, atr)
                self.assertNotEqual(self.rig.host.final(seq).status & 0xC0, 0)
            self.power_on(client)

    def test_late_answer(self):
        """To a command that the host gave up: the next gets its own."""
        with self.powered() as client:
            seq = self.rig.host.start(COMMAND)
            token, _ = client.take_request(vscard.TRANSMIT)
            self.assertEqual(self.rig.host.abort_request(0, seq), 0)
            message = client.receive()
            self.assertEqual((message.type, message.data), (vscard.CANCEL,
                                                            token.to_bytes(4, "big")))
            self.rig.host.command(ABORT, seq=seq)
            while self.rig.host.reply().type != SLOT_STATUS:
                pass
            seq = self.rig.host.start(COMMAND)
            # Held back until the client is done with the first.
            self.probe(client)
            client.answer_request(token, b"\xee\x90\x00")
            token, data = client.take_request(vscard.TRANSMIT)
            self.assertEqual(data, COMMAND)
            client.answer_request(token, b"\x01\x90\x00")
            self.assertEqual(self.rig.host.final(seq).data, b"\x01\x90\x00")

    def test_removed_while_out(self):
        for removal in (pack(CARD_REMOVE), pack(READER_REMOVE)):
            with self.subTest(removal=removal[3]), self.powered() as client:
                seq = self.rig.host.start(COMMAND)
                token, _ = client.take_request(vscard.TRANSMIT)
                client.stream.send(removal)
                client.answer_request(token, b"\x90\x00")
                self.assertEqual(self.rig.host.final(seq).verdict, NO_CARD_NOW)
            self.rig.host.wait_icc(ABSENT)

    def test_working_flood(self):
        with self.powered() as client:
            self.transmit(client, lambda token: pack(
                vscard.WORKING, 0, token.to_bytes(4, "big")) * 50000)
            self.probe(client)

    def test_infos(self):
        """Texts that are none, too long, too many; for readers there are not."""
        chance = random.Random(4)
        infos = [b"", b"\0", vscard.pack_info((1, b"x" * 65000)),
                 vscard.pack_info((1, b"")) * 16000, vscard.pack_info((9, b"y" * 600)) * 100,
                 b"\0\1\xff\xff" + bytes(100), vscard.pack_info((1, b"\x1b[2J%s%n\0\r\n")),
                 *(chance.randbytes(chance.randrange(200)) for _ in range(300)),
                 *(vscard.pack_info((chance.randrange(6), chance.randbytes(40)))
                   for _ in range(300))]
        with self.powered() as client:
            for reader in (0, 1, 16, UNDEFINED_READER):
                for info in infos:
                    client.send(vscard.READER_INFO, reader, info)
            self.probe(client)
            self.transmit(client)

    def test_not_agreed(self):
        """Without the capability the words mean nothing."""
        with self.rig.client_with_card() as client:
            seq = self.rig.host.start(COMMAND)
            self.assertEqual(client.take_command(), COMMAND)
            for token in range(4):
                client.answer_request(token, b"\xee\x90\x00")
            client.answer(b"\x01\x90\x00")
            self.assertEqual(self.rig.host.final(seq).data, b"\x01\x90\x00")


class Renamed(unittest.TestCase):
    """A client that calls its reader something else all the time: the USB device
    is plugged in again for it, but not each time."""

    def test_names_without_end(self):
        with Appliance() as appliance, CcidHost(appliance.usb()).open() as host, \
             vscard.Client.with_card(appliance.card(), caps=AGREED) as client:
            for i in range(3000):
                client.send(vscard.READER_INFO, 0, vscard.pack_info((1, b"name %d" % i)))
            client.stream.send(PROBE)
            self.assertEqual(said_until_probe(client), [])
            host.usb.take(lambda packet: packet.type == usbredir.DEVICE_DISCONNECT)
            host.usb.send(usbredir.DEVICE_DISCONNECT_ACK, b"", 0)
            host.usb.take(lambda packet: packet.type == usbredir.DEVICE_CONNECT)
            self.assertEqual(host.usb.set_configuration(1), (usbredir.OK, 1))
            self.assertEqual(self.text(host.usb, 4), "name 0")
            # The last one, some seconds later.
            host.usb.take(lambda packet: packet.type == usbredir.DEVICE_DISCONNECT)
            host.usb.send(usbredir.DEVICE_DISCONNECT_ACK, b"", 0)
            host.usb.take(lambda packet: packet.type == usbredir.DEVICE_CONNECT)
            self.assertEqual(self.text(host.usb, 4), "name 2999")

    @staticmethod
    def text(usb, index):
        """A string descriptor of the device."""
        status, data = usb.control(0x80, 6, 0x300 | index, 0x409, length=255)
        if status != usbredir.OK:
            raise AssertionError(f"string {index}: status {status}")
        return data[2:].decode("utf-16-le")


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
