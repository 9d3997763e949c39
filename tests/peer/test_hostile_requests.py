# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that break the rules of requests (vscard/PROTOCOL.md), against a real
vscardd on real sockets; and those that rename their readers without end. After
each the process is alive and a good client is served, as in
test_hostile_vscard.py."""

import random
import unittest

import usbredir
import vscard
from ccid import (ABORT, ABSENT, ACTIVE, DATA_BLOCK, FAILED, HW_ERROR, INACTIVE, POWER_ON,
                  SLOT_STATUS, CcidHost)
from hostile import COMMAND, NO_CARD_NOW, PROBE, HostileCase, said_until_probe
from programs import Appliance
from rig import Rig
from vscard import APDU, CARD_REMOVE, READER_REMOVE, UNDEFINED_READER, pack

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

    def rename(self, appliance, caps):
        """A host whose device has got another name, and has not said a word of it."""
        host = self.enterContext(CcidHost(appliance.usb(), caps)).open()
        client = self.enterContext(vscard.Client.with_card(appliance.card(), caps=AGREED))
        client.send(vscard.READER_INFO, 0, vscard.pack_info((1, b"a name")))
        host.usb.take(lambda packet: packet.type == usbredir.DEVICE_DISCONNECT)
        return host.usb

    def test_host_without_the_word(self):
        """One that knows no acknowledgement gets the device at once."""
        caps = [cap for cap in usbredir.CAPS if cap != usbredir.CAP_DEVICE_DISCONNECT_ACK]
        usb = self.rename(self.enterContext(Appliance()), caps)
        usb.take(lambda packet: packet.type == usbredir.DEVICE_CONNECT)
        self.assertEqual(self.text(usb, 4), "a name")

    def test_host_that_does_not_say_it(self):
        """What it goes on to ask is for a device that is gone, and not answered;
        the appliance lives, and the next host is served."""
        appliance = self.enterContext(Appliance())
        usb = self.rename(appliance, usbredir.CAPS)
        for _ in range(1000):
            usb.send(usbredir.GET_CONFIGURATION)
            usb.submit_in(0x82, 512)
            usb.cancel(usb.last_id)
        usb.close()
        with CcidHost(appliance.usb()).open() as host:
            self.assertEqual(self.text(host.usb, 4), "a name")

    @staticmethod
    def text(usb, index):
        """A string descriptor of the device."""
        status, data = usb.control(0x80, 6, 0x300 | index, 0x409, length=255)
        if status != usbredir.OK:
            raise AssertionError(f"string {index}: status {status}")
        return data[2:].decode("utf-16-le")


if __name__ == "__main__":
    unittest.main()
