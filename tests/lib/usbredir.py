# SPDX-License-Identifier: LGPL-2.1-or-later
"""The using side of usbredir, what QEMU's usb-redir is, from the protocol's
text (version 0.7): hello, the device's description, control, bulk and
interrupt transfers, cancelling. All integers are little-endian. It takes one
packet at a time and keeps what is not asked for yet."""

import struct
from typing import NamedTuple

from stream import LIMIT, Stream, connect

(HELLO, DEVICE_CONNECT, DEVICE_DISCONNECT, RESET, INTERFACE_INFO, EP_INFO, SET_CONFIGURATION,
 GET_CONFIGURATION, CONFIGURATION_STATUS, SET_ALT_SETTING, GET_ALT_SETTING, ALT_SETTING_STATUS,
 START_ISO_STREAM, STOP_ISO_STREAM, ISO_STREAM_STATUS, START_INTERRUPT_RECEIVING,
 STOP_INTERRUPT_RECEIVING, INTERRUPT_RECEIVING_STATUS, ALLOC_BULK_STREAMS, FREE_BULK_STREAMS,
 BULK_STREAMS_STATUS, CANCEL_DATA_PACKET, FILTER_REJECT, FILTER_FILTER, DEVICE_DISCONNECT_ACK,
 START_BULK_RECEIVING, STOP_BULK_RECEIVING, BULK_RECEIVING_STATUS) = range(28)
CONTROL_PACKET, BULK_PACKET, ISO_PACKET, INTERRUPT_PACKET, BUFFERED_BULK_PACKET = range(100, 105)

OK, CANCELLED, INVALID, IO_ERROR, STALL, TIMEOUT, BABBLE = range(7)

(CAP_BULK_STREAMS, CAP_CONNECT_DEVICE_VERSION, CAP_FILTER, CAP_DEVICE_DISCONNECT_ACK,
 CAP_EP_INFO_MAX_PACKET_SIZE, CAP_64BITS_IDS, CAP_32BITS_BULK_LENGTH,
 CAP_BULK_RECEIVING) = range(8)
# What QEMU offers, bulk streams and receiving aside.
CAPS = (CAP_CONNECT_DEVICE_VERSION, CAP_FILTER, CAP_DEVICE_DISCONNECT_ACK,
        CAP_EP_INFO_MAX_PACKET_SIZE, CAP_64BITS_IDS, CAP_32BITS_BULK_LENGTH)

TYPE_CONTROL, TYPE_ISO, TYPE_BULK, TYPE_INTERRUPT, TYPE_INVALID = 0, 1, 2, 3, 255

# Longer packets do not come from a reader that holds 65,554-byte messages.
PACKET_MAX = 80000


class Packet(NamedTuple):
    type: int
    id: int
    body: bytes


class Endpoint(NamedTuple):
    address: int
    type: int
    interval: int
    interface: int
    max_packet: int


class Device(NamedTuple):
    speed: int
    device_class: tuple
    vendor: int
    product: int
    version: int


def caps_word(caps):
    return sum(1 << cap for cap in caps)


def pack_hello(caps=CAPS, version=b"vscard test host"):
    """The hello packet, whose header always has a 32-bit id."""
    body = version.ljust(64, b"\0") + struct.pack("<I", caps_word(caps))
    return struct.pack("<III", HELLO, len(body), 0) + body


