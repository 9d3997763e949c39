# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards of every kind in a pcscd of their owner's, lent by `vscclient --pcsc` to
a guest: by usbredir, by USB/IP, and to QEMU's own reader. What programs in the
guest see of them, and, by usbredir, what becomes of a PIN and of the card when
things come and go."""

import signal
import time
import unittest

import pcsc_seen
import vpcdcard
from guest import Guest
from pcscrig import Rig
from programs import Appliance, Folder, Program
from relay import Relay
from test_usbip import UsbipGuest
from usbiprig import UsbipAppliance
from vpcdcard import APPS, T1_ATR, TestCard, select_app

LIMIT = 120
# A command that takes the card three seconds.
SLOW = bytes([0, vpcdcard.WAIT, 0, 30])
NOT_VERIFIED = "6982"
# How long the network is away.
AWAY = 10


class Lent(pcsc_seen.Seen):
    """A guest with pcscd, and what the class's `attach` makes of it."""

    place = "/tmp"
    python = "python3.11"
    guest_class = Guest

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(Folder())
        cls.owner = cls.enterClassContext(Rig(("Owner",)))
        cls.guest = cls.enterClassContext(cls.guest_class(python=True, memory="384M"))
        cls.attach()
        cls.guest.run("start-pcscd", check=True)
        for name in ("pcsc_random.py", "echo.py"):
            cls.guest.put(f"/tmp/{name}", (pcsc_seen.HERE / name).read_bytes())
        cls.guest.run("pcsc-tool wait reader 60", check=True)

    @classmethod
    def tearDownClass(cls):
        cls.client.end()

    @classmethod
    def lend(cls, address, *more):
        """The first reader's card; vscclient is `client`."""
        cls.client = Program("vscclient", "--pcsc", "--exclude", cls.owner.names[1],
                             "--exclude", "Other*", *more, address, **cls.owner.env)
        cls.addClassCleanup(cls.client.kill)

    def sh(self, command, input=b""):
        return self.guest.run(command, input=input, timeout=LIMIT, check=True).output

    def wait(self, event):
        done = self.guest.run(f"pcsc-tool wait {event} 30")
        if done.status != 0:
            self.fail(f"{done.text}\n{self.all_views()}")

    def all_views(self):
        """Who has seen what, from the guest to the owner."""
        with self.owner.owner() as owner:
            there = owner.present(self.owner.names[0])
        return "\n".join([self.guest.run("pcsc-tool list").text,
                          *self.client.errors().splitlines()[-8:],
                          f"the owner's pcscd has a card: {there}"])


class OwnDriver:
    """GnuPG's own CCID driver takes the card as well, when pcscd lets it."""

    def test_6_scdaemon_alone(self):
        atr = self.put_in(TestCard(T1_ATR))
        self.sh("stop-pcscd")
        try:
            command = bytes.fromhex("00EC0001020102F0")
            self.check_assuan("", atr, command, vpcdcard.vscard.echo_answer(command))
            said = self.sh("/usr/lib/gnupg/scdaemon --server", b"GETINFO reader_list\nBYE\n")
            self.assertIn(b"D 0E0F:0004:", said)
        finally:
            self.sh("start-pcscd")


