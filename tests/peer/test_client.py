# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vscclient with a well-behaved host: the commands on its standard input, how
it ends, and what it says of a host that does not answer."""

import os
import signal
import subprocess
import time
import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, INACTIVE, CcidHost
from programs import ROOT, Folder, Program, defects, run
from stream import LIMIT
from vscard import CARD_REMOVE, READER_REMOVE

# Exit statuses of vscclient (its --help).
DONE, OPTIONS, CARD, LOST = 0, 1, 4, 5
FOLDER = Folder()
CARDS = ("--nssdb", FOLDER / "nssdb", "--cert", "id")
# SELECT of the card capability container of a CAC.
SELECT = bytes.fromhex("00a4040007a000000116db0000")


def setUpModule():
    """One database for all."""
    subprocess.run([str(ROOT / "fixtures/make-nssdb"), FOLDER / "nssdb", "--pin", "1234"],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(FOLDER.remove)


class ClientCase(unittest.TestCase):

    def setUp(self):
        self.program = None
        self.listener = vscard.Listener(FOLDER / "host")
        self.addCleanup(os.unlink, FOLDER / "host")
        self.addCleanup(self.listener.sock.close)

    def start(self, *args, commands=None, ignored=()):
        """A vscclient; `commands` are in its pipe before it runs. It starts with
        SIGHUP as it is by default, or `ignored`, however the tests were started."""
        stdin, stdout = os.pipe()
        self.addCleanup(os.close, stdout)
        if commands:
            os.write(stdout, commands)
        before = [(sig, signal.signal(sig, signal.SIG_IGN if sig in ignored else signal.SIG_DFL))
                  for sig in {signal.SIGHUP, *ignored}]
        try:
            self.program = Program("vscclient", *args, f"unix:{FOLDER / 'host'}", stdin=stdin)
        finally:
            for sig, handler in before:
                signal.signal(sig, handler)
            os.close(stdin)
        self.addCleanup(self.program.kill)

    def accept(self):
        host = self.listener.accept()
        self.addCleanup(host.close)
        return host

    def greet(self):
        """A host that has the client's reader and card."""
        return self.take(self.accept())

    def take(self, host):
        host.take_init()
        host.take_reader()
        host.take_card()
        return host

    def says(self, text, limit=LIMIT):
        deadline = time.monotonic() + limit
        while text not in self.program.errors():
            self.program.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"no '{text}' in:\n{self.program.errors()}")
            time.sleep(0.02)

    def ended(self):
        """It ended by itself and in order."""
        self.assertEqual(self.program.wait(), DONE, self.program.errors())
        self.assertEqual(defects(self.program.errors()), [])


class Commands(ClientCase):

    def test_in_one_go(self):
        """What waits in the pipe finds the card, and each command the outcome
        of those before it."""
        self.start(*CARDS, commands=b"insert\nremove\nremove\ninsert\n")
        self.says("card removed from reader 'Virtual Reader'")
        self.greet()
        errors = self.program.end()
        self.assertEqual(errors.count("has a card already"), 1, errors)
        self.assertEqual(errors.count("has no card"), 1, errors)
        self.assertEqual(errors.count("card inserted in"), 2, errors)

    def test_list(self):
        """Commands wait until the cards are known, all of them."""
        self.start("-e", f'db="{FOLDER / "nssdb"}" use_hw=no soft=(,First,CAC,,id) '
                         "soft=(,Second,CAC,,signing)", commands=b"list\nexit\n")
        self.ended()
        self.assertRegex(self.program.output(), r"(?m)^  0  card +\S.* First$")
        self.assertRegex(self.program.output(), r"(?m)^  1  card +\S.* Second$")

    def test_no_card(self):
        """They do not wait for ever when no card comes."""
        self.start("-e", f'db="{FOLDER / "nssdb"}" use_hw=yes', commands=b"list\nexit\n")
        self.ended()
        self.assertNotEqual(self.program.output(), "")

    def test_names(self):
        """Nothing in a name, or typed, steers a terminal; the rest stays."""
        name = "a\x1b[2J\x7f\x9b\u00e9"
        self.start(*CARDS, "--reader-name", name,
                   commands=b"list\nselect 0\n\xc2\x9b\x1b\ninsert \x07\xff\nexit\n")
        self.ended()
        for text in (self.program.output(), self.program.errors()):
            self.assertIn("a?[2J??\u00e9", text)
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        self.assertIn("'??' is no command", self.program.output())


class Ends(ClientCase):

    def check_farewell(self, sig):
        self.start(*CARDS)
        host = self.greet()
        self.program.process.send_signal(sig)
        kinds = [host.receive().type]
        if kinds == [CARD_REMOVE]:
            kinds.append(host.receive().type)
        self.assertEqual(kinds[-1], READER_REMOVE)
        host.close()
        self.ended()
        self.program.kill()

    def test_signals(self):
        """Each that asks for an end has the host told that the reader goes."""
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=sig):
                self.check_farewell(sig)

    def test_nohup(self):
        self.start(*CARDS, ignored=[signal.SIGHUP])
        host = self.greet()
        self.program.process.send_signal(signal.SIGHUP)
        self.assertEqual(host.transmit(SELECT)[-2:], b"\x90\x00")
        self.program.end()