class UsbredirHost:
    """A using side at work."""

    def __init__(self, address, caps=CAPS):
        self.stream = address if isinstance(address, Stream) else connect(address)
        self.caps = set(caps)
        self.peer_caps = set()
        self.kept = []
        self.interrupts = []
        self.last_id = 0
        self.device = None
        self.interfaces = []
        self.endpoints = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def both(self, cap):
        return cap in self.caps and cap in self.peer_caps

    # ---- Packets ----

    def header(self):
        return "<IIQ" if self.both(CAP_64BITS_IDS) else "<III"

    def next_id(self):
        self.last_id += 1
        return self.last_id

    def pack(self, kind, body=b"", ident=0, length=None):
        return struct.pack(self.header(), kind, len(body) if length is None else length,
                           ident) + body

    def send(self, kind, body=b"", ident=None):
        """Sends a packet; answers its id, a new one if none is given."""
        ident = self.next_id() if ident is None else ident
        self.stream.send(self.pack(kind, body, ident))
        return ident

    def receive(self, limit=LIMIT):
        form = self.header()
        kind, length, ident = struct.unpack(form, self.stream.read(struct.calcsize(form), limit))
        if length > PACKET_MAX:
            raise AssertionError(f"a packet of type {kind} and {length} bytes came")
        return Packet(kind, ident, self.stream.read(length, limit))

    def take(self, wanted, limit=LIMIT):
        """The first packet for which `wanted` is true, kept or still to come."""
        for at, packet in enumerate(self.kept):
            if wanted(packet):
                return self.kept.pop(at)
        while True:
            packet = self.receive(limit)
            if packet.type == INTERRUPT_PACKET:
                self.take_interrupt(packet)
            if wanted(packet):
                return packet
            if packet.type != INTERRUPT_PACKET:
                self.kept.append(packet)

    def take_answer(self, kind, ident, limit=LIMIT):
        return self.take(lambda packet: packet.type == kind and packet.id == ident, limit)

    # ---- The beginning ----

    def open(self):
        """Hello in both directions, then the device's description."""
        self.stream.send(pack_hello(self.caps))
        self.take_hello()
        packet = self.take(lambda packet: packet.type == DEVICE_CONNECT)
        for kept in self.kept:
            if kept.type == INTERFACE_INFO:
                self.take_interfaces(kept.body)
            elif kept.type == EP_INFO:
                self.take_endpoints(kept.body)
        self.kept.clear()
        self.take_device(packet.body)
        return self

    def take_hello(self):
        kind, length, _ = struct.unpack("<III", self.stream.read(12))
        if kind != HELLO or length < 64 or length % 4:
            raise AssertionError(f"type {kind} with {length} bytes came for a hello")
        body = self.stream.read(length)
        words = struct.unpack(f"<{length // 4 - 16}I", body[64:])
        self.peer_caps = {bit for bit in range(32) if words and words[0] >> bit & 1}

    def take_device(self, body):
        form = "<BBBBHHH" if self.both(CAP_CONNECT_DEVICE_VERSION) else "<BBBBHH"
        fields = struct.unpack(form, body)
        self.device = Device(fields[0], fields[1:4], *fields[4:6], (fields + (0,))[6])

    def take_interfaces(self, body):
        count, *rest = struct.unpack("<I32s32s32s32s", body)
        self.interfaces = [tuple(column[i] for column in rest) for i in range(count)]

    def take_endpoints(self, body):
        form = "<32s32s32s"
        if self.both(CAP_EP_INFO_MAX_PACKET_SIZE):
            form += "64s"
        types, intervals, interfaces, *sizes = struct.unpack(form, body)
        sizes = struct.unpack("<32H", sizes[0]) if sizes else (64,) * 32
        self.endpoints = {}
        for i in range(32):
            if types[i] == TYPE_INVALID:
                continue
            address = i & 15 | (0x80 if i & 16 else 0)
            self.endpoints[address] = Endpoint(address, types[i], intervals[i], interfaces[i],
                                               sizes[i])

    def endpoint(self, kind, inward):
        """The one endpoint of a type and direction."""
        found = [e for e in self.endpoints.values()
                 if e.type == kind and bool(e.address & 0x80) == inward]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} endpoints of type {kind}: {self.endpoints}")
        return found[0]

    # ---- Requests ----

    def set_configuration(self, value):
        ident = self.send(SET_CONFIGURATION, bytes([value]))
        return tuple(self.take_answer(CONFIGURATION_STATUS, ident).body)

    def get_configuration(self):
        ident = self.send(GET_CONFIGURATION)
        return tuple(self.take_answer(CONFIGURATION_STATUS, ident).body)

    def set_alt_setting(self, interface, alt):
        ident = self.send(SET_ALT_SETTING, bytes([interface, alt]))
        return tuple(self.take_answer(ALT_SETTING_STATUS, ident).body)

    def start_interrupts(self, endpoint):
        ident = self.send(START_INTERRUPT_RECEIVING, bytes([endpoint]))
        return tuple(self.take_answer(INTERRUPT_RECEIVING_STATUS, ident).body)

    def stop_interrupts(self, endpoint):
        ident = self.send(STOP_INTERRUPT_RECEIVING, bytes([endpoint]))
        return tuple(self.take_answer(INTERRUPT_RECEIVING_STATUS, ident).body)

    def pack_control(self, setup, data=b"", ident=0):
        """A control packet for `setup`: (request type, request, value, index,
        length)."""
        kind, request, value, index, length = setup
        head = struct.pack("<BBBBHHH", kind & 0x80, request, kind, 0, value, index, length)
        return self.pack(CONTROL_PACKET, head + data, ident)

    def control(self, kind, request, value, index, data=b"", length=None):
        """A control transfer; answers (status, data in)."""
        length = len(data) if length is None else length
        ident = self.next_id()
        self.stream.send(self.pack_control((kind, request, value, index, length), data, ident))
        return self.take_control(ident)

    def take_control(self, ident, limit=LIMIT):
        body = self.take_answer(CONTROL_PACKET, ident, limit).body
        _, _, kind, status, _, _, length = struct.unpack("<BBBBHHH", body[:10])
        data = body[10:]
        if kind & 0x80 and length != len(data):
            raise AssertionError(f"a control answer says {length} bytes and has {len(data)}")
        return status, data

    def pack_bulk(self, endpoint, length, data=b"", ident=0):
        head = struct.pack("<BBHI", endpoint, 0, length & 0xFFFF, 0)
        if self.both(CAP_32BITS_BULK_LENGTH):
            head += struct.pack("<H", length >> 16)
        return self.pack(BULK_PACKET, head + data, ident)

    def submit_in(self, endpoint, length):
        ident = self.next_id()
        self.stream.send(self.pack_bulk(endpoint, length, ident=ident))
        return ident

    def submit_out(self, endpoint, data):
        ident = self.next_id()
        self.stream.send(self.pack_bulk(endpoint, len(data), data, ident))
        return ident

    def split_bulk(self, packet):
        """(endpoint, status, length, data) of a bulk packet."""
        size = 10 if self.both(CAP_32BITS_BULK_LENGTH) else 8
        endpoint, status, length, _ = struct.unpack("<BBHI", packet.body[:8])
        if size == 10:
            length |= int.from_bytes(packet.body[8:10], "little") << 16
        return endpoint, status, length, packet.body[size:]

    def take_bulk(self, ident, limit=LIMIT):
        """(status, length, data) of the answer to a bulk transfer."""
        endpoint, status, length, data = self.split_bulk(
            self.take_answer(BULK_PACKET, ident, limit))
        if endpoint & 0x80 and length != len(data):
            raise AssertionError(f"a bulk answer says {length} bytes and has {len(data)}")
        return status, length, data

    def bulk_out(self, endpoint, data):
        """Sends `data` as one transfer; answers (status, bytes taken)."""
        status, length, _ = self.take_bulk(self.submit_out(endpoint, data))
        return status, length

    def bulk_in(self, endpoint, length, limit=LIMIT):
        """Reads one transfer; answers (status, data)."""
        status, _, data = self.take_bulk(self.submit_in(endpoint, length), limit)
        return status, data

    def cancel(self, ident):
        self.send(CANCEL_DATA_PACKET, b"", ident)

    def take_interrupt(self, packet):
        endpoint, status, length = struct.unpack("<BBH", packet.body[:4])
        if length != len(packet.body) - 4:
            raise AssertionError(f"an interrupt packet says {length} bytes: {packet}")
        self.interrupts.append((endpoint, status, packet.body[4:]))

    def next_interrupt(self, limit=LIMIT):
        """(endpoint, status, data) of the oldest interrupt packet not yet seen."""
        if not self.interrupts:
            self.take(lambda packet: packet.type == INTERRUPT_PACKET, limit)
        return self.interrupts.pop(0)
