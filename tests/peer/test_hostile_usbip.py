# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that break USB/IP, and what they leave behind in memory, against a
real vscardd with a card behind it; after each conversation the reader is free
at once for a good host, and the other reader's host has not noticed. The host
checks every reply against what it asked for (tests/lib/usbip.py)."""

import random
import struct
import unittest

import ccid
import usbip
from ccid import pack
from programs import NORMAL
from rig import ECHO, ReaderCase, power_on
from stream import Closed, Late, connect
from usbip import IN, OUT
from usbiprig import UsbipRig

NEGATIVE = (1 << 31, (1 << 31) + 1, (1 << 32) - 1)


class HostileCase(ReaderCase):
    """Reader 1-1 is the victim's."""

    new_rig = UsbipRig

    @property
    def address(self):
        return self.rig.appliance.address

    def again(self):
        """The reader's next host finds the same card."""
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)
        self.works()


class Operations(HostileCase):
    """Connections that never import."""

    def refused(self, message, code, status):
        """The server answers `message` with `status`, and closes."""
        with connect(self.address) as stream:
            stream.send_anyway(message)
            self.assertEqual(usbip.read_op(stream, code), status)
            self.assertEqual(stream.wait_closed(), b"")
        self.rig.check_other()

    def test_versions(self):
        for version in (0, 0x0100, 0x0106, 0x0110, 0x0112, 0x1101, 0xFFFF):
            for code, busid in ((usbip.REQ_IMPORT, "1-1"), (usbip.REQ_DEVLIST, None)):
                with self.subTest(version=version, code=code):
                    self.refused(usbip.pack_op(code, busid, version), code & 0x7FFF,
                                 usbip.ST_ERROR)
        self.works()

    def test_op_codes(self):
        for code in (0, 3, 5, 0x8000, 0x8001, 0x8002, 0x8004, 0x8006, 0x8007, 0xFFFF):
            for rest in (b"", bytes(32), bytes(5000)):
                with self.subTest(code=code, size=len(rest)):
                    self.refused(usbip.pack_op(code) + rest, code & 0x7FFF, usbip.ST_ERROR)
        self.works()

    def test_busids(self):
        for busid in (b"1" * 32, b"1-1" + b"x" * 29, b"\xff" * 32, b"\0" * 32, b"\x001-1",
                      b"1-1\n", b" 1-1", b"%s%s%n", b"1-01"):
            with self.subTest(busid=busid):
                self.refused(usbip.pack_op(usbip.REQ_IMPORT, busid), usbip.REP_IMPORT,
                             usbip.ST_NODEV)
        self.works()

    def test_more_after_the_list(self):
        """One question a connection."""
        with connect(self.address) as stream:
            stream.send_anyway(usbip.pack_op(usbip.REQ_DEVLIST) * 1000)
            self.assertEqual(usbip.read_op(stream, usbip.REP_DEVLIST), 0)
            self.assertEqual(len(stream.wait_closed()), 4 + 2 * (usbip.DEVICE + usbip.INTERFACE))
        self.works()

    def test_requests_cut_at_every_byte(self):
        for cut in range(40):
            with connect(self.address) as stream:
                stream.send(usbip.pack_op(usbip.REQ_IMPORT, "1-1")[:cut])
        self.works()

    def test_commands_without_an_import(self):
        command = usbip.pack_submit(1, 0x10001, IN, 2, 64)
        self.refused(command, command[3] & 0x7FFF, usbip.ST_ERROR)
        self.works()

    def test_other_protocols(self):
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", bytes(100),
                      b"\xff" * 100):
            with connect(self.address) as stream:
                stream.send_anyway(words)
                self.assertEqual(len(stream.wait_closed()), 8)
        self.works()

    def test_many_connections(self):
        """More than it serves at once: once they end, or are ended, the next
        ones are served, and imports do not notice."""
        streams = [connect(self.address) for _ in range(300)]
        for stream in streams[::2]:
            stream.send(usbip.pack_op(usbip.REQ_DEVLIST)[:7])
        self.works()
        self.rig.check_other()
        self.assertLess(self.rig.appliance.open_files(), 300)
        for stream in streams:
            stream.close()
        self.assertEqual(len(usbip.device_list(self.address)), 2)
        self.works()

    def test_many_that_stay(self):
        """They ask for nothing, and leave when told."""
        streams = [connect(self.address) for _ in range(260)]
        self.assertEqual(len(usbip.device_list(self.address)), 2)
        for stream in streams:
            stream.close()
        self.works()

    def test_garbage(self):
        for seed in range(100):
            chance = random.Random(seed)
            with connect(self.address) as stream:
                stream.send_anyway(chance.randbytes(chance.randrange(1, 400)))
        self.works()


