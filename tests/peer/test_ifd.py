# SPDX-License-Identifier: LGPL-2.1-or-later
"""pcscd with our IFD handler: a reader that is a VSCard peer. OpenSC, pcsc_scan
and pyscard use the cards of vscclient and of vscardd; cards and peers come, go
and misbehave, and pcscd lives."""

import pathlib
import random
import re
import signal
import subprocess
import sys
import time
import unittest

import vscard
from ifd import HOSTILE, LIBRARY, IfdRig, entry
from local import Local
from programs import NORMAL, ROOT, Appliance, Folder, Program
from stream import Closed
from vscard import Client

sys.path.append(str(ROOT / "tests/guest"))

# pylint: disable=wrong-import-position
from opensc import Database, LifeScript

NO_CARD, NOT_TRANSACTED, REMOVED = 0x8010000C, 0x80100016, 0x80100069
ROUNDS = 1000
SWAPS = 100


class RigCase(unittest.TestCase):
    """A pcscd for the class, with the entries of conf()."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(Folder())
        cls.rig = cls.enterClassContext(IfdRig(cls.conf()))

    @classmethod
    def tearDownClass(cls):
        cls.rig.end()

    @classmethod
    def conf(cls):
        return entry("VSCard", f"vscard:socket,path={cls.card()},server=on{cls.more()}")

    @staticmethod
    def more():
        """More of the device's keys."""
        return ""

    @classmethod
    def card(cls):
        return cls.folder / "card"


# ---- Cards of certificates, as OpenSC sees them ----

class Client3(Program):
    """vscclient with the three certificates and a say in its card's life."""

    def __init__(self, database, address):
        super().__init__("vscclient", *database.client_args(address), stdin=subprocess.PIPE)

    def remove(self):
        self.say(b"remove\n")

    def insert(self):
        self.say(b"insert\n")


class Lent:
    """A card lent to pcscd by vscclient for the OpenSC script."""

    reader_name = "VSCard 00 00"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.database = cls.enterClassContext(Database())
        cls.guest = cls.enterClassContext(Local(cls.rig))
        cls.begin()
        cls.lend()
        cls.guest.run("pcsc-tool wait inserted 20", check=True)

    @classmethod
    def tearDownClass(cls):
        cls.client.end()
        super().tearDownClass()

    @classmethod
    def begin(cls):
        """What has to be there beside pcscd."""

    @classmethod
    def lend(cls):
        cls.client = Client3(cls.database, f"unix:{cls.card()}")
        cls.addClassCleanup(cls.client.kill)


class Listening(Lent, LifeScript, RigCase):
    """pcscd listens, vscclient connects."""

    def test_0_pcsc_scan(self):
        scan = self.guest.spawn("exec stdbuf -oL pcsc_scan -n")
        self.addCleanup(scan.process.communicate)
        self.addCleanup(scan.process.kill)
        for words in ("VSCard 00 00", "Card inserted", "ATR: 3B"):
            scan.read_until(words)
        for act, words in ((self.client.remove, "Card removed"),
                           (self.client.insert, "Card inserted")):
            scan.output = b""
            act()
            scan.read_until(words)


class OnTcp(Lent, LifeScript, RigCase):
    """The same over TCP, by a CHANNELID."""

    @classmethod
    def conf(cls):
        with vscard.Listener() as listener:
            cls.port = listener.port
        return f'FRIENDLYNAME "VSCard"\nLIBPATH {LIBRARY}\nCHANNELID {cls.port}\n'

    @classmethod
    def lend(cls):
        cls.client = Client3(cls.database, f"tcp://127.0.0.1:{cls.port}")
        cls.addClassCleanup(cls.client.kill)


class FromVscardd(Lent, LifeScript, RigCase):
    """pcscd connects to a vscardd, to which vscclient connects."""

    @classmethod
    def conf(cls):
        return entry("VSCard", f"vscard:socket,path={cls.folder / 'ifd'}")

    @classmethod
    def begin(cls):
        cls.appliance = cls.enterClassContext(Appliance(readers=0, extra=[
            "-chardev", f"socket,id=ifd,path={cls.folder / 'ifd'},server=on,wait=off",
            "-device", "ifd,chardev=ifd",
            "-chardev", f"socket,id=card,path={cls.card()},server=on,wait=off",
            "-device", "ccid-card-passthru,chardev=card"]))


# ---- The echo card ----