class OverUsbredir(OwnDriver, Lent, unittest.TestCase):

    reader_name = "Owner 00 00"

    @classmethod
    def attach(cls):
        cls.appliance = cls.enterClassContext(Appliance())
        cls.relay = Relay(cls.appliance.card())
        cls.addClassCleanup(cls.relay.close)
        cls.guest.attach_usbredir("reader", cls.appliance.usb())
        cls.lend_again()

    @classmethod
    def lend_again(cls):
        cls.lend(cls.relay.address, "--reconnect=1")

    # ---- A PIN ----

    def statuses(self, *commands):
        """The status word of each command, said in one connection."""
        words = [word if isinstance(word, str) else word.hex() for word in commands]
        said = self.sh(f"pcsc-tool apdu {' '.join(words)}").decode()
        return [line.split()[0][-4:] for line in said.splitlines() if line[:1] in "0123456789ABCDEF"]

    def test_7_pin_and_reset(self):
        """A PIN that was verified is not after the guest's reset, nor for who
        borrows the card next."""
        card = TestCard(T1_ATR)
        self.put_in(card)
        verify, get = vpcdcard.verify(), vpcdcard.get_data()
        said = self.statuses(get, verify, get, "reset", get, verify, get)
        self.assertEqual([word for word in said if word != "3B"][:3],
                         [NOT_VERIFIED, "9000", "9000"], said)
        self.assertEqual(said[-3:], [NOT_VERIFIED, "9000", "9000"], said)
        self.assertIn("reset", card.log)
        # pcsc-tool leaves the card as it is.
        self.client.end()
        self.wait("removed")
        self.lend_again()
        self.wait("inserted")
        self.assertEqual(self.statuses(get), [NOT_VERIFIED])

    # ---- What comes and goes ----

    def works(self):
        # What begins anew by a SELECT has nothing to lose when others were there.
        self.sh(f"pcsc-tool apdu {select_app(APPS[0]).hex()}")
        self.sh("pcsc-tool echo -p T1 --count 3 --response-size 100")

    def pending(self, card):
        """Starts a slow command in the guest; answers when the card has it."""
        card.log.clear()
        pending = self.guest.spawn(f"pcsc-tool apdu {SLOW.hex()}")
        deadline = time.monotonic() + LIMIT
        while SLOW not in card.log:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        return pending

    def check_goes_and_comes(self, go, come):
        """Between commands and in the middle of one: the card goes, a command
        that it had fails, and the card is there again."""
        for midway in (False, True):
            with self.subTest(midway=midway):
                card = TestCard(T1_ATR)
                self.put_in(card)
                self.works()
                pending = self.pending(card) if midway else None
                go()
                if pending is not None:
                    done = pending.wait(LIMIT)
                    self.assertEqual(done.status, 1, done.text)
                    self.assertRegex(done.text, "SCARD_[EW]_")
                self.wait("removed")
                come()
                self.wait("inserted")
                self.works()
                self.take_out()

    def test_8_card_pulled(self):
        self.check_goes_and_comes(self.owner.slots[0].remove,
                                  lambda: self.owner.slots[0].insert(TestCard(T1_ATR)))

    def test_8_reader_pulled(self):
        """pcscd comes without it, and then with it again."""
        def pull():
            self.owner.stop()
            self.owner.set_devices(("Other",))
            self.owner.start()

        def plug():
            self.owner.stop()
            self.owner.set_devices(("Owner",))
            self.owner.start()

        self.addCleanup(lambda: self.owner.devices == ("Owner",) or plug())
        self.check_goes_and_comes(pull, plug)

    def test_8_pcscd_restarts(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.check_goes_and_comes(lambda sig=sig: self.owner.stop(sig), self.owner.start)

    def test_8_client_killed(self):
        self.check_goes_and_comes(lambda: self.client.kill(), self.lend_again)

    def test_9_network_away(self):
        """Whoever waits is told after the network's return, and the card has not
        gone; nor has it when nobody noticed."""
        card = TestCard(T1_ATR)
        self.put_in(card)
        self.works()
        self.relay.down()
        try:
            time.sleep(AWAY)
        finally:
            self.relay.again()
        self.works()
        pending = self.pending(card)
        self.relay.down()
        try:
            time.sleep(AWAY)
            self.assertTrue(pending.running)
        finally:
            self.relay.again()
        done = pending.wait(LIMIT)
        self.assertEqual((done.status, done.text.split()[:1]), (0, ["9000"]), done.text)
        self.works()


class ByUsbip(OwnDriver, Lent, unittest.TestCase):

    reader_name = "Owner 00 00"
    guest_class = UsbipGuest

    @classmethod
    def attach(cls):
        cls.appliance = cls.enterClassContext(UsbipAppliance(readers=1))
        cls.lend(f"unix:{cls.appliance.card()}")
        cls.client.wait_said("the host took reader")
        cls.guest.attach(cls.appliance.address[1])


class QemusReader(Lent, unittest.TestCase):
    """QEMU's usb-ccid and ccid-card-passthru, which speak T=0 only."""

    reader_name = "USB SmartCard Reader"
    t0_only = True

    @classmethod
    def attach(cls):
        cls.guest.add_usb_ccid(bus="xhci.0")
        cls.guest.add_passthru_card("card", cls.folder / "card")
        cls.lend(f"unix:{cls.folder / 'card'}")


if __name__ == "__main__":
    unittest.main()
