# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real consumer of USB/IP: a Linux host with vhci-hcd and Debian's usbip,
here a guest whose network is QEMU's user mode, where 10.0.2.2 is this machine's
loopback. vscardd exports readers; cards are lent by vscclient and by the echo
client."""

import subprocess
import time
import unittest

from guest import Guest
from opensc import PIN, Database, LifeScript, verify_command
from programs import Program
from test_life import SLEEP, data_of, echo
from test_readers import NOT_VERIFIED, SELECT, SIGN
from test_sizes import Sizes
from usbiprig import UsbipAppliance

# This machine, as the guest sees it.
GATEWAY = "10.0.2.2"
NETWORK = ("modprobe -a virtio_net vhci-hcd && ifconfig lo up && "
           "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up")


class UsbipGuest(Guest):
    """A guest with a network and vhci-hcd."""

    def __init__(self, **more):
        super().__init__(qemu_args=["-netdev", "user,id=net,restrict=off",
                                    "-device", "virtio-net-pci,netdev=net"], **more)

    def start(self, *args, **more):
        super().start(*args, **more)
        self.run(NETWORK, check=True)

    def usbip(self, port, words, check=True):
        """Runs the tool; answers what it said."""
        return self.run(f"usbip --tcp-port {port} {words}", check=check)

    def attach(self, port, busid="1-1", check=True):
        return self.usbip(port, f"attach -r {GATEWAY} -b {busid}", check)

    def wait_reader_with_card(self):
        """Waits for a reader that comes with a card in it: pcscd 1.9 tells nobody
        of that card who asked a moment too early, so ask again."""
        self.run("for i in $(seq 15); do pcsc-tool wait inserted 2 && exit 0; done; exit 1",
                 check=True)

    def detach_port(self, port, n=0):
        """Gives the device on the virtual hub's port `n` back."""
        self.usbip(port, f"detach -p {n}")


class Exported:
    """A guest and an appliance with `readers`, the first one attached."""

    readers = 1

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(UsbipGuest())
        cls.appliance = cls.enterClassContext(UsbipAppliance(cls.readers))
        cls.port = cls.appliance.address[1]
        cls.guest.attach(cls.port)
        cls.guest.run("start-pcscd", check=True)
        cls.lend()
        cls.guest.run("pcsc-tool wait inserted 30", check=True)

    @classmethod
    def echo_card(cls, n=0):
        return Program("tests/peer/echo-client", f"path={cls.appliance.card(n)}")


class OpenSC(LifeScript, Exported, unittest.TestCase):
    """The OpenSC script and a card's life; then the reader's. Whose name the
    reader has depends on who was there first."""

    reader_name = "VMware Virtual USB CCID"

    @classmethod
    def setUpClass(cls):
        cls.database = cls.enterClassContext(Database())
        super().setUpClass()
        cls.addClassCleanup(lambda: cls.client.kill())

    @classmethod
    def lend(cls):
        cls.client = Client(*cls.database.client_args(f"unix:{cls.appliance.card()}"))

    def test_7_detached_and_attached_again(self):
        for _ in range(3):
            self.guest.detach_port(self.port)
            self.guest.run("pcsc-tool wait no-reader 30", check=True)
            self.guest.attach(self.port)
            self.guest.wait_reader_with_card()
            self.works()

    def test_8_detaching_takes_the_pin_back(self):
        """What was verified by one import is not for the next."""
        words = [SELECT, verify_command(PIN), *SIGN]
        done = self.guest.run(f"pcsc-tool apdu {' '.join(words)}", timeout=60, check=True).text
        said = [line.split()[0][-4:] for line in done.splitlines()]
        self.assertEqual(said[:4], ["610D", "9000", "9000", "9000"], done)
        self.guest.detach_port(self.port)
        self.guest.run("pcsc-tool wait no-reader 30", check=True)
        self.guest.attach(self.port)
        self.guest.wait_reader_with_card()
        done = self.guest.run(f"pcsc-tool apdu {SELECT} {' '.join(SIGN)}", check=True).text
        said = [line.split()[0][-4:] for line in done.splitlines()]
        self.assertEqual(said[:3], ["610D", "9000", NOT_VERIFIED], done)

    def test_9_second_importer(self):
        done = self.guest.attach(self.port, check=False)
        self.assertNotEqual(done.status, 0)
        self.assertIn("Device busy", done.text)
        done = self.guest.attach(self.port, "1-2", check=False)
        self.assertNotEqual(done.status, 0)
        self.assertIn("Device not found", done.text)
        self.works()

    def test_9_list_while_attached(self):
        listed = self.guest.usbip(self.port, f"list -r {GATEWAY}").text
        self.assertIn("1-1: ", listed)
        self.assertIn("0e0f:0004", listed)
        self.assertIn("(0b/00/00)", listed)
        self.works()