class EchoCase(RigCase):
    """Cases with clients of their own, and a program of pcscd's."""

    reader = "VSCard 00 00"

    def setUp(self):
        self.owner = self.rig.owner()
        self.addCleanup(self.owner.kill)

    def tearDown(self):
        self.wait_card(False)

    def wait_card(self, present=True, reader=None):
        deadline = time.monotonic() + 20
        while self.owner.present(reader or self.reader) != present:
            if time.monotonic() > deadline:
                raise AssertionError(f"pcscd sees no change:\n{self.rig.said()}")
            time.sleep(0.01)

    def echo_client(self, *args):
        client = Program("tests/peer/echo-client", f"path={self.card()}", *args)
        self.addCleanup(client.kill)
        self.wait_card()
        return client

    def client(self, atr=vscard.ECHO_ATR):
        """A client of the test's own with a card."""
        client = Client.with_card(self.card(), atr)
        self.addCleanup(client.close)
        self.wait_card()
        return client

    def connect(self, reader=None):
        self.assertEqual(self.owner.connect(reader or self.reader), 0)

    def works(self):
        with self.echo_client():
            self.connect()
            command = vscard.echo_command(3, b"works", 40)
            self.assertEqual(self.owner.transmit(command), (0, vscard.echo_answer(command)))
            self.owner.disconnect()
        self.wait_card(False)

    def start_transmit(self, command):
        """A program that waits for the card's answer to `command`."""
        other = self.rig.owner()
        self.addCleanup(other.kill)
        self.assertEqual(other.connect(self.reader), 0)
        other.process.stdin.write(f"transmit({command.hex()!r})[0] & 0xFFFFFFFF\n")
        other.process.stdin.flush()
        return other


