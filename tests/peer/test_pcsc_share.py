# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PC/SC card used by its owner's programs and by who borrows it at the same
time: nothing is mixed up, nobody starves, and a reset by one is seen by the
other."""

import threading
import time
import unittest

from pcsccase import OK, PcscCase
from vpcdcard import (APPS, FILES, TestCard, get_data, read_answer, read_binary, select_app,
                      select_file, verify)

SHARING_VIOLATION = 0x8010000B
RESET_CARD = 0x80100068
NO_PIN = b"\x69\x82"
MINE, THEIRS = APPS[:2]  # the borrower's application, and the owner's
# VSC_SHARE_IDLE_MS and VSC_SHARE_KEEP_MS are over, on a slow machine too.
IDLE, KEPT = 1.0, 6.0


class ShareCase(PcscCase):

    def setUp(self):
        super().setUp()
        self.card = self.rig.slots[0].insert(TestCard())
        self.name = self.rig.names[0]
        self.rig.wait_card(0)

    def borrow(self, *args):
        """vscclient lends to a host, which has the card."""
        self.view = self.lend("--reader", self.name, *args)
        self.reader = self.view.wait_card(self.name)

    def owner(self, share="SCARD_SHARE_SHARED"):
        owner = self.rig.owner()
        self.addCleanup(owner.kill)
        self.assertEqual(owner.connect(self.name, share), 0)
        return owner

    def ask(self, command):
        """The borrower's command."""
        return self.view.transmit(self.reader, command, 60)

    def reads(self, app, file=0x3F00):
        self.assertEqual(self.ask(read_binary()), read_answer(app, file) + OK)

    def owner_selects(self, owner, app=THEIRS):
        self.assertEqual(owner.transmit(select_app(app)), (0, OK))
        self.assertEqual(owner.transmit(read_binary()), (0, read_answer(app) + OK))

    def log_in(self):
        self.borrow()
        self.assertEqual(self.ask(select_app(MINE)), OK)
        self.assertEqual(self.ask(verify()), OK)

    def begins_again(self):
        """The borrower's next command finds the application, and no PIN."""
        self.assertEqual(self.ask(get_data()), NO_PIN)
        self.assertEqual(self.card.log[-2:], [select_app(MINE), get_data()])
        self.ended()


class Turns(ShareCase):

    def test_pairs(self):
        """1,000 pairs of SELECT and READ of each, at once: no answer crosses."""
        self.borrow()
        owner = self.owner()
        failures = []

        def own():
            for n in range(1000):
                owner.begin()
                got = [owner.transmit(select_app(THEIRS)), owner.transmit(read_binary())]
                owner.end()
                if got != [(0, OK), (0, read_answer(THEIRS) + OK)]:
                    failures.append((n, got))
                time.sleep(0.01)

        thread = threading.Thread(target=own)
        thread.start()
        for n in range(1000):
            self.assertEqual(self.ask(select_app(MINE)), OK)
            if n % 50 == 49:
                time.sleep(IDLE)
            self.reads(MINE)
        thread.join()
        self.assertEqual(failures, [])
        selects = [command for command in self.card.log if command[1:2] == b"\xa4"]
        turns = sum(one != other for one, other in zip(selects, selects[1:]))
        self.assertGreater(turns, 10, "they were not at it at once")
        self.ended()

    def test_turn(self):
        """A borrower who never rests lets the owner's program in."""
        self.borrow()
        owner = self.owner()
        done = threading.Event()

        def own():
            owner.begin()
            self.owner_selects(owner)
            owner.end()
            done.set()

        self.assertEqual(self.ask(select_app(MINE)), OK)
        thread = threading.Thread(target=own)
        thread.start()
        deadline = time.monotonic() + 60
        while not done.is_set():
            self.assertLess(time.monotonic(), deadline)
            self.assertEqual(self.ask(select_app(MINE)), OK)
            self.reads(MINE)
        thread.join()
        self.ended()

    def test_again(self):
        """What the borrower had selected is selected again after others could
        have selected something else; the whole path of it."""
        self.borrow()
        owner = self.owner()
        self.assertEqual(self.ask(select_app(MINE)), OK)
        self.assertEqual(self.ask(select_file(FILES[1])), OK)
        self.reads(MINE, FILES[1])
        time.sleep(IDLE)
        self.owner_selects(owner)
        self.reads(MINE, FILES[1])
        self.assertEqual(self.card.log[-3:],
                         [select_app(MINE), select_file(FILES[1]), read_binary()])
        # not twice
        self.reads(MINE, FILES[1])
        self.assertEqual(self.card.log[-2:], [read_binary(), read_binary()])
        self.ended()

    def test_channel(self):
        """A channel that the borrower opened is his alone."""
        self.borrow()
        owner = self.owner()
        self.assertEqual(self.ask(bytes.fromhex("0070000001")), b"\x01" + OK)
        self.assertEqual(self.ask(select_app(MINE, 1)), OK)
        time.sleep(IDLE)
        self.owner_selects(owner)
        self.assertEqual(self.ask(read_binary(channel=1)), read_answer(MINE) + OK)
        self.assertEqual(self.card.log[-1], read_binary(channel=1))
        self.assertNotEqual(self.card.log[-2], select_app(MINE, 1))
        self.ended()

    def test_nothing_selected(self):
        """Who has selected nothing gets the card as a reset leaves it."""
        self.borrow()
        owner = self.owner()
        time.sleep(IDLE)
        self.owner_selects(owner)
        self.reads(None)
        self.assertEqual(self.card.log[-2], "reset")
        self.ended()


