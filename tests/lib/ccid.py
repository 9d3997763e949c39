# SPDX-License-Identifier: LGPL-2.1-or-later
"""A CCID host, as a driver in a guest is, over the tests' usbredir host, or over
what has the same methods, such as their USB/IP host: builds
PC_to_RDR messages, reads RDR_to_PC ones (CCID revision 1.1, clause 6), and
keeps count of which command was answered how often."""

import struct
from typing import NamedTuple

import usbredir
from stream import LIMIT

# PC_to_RDR (6.1)
SET_PARAMETERS, POWER_ON, POWER_OFF, GET_STATUS = 0x61, 0x62, 0x63, 0x65
SECURE, T0_APDU, ESCAPE, GET_PARAMETERS, RESET_PARAMETERS = 0x69, 0x6A, 0x6B, 0x6C, 0x6D
ICC_CLOCK, XFR_BLOCK, MECHANICAL, ABORT, SET_RATE = 0x6E, 0x6F, 0x71, 0x72, 0x73

# RDR_to_PC (6.2, 6.3)
DATA_BLOCK, SLOT_STATUS, PARAMETERS, ESCAPE_ANSWER, RATE = 0x80, 0x81, 0x82, 0x83, 0x84
NOTIFY_SLOT_CHANGE = 0x50

# Which message answers which.
ANSWERS = {
    SET_PARAMETERS: PARAMETERS, GET_PARAMETERS: PARAMETERS, RESET_PARAMETERS: PARAMETERS,
    POWER_ON: DATA_BLOCK, XFR_BLOCK: DATA_BLOCK, SECURE: DATA_BLOCK,
    POWER_OFF: SLOT_STATUS, GET_STATUS: SLOT_STATUS, ICC_CLOCK: SLOT_STATUS,
    T0_APDU: SLOT_STATUS, MECHANICAL: SLOT_STATUS, ABORT: SLOT_STATUS,
    ESCAPE: ESCAPE_ANSWER, SET_RATE: RATE,
}

# bStatus: bmICCStatus and bmCommandStatus (6.2.6)
ACTIVE, INACTIVE, ABSENT = 0, 1, 2
FAILED, TIME_EXTENSION = 0x40, 0x80

# bError (6.2.6); 1 and up is the offset of the field that is wrong.
NOT_SUPPORTED, BAD_LENGTH, BAD_SLOT = 0x00, 0x01, 0x05
SLOT_BUSY, HW_ERROR, ICC_MUTE, ABORTED = 0xE0, 0xFB, 0xFE, 0xFF

HEADER = 10
MESSAGE_MAX = 65544 + HEADER
# Class requests (5.3)
REQUEST_ABORT, REQUEST_CLOCKS, REQUEST_RATES = 1, 2, 3


class Reply(NamedTuple):
    type: int
    slot: int
    seq: int
    status: int
    error: int
    special: int
    data: bytes

    @property
    def icc(self):
        return self.status & 3

    @property
    def verdict(self):
        """What tests compare: type, bStatus, bError."""
        return self.type, self.status, self.error


def pack(kind, slot, seq, data=b"", special=b"\0\0\0", length=None):
    """A PC_to_RDR message; `length` overrides dwLength."""
    size = len(data) if length is None else length
    return struct.pack("<BIBB3s", kind, size, slot, seq, special) + data


def unpack(message):
    """A whole RDR_to_PC message."""
    if len(message) < HEADER:
        raise AssertionError(f"a bulk-IN message of {len(message)} bytes: {message.hex()}")
    kind, size, slot, seq, status, error, special = struct.unpack("<BIBBBBB", message[:HEADER])
    data = message[HEADER:]
    if size != len(data):
        raise AssertionError(f"dwLength is {size}, {len(data)} bytes follow")
    return Reply(kind, slot, seq, status, error, special, data)


