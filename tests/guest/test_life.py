# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest sees of a card's life: removed and inserted by commands, its
client killed and started again, a command that is cut off, one that takes 30
seconds; and scdaemon's own CCID driver in place of pcscd."""

import subprocess
import time
import unittest
import urllib.parse

from guest import Guest
from opensc import Database
from programs import Appliance, Folder, Program

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
        cls.guest.run("pcsc-tool wait reader 45", check=True)

    def tearDown(self):
        self.guest.run("pcsc-tool wait removed 45", check=True)

    def lend(self, **more):
        return Program("vscclient",
                       *self.database.client_args(f"unix:{self.appliance.card()}"), **more)

    def echo_card(self):
        return Program("tests/peer/echo-client", f"path={self.appliance.card()}")

    def test_commands_of_the_client(self):
        client = self.lend(stdin=subprocess.PIPE)
        self.addCleanup(client.kill)
        self.guest.run("pcsc-tool wait inserted 45", check=True)
        for command, event in [(b"remove\n", "removed"), (b"insert\n", "inserted")] * 3:
            waiting = self.guest.spawn(f"echo ready; pcsc-tool wait {event} 45")
            waiting.read_until("ready")
            client.say(command)
            self.assertEqual(waiting.wait(90).status, 0, event)
        client.say(b"exit\n")
        self.assertEqual(client.wait(), 0)

    def test_killed_client_and_a_new_one(self):
        for _ in range(2):
            client = self.lend()
            self.guest.run("pcsc-tool wait inserted 45", check=True)
            waiting = self.guest.spawn("echo ready; pcsc-tool wait removed 45; date +%s.%N")
            waiting.read_until("ready")
            began = time.monotonic()
            client.kill()
            self.assertEqual(waiting.wait(90).status, 0)
            self.assertLess(time.monotonic() - began, 1.0, "a removal within a second")

    def test_pending_command_ends_when_the_client_is_killed(self):
        client = self.echo_card()
        self.guest.run("pcsc-tool wait inserted 45", check=True)
        pending = self.guest.spawn(f"echo ready; pcsc-tool apdu {SLEEP.format(600)}")
        pending.read_until("ready")
        time.sleep(1.5)
        self.assertTrue(pending.running)
        began = time.monotonic()
        client.kill()
        done = pending.wait(90)
        self.assertEqual(done.status, 1, done.text)
        self.assertRegex(done.text, "SCARD_[EW]_")
        self.assertLess(time.monotonic() - began, 2.0)

    def test_a_command_of_thirty_seconds(self):
        with self.echo_card():
            self.guest.run("pcsc-tool wait inserted 45", check=True)
            began = time.monotonic()
            done = self.guest.run(f"pcsc-tool apdu {SLEEP.format(300)} 00EC000004", timeout=90)
            self.assertGreater(time.monotonic() - began, 30)
            # One connection for both: a reset between them would be an error.
            answers = [line.split()[0] for line in done.text.splitlines()]
            self.assertEqual((done.status, answers), (0, ["9000", "00070E159000"]), done.text)


class Identity(unittest.TestCase):
    """What the guest's kernel sees the reader call itself."""

    def seen(self, guest, words):
        folder = self.enterContext(Folder())
        with Appliance(readers=0, extra=[
                "-chardev", f"socket,id=usb0,path={folder / 'usb'},server,nowait",
                "-device", "usbredir,chardev=usb0", "-device", "usb-ccid" + words]):
            guest.attach_usbredir("reader", folder / "usb")
            guest.run("pcsc-tool wait reader 45", check=True)
            found = guest.run("file=$(grep -l 0b /sys/bus/usb/devices/*/bInterfaceClass); "
                              "cd $(readlink -f ${file%/*})/..; cat idVendor idProduct serial").text.split("\n")
            guest.detach("reader")
            guest.run("pcsc-tool wait no-reader 45", check=True)
        return found[:3]

    def test_default_and_given(self):
        guest = self.enterContext(Guest(controllers=["xhci"]))
        guest.run("start-pcscd", check=True)
        self.assertEqual(self.seen(guest, "")[:2], ["0e0f", "0004"])
        self.assertEqual(self.seen(guest, ",vendorid=0x08e6,productid=0x3437,serial=A 1"),
                         ["08e6", "3437", "A 1"])


class Restart(unittest.TestCase):
    """A vscardd that ends and starts again, for a QEMU that reconnects."""

    def test_reader_goes_and_comes(self):
        folder = self.enterContext(Folder())
        usb, card = folder / "usb", folder / "card"
        described = ["-chardev", f"socket,id=usb0,path={usb},server,nowait",
                     "-device", "usbredir,chardev=usb0", "-device", "usb-ccid",
                     "-chardev", f"socket,id=card0,path={card},server,nowait",
                     "-device", "ccid-card-passthru,chardev=card0"]
        guest = self.enterContext(Guest(qemu_args=[
            "-chardev", f"socket,id=usb0,path={usb},reconnect=1",
            "-device", "usb-redir,chardev=usb0,bus=xhci.0"]))
        guest.run("start-pcscd", check=True)
        for _ in range(2):
            with Appliance(readers=0, extra=described), \
                 Program("tests/peer/echo-client", f"path={card}"):
                guest.run("pcsc-tool wait inserted 45", check=True)
                guest.run("pcsc-tool echo --count 3 --response-size 100", check=True)
            guest.run("pcsc-tool wait no-reader 45", check=True)


def data_of(output):
    """The bytes of an Assuan conversation's data lines."""
    lines = [line[2:] for line in output.split(b"\n") if line.startswith(b"D ")]
    return urllib.parse.unquote_to_bytes(b"".join(lines))


def echo(seed, length):
    """What the echo card answers."""
    return bytes((seed + i * 7 + i // 251) & 0xFF for i in range(length)) + b"\x90\x00"


class Scdaemon(unittest.TestCase):
    """GnuPG's own CCID driver on the same reader, no pcscd in the guest. It
    takes T=1 cards only, so the card is the echo card."""

    def test_apdus_by_its_own_driver(self):
        guest = self.enterContext(Guest())
        appliance = self.enterContext(Appliance())
        self.enterContext(Program("tests/peer/echo-client", f"path={appliance.card()}"))
        guest.attach_usbredir("reader", appliance.usb())
        guest.run("for i in $(seq 100); do grep -qs 0b /sys/bus/usb/devices/*/bInterfaceClass "
                  "&& exit 0; usleep 100000; done; exit 1", check=True)
        done = guest.run("/usr/lib/gnupg/scdaemon --server", timeout=60, input=(
            b"SERIALNO undefined\n"
            b"APDU 00EC000004\n"
            b"APDU 00EC000102616210\n"
            b"APDU --exlen=2002 00EC00410007D0\n"
            b"BYE\n"))
        self.assertNotIn("ERR", done.text)
        self.assertEqual(data_of(done.output), echo(0, 4) + echo(1 ^ (0x61 + 0x62), 16)
                         + echo(0x41, 2000))


if __name__ == "__main__":
    unittest.main()
