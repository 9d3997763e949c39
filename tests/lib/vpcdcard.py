# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards for Debian's vpcd driver, which makes readers of pcscd out of TCP
connections: messages with two bytes of length; one of a single byte is control
(0 power off, 1 power on, 2 reset, 4 the ATR is asked for), any other a command.

TestCard takes what the tests' other cards take (tests/lib/testcard.h) and more
(CLA 00, the channel in its low two bits; anything else is answered 6D00):

  INS EC  echo, as vscard.echo_answer() has it
  INS ED  works for P1 P2 tenths of a second, then 9000
  INS A4  SELECT: by name (P1 04) one of its applications, by file (P1 00) the
          master file 3F00 or one of FILES; 6A82 if there is none
  INS B0  READ BINARY: what read_answer() says of the application and file that
          are selected, from offset P1 P2; 6B00 behind the end
  INS CA  GET DATA: 6982 until the PIN is verified, then the application's name
  INS 20  VERIFY: the PIN; 63Cx if it is wrong; without data, its state
  INS 70  MANAGE CHANNEL: open (P1 00) and close (P1 80)

What is selected, verified and open is forgotten by reset and power off."""

import errno
import socket
import struct
import threading
import time

import vscard
from echo import t0_size

OFF, ON, RESET, GET_ATR = 0, 1, 2, 4
# The driver's longest message; a longer answer becomes 6F00.
MESSAGE_MAX = 65535

PIN = b"1234"
TRIES = 3
CHANNELS = 4
APPS = (b"\xf0vscard one", b"\xf0vscard two", b"\xf0vscard three")
FILES = (0x0101, 0x0102)
MASTER_FILE = 0x3F00
# What READ BINARY has to give of each file.
FILE_SIZE = 200
ECHO, WAIT, SELECT, READ, GET, VERIFY, MANAGE = 0xEC, 0xED, 0xA4, 0xB0, 0xCA, 0x20, 0x70
GET_RESPONSE, ENVELOPE = 0xC0, 0xC2

OK = b"\x90\x00"
T0_ATR = vscard.make_atr(b"t0 card", (0,))
T1_ATR = vscard.make_atr(b"t1 card", (1,))
BOTH_ATR = vscard.make_atr(b"both", (0, 1))


def select_app(name, channel=0):
    return bytes([channel, SELECT, 4, 0, len(name)]) + name


def select_file(ident, channel=0):
    return bytes([channel, SELECT, 0, 0x0C, 2]) + ident.to_bytes(2, "big")


def read_binary(size=FILE_SIZE, offset=0, channel=0):
    return bytes([channel, READ]) + offset.to_bytes(2, "big") + bytes([size & 0xFF])


def verify(pin=PIN, channel=0):
    return bytes([channel, VERIFY, 0, 0x80]) + (bytes([len(pin)]) + pin if pin else b"")


def get_data(channel=0):
    return bytes([channel, GET, 0, 1, 0])


def read_answer(app, file=MASTER_FILE):
    """The content of a file: no two are alike."""
    seed = sum(app or b"") * 3 + file * 5
    return bytes((seed + i * 11) & 0xFF for i in range(FILE_SIZE))


class Channel:
    """What a logical channel remembers."""

    def __init__(self):
        self.app = None
        self.file = MASTER_FILE
        self.verified = False


class TestCard:
    """A card that takes whole APDUs. `log` has what the reader did to it."""

    def __init__(self, atr=T1_ATR, select_forgets=True):
        self.atr = atr
        self.select_forgets = select_forgets  # the PIN, when an application is selected
        self.tries = TRIES
        self.powered = False
        self.log = []
        self.reset()

    def reset(self):
        self.channels = {0: Channel()}

    def control(self, code):
        """Power and reset; answers nothing."""
        self.log.append({OFF: "off", ON: "on", RESET: "reset"}.get(code, code))
        self.powered = code != OFF
        self.reset()

    def command(self, command):
        self.log.append(command)
        return self.apdu(command)

    def apdu(self, apdu):
        parts = vscard.split_apdu(apdu)
        if parts is None:
            return b"\x67\x00"
        channel = self.channels.get(apdu[0] & 3) if apdu[0] < CHANNELS else None
        if apdu[0] == 0 and apdu[1] == ECHO:
            return vscard.echo_answer(apdu)
        if channel is None:
            return b"\x6e\x00" if apdu[0] >= CHANNELS else b"\x68\x81"
        work = {WAIT: self.wait, SELECT: self.select, READ: self.read, GET: self.get,
                VERIFY: self.verify, MANAGE: self.manage}.get(apdu[1])
        return work(channel, apdu[2], apdu[3], *parts) if work else b"\x6d\x00"

    def wait(self, _channel, p1, p2, _data, _ne):
        time.sleep((p1 << 8 | p2) / 10)
        return OK

    def select(self, channel, p1, _p2, data, _ne):
        if p1 == 4 and data in APPS:
            channel.app, channel.file = data, MASTER_FILE
            channel.verified &= not self.select_forgets
            return OK
        file = int.from_bytes(data, "big")
        if p1 == 0 and file in (MASTER_FILE, *FILES):
            if file == MASTER_FILE:
                channel.app = None
            channel.file = file
            return OK
        return b"\x6a\x82"

    def read(self, channel, p1, p2, _data, ne):
        content = read_answer(channel.app, channel.file)[p1 << 8 | p2:]
        return content[:ne] + OK if content else b"\x6b\x00"

    def get(self, channel, _p1, _p2, _data, ne):
        if not channel.verified:
            return b"\x69\x82"
        return (channel.app or b"none")[:ne] + OK

    def verify(self, channel, _p1, _p2, data, _ne):
        if not data:
            return OK if channel.verified else bytes([0x63, 0xC0 | self.tries])
        channel.verified = data == PIN and self.tries > 0
        self.tries = TRIES if channel.verified else max(self.tries - 1, 0)
        return OK if channel.verified else bytes([0x63, 0xC0 | self.tries])

    def manage(self, _channel, p1, p2, _data, _ne):
        if p1 == 0x80:
            return OK if p2 and self.channels.pop(p2, None) else b"\x6a\x86"
        free = [n for n in range(1, CHANNELS) if n not in self.channels]
        if not free:
            return b"\x6a\x81"
        self.channels[free[0]] = Channel()
        return bytes(free[:1]) + OK

    # ---- In a slot ----

    def leave(self):
        """It is taken out."""
        self.log.append("out")
        self.powered = False
        self.reset()

    def talk(self, peer):
        """The driver's messages to the card until one side goes."""
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while True:
            message = read(peer, struct.unpack(">H", read(peer, 2))[0])
            if len(message) == 1 and message[0] == GET_ATR:
                answer = self.atr
            elif len(message) == 1:
                self.control(message[0])
                continue
            else:
                answer = self.command(message)
            if len(answer) > MESSAGE_MAX:
                answer = b"\x6f\x00"
            peer.sendall(struct.pack(">H", len(answer)) + answer)


