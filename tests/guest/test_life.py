# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest sees of a card's life: removed and inserted by commands, its
client killed and started again, a command that is cut off, one that takes 30
seconds; and scdaemon's own CCID driver in place of pcscd."""

import subprocess
import time
import unittest

from guest import Guest
from opensc import Database
from programs import NORMAL, SAN, Appliance, Program

# The commands of the echo card (tests/lib/testcard.h).
SLEEP = "00ED{:04X}"


class Life(unittest.TestCase):
    """One guest with pcscd and our reader; each case starts its own client."""

    @classmethod
    def setUpClass(cls):
        cls.database = cls.enterClassContext(Database())
        cls.guest = cls.enterClassContext(Guest())
        cls.appliance = cls.enterClassContext(Appliance())
        cls.guest.attach_usbredir("reader", cls.appliance.usb())
        cls.guest.run("start-pcscd", check=True)
        cls.guest.run("pcsc-tool wait removed 20", check=True)

    def tearDown(self):
        self.guest.run("pcsc-tool wait removed 20", check=True)

    def lend(self, **more):
        return Program("vscclient",
                       *self.database.client_args(f"unix:{self.appliance.card()}"), **more)

    def echo_card(self):
        return Program("tests/peer/echo-client", f"path={self.appliance.card()}")

    def test_commands_of_the_client(self):
        with self.lend(stdin=subprocess.PIPE) as client:
            self.guest.run("pcsc-tool wait inserted 20", check=True)
            for command, event in [(b"remove\n", "removed"), (b"insert\n", "inserted")] * 3:
                waiting = self.guest.spawn(f"pcsc-tool wait {event} 20")
                client.process.stdin.write(command)
                client.process.stdin.flush()
                self.assertEqual(waiting.wait(30).status, 0, event)
            client.process.stdin.write(b"exit\n")
            client.process.stdin.flush()
            self.assertEqual(client.wait(), 0)

    def test_killed_client_and_a_new_one(self):
        for _ in range(2):
            client = self.lend()
            self.guest.run("pcsc-tool wait inserted 20", check=True)
            waiting = self.guest.spawn("echo ready; pcsc-tool wait removed 20; date +%s.%N")
            waiting.read_until("ready")
            began = time.monotonic()
            client.kill()
            self.assertEqual(waiting.wait(30).status, 0)
            self.assertLess(time.monotonic() - began, 1.0, "a removal within a second")

    def test_pending_command_ends_when_the_client_is_killed(self):
        client = self.echo_card()
        self.guest.run("pcsc-tool wait inserted 20", check=True)
        pending = self.guest.spawn(f"echo ready; pcsc-tool apdu {SLEEP.format(600)}")
        pending.read_until("ready")
        time.sleep(1.5)
        self.assertTrue(pending.running)
        began = time.monotonic()
        client.kill()
        done = pending.wait(30)
        self.assertEqual(done.status, 1, done.text)
        self.assertRegex(done.text, "SCARD_[EW]_")
        self.assertLess(time.monotonic() - began, 2.0)

    def test_a_command_of_thirty_seconds(self):
        with self.echo_card():
            self.guest.run("pcsc-tool wait inserted 20", check=True)
            before = self.guest.run("pcsc-tool apdu 00EC000004", check=True).text
            began = time.monotonic()
            done = self.guest.run(f"pcsc-tool apdu {SLEEP.format(300)} 00EC000004", timeout=90)
            self.assertEqual(done.status, 0, done.text)
            self.assertGreater(time.monotonic() - began, 30)
            self.assertIn("9000", done.text.replace(" ", ""))
            self.assertEqual(before.split()[:6], before.split()[:6])
            self.assertNotIn("reset", self.guest.run("tail -n 40 /tmp/pcscd.log").text.lower())


class Scdaemon(unittest.TestCase):
    """GnuPG's own CCID driver on the same reader, no pcscd in the guest."""

    def test_apdus_by_its_own_driver(self):
        database = self.enterContext(Database())
        guest = self.enterContext(Guest())
        appliance = self.enterContext(Appliance())
        self.enterContext(Program(
            "vscclient", *database.client_args(f"unix:{appliance.card()}")))
        guest.attach_usbredir("reader", appliance.usb())
        guest.run("for i in $(seq 100); do grep -qs 0b /sys/bus/usb/devices/*/bInterfaceClass "
                  "&& exit 0; usleep 100000; done; exit 1", check=True)
        done = guest.run("scdaemon --server", timeout=60, input=(
            b"SERIALNO undefined\n"
            b"APDU 00A4040007A0000000790100\n"   # the CAC's PKI applet
            b"GETINFO reader_list\nBYE\n"))
        self.assertNotIn("ERR", done.text)
        self.assertRegex(done.output, rb"D .*\x90%?0?0?")


if __name__ == "__main__":
    unittest.main()
