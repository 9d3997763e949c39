# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answers and commands of every size that is a border somewhere, through our
reader on each USB controller, with a T=1 card that takes extended APDUs: 64,
128 and 512 bytes of CCID message are whole USB packets, 2,000 and 65,536 are
extended APDUs, 16,384 is where Linux cuts a transfer."""

import unittest

from guest import Guest
from programs import Appliance, Folder, Program

# A CCID message is 10 bytes, the data, and SW1 SW2.
OVERHEAD = 12
MESSAGES = [64, 128, 192, 256, 512, 1024, 4096, 16384, 32768]
RESPONSES = sorted({1, 252, 255, 256, 2000, 60000, 65535, 65536}
                   | {size - OVERHEAD + off for size in MESSAGES for off in (-1, 0, 1)})
# A command is 4 bytes, 3 of Lc, the data and 2 of Le.
COMMANDS = sorted({1, 255, 256, 2000, 65535}
                  | {size - 10 - 9 + off for size in MESSAGES for off in (-1, 0, 1)})


class Sizes:
    """Cases for each controller."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest(controllers=[cls.controller]))
        appliance = cls.enterClassContext(Appliance())
        cls.enterClassContext(Program("tests/peer/echo-client", f"path={appliance.card()}"))
        cls.guest.attach_usbredir("reader", appliance.usb(), bus=f"{cls.controller}.0")
        cls.guest.run("start-pcscd", check=True)
        cls.guest.run("pcsc-tool wait inserted 45", check=True)

    def echo(self, sizes, option):
        script = "\n".join(f"pcsc-tool echo -p T1 --count 2 {option} {size} || "
                           f"{{ echo failed at {size}; exit 1; }}" for size in sizes)
        done = self.guest.run(script, timeout=300)
        self.assertEqual(done.status, 0, done.text)

    def test_responses(self):
        self.echo(RESPONSES, "--command-size 0 --response-size")

    def test_commands(self):
        self.echo(COMMANDS, "--response-size 4 --command-size")

    def test_both(self):
        self.echo([2000, 65535], "--response-size 65536 --command-size")


class Qemus:
    """The same card in QEMU's own reader, where our client makes a T=0 card of
    it. An answer of 52 bytes is one that this reader garbles on xHCI, unless it
    comes in two."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest(controllers=[cls.controller]))
        path = cls.enterClassContext(Folder()) / "card"
        cls.guest.add_usb_ccid(bus=f"{cls.controller}.0")
        cls.guest.add_passthru_card("card", path)
        cls.enterClassContext(Program("tests/peer/echo-client", f"path={path}"))
        cls.guest.run("start-pcscd", check=True)
        cls.guest.run("pcsc-tool wait inserted 45", check=True)

    def test_short_apdus(self):
        # T=0 does not tell a command without Le from one with it, so the echo
        # card always has something to say.
        for size in (1, 51, 52, 53, 64, 116, 128, 253, 254, 255, 256):
            for command in (0, 1, 52, 255):
                done = self.guest.run(f"pcsc-tool echo -p T0 --count 2 --command-size {command} "
                                      f"--response-size {size}")
                self.assertEqual(done.status, 0, f"{command} out, {size} in: {done.text}")


class QemusUhci(Qemus, unittest.TestCase):
    controller = "uhci"


class QemusXhci(Qemus, unittest.TestCase):
    controller = "xhci"


class Uhci(Sizes, unittest.TestCase):
    controller = "uhci"


class Ehci(Sizes, unittest.TestCase):
    controller = "ehci"


class Xhci(Sizes, unittest.TestCase):
    controller = "xhci"
