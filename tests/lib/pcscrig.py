# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pcscd of the test's own, with readers of Debian's vpcd driver whose cards
are vpcdcard's. It has a mount namespace to itself, so that its fixed socket
path and its drivers are nobody else's: several rigs run side by side, beside
the machine's own pcscd, and never touch a USB reader. Programs reach it with
the environment of `Rig.env`; pcsc() runs Python code with pyscard there.

    with Rig() as rig:                     # two readers: rig.slots, rig.names
        rig.slots[0].insert(TestCard())
        vscclient = Program("vscclient", "--pcsc", address, **rig.env)"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

from programs import Folder, environment
from vpcdcard import Slot

DRIVER = pathlib.Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
# Each device of the driver has two slots, on ports one after the other.
SLOTS_EACH = 2
FIRST_PORT = 0x8C7B
START_LIMIT = 20

# A /run and a folder of drivers of its own, and a door to its network if it has
# one. (vpcd can connect to a card too, but then closes others' descriptors.)
ENTER = """
mount -t tmpfs -o strictatime none /run && mkdir /run/pcscd &&
{ [ "$5" = times ] || mount --bind "$1/run" /run/pcscd; } &&
mount --bind "$1/drivers" /usr/lib/pcsc/drivers || exit
if [ "$2" = net ]; then python3 -c "$3" "$1/door" & fi
exec pcscd --foreground --config "$1/conf" $4
"""

# Beside pcscd: connects to a port of this network and hands the socket out. It
# ends with the one connection it takes.
DOOR = """
import fcntl, socket, struct, sys
with socket.socket() as lo:
    request = bytearray(struct.pack("16sh22x", b"lo", 0))
    fcntl.ioctl(lo, 0x8913, request)
    flags = struct.unpack("16sh22x", request)[1] | 1
    fcntl.ioctl(lo, 0x8914, struct.pack("16sh22x", b"lo", flags))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
door, _ = listener.accept()
while port := door.recv(8):
    with socket.socket() as sock:
        try:
            sock.connect(("127.0.0.1", int(port)))
            socket.send_fds(door, [b"y"], [sock.fileno()])
        except OSError:
            door.send(b"n")
"""


# A driver for a USB reader that there is not: without any, pcscd dies of reread().
NO_DRIVER = """<plist version="1.0"><dict>
<key>CFBundleExecutable</key><string>none.so</string>
<key>ifdVendorID</key><array><string>0xFFFF</string></array>
<key>ifdProductID</key><array><string>0xFFFF</string></array>
<key>ifdFriendlyName</key><array><string>None</string></array>
</dict></plist>
"""


def reader_conf(name, device, library, channel):
    return (f'FRIENDLYNAME "{name}"\nDEVICENAME {device}\nLIBPATH {library}\n'
            f"CHANNELID {channel:#x}\n")