class Client(Program):
    """vscclient with the commands of its standard input."""

    def __init__(self, *args):
        super().__init__("vscclient", *args, stdin=subprocess.PIPE)

    def remove(self):
        self.say(b"remove\n")

    def insert(self):
        self.say(b"insert\n")


class Lengths(Exported, Sizes, unittest.TestCase):
    """Commands and answers of every size that is a border somewhere."""

    @classmethod
    def lend(cls):
        cls.enterClassContext(cls.echo_card())

    def test_a_thousand(self):
        self.guest.run("pcsc-tool echo -p T1 --count 1000 --command-size 200 "
                       "--response-size 300", check=True, timeout=300)

    def test_detached_in_mid_command(self):
        """The command ends with an error, and the next import is served at once; its
        card is when it is done with what it was told before."""
        for _ in range(3):
            pending = self.guest.spawn(f"echo ready; pcsc-tool apdu {SLEEP.format(30)}")
            pending.read_until("ready")
            time.sleep(1)
            self.assertTrue(pending.running)
            self.guest.run(f"usbip --tcp-port {self.port} detach -p 0 && "
                           f"usbip --tcp-port {self.port} attach -r {GATEWAY} -b 1-1",
                           check=True)
            self.assertEqual(pending.wait(60).status, 1)
            self.guest.wait_reader_with_card()
            self.guest.run("pcsc-tool echo -p T1 --count 3 --response-size 100", check=True)

    def test_driver_taken_away(self):
        """The host's driver goes with all it has attached, and comes again."""
        self.guest.run("rmmod vhci_hcd", check=True)
        self.guest.run("pcsc-tool wait no-reader 30", check=True)
        self.guest.run("modprobe vhci-hcd", check=True)
        self.guest.attach(self.port)
        self.guest.wait_reader_with_card()


class SeveralReaders(Exported, unittest.TestCase):
    """Two readers of one server in one host."""

    readers = 2

    @classmethod
    def lend(cls):
        cls.card = cls.echo_card(0)
        cls.addClassCleanup(lambda: cls.card.kill())

    def states(self):
        """Whether there is a card, a reader each."""
        listed = self.guest.run("pcsc-tool list", check=True).text
        return ["empty" not in line for line in listed.splitlines() if "state:" in line]

    def test_both(self):
        self.guest.attach(self.port, "1-2")
        self.guest.run("for i in $(seq 150); do [ $(pcsc-tool list | grep -c state:) = 2 ] && "
                       "exit 0; usleep 200000; done; exit 1", check=True)
        self.assertEqual(self.states(), [True, False])
        with self.echo_card(1) as second:
            self.guest.run("pcsc-tool -r 1 wait inserted 30", check=True)
            for n in (0, 1, 0, 1):
                self.guest.run(f"pcsc-tool -r {n} echo -p T1 --count 20 --response-size 100",
                               check=True)
            self.card.kill()
            self.guest.run("pcsc-tool -r 0 wait removed 30", check=True)
            self.guest.run("pcsc-tool -r 1 echo -p T1 --count 5 --response-size 9", check=True)
            self.assertIsNone(second.process.poll())


class Restart(unittest.TestCase):
    """A vscardd that ends: the reader goes. One that starts is there to attach."""

    def test_reader_goes_and_is_attached_again(self):
        guest = self.enterContext(UsbipGuest())
        guest.run("start-pcscd", check=True)
        for _ in range(2):
            with UsbipAppliance(readers=1) as appliance, \
                 Program("tests/peer/echo-client", f"path={appliance.card()}"):
                guest.attach(appliance.address[1])
                guest.wait_reader_with_card()
                guest.run("pcsc-tool echo -p T1 --count 3 --response-size 100", check=True)
            guest.run("pcsc-tool wait no-reader 30", check=True)


class Scdaemon(unittest.TestCase):
    """GnuPG's own CCID driver, which reads with transfers of its own sizes."""

    def test_apdus_by_its_own_driver(self):
        guest = self.enterContext(UsbipGuest())
        appliance = self.enterContext(UsbipAppliance(readers=1))
        self.enterContext(Program("tests/peer/echo-client", f"path={appliance.card()}"))
        guest.attach(appliance.address[1])
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