class Echo(EchoCase):
    """One reader."""

    @staticmethod
    def more():
        return ",timeout=2"

    def some_command(self, rand):
        """Of any case and length."""
        size = rand.choice((0, 0, 1, rand.randrange(256), 255, rand.randrange(2000), 65535))
        ne = rand.choice((None, 1, rand.randrange(1, 257), 256, rand.randrange(1, 3000), 65536))
        return vscard.echo_command(rand.randrange(256), rand.randbytes(size), ne,
                                   rand.choice((None, True)))

    def test_random_commands(self):
        rand = random.Random()
        with self.echo_client():
            self.connect()
            for _ in range(ROUNDS):
                command = self.some_command(rand)
                self.assertEqual(self.owner.transmit(command), (0, vscard.echo_answer(command)),
                                 command[:12].hex())
            self.owner.disconnect()

    def test_protocols(self):
        for protocol, name in ((1, "t0"), (2, "t1")):
            with self.echo_client(name):
                self.assertEqual(self.owner.say(
                    f"(connect({self.reader!r}, protocols={protocol}), SCardStatus(handle)[3])"),
                    (0, protocol))
                self.owner.disconnect()
                self.assertNotEqual(self.owner.say(
                    f"connect({self.reader!r}, protocols={3 - protocol})"), 0)
            self.wait_card(False)

    def test_resets(self):
        with self.echo_client():
            self.connect()
            for how in ("SCARD_RESET_CARD", "SCARD_UNPOWER_CARD", "SCARD_LEAVE_CARD"):
                self.assertEqual(self.owner.say(
                    "SCardReconnect(handle, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | "
                    f"SCARD_PROTOCOL_T1, {how})[0]"), 0, how)
                command = vscard.echo_command(5, how.encode(), 60)
                self.assertEqual(self.owner.transmit(command), (0, vscard.echo_answer(command)))
            self.owner.disconnect("SCARD_UNPOWER_CARD")

    def test_attributes(self):
        with self.echo_client():
            self.connect()
            text = self.owner.say("SCardGetAttrib(handle, SCARD_ATTR_VENDOR_NAME)[1]")
            self.assertEqual(bytes(text), b"vscard\0")
            features = self.owner.say("SCardControl(handle, SCARD_CTL_CODE(3400), [])")
            self.assertEqual(features[0], 0)
            # A feature that is offered is there, and no other (PC/SC part 10).
            self.assertEqual(features[1][0], 0x12)
            code = int.from_bytes(bytes(features[1][2:6]), "big")
            self.assertEqual(self.owner.say(f"SCardControl(handle, {code}, [])"),
                             [0, [10, 4, 255, 255, 0, 0]])
            self.assertNotEqual(self.owner.say(f"SCardControl(handle, {code + 1}, [])")[0], 0)
            self.owner.disconnect()

    def test_killed_client(self):
        """kill -9 between commands and in one: a removal."""
        client = self.echo_client()
        self.connect()
        client.kill()
        self.wait_card(False)
        self.assertEqual(self.owner.transmit(vscard.echo_command())[0], REMOVED)
        self.owner.disconnect()
        client = self.client()
        pending = self.start_transmit(vscard.echo_command(1, b"", 4))
        client.take_command()
        client.close()
        self.assertIn(int(pending.process.stdout.readline()[1:]), (NO_CARD, REMOVED))
        self.works()

    def test_removed_in_a_command(self):
        client = self.client()
        pending = self.start_transmit(vscard.echo_command(1, b"", 4))
        client.take_command()
        client.remove()
        self.assertIn(int(pending.process.stdout.readline()[1:]), (NO_CARD, REMOVED))
        client.close()

    def test_late_answer(self):
        """A card that is silent for longer than the reader waits."""
        client = self.client()
        self.connect()
        slow, following = vscard.echo_command(1, b"", 4), vscard.echo_command(2, b"next", 30)
        self.assertEqual(self.owner.transmit(slow)[0], NOT_TRANSACTED)
        self.assertEqual(client.take_command(), slow)
        pending = self.start_transmit(following)
        client.answer(vscard.echo_answer(slow))
        self.assertEqual(client.serve_one(), following)
        self.assertEqual(int(pending.process.stdout.readline()[1:]), 0)
        self.owner.disconnect()
        client.close()

    def test_random_swaps(self):
        """Cards come and go; pcscd sees each, and its card is the present one."""
        rand = random.Random()
        client = self.client()
        present, current = True, vscard.ECHO_ATR
        for n in range(SWAPS):
            if present:
                client.remove()
                present = False
            if rand.random() < 0.8:
                current = vscard.make_atr(b"card %d" % n)
                client.insert(current)
                present = True
            self.wait_card(present)
            if present:
                self.connect_to(current)
        client.close()

    def connect_to(self, atr):
        """The card that pcscd has is the one of `atr`; after a swap it may have
        to look once more."""
        deadline = time.monotonic() + 20
        while True:
            if self.owner.connect(self.reader) == 0:
                seen = bytes(self.owner.say("SCardStatus(handle)[4]"))
                self.owner.disconnect()
                if seen == atr:
                    return
            if time.monotonic() > deadline:
                raise AssertionError(f"pcscd does not see {atr.hex()}:\n{self.rig.said()}")
            time.sleep(0.01)

    def test_swap_is_seen(self):
        """A card taken out and put in again at once: its user is told."""
        client = self.client()
        for _ in range(20):
            self.connect()
            client.remove()
            client.insert()
            deadline = time.monotonic() + 20
            while self.owner.say("SCardStatus(handle)[0] & 0xFFFFFFFF") != REMOVED:
                self.assertLess(time.monotonic(), deadline, "the swap is not seen")
                time.sleep(0.01)
            self.owner.disconnect()
            self.wait_card()
        client.close()

    def test_hostile(self):
        for data in HOSTILE:
            with self.subTest(data=data[:24].hex()):
                client = self.client()
                self.connect()
                try:
                    client.stream.send(data)
                except (Closed, OSError):
                    pass
                self.owner.transmit(vscard.echo_command())
                self.owner.disconnect()
                client.close()
                self.wait_card(False)
                self.works()

    def test_nothing_polls(self):
        """With a card and without, no thread of pcscd wakes up."""
        for card in (False, True):
            client = self.echo_client() if card else None
            # After a while an unused card is powered off.
            time.sleep(6 if card else 1)
            before = self.wake_ups()
            time.sleep(2)
            # Polling would be five times in this.
            self.assertLess(self.wake_ups() - before, 3)
            if client:
                client.end()

    def wake_ups(self):
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", path.read_text("ascii"),
                                 re.M).group(1))
                   for path in pathlib.Path(f"/proc/{self.rig.process.pid}/task").glob("*/status"))

    def test_restarts(self):
        """pcscd ended in order, and killed: its reader is there again."""
        for sig in (signal.SIGALRM, signal.SIGTERM, signal.SIGKILL):
            client = self.client()
            self.owner.kill()
            self.rig.restart(sig)
            client.stream.wait_closed()
            self.owner = self.rig.owner()
            self.addCleanup(self.owner.kill)
            self.works()