class Rig:
    """A running pcscd. `devices` are names; each makes two readers, "NAME 00 00"
    and "NAME 00 01". `conf` is more text for
    reader.conf, for other drivers. With devices, pcscd has a network of its
    own, so that nobody else's card gets in; UNIX sockets cross its border. With
    `times` the socket is where each access leaves its time, as on a /run; it is
    then another one after a restart."""

    def __init__(self, devices=("Test Reader",), conf="", arguments="", times=False):
        self.folder = Folder()
        self.times = times
        self.arguments = arguments
        self.conf = conf
        self.process = self.door = self.log = None
        for name in ("run", "drivers/none.bundle/Contents", "conf"):
            os.makedirs(self.folder / name)
        with open(self.folder / "drivers/none.bundle/Contents/Info.plist", "w",
                  encoding="ascii") as plist:
            plist.write(NO_DRIVER)
        self.door_lock = threading.Lock()
        self.slots = []
        self.set_devices(devices)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def set_devices(self, devices):
        """The readers that the next start finds; slots stay."""
        self.devices = devices
        text = self.conf
        for n, name in enumerate(devices):
            port = FIRST_PORT + n * SLOTS_EACH
            # The driver's slots are global to its file, so each device has its own.
            library = self.folder / f"vpcd{n}.so"
            shutil.copy(DRIVER, library)
            text += reader_conf(name, f"/dev/null:{port:#x}", library, port)
        while len(self.slots) < len(devices) * SLOTS_EACH:
            self.slots.append(Slot(self.connector(FIRST_PORT + len(self.slots))))
        pathlib.Path(self.folder / "conf/readers").write_text(text, encoding="ascii")

    @property
    def names(self):
        """What pcscd calls the readers, in the order of `slots`."""
        return [f"{name} 00 {slot:02X}" for name in self.devices for slot in range(SLOTS_EACH)]

    @property
    def socket(self):
        if self.times:
            return f"/proc/{self.process.pid}/root/run/pcscd/pcscd.comm"
        return self.folder / "run/pcscd.comm"

    @property
    def env(self):
        """For programs that are clients of this pcscd."""
        return {"PCSCLITE_CSOCK_NAME": self.socket}

    # ---- The daemon ----

    def start(self):
        """Starts pcscd, waits until it listens, and connects the cards."""
        for name in ("run/pcscd.comm", "run/pcscd.pid", "door"):
            pathlib.Path(self.folder / name).unlink(missing_ok=True)
        self.log = open(self.folder / "log", "ab")  # pylint: disable=consider-using-with
        net = ["--net"] if self.devices else []
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        self.process = subprocess.Popen(
            ["unshare", "--mount", *net, *user, "sh", "-c", ENTER, "sh", self.folder.path,
             "net" if net else "", DOOR, self.arguments, "times" if self.times else ""],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment())
        self.wait_for(self.socket)
        if net:
            self.wait_for(self.folder / "door")
            self.door = socket.socket(socket.AF_UNIX)
            self.knock()
        for slot in self.slots[:len(self.devices) * SLOTS_EACH]:
            slot.attach()

    def wait_for(self, path):
        deadline = time.monotonic() + START_LIMIT
        while not os.path.exists(path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"pcscd does not start:\n{self.said()}")
            time.sleep(0.02)

    def knock(self):
        """The door is there a moment before it can be knocked at."""
        for _ in range(200):
            try:
                return self.door.connect(self.folder / "door")
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError("nobody opens the door")

    def connector(self, port):
        def connect():
            with self.door_lock:
                self.door.send(str(port).encode())
                answer, fds, _, _ = socket.recv_fds(self.door, 1, 1)
            if answer != b"y":
                raise ConnectionRefusedError(f"no reader at port {port}:\n{self.said()}")
            return socket.socket(fileno=fds[0])
        return connect

    def end_process(self, sig):
        """Has it end. Its main loop, woken by the signal, may look before its
        thread for signals has said so, and then sleeps on: it is woken again."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            self.process.send_signal(sig)
            try:
                self.process.wait(5)
                return
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise

    def stop(self, sig=signal.SIGTERM):
        """Ends pcscd; with SIGKILL its socket stays as it was, a dead one."""
        for slot in self.slots:
            slot.detach()
        if self.process is None:
            return
        self.end_process(sig)
        self.process = None
        if self.door is not None:
            self.door.close()
        self.log.close()

    def restart(self, sig=signal.SIGTERM):
        self.stop(sig)
        self.start()

    def reread(self):
        """Has pcscd look for readers of its configuration that did not work."""
        self.process.send_signal(signal.SIGUSR1)

    def said(self):
        return pathlib.Path(self.folder / "log").read_text(errors="replace")

    def close(self):
        try:
            self.stop(signal.SIGKILL)
        finally:
            for slot in self.slots:
                slot.remove()
            self.folder.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- Its clients ----

    def wait_card(self, slot, present=True, limit=START_LIMIT):
        """Waits until pcscd has seen a card come into slot number `slot`, or go."""
        with self.owner() as owner:
            deadline = time.monotonic() + limit
            while owner.present(self.names[slot]) != present:
                if time.monotonic() > deadline:
                    raise AssertionError(f"pcscd sees no change:\n{self.said()}")
                time.sleep(0.05)

    def run(self, *command, limit=60):
        """Runs a program that is a client; answers what it said."""
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=limit, env=environment(**self.env))
        text = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            raise AssertionError(f"{command[0]}: status {done.returncode}\n{text}")
        return text

    def owner(self):
        return Owner(self)


# Where Debian 12 puts vicc's modules, which no Python looks at, and the library
# that they want by its older name.
VICC_MODULES = "/usr/lib/python3/site-packages/virtualsmartcard"
CRYPTO = "/usr/lib/python3/dist-packages/Cryptodome"


class Vicc:
    """Debian's vicc with its ISO 7816 card, to be put into a slot. `log` has
    each command and its response as they passed."""

    command = ("vicc", "-t", "iso7816")
    env = {}

    def __init__(self):
        self.log = []
        self.asked = b""
        self.folder = Folder()
        os.symlink(CRYPTO, self.folder / "Crypto")
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.process = None

    def talk(self, driver):
        """A new card for each connection of the driver's: bytes go through."""
        port = self.listener.getsockname()[1]
        self.process = subprocess.Popen(
            [*self.command, "-H", "127.0.0.1", "-P", str(port)],
            env=environment(PYTHONPATH=f"{VICC_MODULES}:{self.folder.path}", **self.env),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.listener.settimeout(START_LIMIT)
        card, _ = self.listener.accept()
        with card:
            self.carry(driver, card)
        self.leave()

    def carry(self, driver, card):
        other = threading.Thread(target=pump, args=(card, driver, Messages(self.answered)),
                                 daemon=True)
        other.start()
        pump(driver, card, Messages(self.ask))
        other.join()

    def ask(self, message):
        self.asked = message

    def answered(self, message):
        """What is asked in one byte is no command, but for the ATR."""
        if len(self.asked) > 1:
            self.log.append((self.asked, message))

    def leave(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self):
        self.leave()
        self.listener.close()
        self.folder.remove()


# vicc's relay speaks text where its other cards speak bytes, and so ends at the
# first ATR under Python 3. These are the conversions that it lacks.
RELAY = """
import runpy, sys
from virtualsmartcard.cards import Relay
Relay.map = lambda *args: list(map(*args))
def as_bytes(method):
    return lambda self, *text: method(self, *(t.decode("latin-1") for t in text)).encode("latin-1")
for name in ("getATR", "execute"):
    setattr(Relay.RelayOS, name, as_bytes(getattr(Relay.RelayOS, name)))
sys.argv[0] = "/usr/bin/vicc"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class ViccRelay(Vicc):
    """vicc with the card in the first reader of another pcscd, whose clients'
    environment is `env`; `carry` takes bytes between two sockets."""

    command = ("/usr/bin/python3", "-c", RELAY, "-t", "relay")

    def __init__(self, carry, env):
        super().__init__()
        self.carry, self.env = carry, env


class Messages:
    """Takes the driver's messages out of bytes."""

    def __init__(self, done):
        self.done = done
        self.input = b""

    def take(self, data):
        self.input += data
        while len(self.input) >= 2 and len(self.input) >= (
                end := 2 + int.from_bytes(self.input[:2], "big")):
            self.done(self.input[2:end])
            self.input = self.input[end:]


def pump(source, sink, messages):
    """Bytes from one socket to the other until either ends."""
    try:
        while data := source.recv(1 << 16):
            for sock in (source, sink):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            messages.take(data)
            sink.sendall(data)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


PRESENT = 0x20  # SCARD_STATE_PRESENT

# What the owner's process does: a line of Python in, its value's repr out.
OWNER = """
import sys
from smartcard import scard
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
handle = None
def connect(reader, share=SCARD_SHARE_SHARED, protocols=SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1):
    global handle, pci
    result, handle, protocol = SCardConnect(context, reader, share, protocols)
    pci = SCARD_PCI_T0 if protocol == SCARD_PROTOCOL_T0 else SCARD_PCI_T1
    return result
def transmit(command):
    result, answer = (SCardTransmit(handle, pci, list(bytes.fromhex(command))) + [[]])[:2]
    return result, bytes(answer or []).hex()
def readers():
    return sorted(SCardListReaders(context, [])[1] or [])
for line in sys.stdin:
    try:
        print("=" + repr(eval(line)), flush=True)
    except BaseException as error:
        print(repr(error), flush=True)
"""


class Owner:
    """A program of the card's owner, a process with pyscard: say() evaluates
    Python with smartcard.scard's names in it."""

    def __init__(self, rig):
        self.lock = threading.Lock()
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", OWNER], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment(**rig.env),
                                        text=True)

    def say(self, line):
        with self.lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer.startswith("="):
            raise AssertionError(f"the owner's program: {answer or 'ended'} at: {line}")
        return eval(answer[1:])  # pylint: disable=eval-used

    def connect(self, reader, share="SCARD_SHARE_SHARED"):
        """The result of SCardConnect."""
        return self.say(f"connect({reader!r}, {share}) & 0xFFFFFFFF")

    def transmit(self, command):
        """(result, response)."""
        result, answer = self.say(f"transmit({command.hex()!r})")
        return result & 0xFFFFFFFF, bytes.fromhex(answer)

    def begin(self):
        return self.say("SCardBeginTransaction(handle) & 0xFFFFFFFF")

    def end(self):
        return self.say("SCardEndTransaction(handle, SCARD_LEAVE_CARD) & 0xFFFFFFFF")

    def reset(self):
        """Resets the card, as programs do that want to begin anew."""
        return self.say("SCardReconnect(handle, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | "
                        "SCARD_PROTOCOL_T1, SCARD_RESET_CARD)[0] & 0xFFFFFFFF")

    def disconnect(self, how="SCARD_LEAVE_CARD"):
        return self.say(f"SCardDisconnect(handle, {how}) & 0xFFFFFFFF")

    def readers(self):
        return self.say("readers()")

    def present(self, reader):
        """Is a card in it, as pcscd knows now?"""
        state = self.say(f"SCardGetStatusChange(context, 0, [({reader!r}, 0)])[1]")[0][1]
        return bool(state & PRESENT)

    def close(self):
        self.process.stdin.close()
        self.process.wait(START_LIMIT)
        self.process.stdout.close()

    def kill(self):
        """Without a word to pcscd."""
        self.process.kill()
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
