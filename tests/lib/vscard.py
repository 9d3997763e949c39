# SPDX-License-Identifier: LGPL-2.1-or-later
"""The VSCard protocol from its description alone, for tests: messages as bytes
(big-endian, as on a socket), a client that lends an echo card step by step, and
a host that uses what a client lends. Shares nothing with the product, so that
both have to be right to agree."""

import socket
import struct
from typing import NamedTuple

from stream import LIMIT, Stream, connect

INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU, FLUSH, FLUSH_COMPLETE = range(1, 10)
# Ours, between two that have CAP_REQUESTS.
REQUEST, ANSWER, CANCEL, WORKING, READER_INFO = range(0x100, 0x105)
TYPES = (*range(INIT, FLUSH_COMPLETE + 1), *range(REQUEST, READER_INFO + 1))

POWER_ON, POWER_OFF, RESET, TRANSMIT = range(1, 5)
OK, NO_CARD, NOT_POWERED, MUTE, FAILED, CANCELLED = range(6)
NAME_TAG, VENDOR_TAG, TYPE_TAG, SERIAL_TAG = range(1, 5)

SUCCESS, GENERAL_ERROR, CANNOT_ADD_MORE_READERS, CARD_ALREADY_INSERTED = range(4)

MAGIC = b"VSCD"
VERSION = 2
CAP_APDU_LEVEL = 1 << 31
CAP_EXTENDED = 1 << 29
CAP_REQUESTS = 1 << 28
UNDEFINED_READER = 0xFFFFFFFF
# The longest payload there is: an extended case 4 APDU, 4 + 3 + 65,535 + 2; and
# with what goes before it in a Request or an Answer.
PAYLOAD_MAX = 65544


def payload_max(kind):
    """The longest payload of a message of this type."""
    return PAYLOAD_MAX + 8 if kind in (REQUEST, ANSWER) else PAYLOAD_MAX


class Message(NamedTuple):
    type: int
    reader: int
    data: bytes


def pack(kind, reader=0, data=b"", length=None):
    """One message; `length` overrides what its header claims."""
    return struct.pack(">III", kind, reader, len(data) if length is None else length) + data


def pack_init(*caps):
    return pack(INIT, 0, MAGIC + struct.pack(f">I{len(caps)}I", VERSION, *caps))


def pack_error(code, reader=0):
    return pack(ERROR, reader, struct.pack(">I", code))


def receive(stream, limit=LIMIT):
    """The next message of the other side."""
    kind, reader, length = struct.unpack(">III", stream.read(12, limit))
    if length > payload_max(kind):
        raise AssertionError(f"a message of {length} bytes came")
    return Message(kind, reader, stream.read(length, limit))


def pack_request(token, what, data=b""):
    """The payload of a Request or an Answer."""
    return struct.pack(">II", token, what) + data


def unpack_request(data):
    """(token, kind or outcome, data) of its payload."""
    return *struct.unpack(">II", data[:8]), data[8:]


def pack_info(*texts):
    """ReaderInfo's payload of (tag, bytes)."""
    return b"".join(struct.pack(">HH", tag, len(text)) + text for tag, text in texts)


def unpack_init(data):
    """(version, capability words) of VSC_Init's payload."""
    if data[:4] != MAGIC or len(data) % 4 or len(data) < 8:
        raise AssertionError(f"not an Init: {data.hex()}")
    version, *caps = struct.unpack(f">{len(data) // 4 - 1}I", data[4:])
    return version, caps


def make_atr(historical=b"", protocols=(1,)):
    """An ATR that offers T=0, T=1 or both, the first first, with a right TCK
    where one belongs (ISO/IEC 7816-3, 8.2.5)."""
    if len(historical) > 15:
        raise ValueError("15 historical bytes at most")
    if protocols == (0,):
        return bytes([0x3B, len(historical)]) + historical
    levels = bytes(0x80 | protocol for protocol in protocols[:-1]) + bytes(protocols[-1:])
    body = bytes([0x80 | len(historical)]) + levels + historical
    return b"\x3b" + body + check_byte(body)