class CcidHost:
    """A driver of one reader: the one at a usbredir address, or that of `usb`."""

    def __init__(self, address=None, caps=usbredir.CAPS, usb=None):
        self.usb = usb or usbredir.UsbredirHost(address, caps)
        self.seq = 0
        self.pending = None  # id of the bulk-IN transfer that waits
        self.extensions = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.usb.close()

    def open(self):
        """The device as a driver finds it, configured, interrupts on."""
        self.usb.open()
        self.out = self.usb.endpoint(usbredir.TYPE_BULK, False)
        self.into = self.usb.endpoint(usbredir.TYPE_BULK, True)
        self.interrupt = self.usb.endpoint(usbredir.TYPE_INTERRUPT, True)
        if self.usb.set_configuration(1) != (usbredir.OK, 1):
            raise AssertionError("configuration 1 is refused")
        status = self.usb.start_interrupts(self.interrupt.address)
        if status != (usbredir.OK, self.interrupt.address):
            raise AssertionError(f"interrupts: {status}")
        return self

    # ---- Messages ----

    def next_seq(self):
        self.seq = self.seq + 1 & 0xFF
        return self.seq

    def write(self, message, zero=None):
        """Sends a message as one transfer, and a zero-length one if `zero`."""
        parts = [message, b""] if zero else [message]
        for part in parts:
            status, taken = self.usb.bulk_out(self.out.address, part)
            if (status, taken) != (usbredir.OK, len(part)):
                raise AssertionError(f"bulk-OUT of {len(part)} bytes: {status}, {taken} taken")

    def command(self, kind, slot=0, data=b"", special=b"\0\0\0", length=None, seq=None):
        """Sends a command; answers its sequence number."""
        seq = self.next_seq() if seq is None else seq
        self.write(pack(kind, slot, seq, data, special, length))
        return seq

    def post(self):
        if self.pending is None:
            most = MESSAGE_MAX if self.usb.both(usbredir.CAP_32BITS_BULK_LENGTH) else 0xFFFF
            self.pending = self.usb.submit_in(self.into.address, most)

    def reply(self, limit=LIMIT):
        """The next bulk-IN message, whatever it is."""
        self.post()
        status, _, data = self.usb.take_bulk(self.pending, limit)
        self.pending = None
        if status != usbredir.OK:
            raise AssertionError(f"bulk-IN ended with status {status}")
        return unpack(data)

    def final(self, seq, slot=0, limit=LIMIT):
        """The final answer to command `seq`; nothing but its time extensions
        may come before."""
        while True:
            reply = self.reply(limit)
            if (reply.seq, reply.slot) != (seq, slot):
                raise AssertionError(f"{reply} came for command {seq} of slot {slot}")
            if reply.status & 0xC0 != TIME_EXTENSION:
                return reply
            self.extensions += 1

    def ask(self, kind, slot=0, data=b"", special=b"\0\0\0", length=None):
        """A command and its one final answer, which is of the right type."""
        reply = self.final(self.command(kind, slot, data, special, length), slot)
        expected = ANSWERS.get(kind, SLOT_STATUS)
        if reply.type != expected:
            raise AssertionError(f"{reply} answers a command {kind:#x}")
        return reply

    # ---- Commands ----

    def slot_status(self, slot=0):
        return self.ask(GET_STATUS, slot)

    def power_on(self, slot=0):
        return self.ask(POWER_ON, slot)

    def power_off(self, slot=0):
        return self.ask(POWER_OFF, slot)

    def parameters(self, slot=0):
        return self.ask(GET_PARAMETERS, slot)

    def start(self, apdu, slot=0):
        """Sends an APDU in one XfrBlock; answers its sequence number."""
        return self.command(XFR_BLOCK, slot, apdu)

    def abort_request(self, slot, seq):
        """The class request ABORT (5.3.1); answers the transfer's status."""
        return self.usb.control(0x21, REQUEST_ABORT, seq << 8 | slot, 0)[0]

    def wait_icc(self, icc, slot=0):
        """Waits until the slot's bmICCStatus is one of `icc`: each
        NotifySlotChange is a reason to look again."""
        icc = (icc,) if isinstance(icc, int) else icc
        while True:
            reply = self.slot_status(slot)
            if reply.icc in icc:
                return reply
            self.next_change()

    def next_change(self, limit=LIMIT):
        """The slot bits of the next NotifySlotChange (6.3.1)."""
        endpoint, status, data = self.usb.next_interrupt(limit)
        if (endpoint, status) != (self.interrupt.address, usbredir.OK):
            raise AssertionError(f"interrupt on {endpoint:#x} with status {status}")
        if not data or data[0] != NOTIFY_SLOT_CHANGE:
            raise AssertionError(f"interrupt message {data.hex()}")
        return int.from_bytes(data[1:], "little")
