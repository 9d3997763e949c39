# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test case with a pcscd of its own, a vscclient that lends its cards, and a
host that sees them."""

import os
import unittest

import vscard
from guest_view import GuestView
from pcscrig import Rig
from programs import Folder, Program

OK = b"\x90\x00"


class PcscCase(unittest.TestCase):
    """A rig for each case, and a place for the host."""

    devices = ("Test Reader",)
    times = False

    def setUp(self):
        self.rig = Rig(self.devices, times=self.times)
        self.addCleanup(self.rig.close)
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        self.listener = vscard.Listener(self.folder / "host")
        self.addCleanup(self.listener.sock.close)
        self.program = None

    def start(self, *args, commands=False, **more):
        stdin = None
        if commands:
            stdin, self.commands = os.pipe()
            self.addCleanup(os.close, self.commands)
            more["stdin"] = stdin
        self.program = Program("vscclient", *args, f"unix:{self.folder / 'host'}",
                               **more, **self.rig.env)
        if stdin is not None:
            os.close(stdin)
        self.addCleanup(self.program.kill)

    def view(self, **more):
        view = GuestView(self.listener.accept(), **more)
        self.addCleanup(view.host.close)
        return view

    def lend(self, *args, **more):
        """vscclient lends to a host that takes all."""
        self.start("--pcsc", *args, **more)
        return self.view()

    def ended(self):
        """It goes in order when told to."""
        self.program.end()