def check_byte(body):
    """TCK: all bytes from T0 on make 0."""
    tck = 0
    for byte in body:
        tck ^= byte
    return bytes([tck])


ECHO_ATR = make_atr(b"echo")


# ---- The echo card ----

ECHO_INS = 0xEC


def split_apdu(apdu):
    """(command data, Ne) of a command APDU: cases 1 to 4, short and extended
    (ISO/IEC 7816-3, 12.1.3). None when it is not one."""
    body = apdu[4:]
    if len(apdu) < 4:
        return None
    if not body:
        return b"", 0
    if len(body) == 1:
        return b"", body[0] or 256
    if body[0]:
        return split_body(body[1:], body[0], 1)
    if len(body) == 3:
        return b"", int.from_bytes(body[1:], "big") or 65536
    return split_body(body[3:], int.from_bytes(body[1:3], "big"), 2)


def split_body(rest, lc, width):
    """Data of `lc` bytes, then nothing or an Le of `width` bytes."""
    if not lc or len(rest) not in (lc, lc + width):
        return None
    le = rest[lc:]
    return rest[:lc], (int.from_bytes(le, "big") or 1 << (8 * width)) if le else 0


def echo_pattern(p2, data, size):
    seed = (p2 ^ sum(data)) & 0xFF
    return bytes((seed + i * 7 + i // 251) & 0xFF for i in range(size))


def echo_answer(apdu):
    """What the echo card answers."""
    parts = split_apdu(apdu)
    if parts is None or apdu[0] != 0 or apdu[1] != ECHO_INS:
        return b"\x6d\x00"
    return echo_pattern(apdu[3], *parts) + b"\x90\x00"


def echo_command(p2=0, data=b"", ne=None, extended=None):
    """A command to the echo card; `ne` None for no Le."""
    if extended is None:
        extended = len(data) > 255 or (ne or 0) > 256
    head = bytes([0, ECHO_INS, 0, p2])
    if not extended:
        return (head + (bytes([len(data)]) + data if data else b"")
                + (b"" if ne is None else bytes([ne & 0xFF])))
    le = b"" if ne is None else (ne & 0xFFFF).to_bytes(2, "big")
    if data:
        return head + b"\0" + len(data).to_bytes(2, "big") + data + le
    return head + b"\0" + le


# ---- The two ends ----

class Client:
    """The end that owns a card, one step at a time."""

    def __init__(self, address):
        self.stream = address if isinstance(address, Stream) else connect(address)
        self.reader = None
        self.host_caps = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def send(self, kind, reader=None, data=b"", length=None):
        if reader is None:
            reader = 0 if self.reader is None else self.reader
        self.stream.send(pack(kind, reader, data, length))

    def receive(self, limit=LIMIT):
        return receive(self.stream, limit)

    def receive_after_init(self, limit=LIMIT):
        """The next message that is not the host's Init."""
        while True:
            message = self.receive(limit)
            if message.type != INIT:
                return message
            self.host_caps = unpack_init(message.data)[1]

    def init(self, caps=CAP_EXTENDED):
        """Says Init and takes the host's."""
        self.stream.send(pack_init(caps))
        message = self.receive()
        if message.type != INIT:
            raise AssertionError(f"{message} came for an Init")
        version, self.host_caps = unpack_init(message.data)
        if version != VERSION or len(self.host_caps) != 1:
            raise AssertionError(f"version {version}, capabilities {self.host_caps}")

    def expect_error(self, code):
        """The host's next word is an Error of `code`; answers its reader id."""
        message = self.receive_after_init()
        if message.type != ERROR or len(message.data) != 4:
            raise AssertionError(f"{message} came for an Error")
        got = int.from_bytes(message.data, "big")
        if got != code:
            raise AssertionError(f"Error {got}, not {code}")
        return message.reader

    def add_reader(self, name=b"test reader"):
        self.send(READER_ADD, UNDEFINED_READER, name)
        self.reader = self.expect_error(SUCCESS)

    def insert(self, atr=ECHO_ATR):
        self.send(ATR, None, atr)
        self.expect_error(SUCCESS)

    def remove(self):
        self.send(CARD_REMOVE)
        self.expect_error(SUCCESS)

    def take_command(self):
        """The host's next command."""
        message = self.receive()
        if message.type != APDU or message.reader != self.reader:
            raise AssertionError(f"{message} came for an APDU")
        return message.data

    def answer(self, response):
        self.send(APDU, None, response)

    def take_request(self, kind):
        """The host's next message is a Request of this kind; answers (token,
        data)."""
        message = self.receive()
        if message.type != REQUEST or message.reader != self.reader:
            raise AssertionError(f"{message} came for a Request")
        token, got, data = unpack_request(message.data)
        if got != kind:
            raise AssertionError(f"{message} is no request of kind {kind}")
        return token, data

    def answer_request(self, token, data=b"", outcome=OK):
        self.send(ANSWER, None, pack_request(token, outcome, data))

    def serve_one(self):
        """Takes one command and answers it as the echo card."""
        command = self.take_command()
        self.answer(echo_answer(command))
        return command

    @classmethod
    def with_card(cls, address, atr=ECHO_ATR, caps=CAP_EXTENDED):
        """A client that has said all a good one says up to its card."""
        client = cls(address)
        client.init(caps)
        client.add_reader()
        client.insert(atr)
        return client


class Listener:
    """Where a client under test connects to."""

    def __init__(self, path=None):
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
        else:
            self.sock = socket.socket(socket.AF_INET)
            self.sock.bind(("127.0.0.1", 0))
            self.port = self.sock.getsockname()[1]
        self.sock.listen(8)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def accept(self, limit=LIMIT):
        self.sock.settimeout(limit)
        peer, _ = self.sock.accept()
        return Host(Stream(peer))


class Host:
    """The end that uses a card, one step at a time."""

    def __init__(self, stream):
        self.stream = stream
        self.reader = 0
        self.atr = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def send(self, kind, data=b"", reader=None, length=None):
        self.stream.send(pack(kind, self.reader if reader is None else reader, data, length))

    def receive(self, limit=LIMIT):
        return receive(self.stream, limit)

    def expect(self, kind, limit=LIMIT):
        message = self.receive(limit)
        if message.type != kind:
            raise AssertionError(f"{message} came for a message of type {kind}")
        return message

    def take_init(self, caps=CAP_APDU_LEVEL):
        """Takes the client's Init and says ours."""
        version, words = unpack_init(self.expect(INIT).data)
        if version != VERSION or len(words) != 1:
            raise AssertionError(f"version {version}, capabilities {words}")
        self.stream.send(pack_init(caps))

    def take_reader(self):
        name = self.expect(READER_ADD).data
        self.send(ERROR, struct.pack(">I", SUCCESS))
        return name

    def take_card(self):
        message = self.expect(ATR)
        self.atr = message.data
        self.send(ERROR, struct.pack(">I", SUCCESS))
        return self.atr

    def take_info(self):
        """What the client says of the reader it adds next."""
        message = self.expect(READER_INFO)
        if message.reader != UNDEFINED_READER:
            raise AssertionError(f"{message} came before its reader")
        return message.data

    def request(self, token, kind, data=b"", reader=None):
        self.send(REQUEST, pack_request(token, kind, data), reader)

    def expect_answer(self, token):
        """(outcome, data) of the Answer to `token`, which comes next; Working may
        come before."""
        message = self.receive()
        while message.type == WORKING:
            message = self.receive()
        if message.type != ANSWER or unpack_request(message.data)[0] != token:
            raise AssertionError(f"{message} came for the Answer to {token}")
        return unpack_request(message.data)[1:]

    def transmit(self, command, limit=LIMIT):
        """A command's response."""
        self.send(APDU, command)
        return self.expect(APDU, limit).data
