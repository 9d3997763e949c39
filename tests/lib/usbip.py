# SPDX-License-Identifier: LGPL-2.1-or-later
"""The importing side of USB/IP, what a Linux kernel's vhci-hcd and the tool
usbip are, from the kernel's usbip_protocol.rst: the list of devices, an import,
transfers and unlinks. All integers are big-endian, but those of setup packets.
Each reply is held against what a kernel can take: it answers a command that is
pending, brings no more than that asked for, and its unused fields are zero."""

import struct
from typing import NamedTuple

from stream import LIMIT, Stream, connect

VERSION = 0x0111
REQ_IMPORT, REP_IMPORT, REQ_DEVLIST, REP_DEVLIST = 0x8003, 0x0003, 0x8005, 0x0005
# Status of an operation, tools/usb/usbip/libsrc/usbip_common.h.
ST_OK, ST_NA, ST_DEV_BUSY, ST_DEV_ERR, ST_NODEV, ST_ERROR = range(6)
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
OUT, IN = 0, 1
# include/uapi/linux/usbip.h
SHORT_NOT_OK, ZERO_PACKET = 0x0001, 0x0040
# Linux's errno, whatever this machine's is.
OK, ENOENT, EINVAL, EPIPE = 0, -2, -22, -32
EPROTO, ECONNRESET, ESHUTDOWN, EREMOTEIO = -71, -104, -108, -121

HEADER, DEVICE, INTERFACE = 48, 312, 4
NO_PACKETS = 0xFFFFFFFF
TYPE_CONTROL, TYPE_ISO, TYPE_BULK, TYPE_INTERRUPT = range(4)


class Device(NamedTuple):
    path: str
    busid: str
    busnum: int
    devnum: int
    speed: int
    vendor: int
    product: int
    version: int
    classes: tuple  # class, subclass, protocol
    configuration: int
    configurations: int
    interfaces: list


class Endpoint(NamedTuple):
    address: int
    type: int
    max_packet: int
    interval: int


class Refused(Exception):
    """An operation that ended with another status than 0."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


def text(field):
    """A text field: closed with zero, and zero from there on."""
    value, _, rest = field.partition(b"\0")
    if len(value) == len(field) or rest.strip(b"\0"):
        raise AssertionError(f"a text field that is not: {field}")
    return value.decode()


# ---- Operations ----

def pack_op(code, busid=None, version=VERSION, status=0):
    message = struct.pack(">HHI", version, code, status)
    if busid is not None:
        message += (busid if isinstance(busid, bytes) else busid.encode()).ljust(32, b"\0")
    return message


def read_op(stream, code, limit=LIMIT):
    """The header of a reply to `code`; its status."""
    version, got, status = struct.unpack(">HHI", stream.read(8, limit))
    if (version, got) != (VERSION, code):
        raise AssertionError(f"a reply of version {version:#x} and code {got:#x}")
    return status


def read_device(stream, n_interfaces=None):
    """A device's description; its interfaces follow unless `n_interfaces` is 0."""
    body = stream.read(DEVICE)
    numbers = struct.unpack(">3I3H6B", body[288:])
    count = numbers[11] if n_interfaces is None else n_interfaces
    interfaces = [tuple(stream.read(INTERFACE)) for _ in range(count)]
    if any(interface[3] for interface in interfaces):
        raise AssertionError(f"the padding of {interfaces} is not zero")
    return Device(text(body[:256]), text(body[256:288]), *numbers[:6], numbers[6:9],
                  *numbers[9:11], [interface[:3] for interface in interfaces])


def device_list(address):
    """The devices that the server at `address` exports; it closes afterwards."""
    with connect(address) as stream:
        stream.send(pack_op(REQ_DEVLIST))
        status = read_op(stream, REP_DEVLIST)
        if status:
            raise Refused(status)
        count, = struct.unpack(">I", stream.read(4))
        devices = [read_device(stream) for _ in range(count)]
        if stream.wait_closed():
            raise AssertionError("bytes follow the list")
        return devices


