# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscclient with a real pcscd, whose readers have cards over vpcd: what it
lists and lends, and what the other side sees when cards, readers and pcscd come
and go, between commands and in the middle of one."""

import os
import random
import signal
import time
import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, INACTIVE, CcidHost
from pcsccase import OK, PcscCase
from pcscrig import Vicc
from programs import Appliance, Program, run
from vpcdcard import (APPS, BOTH_ATR, T1_ATR, WAIT, TestCard, get_data, read_answer,
                      read_binary, select_app, select_file, verify)

DONE, CARD = 0, 4
NO_PIN = b"\x69\x82"
# A command that takes the card two seconds.
SLOW = bytes([0, WAIT, 0, 20])


class List(PcscCase):

    devices = ("Test Reader", "Left [one]", "VSCard")

    def list(self, *args):
        status, out, errors = run("vscclient", "--list", *args, **self.rig.env)
        self.assertEqual(status, DONE, errors)
        return out, errors

    def test_list(self):
        """Names, cards and ATRs; what is chosen and what is left out."""
        self.rig.slots[0].insert(TestCard(T1_ATR))
        self.rig.slots[3].insert(TestCard(BOTH_ATR))
        self.rig.wait_card(0)
        self.rig.wait_card(3)
        spaced = " ".join(f"{byte:02X}" for byte in T1_ATR)
        out, errors = self.list()
        self.assertIn(f"Test Reader 00 00\n    card, ATR {spaced}\n", out)
        self.assertIn("Test Reader 00 01\n    no card\n", out)
        self.assertIn("Left [one] 00 01\n    card, ATR 3B 84 80 01 ", out)
        self.assertNotIn("VSCard", out)
        self.assertIn("'VSCard 00 00' is one that vscard makes", errors)
        out, errors = self.list("--reader", "VSC*", "--reader", "Left [one] 00 00")
        self.assertEqual(out.count("no card"), 3)
        self.assertNotIn("Test", out)
        self.assertEqual(errors, "")
        out, errors = self.list("--reader", "*00", "--exclude", "*[[]*")
        self.assertIn("Left", out)
        out, errors = self.list("--exclude", "Left*", "--exclude", "Test Reader 00 01")
        self.assertEqual(out.splitlines()[0::2], ["Test Reader 00 00"])
        self.assertIn("'Test Reader 00 01' is excluded", errors)
        self.assertIn("there is no reader", self.list("--reader", "none")[0])

    def test_no_pcscd(self):
        self.rig.stop()
        status, out, errors = run("vscclient", "--list", **self.rig.env)
        self.assertEqual((status, out), (CARD, ""))
        self.assertIn("pcscd does not run", errors)

    def test_pcscd_hangs(self):
        self.rig.process.send_signal(signal.SIGSTOP)
        try:
            status, out, errors = run("vscclient", "--list", **self.rig.env)
        finally:
            self.rig.process.send_signal(signal.SIGCONT)
        self.assertEqual((status, out), (CARD, ""))
        self.assertIn("pcscd does not answer", errors)

    def test_lent(self):
        """What is lent is what is listed."""
        view = self.lend("--exclude", "Left*")
        view.wait_cards({"Test Reader 00 00": None, "Test Reader 00 01": None})
        self.ended()
        self.start("--reader", "VSCard 00 00")
        self.view().wait_cards({"VSCard 00 00": None})
        self.ended()


class Commands(PcscCase):

    def test_random(self):
        """1,000 commands of all cases and lengths, and their responses, byte
        for byte."""
        card = self.rig.slots[1].insert(TestCard())
        view = self.lend()
        reader = view.wait_card(self.rig.names[1])
        chance = random.Random(1)
        for n in range(1000):
            extended = chance.random() < 0.3
            most = chance.choice((3, 255, 2000, 65000) if extended else (3, 255))
            data = chance.randbytes(chance.choice((0, chance.randint(1, most))))
            ne = chance.choice((None, chance.randint(1, most), 256))
            command = vscard.echo_command(n & 0xFF, data, ne, extended)
            got = view.transmit(reader, command)
            self.assertEqual(got, vscard.echo_answer(command), f"{n}: {command[:8].hex()}")
            self.assertEqual(card.log[-1], command)
        self.ended()

    def test_protocols(self):
        """A card of both protocols is whatever pcscd made of it."""
        self.rig.slots[0].insert(TestCard(BOTH_ATR))
        view = self.lend()
        reader = view.wait_card(self.rig.names[0])
        self.assertEqual(view.atrs[reader], BOTH_ATR)
        self.assertEqual(view.transmit(reader, select_app(APPS[0])), OK)
        self.ended()

    def test_vscardd(self):
        """Through vscardd to a CCID host, extended APDUs too; the card's reset
        at the start is real."""
        card = self.rig.slots[0].insert(TestCard())
        with Appliance(ccid=",name=Reader") as appliance, \
             CcidHost(appliance.usb()).open() as host:
            self.program = Program("vscclient", "--reader", self.rig.names[0],
                                   f"unix:{appliance.card()}", **self.rig.env)
            self.addCleanup(self.program.kill)
            host.wait_icc(INACTIVE)
            self.assertEqual(host.power_on().data, T1_ATR)
            for size in (0, 1, 255, 256, 3000, 60000):
                command = vscard.echo_command(7, bytes(size), size or None)
                reply = host.final(host.start(command))
                self.assertEqual(reply.data, vscard.echo_answer(command))
            reply = host.final(host.start(SLOW))
            self.assertEqual((reply.verdict, reply.data), ((DATA_BLOCK, ACTIVE, 0), OK))
            self.assertIn("on", card.log)
            self.rig.slots[0].remove()
            host.wait_icc(ABSENT)
            self.ended()

    def test_vicc(self):
        """vicc's ISO 7816 card."""
        vicc = self.rig.slots[0].insert(Vicc())
        self.addCleanup(vicc.close)
        view = self.lend()
        reader = view.wait_card(self.rig.names[0])
        self.assertEqual(view.transmit(reader, select_file(0x3F00)), OK)
        challenge = view.transmit(reader, bytes.fromhex("0084000008"))
        self.assertEqual((len(challenge), challenge[8:]), (10, OK))
        self.ended()