class Commands(HostileCase):
    """Imports that break off."""

    def dropped(self, message):
        """The server ends the conversation over `message`, at once and without a
        reply to it; the reader is free."""
        usb = self.rig.host.usb
        usb.stream.send_anyway(message)
        with self.assertRaises(Closed):
            while True:
                usb.receive()
        self.rig.check_other()
        self.again()

    def submit(self, **fields):
        """A bulk-IN command of 64 bytes, with fields of the header changed."""
        words = {"command": 1, "seqnum": 1 << 20, "devid": 0x10001, "direction": IN,
                 "ep": self.host.into.address & 15, "flags": 0, "length": 64, "start": 0,
                 "packets": 0xFFFFFFFF, "interval": 0}
        words.update(fields)
        return struct.pack(">10I", *words.values()) + bytes(8)

    def test_unknown_commands(self):
        for command in (0, 3, 4, 5, 0x80000001, 0xFFFFFFFF):
            with self.subTest(command=command):
                self.dropped(self.submit(command=command))

    def test_other_devices(self):
        for devid in (0, 1, 0x10002, 0x10000, 0x20001, 0xFFFFFFFF):
            with self.subTest(devid=devid):
                self.dropped(self.submit(devid=devid))
                self.dropped(usbip.pack_unlink(1 << 20, devid, 1))

    def test_directions_and_endpoints(self):
        for direction in (2, 255, 0x80000000, 0xFFFFFFFF):
            self.dropped(self.submit(direction=direction))
        for endpoint in (16, 0x82, 0x100, 0xFFFFFFFF):
            self.dropped(self.submit(ep=endpoint))

    def test_lengths(self):
        for length in NEGATIVE:
            with self.subTest(length=length):
                self.dropped(self.submit(length=length))
                self.dropped(self.submit(length=length, direction=OUT, ep=1))
                self.dropped(self.submit(length=length, ep=0))
        for length in ((1 << 31) - 1, 1 << 30, (1 << 18) + 1):
            with self.subTest(length=length):
                self.dropped(self.submit(length=length, direction=OUT, ep=1))
                self.dropped(self.submit(length=length, direction=OUT, ep=0))

    def test_huge_reads(self):
        """Of these nothing is kept: the answer is as long as it is."""
        before = self.rig.appliance.private_kib()
        for length in ((1 << 31) - 1, 1 << 24):
            seq = self.host.start(ECHO)
            self.client.serve_one()
            status, data = self.host.usb.bulk_in(self.host.into.address, length)
            self.assertEqual((status, ccid.unpack(data).seq), (usbip.OK, seq))
            setup = usbip.pack_setup(0x80, 6, 0x0100, 0, 0xFFFF)
            reply = self.host.usb.take(self.host.usb.submit(IN, 0, length, setup=setup))
            self.assertEqual(reply.actual, 18)
        self.assertLess(self.rig.appliance.private_kib() - before, 8192)

    def test_packets(self):
        for packets in (1025, 1 << 16, *NEGATIVE[:2], 0xFFFFFFFE):
            with self.subTest(packets=packets):
                self.dropped(self.submit(packets=packets))

    def test_isochronous(self):
        """Refused, with no descriptors, and the conversation goes on."""
        usb = self.host.usb
        for direction, data in ((IN, b""), (OUT, bytes(64))):
            for packets in (1, 3, 1024):
                usb.stream.send(self.submit(direction=direction, packets=packets) + data +
                                bytes(16 * packets))
                header = struct.unpack(">5IiIIII8x", usb.stream.read(usbip.HEADER))
                self.assertEqual(header, (3, 1 << 20, 0, 0, 0, usbip.EINVAL, 0, 0, 0, 0))
                self.works()

    def test_control_lengths(self):
        """Lengths and directions that contradict each other."""
        usb = self.host.usb
        for direction, kind, length, wanted in ((OUT, 0x21, 4, 8), (OUT, 0x21, 8, 4),
                                                (OUT, 0x80, 18, 18), (IN, 0x21, 8, 8),
                                                (OUT, 0x21, 0, 0xFFFF)):
            data = bytes(length) if direction == OUT else b""
            setup = usbip.pack_setup(kind, 6, 0x0100, 0, wanted)
            reply = usb.take(usb.submit(direction, 0, length, data, setup))
            self.assertEqual((reply.status, reply.actual), (usbip.EINVAL, 0))
        self.works()

    def test_number_that_is_pending(self):
        usb, into = self.host.usb, self.host.into.address
        seqnum = usb.submit_in(into, 64)
        self.dropped(usbip.pack_submit(seqnum, usb.devid, IN, into & 15, 64))

    def test_flood_of_reads(self):
        """Up to its limit they wait; one more ends the conversation."""
        usb, into = self.host.usb, self.host.into.address
        for _ in range(1000):
            usb.submit_in(into, 65554)
        self.rig.check_other()
        status, _ = usb.control(0x80, 0, 0, 0, length=2)
        self.assertEqual(status, usbip.OK)
        self.dropped(b"".join(self.submit(seqnum=(1 << 20) + n) for n in range(100)))

    def test_flood_of_writes(self):
        """Answers that are not read hold writes back, and these are bounded."""
        usb = self.host.usb
        message = pack(ccid.GET_STATUS, 0, 1) + bytes(64990)
        self.dropped(b"".join(usb.pack(OUT, 1, len(message), message)[1] for _ in range(40)))

    def test_header_cut_at_every_byte(self):
        for cut in range(usbip.HEADER):
            self.rig.host.usb.stream.send(self.submit()[:cut])
            self.rig.new_host()
        self.again()

    def test_mutations(self):
        """Good commands with a byte changed."""
        for seed in range(150):
            chance, usb = random.Random(seed), self.rig.host.usb
            message = pack(chance.choice(tuple(ccid.ANSWERS)), 0, seed, ECHO)
            data = bytearray(
                usbip.pack_submit(1 << 20, usb.devid, OUT, 1, len(message), message) +
                usbip.pack_submit(2 << 20, usb.devid, IN, 2, 300) +
                usbip.pack_unlink(3 << 20, usb.devid, 2 << 20))
            data[chance.randrange(len(data))] = chance.randrange(256)
            usb.stream.send_anyway(bytes(data))
            self.rig.new_host()
        self.client.close()
        self.rig.host.wait_icc(ccid.ABSENT)
        self.client = self.rig.client_with_card()
        self.works()

    def test_garbage(self):
        for seed in range(100):
            chance = random.Random(seed)
            self.rig.host.usb.stream.send_anyway(chance.randbytes(chance.randrange(1, 400)))
            self.rig.new_host()
        self.again()

    def test_stops_reading(self):
        """A host that sends requests and reads no reply holds up nobody, and is
        served on when it reads."""
        usb = self.host.usb
        setup = usbip.pack_setup(0x80, 6, 0x0200, 0, 255)
        first = sent = 1 << 20
        with self.assertRaises(Late):
            for _ in range(4000):
                numbers = range(sent, sent + 500)
                usb.stream.send(b"".join(
                    usbip.pack_submit(n, usb.devid, IN, 0, 255, setup=setup)
                    for n in numbers), limit=2)
                sent += 500
        for _ in range(20):
            self.rig.check_other()
        self.assertGreater(sent, first)
        for n in range(first, sent):
            header = usb.stream.read(usbip.HEADER)
            self.assertEqual(struct.unpack(">2I", header[:8]), (3, n))
            usb.stream.read(struct.unpack(">I", header[24:28])[0])
        self.again()

    def test_slow_reader(self):
        """Replies taken a few bytes at a time are whole and in order."""
        usb = self.host.usb
        setup = usbip.pack_setup(0x80, 6, 0x0100, 0, 18)
        usb.stream.send(b"".join(usbip.pack_submit(n, usb.devid, IN, 0, 18, setup=setup)
                                 for n in range(1000, 1100)))
        usb.stream.sock.settimeout(20)
        got = bytearray(usb.stream.input)
        while len(got) < 100 * (usbip.HEADER + 18):
            got += usb.stream.sock.recv(7)
        for n in range(100):
            at = n * (usbip.HEADER + 18)
            self.assertEqual(struct.unpack(">2I", got[at:at + 8]), (3, 1000 + n))
            self.assertEqual(got[at + 48:at + 50], b"\x12\x01")
        self.again()