class T0Card(TestCard):
    """The same card as one of T=0 alone (ISO/IEC 7816-3, 12.2): it takes TPDUs,
    keeps what it has to say for GET RESPONSE, corrects a wrong Le, and puts
    together what comes in ENVELOPE or by command chaining. Its echo answers
    t0_size(P1) bytes; with P1 0 and no data, what P3 says."""

    def __init__(self, atr=T0_ATR, **more):
        super().__init__(atr, **more)

    def reset(self):
        super().reset()
        self.kept = self.chained = self.enveloped = b""

    def command(self, command):
        self.log.append(command)
        if len(command) == 4:
            command += b"\0"
        if len(command) < 5 or (len(command) > 5 and len(command) != 5 + command[4]):
            return b"\x67\x00"
        return self.tpdu(command[:4], command[4], command[5:])

    def tpdu(self, head, p3, data):
        if head[1] == GET_RESPONSE:
            return self.give(p3 or 256, exact=True) if self.kept else b"\x69\x85"
        self.kept = b""
        if head[1] == ENVELOPE:
            self.enveloped += data
            if data and not self.is_whole(self.enveloped):
                return OK
            whole, self.enveloped = self.enveloped, b""
            self.kept = self.whole(whole[:4], (vscard.split_apdu(whole) or [b""])[0])
            return self.give(0)
        if head[0] & 0x10:
            self.chained += data
            return OK
        data, self.chained = self.chained + data, b""
        self.kept = self.whole(head, data, p3)
        return self.give(0) if data else self.give(p3 or 256, exact=True)

    @staticmethod
    def is_whole(apdu):
        """An extended APDU with data says how long it is; any other ends with an
        empty ENVELOPE."""
        return len(apdu) > 7 and apdu[4] == 0 and vscard.split_apdu(apdu) is not None

    def whole(self, head, data, p3=0):
        """What the card says to all of a command."""
        if head[:2] == bytes([0, ECHO]):
            size = t0_size(head[2]) if head[2] or data else p3 or 256
            return vscard.echo_pattern(head[3], data, size) + OK
        lc = b"\0" + len(data).to_bytes(2, "big") if data else b"\0"
        return self.apdu(head + lc + data + b"\0\0")

    def give(self, most, exact=False):
        """Up to `most` bytes of what is kept, and 61xx for the rest; with
        `exact` 6Cxx instead if there is less."""
        size = len(self.kept) - 2
        if exact and 0 < size < most:
            return bytes([0x6C, size])
        now, self.kept = self.kept[:min(most, size)], self.kept[min(most, size):]
        if len(self.kept) > 2:
            return now + bytes([0x61, min(len(self.kept) - 2, 256) & 0xFF])
        now, self.kept = now + self.kept, b""
        return now


# ---- The reader's slot ----

class Slot:
    """A slot of vpcd's, whose card connects to it. `connect` makes a socket that
    is connected to the slot's port."""

    def __init__(self, connect):
        self.connect = connect
        self.card = None
        self.peer = self.thread = None

    def insert(self, card):
        """Puts a card in; pcscd sees it within half a second or so."""
        self.remove()
        self.card = card
        self.attach()
        return card

    def attach(self):
        """Connects the card that is in to a pcscd that has just started."""
        if self.card is None:
            return
        self.detach()
        self.peer = self.connect()
        self.thread = threading.Thread(target=self.serve, args=(self.peer, self.card), daemon=True)
        self.thread.start()

    def detach(self):
        if self.peer is None:
            return
        shut(self.peer)
        self.thread.join(0.1)  # a card in a slow command goes when it is done
        self.peer = None

    def remove(self):
        """Takes the card out, also in the middle of a command; it forgets."""
        card, self.card = self.card, None
        self.detach()
        if card is not None:
            card.leave()

    @staticmethod
    def serve(peer, card):
        with peer:
            try:
                card.talk(peer)
            except OSError:
                pass


def shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.EBADF):
            raise


def read(peer, size):
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        # The driver writes length and command apart: without an immediate ACK
        # each command takes 40 ms.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not more:
            raise ConnectionResetError("end of stream")
        data += more
    return data