class Several(EchoCase):
    """Several entries, one with several slots."""

    @classmethod
    def conf(cls):
        return (entry("Four", f"vscard:socket,path={cls.folder / 'card'},server=on,slots=4")
                + entry("One", f"vscard:socket,path={cls.folder / 'one'},server=on"))

    reader = "Four 00 00"
    readers = [f"Four 00 {slot:02X}" for slot in range(4)]

    def test_slots(self):
        self.assertEqual(self.owner.readers(), [*self.readers, "One 01 00"])
        client = Client(self.card())
        client.init()
        for slot in range(4):
            client.add_reader(b"reader %d" % slot)
        for slot in (3, 0, 1):
            client.send(vscard.ATR, slot, vscard.make_atr(b"card %d" % slot))
            client.expect_error(vscard.SUCCESS)
        for slot in (3, 0, 1):
            self.wait_card(True, self.readers[slot])
        self.wait_card(False, self.readers[2])
        with Program("tests/peer/echo-client", f"path={self.folder / 'one'}"):
            self.wait_card(True, "One 01 00")
            self.connect("One 01 00")
            command = vscard.echo_command(9, b"one", 40)
            self.assertEqual(self.owner.transmit(command), (0, vscard.echo_answer(command)))
            self.owner.disconnect()
        self.wait_card(False, "One 01 00")
        for slot in (0, 1, 3):
            self.connect(self.readers[slot])
            self.assertEqual(bytes(self.owner.say("SCardStatus(handle)[4]")),
                             vscard.make_atr(b"card %d" % slot))
            self.owner.disconnect()
        client.send(vscard.CARD_REMOVE, 1)
        self.wait_card(False, self.readers[1])
        self.wait_card(True, self.readers[0])
        client.close()
        for reader in self.readers:
            self.wait_card(False, reader)

    def test_vscardd_with_slots(self):
        """Two cards of one vscardd, in the slots that they have there."""
        with Folder() as folder, IfdRig(entry("Two", f"vscard:socket,path={folder / 'ifd'},"
                                              "slots=2")) as rig:
            with Appliance(readers=0, extra=[
                    "-chardev", f"socket,id=ifd,path={folder / 'ifd'},server=on,wait=off",
                    "-device", "ifd,chardev=ifd,slots=2",
                    "-chardev", f"socket,id=a,path={folder / 'a'},server=on,wait=off",
                    "-device", "ccid-card-passthru,chardev=a,slot=1",
                    "-chardev", f"socket,id=b,path={folder / 'b'},server=on,wait=off",
                    "-device", "ccid-card-passthru,chardev=b,slot=0"]), \
                 Client.with_card(folder / "a", vscard.make_atr(b"a")), rig.owner() as owner:
                deadline = time.monotonic() + 20
                while not owner.present("Two 00 01"):
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.01)
                self.assertFalse(owner.present("Two 00 00"))
            rig.end()


class ReaderConf(unittest.TestCase):
    """What pcscd makes of our entries."""

    EXAMPLE = (ROOT / "ccid/vscard.reader.conf").read_text("ascii")

    def test_as_installed(self):
        """It stands for nothing until the administrator says so."""
        with IfdRig(self.EXAMPLE) as rig:
            self.assertEqual(rig.readers(), [])
            self.assertNotIn("rror", rig.said())

    def test_as_meant(self):
        with Folder() as folder, vscard.Listener() as listener:
            port = listener.port
            text = re.sub(r"^#([A-Z]+ )", r"\1", self.EXAMPLE, flags=re.M)
            text = (text.replace("@IFDDIR@", str(NORMAL)).replace("2001", str(port))
                    .replace("/run/vscard/pcscd.sock", folder / "ifd"))
            listener.sock.close()
            with IfdRig(text) as rig:
                self.assertEqual(rig.readers(), ["VSCard 00 00", "VSCard of vscardd 01 00"])
                with Client(("127.0.0.1", port)) as client:
                    client.init()
                rig.end()

    def test_wrong(self):
        """One that cannot be opened is said in the log, and the others are there."""
        with Folder() as folder:
            conf = (entry("Wrong", "vscard:socket,port=1,slots=99")
                    + entry("Right", f"vscard:socket,path={folder / 'card'},server=on"))
            with IfdRig(conf) as rig:
                self.assertEqual(rig.readers(), ["Right 00 00"])
                self.assertIn("vscard: cannot open the reader: DEVICENAME slots=99: bad value "
                              "'99' for 'slots'", rig.end())


if __name__ == "__main__":
    unittest.main()