def import_device(address, busid):
    """Imports; answers (stream, device). Refused if it is not to be had, after
    which the server has closed."""
    stream = address if isinstance(address, Stream) else connect(address)
    stream.send(pack_op(REQ_IMPORT, busid))
    status = read_op(stream, REP_IMPORT)
    if status:
        rest = stream.wait_closed()
        stream.close()
        if rest:
            raise AssertionError(f"{rest.hex()} follows a refusal")
        raise Refused(status)
    device = read_device(stream, 0)
    if device.busid != busid:
        raise AssertionError(f"{device.busid} came for {busid}")
    return stream, device


# ---- Commands ----

def pack_submit(seqnum, devid, direction, endpoint, length, data=b"", setup=bytes(8), flags=0,
                packets=NO_PACKETS, command=CMD_SUBMIT):
    return struct.pack(">10I", command, seqnum, devid, direction, endpoint, flags, length, 0,
                       packets, 0) + setup + data


def pack_unlink(seqnum, devid, which):
    return struct.pack(">6I24x", CMD_UNLINK, seqnum, devid, 0, 0, which)


def pack_setup(kind, request, value, index, length):
    return struct.pack("<BBHHH", kind, request, value, index, length)


class Reply(NamedTuple):
    status: int
    actual: int
    data: bytes


class Pending(NamedTuple):
    command: int
    direction: int
    length: int
    packets: int


