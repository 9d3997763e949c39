# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile SPICE clients against vscardd's SPICE server. The library that serves
them asserts, or overruns its memory, on some of what a client may send (see
libspice-server 0.15.1, smartcard.cpp): that costs the process that holds it, and
no more. vscardd lives, its reader sees a removal, a second reader with a card on
a socket never notices, and the channel is served again."""

import contextlib
import os
import socket
import struct
import time
import unittest

import spice
import vscard
from programs import NORMAL
from rig import Rig, RigCase, power_on, round_trip
from spice import (BAD_CONNECTION_ID, CHANNEL_NOT_AVAILABLE, DATA, MAIN, SMARTCARD, Access, Channel,
                   Refused, Session, SmartcardClient, SpiceAppliance, pack_card)
from stream import LIMIT, Closed, Late, connect

# What may happen to a client while the server's process comes up anew.
AWAY = (Closed, ConnectionError, Refused)


class SpiceRig(Rig):
    """A rig whose first reader's card comes over SPICE."""

    def start(self, **more):
        self.access = Access()
        return SpiceAppliance(self.access, **more)

    def close(self):
        try:
            super().close()
        finally:
            self.access.remove()

    def session(self):
        """A session, as soon as the server is there."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                return Session(self.access.way())
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def client(self):
        return self.smartcard(lambda client: client)

    def client_with_card(self):
        def insert(client):
            client.add_reader()
            client.insert()
            power_on(self.host)
            return client
        return self.smartcard(insert)

    def smartcard(self, act):
        """A client on the smartcard channel that `act` has been done with. The
        session before may not have been taken down yet: then once more."""
        deadline = time.monotonic() + LIMIT
        while True:
            session = self.session()
            try:
                return act(Whole(session))
            except AWAY:
                session.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def children(self):
        """The pids of the processes that vscardd has started."""
        pid = self.appliance.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]


class Whole(SmartcardClient):
    """A smartcard channel and the session it is of, closed together."""

    def __init__(self, session):
        self.session = session
        super().__init__(session.open(SMARTCARD))

    def close(self):
        super().close()
        self.session.close()


class Hostile(RigCase):
    new_rig = SpiceRig

    def tearDown(self):
        self.settle()


class Messages(Hostile):
    """What a client says on the smartcard channel that it should not: each
    message by itself, before and after it has added a reader, with and without
    a card. Whatever it does to the server, all is well afterwards."""

    def say(self, *bodies, size=None):
        for prepare in (lambda client: None, SmartcardClient.add_reader, self.insert):
            with self.rig.client() as client:
                try:
                    prepare(client)
                    for body in bodies:
                        client.channel.send(DATA, body, size)
                    # Either it ends the conversation or it has a word for it.
                    client.channel.receive(0.05)
                except (Closed, Late):
                    pass
            self.rig.check_other()

    def insert(self, client):
        client.add_reader()
        client.insert()

    def test_unknown_readers(self):
        for reader in (1, 2, 31, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            self.say(pack_card(vscard.APDU, reader, b"\x90\x00"))
            self.say(pack_card(vscard.CARD_REMOVE, reader))

    def test_removes_of_readers_that_are_not_its_own(self):
        for reader in (0, 1, 5, 0xFFFFFFFF):
            self.say(pack_card(vscard.READER_REMOVE, reader))
        self.say(pack_card(vscard.READER_REMOVE), pack_card(vscard.READER_REMOVE))

    def test_unknown_types(self):
        for kind in (0, vscard.INIT, vscard.FLUSH, vscard.FLUSH_COMPLETE, 10, 0x100, 0xFFFFFFFF):
            self.say(pack_card(kind, 0, b"VSCD\0\0\0\2\0\0\0\0"))

    def test_wrong_lengths(self):
        for length in (0, 1, 3, 5, 270, 65545, 0x7FFFFFFF, 0xFFFFFFF4, 0xFFFFFFFF):
            for kind in (vscard.ATR, vscard.APDU, vscard.ERROR, vscard.READER_ADD):
                self.say(pack_card(kind, 0, b"abcd", length))

    def test_truncated(self):
        whole = pack_card(vscard.APDU, 0, b"\x90\x00")
        for size in range(12):
            self.say(whole[:size])

    def test_cut_off(self):
        whole = pack_card(vscard.ATR, 0, vscard.ECHO_ATR)
        for size in (0, 1, 11, 12, 13):
            self.say(whole[:size], size=len(whole))

    def test_answers_to_nothing(self):
        self.say(*[pack_card(vscard.APDU, 0, b"\x90\x00")] * 50)
        self.say(*[vscard_error(code) for code in (0, 1, 2, 0x01000000, 0xFFFFFFFF)])

    def test_twice(self):
        self.say(*[pack_card(vscard.READER_ADD, 0xFFFFFFFF, b"name")] * 3)
        self.say(*[pack_card(vscard.ATR, 0, vscard.ECHO_ATR)] * 3)
        self.say(*[pack_card(vscard.CARD_REMOVE)] * 3)

    def test_long_messages(self):
        for size in [*range(269, 285), 2000, 65538, 65544, 65545, 1 << 20]:
            self.say(pack_card(vscard.APDU, 0, bytes(size)))

    def test_other_messages_of_the_channel(self):
        for kind in (0, 4, 5, 99, 100, 102, 200, 0xFFFF):
            with self.rig.client() as client:
                client.channel.send(kind, b"\xff" * 64)
                try:
                    client.channel.receive(0.05)
                except (Closed, Late):
                    pass


def vscard_error(code):
    return pack_card(vscard.ERROR, 0, struct.pack("<I", code))


class Commands(Hostile):
    """A client that goes, or goes mad, while it has a command."""

    def setUp(self):
        self.client = self.rig.client_with_card()
        self.addCleanup(self.client.close)

    def pending(self):
        command = vscard.echo_command(1, b"pending", 16)
        seq = self.rig.host.start(command)
        self.assertEqual(self.client.take_command(), command)
        return seq

    def assertEnds(self, seq):
        """The command ends with an error, and the card is gone."""
        reply = self.rig.host.final(seq)
        self.assertNotEqual(reply.status & 0x40, 0, reply)
        self.rig.host.wait_icc(2)

    def test_the_channel_is_closed(self):
        seq = self.pending()
        self.client.close()
        self.assertEnds(seq)

    def test_the_server_is_killed(self):
        """As a crash of the library would."""
        for _ in range(3):
            seq = self.pending()
            before = self.rig.children()
            self.assertEqual(len(before), 1)
            os.kill(before[0], 9)
            self.assertEnds(seq)
            self.client.close()
            self.client = self.rig.client_with_card()
            self.addCleanup(self.client.close)
            self.assertNotEqual(self.rig.children(), before)
            round_trip(self.rig.host, self.client, vscard.echo_command(2, b"again", 16))
        self.client.close()

    def test_a_second_client(self):
        """A session more throws the first out; the card is then the second's."""
        seq = self.pending()
        other = self.rig.session()
        self.addCleanup(other.close)
        self.assertEnds(seq)
        self.client.channel.wait_closed()
        with self.rig.client_with_card() as client:
            round_trip(self.rig.host, client, vscard.echo_command(3, b"second", 16))

    def test_a_second_channel_of_the_session(self):
        """It finds the reader taken, and the first keeps its card."""
        try:
            with Channel(self.rig.access.way(), SMARTCARD, 0, self.client.session.id) as channel:
                other = SmartcardClient(channel.open())
                other.send(vscard.READER_ADD, vscard.UNDEFINED_READER, b"")
                try:
                    other.receive(0.5)
                except (Closed, Late):
                    pass
        except (Refused, Closed):
            pass
        self.client.close()

    def test_the_answer_is_not_read(self):
        """A client that sends a flood and reads nothing."""
        seq = self.pending()
        try:
            for _ in range(200):
                self.client.channel.stream.send(
                    self.client.channel.pack(DATA, pack_card(vscard.APDU, 0, bytes(258))) * 50, 1)
        except (Closed, Late):
            pass
        self.client.close()
        self.rig.host.final(seq)