class AsUsb(ClientCase):
    """The reader runs in vscclient, and the host has it over usbredir."""

    def usb_host(self):
        host = CcidHost(self.accept().stream).open()
        self.addCleanup(host.close)
        return host

    def serves(self, host):
        """The host gets an answer of the card's."""
        host.wait_icc(INACTIVE)
        self.assertEqual(host.power_on().verdict, (DATA_BLOCK, ACTIVE, 0))
        reply = host.final(host.start(SELECT))
        self.assertEqual((reply.verdict, reply.data[-2:]), ((DATA_BLOCK, ACTIVE, 0), b"\x90\x00"))

    def test_card(self):
        """The card in it serves, goes, and comes again."""
        stdin, stdout = os.pipe()
        self.program = Program("vscclient", *CARDS, "--as-usb", f"unix:{FOLDER / 'host'}",
                               stdin=stdin)
        self.addCleanup(self.program.kill)
        self.addCleanup(os.close, stdout)
        os.close(stdin)
        host = self.usb_host()
        self.says("the host took reader 'Virtual Reader'")
        self.serves(host)
        os.write(stdout, b"remove\n")
        host.wait_icc(ABSENT)
        os.write(stdout, b"insert\n")
        self.serves(host)
        os.write(stdout, b"list\nexit\n")
        self.ended()
        self.assertIn("  0  card     lent      Virtual Reader", self.program.output())

    def test_reconnect(self):
        """The next host has a reader and card of its own."""
        self.start(*CARDS, "--as-usb", "--reconnect=1")
        host = self.usb_host()
        self.serves(host)
        host.close()
        self.says("lost")
        host = self.usb_host()
        reply = host.final(host.start(SELECT))
        self.assertEqual(reply.icc, INACTIVE)
        self.serves(host)
        self.program.end()

    def test_silence(self):
        self.start(*CARDS, "--as-usb")
        self.accept()
        self.says("does not answer: it may be paused, be serving another client, or not "
                  "speak usbredir")
        self.program.end()

    def test_nonsense(self):
        """A host that speaks something else ends it, and is told of."""
        self.start(*CARDS, "--as-usb")
        self.accept().stream.send(b"\xff" * 64)
        self.assertEqual(self.program.wait(), LOST)
        self.assertIn("not a usbredir peer", self.program.errors())
        self.assertEqual(defects(self.program.errors()), [])


class Silence(ClientCase):
    """A host that takes the connection and says nothing."""

    SAYS = "does not answer: it may be serving another client, or not speak VSCard"

    def test_no_answer(self):
        """It is said once, and an answer is welcome after it."""
        self.start(*CARDS)
        began = time.monotonic()
        host = self.accept()
        self.says(f"unix:{FOLDER / 'host'} {self.SAYS}")
        self.assertGreater(time.monotonic() - began, 3)
        self.take(host)
        self.assertEqual(self.program.end().count(self.SAYS), 1)

    def test_answer(self):
        self.start(*CARDS)
        self.greet()
        time.sleep(6)
        self.assertNotIn(self.SAYS, self.program.end())


class Wrong(ClientCase):
    """What cannot be is said at once, and the status tells whose fault it is."""

    def check(self, status, text, *args, **env):
        got, _, errors = run("vscclient", *args, **env)
        self.assertEqual(got, status, errors)
        self.assertIn(text, errors)

    def test_options(self):
        address = f"unix:{FOLDER / 'host'}"
        for cards in ("db=x", "use_hw=no soft=(,a,CAC,,id",
                      f'db="{FOLDER / "nssdb"}" use_hw=no soft=(,a,PIV,,id)'):
            with self.subTest(cards=cards):
                self.check(OPTIONS, "card options: ", "-e", cards, address)

    def test_cards(self):
        """The host never hears of a client without cards."""
        address = f"unix:{FOLDER / 'host'}"
        self.check(CARD, "no such directory", "--nssdb", FOLDER / "none", "--cert", "id", address)
        self.check(CARD, "no certificate", "--nssdb", FOLDER / "nssdb", "--cert", "no", address)
        self.check(CARD, "cannot reach pcscd", "-p", address, PCSCLITE_CSOCK_NAME=FOLDER / "none")
        with self.assertRaises(TimeoutError):
            self.listener.accept(0.1)

    def test_address_first(self):
        """A wrong address is told before the cards are made."""
        cards = ("--nssdb", FOLDER / "none", "--cert", "id")
        self.check(OPTIONS, "99999", *cards, "tcp://127.0.0.1:99999")
        self.check(OPTIONS, "path", *cards, "unix:/" + "x" * 200)


if __name__ == "__main__":
    unittest.main()
