# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers that break usbredir, and what hostile hosts leave behind in memory,
against a real vscardd with a card behind it; after each conversation a good
host and the other reader of the process are well."""

import random
import unittest

import ccid
import usbredir
import vscard
from ccid import ABSENT, CcidHost, pack
from programs import NORMAL
from rig import ECHO, ReaderCase, Rig, power_on, round_trip
from stream import Closed, Late, connect


class Usbredir(ReaderCase):
    """Bytes that are not usbredir, or that are it in the wrong place."""

    def fresh(self, sends):
        """A new host that says `sends` after a good opening; then the
        conversation may end, and a good host finds the same card."""
        host = self.rig.host
        host.usb.stream.send_anyway(sends(host.usb))
        self.rig.check_other()
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)
        self.works()

    def test_unknown_types(self):
        for kind in (28, 50, 99, 105, 1 << 16, 1 << 31, (1 << 32) - 1):
            for body in (b"", bytes(8)):
                with self.subTest(type=kind, size=len(body)):
                    self.fresh(lambda usb: usb.pack(kind, body, 5) * 3)

    def test_packets_of_the_other_side(self):
        for kind in (usbredir.DEVICE_CONNECT, usbredir.INTERFACE_INFO, usbredir.EP_INFO,
                     usbredir.CONFIGURATION_STATUS, usbredir.DEVICE_DISCONNECT,
                     usbredir.ISO_STREAM_STATUS, usbredir.BULK_RECEIVING_STATUS):
            with self.subTest(type=kind):
                self.fresh(lambda usb: usb.pack(kind, bytes(160), 5))

    def test_lengths(self):
        for kind in (*range(28), *range(100, 105)):
            for length in (1 << 31, (1 << 32) - 1, 1 << 27):
                with self.subTest(type=kind, length=length):
                    self.fresh(lambda usb: usb.pack(kind, b"", 5, length) + bytes(200))

    def test_short_headers(self):
        """Bodies shorter and longer than their type has."""
        for kind in (*range(28), *range(100, 105)):
            for size in (0, 1, 3, 5, 300):
                self.rig.host.usb.stream.send_anyway(
                    self.rig.host.usb.pack(kind, bytes(size), 7))
                self.rig.new_host()
            with self.subTest(type=kind):
                self.fresh(lambda usb: b"")

    def test_endpoints_that_are_not(self):
        for endpoint in (0x00, 0x80, 0x0F, 0x8F, 0x7F, 0xFF):
            with self.subTest(endpoint=endpoint):
                self.fresh(lambda usb: usb.pack_bulk(endpoint, 64,
                                                     b"" if endpoint & 0x80 else bytes(64), 5))
                self.fresh(lambda usb: usb.pack(usbredir.START_INTERRUPT_RECEIVING,
                                                bytes([endpoint]), 5))

    def test_wrong_bulk_lengths(self):
        """The bulk header says one thing, the packet another."""
        for says, has in ((0, 64), (64, 0), (0xFFFF, 10), (1 << 31, 10), ((1 << 32) - 1, 0)):
            with self.subTest(says=says, has=has):
                out, into = self.host.out.address, self.host.into.address
                self.fresh(lambda usb: usb.pack_bulk(out, says, bytes(has), 5))
                self.fresh(lambda usb: usb.pack_bulk(into, says, bytes(has), 5))

    def test_repeated_ids(self):
        """One id for many transfers: each ends, nobody is confused."""
        usb, into = self.host.usb, self.host.into.address
        usb.stream.send(usb.pack_bulk(into, ccid.MESSAGE_MAX, b"", 4242) * 3)
        usb.cancel(4242)
        usb.cancel(4242)
        usb.cancel(999999)
        self.fresh(lambda usb: b"")

    def test_ten_thousand_in_transfers(self):
        """They wait, or what is too much is refused; once cancelled, each has
        ended, none twice, none with data, and the reader works."""
        usb, into = self.host.usb, self.host.into.address
        idents = [usb.next_id() for _ in range(10000)]
        ended = []
        for kind in ("submit", "cancel"):
            for start in range(0, len(idents), 500):
                part = idents[start:start + 500]
                usb.stream.send(b"".join(
                    usb.pack_bulk(into, 64, b"", ident) if kind == "submit"
                    else usb.pack(usbredir.CANCEL_DATA_PACKET, b"", ident) for ident in part))
                ended += self.take_ends()
            self.rig.check_other()
        self.assertEqual(sorted(ended), idents)
        self.works()

    def take_ends(self):
        """The ids of the IN transfers that have ended by now."""
        usb = self.host.usb
        status, _ = usb.control(0x80, 6, 0x0100, 0, length=18)
        self.assertEqual(status, usbredir.OK)
        for packet in usb.kept:
            endpoint, status, _, data = usb.split_bulk(packet)
            self.assertEqual((endpoint, data), (self.host.into.address, b""))
            self.assertNotEqual(status, usbredir.OK)
        idents = [packet.id for packet in usb.kept]
        usb.kept.clear()
        return idents

    def test_hello_cut_at_every_byte(self):
        self.rig.host.close()
        hello = usbredir.pack_hello()
        for cut in range(len(hello) + 1):
            with connect(self.rig.appliance.usb(0)) as stream:
                stream.send(hello[:cut])
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)

    def test_packet_cut_at_every_byte(self):
        """A command's transfer, cut: no card hears half a command."""
        message = pack(ccid.XFR_BLOCK, 0, 1, ECHO)
        size = len(self.host.usb.pack_bulk(self.host.out.address, len(message), message, 5))
        for cut in range(size):
            usb = self.rig.host.usb
            usb.stream.send(usb.pack_bulk(self.host.out.address, len(message), message,
                                          5)[:cut])
            self.rig.new_host()
        self.fresh(lambda usb: b"")

    def test_bad_hellos(self):
        self.rig.host.close()
        whole = usbredir.pack_hello()
        for hello in (bytes(80), b"\xff" * 80, whole[:4] + b"\xff" * 4 + whole[8:],
                      whole[:4] + b"\0\0\0\0" + whole[8:], whole[:4] + b"\x01\0\0\0" + whole[8:],
                      whole * 3, b"\1" + whole[1:], whole[:12] + b"\xff" * 68,
                      b"GET / HTTP/1.1\r\n\r\n"):
            with self.subTest(hello=hello[:16]):
                with connect(self.rig.appliance.usb(0)) as stream:
                    stream.send_anyway(hello)
                    self.rig.check_other()
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)

    def test_few_caps(self):
        """Peers without each of the capabilities, and without any."""
        self.rig.host.close()
        choices = [()] + [tuple(set(usbredir.CAPS) - {cap}) for cap in usbredir.CAPS]
        for caps in choices:
            with self.subTest(caps=caps):
                self.check_caps(caps)
        self.rig.host = CcidHost(self.rig.appliance.usb(0)).open()
        self.host = self.rig.host
        power_on(self.host)

    def check_caps(self, caps):
        """Served, or refused by the end of the conversation."""
        try:
            with CcidHost(self.rig.appliance.usb(0), caps) as host:
                host.open()
                power_on(host)
                round_trip(host, self.client, ECHO)
        except Closed:
            pass
        self.rig.check_other()

    def test_garbage(self):
        for seed in range(100):
            chance = random.Random(seed)
            self.rig.host.usb.stream.send_anyway(chance.randbytes(chance.randrange(1, 400)))
            self.rig.new_host()
        self.fresh(lambda usb: b"")

    def test_mutations(self):
        """Good packets with a byte changed."""
        for seed in range(150):
            chance, usb = random.Random(seed), self.rig.host.usb
            message = pack(chance.choice(tuple(ccid.ANSWERS)), 0, seed, ECHO)
            data = bytearray(usb.pack_bulk(self.host.out.address, len(message), message, 5)
                             + usb.pack_bulk(self.host.into.address, 300, b"", 6)
                             + usb.pack_control((0xA1, 2, 0, 0, 4), b"", 7))
            data[chance.randrange(len(data))] = chance.randrange(256)
            usb.stream.send_anyway(bytes(data))
            self.rig.new_host()
        self.client.close()
        self.rig.host.wait_icc(ABSENT)
        self.client = self.rig.client_with_card()
        self.works()

    def test_stops_reading(self):
        """A host that sends requests and reads no answer holds up nobody."""
        usb = self.host.usb
        request = usb.pack_control((0x80, 6, 0x0200, 0, 255), b"", 5)
        with self.assertRaises((Late, Closed)):
            for _ in range(4000):
                usb.stream.send(request * 1000, limit=2)
        for _ in range(20):
            self.rig.check_other()
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)

    def test_gone_in_mid_command(self):
        """The next host hears nothing of the last one's command."""
        self.host.start(ECHO)
        self.client.take_command()
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)
        after = self.host.start(vscard.echo_command(8, b"", 3))
        self.client.answer(b"\xee\x90\x00")
        self.serve(after)