def end_output(stream):
    """The server may have closed by now."""
    with contextlib.suppress(OSError):
        stream.sock.shutdown(socket.SHUT_WR)


class Links(Hostile):
    """Connections that are no good clients."""

    def test_half_links(self):
        mess = spice.link_mess(MAIN, common=[spice.CAP_AUTH_SELECTION])
        whole = spice.link_header(len(mess)) + mess
        for size in range(0, len(whole), 5):
            with connect(self.rig.access.way().address) as stream:
                stream.send(whole[:size])
        self.rig.check_other()

    def test_wrong_links(self):
        mess = spice.link_mess(MAIN, common=[0xFFFFFFFF], caps=[0xFFFFFFFF] * 20)
        for header in (spice.link_header(len(mess), magic=b"HTTP"),
                       spice.link_header(len(mess), major=3),
                       spice.link_header(0), spice.link_header(1), spice.link_header(0xFFFFFFFF),
                       spice.link_header(17)):
            with connect(self.rig.access.way().address) as stream:
                stream.send_anyway(header + mess)
                end_output(stream)
                stream.wait_closed()

    def test_wrong_capabilities(self):
        for counts in ((0xFFFFFFFF, 0, 18), (1, 0, 0xFFFFFFFF), (0x40000000, 0x40000000, 18)):
            mess = struct.pack("<IBBIII", 0, MAIN, 0, *counts)
            with connect(self.rig.access.way().address) as stream:
                stream.send_anyway(spice.link_header(len(mess)) + mess)
                end_output(stream)
                stream.wait_closed()

    def test_no_session(self):
        with self.rig.session() as session:
            for ident, kind, code in ((session.id ^ 1, SMARTCARD, BAD_CONNECTION_ID),
                                      (session.id, 77, CHANNEL_NOT_AVAILABLE)):
                with self.assertRaises((Refused, Closed)) as refused, \
                     Channel(self.rig.access.way(), kind, 0, ident) as channel:
                    channel.open()
                if isinstance(refused.exception, Refused):
                    self.assertEqual(refused.exception.code, code)

    def test_many_connections(self):
        streams = [connect(self.rig.access.way().address) for _ in range(200)]
        self.rig.check_other()
        for stream in streams:
            stream.close()

    def test_a_wrong_ticket(self):
        with Channel(self.rig.access.way(), MAIN) as channel:
            channel.start()
            channel.stream.send_anyway(struct.pack("<I", spice.AUTH_SPICE) + bytes(128))
            channel.wait_closed()


class Memory(unittest.TestCase):
    """vscardd and the process of its server, through many of those."""

    def test_it_does_not_grow(self):
        rig = SpiceRig(build=NORMAL)
        self.addCleanup(rig.close)

        def rounds(count):
            for _ in range(count):
                with rig.client_with_card() as client:
                    for kind in (vscard.APDU, vscard.ERROR, vscard.READER_ADD):
                        client.channel.send(DATA, pack_card(kind, 0, bytes(4)))
                rig.host.wait_icc(2)
            rig.check()
            return rig.appliance.private_kib(), rig.appliance.open_files()

        rounds(10)
        kib, files = rounds(20)
        more_kib, more_files = rounds(60)
        self.assertEqual(more_files, files)
        self.assertLess(more_kib - kib, 256)


del Hostile  # it is no case by itself

if __name__ == "__main__":
    unittest.main()
