# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VM that moves to another QEMU while a program in it works with a lent card:
the new QEMU connects to vscardd for itself, and neither the reader nor the card
is seen to go."""

import contextlib
import os
import pathlib
import tempfile
import time
import unittest

from guest import Guest, GuestError
from programs import Appliance, Folder, Program
from spice import SMARTCARD_CARD, Access

MIGRATE_SECONDS = 60


class Destination(Guest):
    """The QEMU that `source` moves to: the same machine, waiting for its state."""

    def __init__(self, source, wire, qemu_args=None):
        args = source.qemu_args if qemu_args is None else qemu_args
        super().__init__(controllers=source.controllers,
                         qemu_args=[*args, "-incoming", f"unix:{wire}"],
                         folder=source.folder)
        self.source = source
        self.wire = wire

    def start(self, timeout=0):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vscard-guest-"))
        try:
            self._launch()
            self._qmp.execute("qmp_capabilities", {})
        except BaseException:
            self.stop()
            raise

    def take_over(self):
        """Has the source migrate here and end. Its commands in the guest go on,
        but who started them hears no more of them."""
        source = self.source
        source.qmp("migrate", uri=f"unix:{self.wire}")
        end = time.monotonic() + MIGRATE_SECONDS
        while (state := source.qmp("query-migrate").get("status")) != "completed":
            if state == "failed" or time.monotonic() > end:
                raise GuestError(f"the migration is {state}: "
                                 f"{source._report()}\n{self._report()}")
            time.sleep(0.05)
        # The agent in the guest counts the commands of both.
        self._agent._numbers = source._agent._numbers
        source.stop()
        self.wait_event("RESUME")


class Watched:
    """What a migration must not be seen by, and a session that spans it."""

    def watch(self, guest):
        """Notes what is seen to go."""
        guest.run("for event in no-reader removed; do pcsc-tool wait $event 300 "
                  ">/tmp/$event 2>&1 & echo $! >>/tmp/watching; done", check=True)

    def check_nothing_went(self, guest):
        done = guest.run("kill -0 $(cat /tmp/watching)")
        self.assertEqual(done.status, 0, guest.run("cat /tmp/no-reader /tmp/removed").text)

    def finish(self, guest):
        """The output of the session that was started before."""
        return guest.run("until grep -q status /tmp/session; do usleep 50000; done; "
                         "cat /tmp/session", timeout=90, check=True).text

    def start_session(self, guest, between="00ED0050"):
        """One connection for all: a reset of the card between its commands is an
        error. The second takes 8 s, or is what `between` says; it is out when
        this returns."""
        guest.run(f"mkfifo /tmp/go; (pcsc-tool apdu 00EC000004 {between} 00EC000004 00EC000104 "
                  "<>/tmp/go; echo status $?) >/tmp/session 2>&1 & "
                  "until grep -q 9000 /tmp/session; do usleep 50000; done", check=True)

    def check_session(self, guest, between=("9000",)):
        done = self.finish(guest)
        self.assertEqual([line.split()[0] for line in done.splitlines()],
                         ["00070E159000", *between, "00070E159000", "01080F169000", "status"],
                         done)
        self.assertIn("status 0", done)
        self.check_nothing_went(guest)


class Migration(Watched, unittest.TestCase):
    """With a program at work in the guest, by usbredir to vscardd."""

    def migrate(self, guest):
        wire = os.path.join(self.appliance.places.path, "migrate")
        moved = self.enterContext(Destination(guest, wire))
        moved.take_over()
        return moved

    def start(self, bus):
        self.appliance = self.enterContext(Appliance())
        self.client = Program("tests/peer/echo-client", f"path={self.appliance.card()}")
        self.addCleanup(self.client.kill)
        guest = self.enterContext(Guest(controllers=[bus], qemu_args=[
            "-chardev", f"socket,id=usb0,path={self.appliance.usb()}",
            "-device", f"usb-redir,chardev=usb0,bus={bus}.0"]))
        guest.run("start-pcscd; pcsc-tool wait inserted 45", check=True)
        return guest

    def check_works(self, guest):
        guest.run("pcsc-tool echo --count 5 --response-size 2000", check=True)

    def test_while_the_card_works(self):
        """The answer to a command falls due when nobody is there."""
        guest = self.start("xhci")
        self.watch(guest)
        self.start_session(guest)
        moved = self.migrate(guest)
        self.check_session(moved)
        self.check_works(moved)

    def test_while_commands_fly(self):
        """Answers are lost with the first QEMU; and a removal is seen after."""
        guest = self.start("uhci")
        self.watch(guest)
        guest.run("(until [ -e /tmp/stop ]; do pcsc-tool echo --count 20 --response-size 600 "
                  "|| { echo failed; break; }; echo begins; done >/tmp/session 2>&1; "
                  "echo status $? >>/tmp/session) & "
                  "until grep -q begins /tmp/session; do usleep 50000; done", check=True)
        moved = self.migrate(guest)
        self.check_works(moved)
        moved.run("touch /tmp/stop", check=True)
        self.assertNotIn("failed", self.finish(moved))
        self.check_nothing_went(moved)
        self.client.end()
        moved.run("pcsc-tool wait removed 45", check=True)


class SpiceMigration(Watched, unittest.TestCase):
    """With QEMU's own reader, and the card's client on QEMU's SPICE server: it
    follows to the new QEMU's, in the same conversation. Not while commands fly: an
    answer that QEMU's reader has, and the guest has not taken yet, when the VM
    stops is lost. The reader's state leaves out how many answers are queued, and
    which of them wait for the card (dev-smartcard-reader.c of 7.2); its log says that
    it had the answer, and the new one's says nothing. The guest then waits as long
    as its driver does. One that the card still works on arrives."""

    def args(self, access):
        *first, spice = access.args
        return [*first, spice + ",seamless-migration=on",
                "-device", "usb-ccid,bus=uhci.0", *SMARTCARD_CARD]

    def test_between_commands(self):
        self.check_move("-", ())

    def test_while_the_card_works(self):
        """The answer falls due after the move, on a busy machine too."""
        self.check_move("00ED012C", ("9000",))

    def check_move(self, between, answers):
        here, there = (self.enterContext(Access()) for _ in range(2))
        guest = self.enterContext(Guest(controllers=["uhci"], qemu_args=self.args(here)))
        client = Program("tests/peer/echo-client", here.uri(), "t0")
        self.addCleanup(client.kill)
        guest.run("start-pcscd; pcsc-tool wait inserted 45", check=True)
        self.watch(guest)
        self.start_session(guest, between)
        wire = self.enterContext(Folder()) / "migrate"
        moved = self.enterContext(Destination(guest, wire, self.args(there)))
        guest.qmp("client_migrate_info", protocol="spice", hostname="127.0.0.1",
                  port=there.port)
        client.wait_said("ready to follow")
        moved.take_over()
        if not answers:
            moved.run("echo >/tmp/go", check=True)
        self.check_session(moved, between=answers)
        moved.run("pcsc-tool echo -p T0 --count 5 --response-size 200", check=True)


if __name__ == "__main__":
    unittest.main()