class Memory(unittest.TestCase):
    """What hostile hosts leave behind, in the normal build."""

    WARM_UP, MEASURED = 100, 300
    GROWTH_KIB = 512

    def setUp(self):
        self.rig = Rig(build=NORMAL)
        self.addCleanup(self.rig.close)

    def converse(self, seed):
        chance = random.Random(seed)
        usb, out = self.rig.host.usb, self.rig.host.out.address
        head = pack(ccid.XFR_BLOCK, 0, 1, b"", length=60000)
        usb.stream.send_anyway(chance.choice((
            usb.pack_bulk(out, 64000, head + bytes(64000 - len(head)), 5),
            b"".join(usb.pack_bulk(self.rig.host.into.address, 65554, b"", 100 + i)
                     for i in range(500)),
            usb.pack(chance.randrange(110), bytes(chance.randrange(200)), 5),
            usb.pack_control((0x80, 6, 0x0200, 0, 255), b"", 5) * 200,
            usb.pack(usbredir.BULK_PACKET, b"", 5, 1 << 26) + bytes(100000),
            chance.randbytes(300),
        )))
        self.rig.new_host()

    def test_hostile_hosts(self):
        for seed in range(self.WARM_UP):
            self.converse(seed)
        self.rig.check()
        before, files = self.rig.appliance.private_kib(), self.rig.appliance.open_files()
        for seed in range(self.MEASURED):
            self.converse(self.WARM_UP + seed)
        self.rig.check()
        after = self.rig.appliance.private_kib()
        print(f"# hostile hosts: {before} KiB, after {self.MEASURED} more conversations "
              f"{after} KiB", flush=True)
        self.assertLess(after - before, self.GROWTH_KIB)
        self.assertLessEqual(self.rig.appliance.open_files(), files)

    def test_unread(self):
        """What one host can make the reader hold: answers it does not read
        and transfers it does not end are bounded."""
        before = self.rig.appliance.private_kib()
        usb = self.rig.host.usb
        status = pack(ccid.GET_STATUS, 0, 1)
        with self.assertRaises((Late, Closed)):
            for _ in range(2000):
                usb.stream.send(usb.pack_bulk(self.rig.host.out.address, 10, status, 5) * 1000,
                                limit=1)
        held = self.rig.appliance.private_kib()
        self.rig.check_other()
        self.rig.new_host()
        self.rig.check()
        print(f"# a host that reads nothing: {before} KiB, held {held} KiB", flush=True)
        self.assertLess(held - before, 4096)

if __name__ == "__main__":
    unittest.main()
