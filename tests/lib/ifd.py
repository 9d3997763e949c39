# SPDX-License-Identifier: LGPL-2.1-or-later
"""An IFD handler as pcscd uses one, call by call: tests/peer/ifd-driver loads
the library and calls its functions, each call in a thread of its own. Names
and numbers are those of pcsc-lite's ifdhandler.h and reader.h.

    driver = Driver()
    driver.open(0, "vscard:socket,path=/run/card,server=on")
    pending = driver.start("transmit", 0, bytes.fromhex("00a40000"), 258)
    pending.result()

And a pcscd with the handler: IfdRig. There it is the build without sanitizers,
as pcscd does not run with theirs loaded before it; with them the driver runs it."""

import signal
import subprocess
import threading
from typing import NamedTuple

import vscard
from pcscrig import Rig
from programs import NORMAL, SAN, Program, defects
from vscard import APDU, ATR, CARD_REMOVE, ERROR, INIT, READER_ADD, READER_REMOVE, pack

(SUCCESS, ERROR_TAG, VALUE_READ_ONLY, PTS_FAILURE, ERROR_NOT_SUPPORTED, PROTOCOL_NOT_SUPPORTED,
 POWER_ACTION, COMMUNICATION_ERROR, RESPONSE_TIMEOUT, NOT_SUPPORTED, ICC_PRESENT, ICC_NOT_PRESENT,
 INSUFFICIENT_BUFFER) = (0, 600, 602, 605, 606, 607, 608, 612, 613, 614, 615, 616, 618)
POWER_UP, POWER_DOWN, RESET = 500, 501, 502
T0, T1 = 1, 2

TAG_ATR, TAG_THREAD_SAFE, TAG_SLOTS, TAG_SIMULTANEOUS = 0x0303, 0x0FAD, 0x0FAE, 0x0FAF
TAG_SLOT_THREAD_SAFE, TAG_KILLABLE, TAG_STOP, TAG_WAIT = 0x0FAC, 0x0FB1, 0x0FB2, 0x0FB3
ATTR_ATR, ATTR_VENDOR, ATTR_TYPE, ATTR_SERIAL = 0x90303, 0x10100, 0x10101, 0x10103
ATTR_MAXINPUT, ATTR_PRESENCE, ATTR_STATUS = 0x7A007, 0x90300, 0x90301
GET_FEATURES = 0x42000000 + 3400

# What a client that breaks the protocol may send once it has a card.
HOSTILE = (
    pack(APDU, 0, b"", 0xFFFFFFFF), pack(ATR, 0, b"", 0x80000000), b"\xff" * 400,
    pack(READER_ADD, 0xFFFFFFFF, b"x" * 65544), pack(ATR, 0, b""), pack(ATR, 0, b"\x3b" * 60),
    pack(ATR, 15, vscard.ECHO_ATR), pack(READER_REMOVE, 0), pack(READER_REMOVE, 200),
    pack(APDU, 0, bytes(65544)), pack(APDU, 0, b"\x90"), pack(APDU, 3, b"\x90\x00"),
    pack(CARD_REMOVE, 0) * 50, pack(INIT, 0, b"VSCX"), pack(INIT, 0, b""),
    pack(ERROR, 0, b"\1"), pack(ERROR, 0, b"\0\0\0\1"), pack(0x101, 0, bytes(100)),
    pack(0, 0, b""), pack(ATR, 0, vscard.ECHO_ATR) * 20,
    (pack(CARD_REMOVE, 0) + pack(ATR, 0, vscard.ECHO_ATR)) * 100, b"\0\0\0", b"")

# A buffer that holds every response, and one that holds every ATR.
ROOM = 65538
ATR_ROOM = 33
# A call that did not return within this never will.
LIMIT = 60


class Answer(NamedTuple):
    code: int
    data: bytes
    # What the function left in its length argument.
    length: int


class Pending:
    """A call under way."""

    def __init__(self):
        self.event = threading.Event()
        self.answer = None

    def result(self, limit=LIMIT):
        if not self.event.wait(limit):
            raise AssertionError("the call does not return")
        return self.answer

    @property
    def done(self):
        return self.event.is_set()


class Driver(Program):
    """The driver program with a library loaded."""

    def __init__(self, build=SAN, library=None, **env):
        super().__init__("tests/peer/ifd-driver", str(library or build / "libifdvscard.so"),
                         build=build, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **env)
        self.pending = {}
        self.count = 0
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            tag, code, data, length = line.decode().split()
            pending = self.pending.pop(tag)
            pending.answer = Answer(int(code), b"" if data == "-" else bytes.fromhex(data),
                                    int(length))
            pending.event.set()

    def start(self, command, lun=0, *args):
        """Calls a function and does not wait for it."""
        self.count += 1
        tag, pending = f"t{self.count}", Pending()
        self.pending[tag] = pending
        words = [arg.hex() or "-" if isinstance(arg, bytes) else str(arg) for arg in args]
        self.say(f"{tag} {command} {lun} {' '.join(words)}\n".encode())
        return pending

    def call(self, command, lun=0, *args):
        """Calls a function; answers what it brought."""
        pending = self.start(command, lun, *args)
        try:
            return pending.result()
        except AssertionError:
            self.check_alive()
            raise

    def code(self, command, lun=0, *args):
        return self.call(command, lun, *args).code

    def open(self, lun, name):
        return self.code("open", lun, name.encode())

    def present(self, lun=0):
        code = self.code("presence", lun)
        if code not in (ICC_PRESENT, ICC_NOT_PRESENT):
            raise AssertionError(f"IFDHICCPresence answers {code}")
        return code == ICC_PRESENT

    def power(self, action=POWER_UP, lun=0, room=ATR_ROOM):
        return self.call("power", lun, action, room)

    def transmit(self, command, lun=0, room=ROOM):
        return self.call("transmit", lun, command, room)

    def get(self, tag, lun=0, room=256):
        return self.call("get", lun, tag, room)

    def end(self, sig=None):
        """Ends it as pcscd ends: nothing is left to do; a sanitizer may speak."""
        self.process.stdin.close()
        try:
            status = self.wait()
            errors = self.errors()
            if status != 0 or "ERROR" in errors or "CRITICAL" in errors:
                raise AssertionError(f"the driver ended with status {status}:\n{errors}")
            return errors
        finally:
            self.kill()


# ---- In pcscd ----

LIBRARY = NORMAL / "libifdvscard.so"


def entry(name, device, channel=0):
    """An entry of reader.conf."""
    return (f'FRIENDLYNAME "{name}"\nDEVICENAME "{device}"\nLIBPATH {LIBRARY}\n'
            f"CHANNELID {channel}\n")


class IfdRig(Rig):
    """A pcscd with entries of ours and nothing else."""

    def __init__(self, conf):
        super().__init__(devices=(), conf=conf, arguments="--info")

    def end(self, sig=signal.SIGALRM):
        """Ends pcscd as it ends by itself when nobody uses it, readers first;
        answers its log, in which no defect may be."""
        process = self.process
        self.stop(sig)
        log = self.said()
        if process.returncode != 0 or defects(log):
            raise AssertionError(f"pcscd ended with status {process.returncode}:\n{log}")
        return log

    def readers(self):
        with self.owner() as owner:
            return owner.readers()