class Memory(unittest.TestCase):
    """What hostile clients leave behind, in the normal build."""

    WARM_UP, MEASURED = 100, 300
    GROWTH_KIB = 512

    def setUp(self):
        self.rig = UsbipRig(build=NORMAL)
        self.addCleanup(self.rig.close)

    def converse(self, seed):
        chance = random.Random(seed)
        usb = self.rig.host.usb
        head = pack(ccid.XFR_BLOCK, 0, 1, b"", length=60000)
        usb.stream.send_anyway(chance.choice((
            usbip.pack_submit(1 << 20, usb.devid, OUT, 1, 60000, head + bytes(59990)),
            b"".join(usbip.pack_submit((1 << 20) + i, usb.devid, IN, 2, 65554)
                     for i in range(1500)),
            b"".join(usbip.pack_submit((1 << 20) + i, usb.devid, IN, 0, 255,
                                       setup=usbip.pack_setup(0x80, 6, 0x0200, 0, 255))
                     for i in range(200)),
            usbip.pack_submit(1 << 20, usb.devid, OUT, 1, 250000, bytes(200000)),
            chance.randbytes(300),
        )))
        for _ in range(3):
            with connect(self.rig.appliance.address) as stream:
                stream.send_anyway(usbip.pack_op(chance.randrange(1 << 16), b"1-2",
                                                 chance.choice((0x111, 0x111, 0x100))))
        self.rig.new_host()

    def test_hostile_clients(self):
        for seed in range(self.WARM_UP):
            self.converse(seed)
        self.rig.check()
        before, files = self.rig.appliance.private_kib(), self.rig.appliance.open_files()
        for seed in range(self.MEASURED):
            self.converse(self.WARM_UP + seed)
        self.rig.check()
        after = self.rig.appliance.private_kib()
        print(f"# hostile clients: {before} KiB, after {self.MEASURED} more conversations "
              f"{after} KiB", flush=True)
        self.assertLess(after - before, self.GROWTH_KIB)
        self.assertLessEqual(self.rig.appliance.open_files(), files)

    def test_unread(self):
        """What one client can make the server hold."""
        before = self.rig.appliance.private_kib()
        usb = self.rig.host.usb
        setup = usbip.pack_setup(0x80, 6, 0x0200, 0, 255)
        request = b"".join(usbip.pack_submit((1 << 20) + n, usb.devid, IN, 0, 255, setup=setup)
                           for n in range(500))
        with self.assertRaises(Late):
            for _ in range(4000):
                usb.stream.send(request, limit=1)
        held = self.rig.appliance.private_kib()
        self.rig.check_other()
        self.rig.new_host()
        self.rig.check()
        print(f"# a client that reads nothing: {before} KiB, held {held} KiB", flush=True)
        self.assertLess(held - before, 4096)


if __name__ == "__main__":
    unittest.main()