class Pins(ShareCase):
    """The card forgets its PIN when an application is selected."""

    times = True

    def test_alone(self):
        """Nobody else was there: nothing is selected again."""
        self.log_in()
        time.sleep(KEPT)
        self.assertEqual(self.ask(get_data()), MINE + OK)
        self.assertEqual(self.card.log[-1], get_data())
        self.ended()

    def test_kept(self):
        """The owner's program waits a while, for a signature may follow."""
        self.borrow()
        owner = self.owner()
        self.assertEqual(self.ask(select_app(MINE)), OK)
        self.assertEqual(self.ask(verify()), OK)
        thread = threading.Thread(target=self.owner_selects, args=(owner,))
        thread.start()
        time.sleep(IDLE)
        self.assertEqual(self.ask(get_data()), MINE + OK)
        thread.join()
        self.assertEqual(self.card.log[-2:], [select_app(THEIRS), read_binary()])
        self.ended()

    def test_others(self):
        """The owner's program was there: the borrower is told to log in again."""
        self.log_in()
        owner = self.owner()
        self.owner_selects(owner)
        self.assertEqual(self.ask(get_data()), NO_PIN)
        self.assertEqual(self.card.log[-2:], [select_app(MINE), get_data()])
        self.assertEqual(self.ask(verify()), OK)
        self.assertEqual(self.ask(get_data()), MINE + OK)
        self.ended()


    def test_came_and_went(self):
        """The owner's program was there and is gone."""
        self.log_in()
        time.sleep(KEPT)
        with self.owner() as owner:
            self.owner_selects(owner)
        self.begins_again()

    def test_long_there(self):
        """The owner's program was a client of pcscd all the time, and used the
        card when the borrower did not."""
        with self.rig.owner() as owner:
            owner.readers()
            self.log_in()
            time.sleep(KEPT)
            self.assertEqual(owner.connect(self.name), 0)
            self.owner_selects(owner)
            owner.disconnect()
            self.begins_again()


class Unknown(ShareCase):
    """Where no time is kept of who came, it is as if somebody had."""

    def test_alone(self):
        self.log_in()
        time.sleep(KEPT)
        self.begins_again()

    def test_came_and_went(self):
        self.log_in()
        time.sleep(KEPT)
        with self.owner() as owner:
            self.owner_selects(owner)
        self.begins_again()


class Resets(ShareCase):

    def lost(self, owner):
        """The borrower's next command finds the card changed for another."""
        self.assertEqual(owner.reset(), 0)
        self.assertIsNone(self.ask(read_binary()))
        self.reader = self.view.wait_card(self.name)
        self.reads(None)

    def test_by_owner(self):
        """As a real reader shows it: the card is gone, and there again."""
        self.borrow()
        owner = self.owner()
        self.assertEqual(self.ask(select_app(MINE)), OK)
        time.sleep(IDLE)
        self.lost(owner)
        self.ended()

    def test_by_borrower(self):
        """The owner's program is told by PC/SC."""
        owner = self.owner()
        self.owner_selects(owner)
        self.borrow()
        self.assertEqual(owner.transmit(read_binary())[0], RESET_CARD)
        self.ended()


class Modes(ShareCase):

    def test_exclusive(self):
        """Nobody else can connect while the borrower has the card."""
        self.borrow("--share", "exclusive")
        self.assertEqual(self.ask(select_app(MINE)), OK)
        with self.rig.owner() as owner:
            self.assertEqual(owner.connect(self.name), SHARING_VIOLATION)
        time.sleep(IDLE)
        self.reads(MINE)
        self.ended()
        self.owner()

    def test_exclusive_late(self):
        """It is lent when the owner's program has left it."""
        owner = self.owner()
        view = self.lend("--reader", self.name, "--share", "exclusive")
        self.program.wait_said("another program has the card")
        self.assertEqual(owner.transmit(read_binary()), (0, read_answer(None) + OK))
        owner.disconnect()
        self.view, self.reader = view, view.wait_card(self.name)
        self.reads(None)
        self.ended()

    def test_owner_alone(self):
        """The same when the owner's program has it for itself."""
        owner = self.owner("SCARD_SHARE_EXCLUSIVE")
        view = self.lend("--reader", self.name)
        self.program.wait_said("another program has the card")
        owner.disconnect()
        self.view, self.reader = view, view.wait_card(self.name)
        self.reads(None)
        self.ended()

    def test_hold(self):
        """The owner's program waits as long as the borrower has the card."""
        self.borrow("--hold")
        self.assertEqual(self.ask(select_app(MINE)), OK)
        with self.rig.owner() as owner:
            connected = threading.Event()
            thread = threading.Thread(
                target=lambda: owner.connect(self.name) == 0 and connected.set())
            thread.start()
            time.sleep(IDLE)
            self.reads(MINE)
            self.assertFalse(connected.is_set())
            self.ended()
            thread.join(20)
            self.assertTrue(connected.is_set())


if __name__ == "__main__":
    unittest.main()