class ComeAndGo(PcscCase):

    def setUp(self):
        super().setUp()
        self.card = self.rig.slots[0].insert(TestCard())
        self.name = self.rig.names[0]

    def serves(self, view):
        reader = view.wait_card(self.name)
        self.assertEqual(view.transmit(reader, select_app(APPS[1])), OK)
        self.assertEqual(view.transmit(reader, read_binary()), read_answer(APPS[1]) + OK)
        return reader

    def test_card(self):
        """Pulled between commands and put in again."""
        view = self.lend()
        self.serves(view)
        self.rig.slots[0].remove()
        view.wait(lambda: view.cards()[self.name] is None)
        self.rig.slots[0].insert(self.card)
        reader = self.serves(view)
        self.assertEqual(view.atrs[reader], T1_ATR)
        self.ended()

    def test_card_midway(self):
        """Pulled in the middle of a command: it ends, and the card is gone."""
        view = self.lend()
        reader = self.serves(view)
        view.start(reader, SLOW)
        self.wait_log(SLOW)
        self.rig.slots[0].remove()
        view.wait(lambda: view.cards()[self.name] is None)
        self.rig.slots[0].insert(TestCard(BOTH_ATR))
        reader = self.serves(view)
        self.assertEqual(view.atrs[reader], BOTH_ATR)
        self.ended()

    def wait_log(self, entry):
        deadline = time.monotonic() + 20
        while entry not in self.card.log:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_pcscd(self):
        """pcscd restarts, in order and not, between commands and in the middle
        of one: readers go, and all returns by itself."""
        view = self.lend()
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for midway in (False, True):
                with self.subTest(signal=sig, midway=midway):
                    reader = self.serves(view)
                    if midway:
                        self.card.log.clear()
                        view.start(reader, SLOW)
                        self.wait_log(SLOW)
                    self.rig.stop(sig)
                    view.wait(lambda: not view.names)
                    self.rig.start()
        self.serves(view)
        self.ended()

    def test_pcscd_late(self):
        """pcscd comes when vscclient is there already, and its socket's folder
        as well."""
        self.rig.stop()
        os.rename(self.folder_run(), self.folder_run() + "-")
        self.start("--pcsc")
        self.program.wait_said("pcscd does not run")
        view = self.view()
        time.sleep(1)  # the first tries are over
        os.rename(self.folder_run() + "-", self.folder_run())
        self.rig.start()
        self.serves(view)
        self.assertEqual(self.program.errors().count("pcscd does not run"), 1)
        self.ended()

    def folder_run(self):
        return self.rig.folder / "run"

    def test_readers(self):
        """Readers come and go, with pcscd: these drivers know no other way."""
        view = self.lend()
        self.serves(view)
        self.rig.stop()
        self.rig.set_devices(("Test Reader", "Second"))
        self.rig.start()
        view.wait(lambda: set(view.names.values()) == set(self.rig.names))
        self.rig.slots[3].insert(TestCard(BOTH_ATR))
        reader = view.wait_card("Second 00 01")
        self.assertEqual(view.transmit(reader, select_app(APPS[0])), OK)
        self.serves(view)
        self.rig.stop()
        self.rig.set_devices(("Second",))
        self.rig.start()
        view.wait_cards({"Second 00 00": T1_ATR, "Second 00 01": None})
        self.ended()

    def test_full_house(self):
        """pcscd's most readers; there is no room to ask for others then."""
        self.rig.stop()
        self.rig.set_devices([f"Reader {letter}" for letter in "abcdefgh"])
        self.rig.start()
        view = self.lend()
        view.wait(lambda: len(view.names) == 16)
        self.rig.slots[15].insert(TestCard())
        view.wait_card("Reader h 00 01")
        self.ended()

    def test_by_hand(self):
        """Taken from the borrower, the card stays in its reader, but forgets."""
        view = self.lend(commands=True)
        reader = self.serves(view)
        self.assertEqual(view.transmit(reader, verify()), OK)
        os.write(self.commands, b"remove\nremove\n")
        view.wait(lambda: view.cards()[self.name] is None)
        self.program.wait_said("has no card")
        with self.rig.owner() as owner:
            self.assertEqual(owner.connect(self.name), 0)
            self.assertEqual(owner.transmit(get_data()), (0, NO_PIN))
        self.rig.slots[0].remove()
        self.rig.wait_card(0, False)
        self.rig.slots[0].insert(self.card)
        self.rig.wait_card(0)
        self.assertEqual(view.cards()[self.name], None)
        os.write(self.commands, b"insert\ninsert\n")
        self.serves(view)
        self.program.wait_said("has a card already")
        self.ended()

    def test_hosts(self):
        """A PIN is verified for one host, not for the next."""
        view = self.lend("--reconnect=1")
        reader = self.serves(view)
        self.assertEqual(view.transmit(reader, verify()), OK)
        self.assertEqual(view.transmit(reader, get_data()), APPS[1] + OK)
        view.host.close()
        view = self.view()
        reader = self.serves(view)
        self.assertEqual(view.transmit(reader, get_data()), NO_PIN)
        self.assertEqual(view.transmit(reader, verify()), OK)
        self.card.log.clear()
        self.ended()
        self.wait_log("reset")

    def test_reset(self):
        """Powered off and on, or reset, by who borrows it, the card forgets."""
        self.start("--reader", self.name, "--as-usb")
        with CcidHost(self.listener.accept().stream).open() as host:
            for _ in range(2):
                host.wait_icc((INACTIVE, ACTIVE))
                self.assertEqual(host.power_on().verdict, (DATA_BLOCK, ACTIVE, 0))
                self.assertEqual(host.final(host.start(get_data())).data, NO_PIN)
                self.assertEqual(host.final(host.start(verify())).data, OK)
                self.assertEqual(host.final(host.start(get_data())).data, b"none" + OK)
                self.card.log.clear()
                host.power_off()
                self.wait_log("reset")
            # and without power off
            for _ in range(2):
                host.power_on()
                self.assertEqual(host.final(host.start(get_data())).data, NO_PIN)
                self.assertEqual(host.final(host.start(verify())).data, OK)
            self.ended()

    def test_pcscd_hangs(self):
        """A pcscd that does nothing does not keep vscclient."""
        view = self.lend()
        self.serves(view)
        self.rig.process.send_signal(signal.SIGSTOP)
        try:
            self.ended()
        finally:
            self.rig.process.send_signal(signal.SIGCONT)

    def test_killed(self):
        """vscclient dies with a PIN verified: pcscd resets the card."""
        view = self.lend()
        reader = self.serves(view)
        self.assertEqual(view.transmit(reader, verify()), OK)
        self.program.kill()
        with self.rig.owner() as owner:
            self.assertEqual(owner.connect(self.name), 0)
            self.assertEqual(owner.transmit(get_data()), (0, NO_PIN))


if __name__ == "__main__":
    unittest.main()
