# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards in PC/SC readers, lent as they are by `vscclient --pcsc` from one pcscd
to another that has our IFD handler: directly, and by way of a vscardd. Power,
resets and "still working" go all the way to the card."""

import random
import time
import unittest

import vscard
import vpcdcard
from ifd import IfdRig, entry
from pcscrig import Rig
from programs import Appliance, Folder, Program
from vpcdcard import BOTH_ATR, T0_ATR, T0Card, TestCard

ROUNDS = 1000
SWAPS = 60
WAIT = "00ED{:04X}"
# Seconds that the handler waits for a word of the card.
PATIENCE = 5
NOT_VERIFIED = b"\x69\x82"


class Lent(unittest.TestCase):
    """An owner's pcscd with two readers, and ours with as many."""

    readers = ("VSCard 00 00", "VSCard 00 01")

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(Folder())
        cls.owner = cls.enterClassContext(Rig(("Owner",)))
        cls.rig = cls.enterClassContext(IfdRig(entry("VSCard", cls.device())))
        cls.begin()
        cls.client = Program("vscclient", "--pcsc", f"unix:{cls.folder / 'card'}",
                             **cls.owner.env)
        cls.addClassCleanup(cls.client.kill)
        cls.user = cls.enterClassContext(cls.rig.owner())

    @classmethod
    def tearDownClass(cls):
        cls.client.end()
        cls.rig.end()

    def setUp(self):
        self.addCleanup(self.take_out)

    def take_out(self):
        for n in (0, 1):
            self.owner.slots[n].remove()
            self.wait_card(n, False)

    def wait_card(self, n, present=True):
        deadline = time.monotonic() + 30
        while self.user.present(self.readers[n]) != present:
            if time.monotonic() > deadline:
                raise AssertionError(f"pcscd sees no change:\n{self.rig.said()}")
            time.sleep(0.02)

    def insert(self, card, n=0):
        self.owner.slots[n].insert(card)
        self.wait_card(n)
        return card

    def connect(self, n=0):
        self.assertEqual(self.user.connect(self.readers[n]), 0, self.rig.said())

    def transmit(self, command):
        result, answer = self.user.transmit(command)
        self.assertEqual(result, 0, command[:16].hex())
        return answer

    def test_random_commands(self):
        self.insert(TestCard(BOTH_ATR))
        self.connect()
        rand = random.Random()
        for _ in range(ROUNDS):
            command = vscard.echo_command(
                rand.randrange(256), rand.randbytes(rand.choice((0, 1, 100, 255, 3000, 65000))),
                rand.choice((None, 1, rand.randrange(1, 257), 256, 5000, 65000)),
                rand.choice((None, True)))
            self.assertEqual(self.transmit(command), vscard.echo_answer(command),
                             command[:12].hex())
        self.user.disconnect()

    def test_card_of_t0(self):
        """Its 61xx and 6Cxx are served beside it."""
        self.insert(T0Card(T0_ATR))
        self.connect()
        command = vscard.echo_command(3, b"", 200)
        self.assertEqual(self.transmit(command), vscard.echo_answer(command))
        command = bytes([0, 0xEC, 120, 3, 5]) + b"hello" + b"\0"
        self.assertEqual(self.transmit(command),
                         vscard.echo_pattern(3, b"hello", 120) + b"\x90\x00")
        self.user.disconnect()

    def test_resets_are_real(self):
        """What was verified is not after a reset, nor after a power off."""
        card = self.insert(TestCard())
        for how, done in (("SCARD_RESET_CARD", "reset"), ("SCARD_UNPOWER_CARD", "off")):
            self.connect()
            self.assertEqual(self.transmit(vpcdcard.verify()), vpcdcard.OK)
            self.assertNotEqual(self.transmit(vpcdcard.get_data()), NOT_VERIFIED)
            before = len(card.log)
            self.assertEqual(self.user.say(
                "SCardReconnect(handle, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | "
                f"SCARD_PROTOCOL_T1, {how})[0]"), 0)
            self.assertEqual(self.transmit(vpcdcard.get_data()), NOT_VERIFIED)
            self.assertIn(done, card.log[before:])
            self.assertEqual(self.transmit(vpcdcard.verify()), vpcdcard.OK)
            self.user.disconnect("SCARD_RESET_CARD")
            self.connect()
            self.assertEqual(self.transmit(vpcdcard.get_data()), NOT_VERIFIED)
            self.user.disconnect()

    def test_what_is_known_of_the_reader(self):
        self.insert(TestCard())
        self.connect()
        answer = self.user.say("SCardGetAttrib(handle, SCARD_ATTR_VENDOR_IFD_TYPE)")
        self.assertEqual((answer[0], bytes(answer[1])), (0, b"Owner 00 00\0"))
        self.user.disconnect()

    def test_a_minute(self):
        """A command of sixty seconds, of which the card's side says that it
        works; nobody here waits longer than PATIENCE for that word."""
        self.insert(TestCard())
        self.connect()
        self.assertEqual(self.transmit(bytes.fromhex(WAIT.format(600))), vpcdcard.OK)
        self.assertEqual(self.transmit(vscard.echo_command(1, b"", 4)),
                         vscard.echo_answer(vscard.echo_command(1, b"", 4)))
        self.user.disconnect()

    def test_removed_in_a_command(self):
        self.insert(TestCard())
        other = self.rig.owner()
        self.addCleanup(other.kill)
        self.assertEqual(other.connect(self.readers[0]), 0)
        other.process.stdin.write(f"transmit({WAIT.format(100)!r})[0] & 0xFFFFFFFF\n")
        other.process.stdin.flush()
        time.sleep(0.5)
        self.owner.slots[0].remove()
        self.wait_card(0, False)
        self.assertNotEqual(int(other.process.stdout.readline()[1:]), 0)

    def test_two_readers(self):
        """Cards in and out at random: what is seen here is what is there."""
        rand = random.Random()
        cards = [TestCard(vscard.make_atr(b"card %d" % n)) for n in range(3)]
        there = [None, None]
        for _ in range(SWAPS):
            n = rand.randrange(2)
            free = [card for card in cards if card not in there]
            there[n] = rand.choice([None, *free]) if there[n] is None else None
            if there[n] is None:
                self.owner.slots[n].remove()
            else:
                self.owner.slots[n].insert(there[n])
            for slot in (0, 1):
                self.wait_card(slot, there[slot] is not None)
                if there[slot] is not None:
                    self.connect(slot)
                    self.assertEqual(bytes(self.user.say("SCardStatus(handle)[4]")),
                                     there[slot].atr)
                    self.user.disconnect()


class Directly(Lent):
    """pcscd listens for vscclient."""

    @classmethod
    def device(cls):
        return (f"vscard:socket,path={cls.folder / 'card'},server=on,slots=2,"
                f"timeout={PATIENCE}")

    @classmethod
    def begin(cls):
        """Nothing more."""


class ByVscardd(Lent):
    """pcscd connects to a vscardd, for which vscclient has two readers."""

    @classmethod
    def device(cls):
        return f"vscard:socket,path={cls.folder / 'ifd'},slots=2,timeout={PATIENCE}"

    @classmethod
    def begin(cls):
        cls.enterClassContext(Appliance(readers=0, extra=[
            "-chardev", f"socket,id=ifd,path={cls.folder / 'ifd'},server=on,wait=off",
            "-device", "ifd,chardev=ifd,slots=2",
            "-chardev", f"socket,id=card,path={cls.folder / 'card'},server=on,wait=off",
            "-device", "ccid-card-passthru,chardev=card"]))


del Lent

if __name__ == "__main__":
    unittest.main()