class UsbipHost:
    """A host that imported a device. It has what ccid.CcidHost wants of one."""

    def __init__(self, address, busid="1-1", packets=NO_PACKETS):
        self.address, self.busid, self.packets = address, busid, packets
        self.stream = self.device = None
        self.seqnum = 0
        self.pending = {}  # seqnum: Pending
        self.replies = {}  # seqnum: Reply, not yet asked for
        self.endpoints = {}
        self.waiting = None  # seqnum of the interrupt transfer that waits

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.stream:
            self.stream.close()

    def attach(self):
        """Imports the device and says nothing more."""
        self.stream, self.device = import_device(self.address, self.busid)
        return self

    def open(self):
        """The device as the USB core finds it."""
        self.attach()
        status, data = self.control(0x80, 6, 0x0200, 0, length=9)
        if status != OK or len(data) != 9:
            raise AssertionError(f"configuration descriptor: {status}, {data.hex()}")
        total, = struct.unpack("<H", data[2:4])
        self.take_endpoints(self.control(0x80, 6, 0x0200, 0, length=total)[1])
        return self

    def take_endpoints(self, descriptors):
        while descriptors:
            one, descriptors = descriptors[:descriptors[0]], descriptors[descriptors[0]:]
            if one[1] == 5:
                address, kind, size, interval = struct.unpack("<BBHB", one[2:7])
                self.endpoints[address] = Endpoint(address, kind & 3, size, interval)

    def endpoint(self, kind, inward):
        """The one endpoint of a type and direction."""
        found = [e for e in self.endpoints.values()
                 if e.type == kind and bool(e.address & 0x80) == inward]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} endpoints of type {kind}: {self.endpoints}")
        return found[0]

    def both(self, _capability):
        return True  # transfers of any length

    @property
    def devid(self):
        return self.device.busnum << 16 | self.device.devnum

    # ---- Commands and replies ----

    def next_seqnum(self):
        self.seqnum += 1
        return self.seqnum

    def pack(self, direction, endpoint, length, data=b"", setup=bytes(8), flags=0):
        """A CMD_SUBMIT that is then pending; answers (seqnum, bytes)."""
        seqnum = self.next_seqnum()
        self.pending[seqnum] = Pending(CMD_SUBMIT, direction, length, self.packets)
        return seqnum, pack_submit(seqnum, self.devid, direction, endpoint, length, data, setup,
                                   flags, self.packets)

    def submit(self, *args, **more):
        seqnum, message = self.pack(*args, **more)
        self.stream.send(message)
        return seqnum

    def unlink(self, which):
        """Sends CMD_UNLINK; answers its own number."""
        seqnum = self.next_seqnum()
        self.pending[seqnum] = Pending(CMD_UNLINK, OUT, which, 0)
        self.stream.send(pack_unlink(seqnum, self.devid, which))
        return seqnum

    def receive(self, limit=LIMIT):
        """Takes the next reply; answers its number."""
        header = self.stream.read(HEADER, limit)
        command, seqnum, *zero, status, actual, frame, packets, errors = struct.unpack(
            ">5IiIIII", header[:40])
        asked = self.pending.pop(seqnum, None)
        if asked is None:
            raise AssertionError(f"a reply to {seqnum}, which is not pending: {header.hex()}")
        if any(zero) or any(header[40:]):
            raise AssertionError(f"unused fields are not zero: {header.hex()}")
        if command != asked.command + 2:
            raise AssertionError(f"{header.hex()} answers {asked}")
        if command == RET_UNLINK:
            if any((actual, frame, packets, errors)):
                raise AssertionError(f"the padding is not zero: {header.hex()}")
            if status == ECONNRESET:
                self.pending.pop(asked.length)  # no reply to it may come
            self.replies[seqnum] = Reply(status, 0, b"")
            return seqnum
        if (frame, packets, errors) != (0, asked.packets, 0):
            raise AssertionError(f"isochronous fields without such a transfer: {header.hex()}")
        if actual > asked.length:
            raise AssertionError(f"{actual} bytes came for {asked.length}")
        data = self.stream.read(actual, limit) if asked.direction == IN else b""
        self.replies[seqnum] = Reply(status, actual, data)
        return seqnum

    def take(self, seqnum, limit=LIMIT):
        """The reply to `seqnum`."""
        while seqnum not in self.replies:
            self.receive(limit)
        return self.replies.pop(seqnum)

    # ---- Transfers ----

    def control(self, kind, request, value, index, data=b"", length=None):
        """(status, data) of a control transfer."""
        inward = bool(kind & 0x80)
        length = len(data) if length is None else length
        reply = self.take(self.submit(IN if inward else OUT, 0, length, data,
                                      pack_setup(kind, request, value, index, length)))
        return reply.status, reply.data

    def set_configuration(self, value):
        """(status, the configuration that it then has)."""
        status, _ = self.control(0, 9, value, 0)
        return status, self.control(0x80, 8, 0, 0, length=1)[1][0]

    def submit_in(self, endpoint, length, flags=0):
        return self.submit(IN, endpoint & 15, length, flags=flags)

    def submit_out(self, endpoint, data, flags=0):
        return self.submit(OUT, endpoint, len(data), data, flags=flags)

    def take_bulk(self, seqnum, limit=LIMIT):
        """(status, length, data) of the reply to a bulk transfer."""
        reply = self.take(seqnum, limit)
        return reply.status, reply.actual, reply.data

    def bulk_out(self, endpoint, data, flags=0):
        """Sends `data` as one transfer; answers (status, bytes taken)."""
        reply = self.take(self.submit_out(endpoint, data, flags))
        return reply.status, reply.actual

    def bulk_in(self, endpoint, length, flags=0, limit=LIMIT):
        """Reads one transfer; answers (status, data)."""
        reply = self.take(self.submit_in(endpoint, length, flags), limit)
        return reply.status, reply.data

    def start_interrupts(self, address):
        """An interrupt transfer waits from now on."""
        self.waiting = self.submit_in(address, self.endpoints[address].max_packet)
        return OK, address

    def next_interrupt(self, limit=LIMIT):
        """(endpoint, status, data) of the interrupt transfer that waits; then the
        next one does."""
        address = self.endpoint(TYPE_INTERRUPT, True).address
        reply = self.take(self.waiting, limit)
        self.start_interrupts(address)
        return address, reply.status, reply.data
