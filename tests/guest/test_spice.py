# SPDX-License-Identifier: LGPL-2.1-or-later
"""A card lent over SPICE, in a real guest: each SPICE server with each client
that lends cards, running the OpenSC script. The servers are vscardd's (whose
reader the guest has by usbredir) and QEMU's; the clients our vscclient, spicy
and remote-viewer.

What the peers do that a cell has to know of:

  - spice-gtk 0.42 takes up the smartcard channel only beside a display: the
    QEMU that a viewer connects to has a VGA, vscardd shows a picture.
  - spice-gtk asks for the certificates' database's password nowhere: the PIN
    comes from the guest.
  - QEMU's reader is on UHCI, where it works (see test_opensc.py)."""

import contextlib
import functools
import subprocess
import time
import unittest

from guest import Guest
from opensc import CERTS, Database, LifeScript
from programs import Program
from spice import PORT_CARD, SMARTCARD_CARD, Access, SpiceAppliance
from viewers import Display, Followed, card_options, remote_viewer, spicy

def kept(make):
    """A thing that several cells share: made once, and ended with the module."""
    @functools.wraps(make)
    @functools.cache
    def entered(*args, **named):
        return unittest.enterModuleContext(make(*args, **named))
    return entered


database = kept(Database)
display = kept(Display)


@kept
def plain_guest():
    """The guest that vscardd's readers are plugged into."""
    return Guest(controllers=["xhci"])


@kept
class QemuServer(contextlib.ExitStack):
    """A guest whose QEMU is a SPICE server with `devices`, reached by `ways`,
    which are pairs."""

    def __init__(self, ways, devices):
        super().__init__()
        self.access = self.enter_context(Access(**dict(ways)))
        args = [word for device in devices for word in device]
        self.guest = self.enter_context(Guest(
            controllers=["uhci", "xhci"], qemu_args=self.access.args + args,
            env=self.access.env))


# ---- Servers ----

QEMU_READER = ("-device", "usb-ccid,bus=uhci.0")
QEMU_USB = ("-chardev", "spicevmc,id=usb,name=usbredir",
            "-device", "usb-redir,chardev=usb,bus=xhci.0")
VGA = ("-device", "VGA")


class Cell(LifeScript):
    """`serve` makes the server and sets `guest` and `access`, `lend` a client that
    gets there, over TLS or not; both are class methods."""

    ways = {}
    tls = False

    @classmethod
    def setUpClass(cls):
        cls.database = database()
        cls.serve()
        cls.guest.run("pidof pcscd || start-pcscd --quiet", check=True)
        cls.lend()
        cls.addClassCleanup(cls.leave)
        done = cls.guest.run("pcsc-tool wait inserted 20")
        if done.status != 0:
            raise AssertionError(f"no card: {done.text}\n{cls.said()}")

    @classmethod
    def leave(cls):
        """Nothing of this cell is left in the guest for the next."""
        cls.end_client()
        cls.guest.run("pcsc-tool wait removed 20", check=True)

    @classmethod
    def end_client(cls):
        cls.client.kill()

    @classmethod
    def said(cls):
        return ""


# vscclient's exit status (its --help).
CONNECTION_LOST = 5


class OnVscardd:
    """vscardd is the server, and its reader is the guest's."""

    reader_name = "vscard"
    card = SMARTCARD_CARD

    @classmethod
    def serve(cls):
        cls.guest = plain_guest()
        cls.access = cls.enterClassContext(Access(**cls.ways))
        cls.appliance = cls.enterClassContext(SpiceAppliance(cls.access, cls.card))
        cls.guest.attach_usbredir("reader", cls.appliance.usb())
        cls.addClassCleanup(cls.unplug)

    @classmethod
    def unplug(cls):
        cls.guest.detach("reader")
        cls.guest.run("pcsc-tool wait no-reader 20", check=True)


class OnQemu:
    """QEMU is the server, and has the reader."""

    reader_name = "USB SmartCard Reader"
    devices = (QEMU_READER, SMARTCARD_CARD, VGA)

    @classmethod
    def serve(cls):
        server = QemuServer(tuple(cls.ways.items()), cls.devices)
        cls.access, cls.guest = server.access, server.guest


# ---- Clients ----

class Lender(Program):
    """Our client, told by its standard input what to do with the card."""

    def __init__(self, *args, **env):
        super().__init__("vscclient", *args, stdin=subprocess.PIPE, **env)

    def remove(self):
        self.say(b"remove\n")

    def insert(self):
        self.say(b"insert\n")


class ByVscclient:
    more = ()

    @classmethod
    def lend(cls):
        way = cls.access
        cls.client = Lender(*cls.database.client_args(
            way.uri(cls.tls), *way.options(cls.tls), *cls.more), **way.secret_env)

    @classmethod
    def end_client(cls):
        try:
            cls.client.end()
        except AssertionError:
            cls.client.kill()
            raise

    @classmethod
    def said(cls):
        return cls.client.errors()


class BesideViewer(ByVscclient):
    """The session is remote-viewer's, which vscclient starts and stands beside."""

    @classmethod
    def lend(cls):
        way = cls.access
        cls.viewer = Followed(display(), "remote-viewer")
        cls.client = Lender(*cls.database.client_args(
            way.vv(cls.tls), "--viewer", cls.viewer.command), **way.secret_env, **cls.viewer.env)
        cls.client.kill = functools.partial(cls.kill_both, cls.client.kill)

    @classmethod
    def kill_both(cls, kill):
        kill()
        cls.viewer.kill()

    def test_7_the_viewer_shows_the_machine(self):
        self.assertTrue(display().window("--name", "QEMU"))


class ByViewer:
    viewer = None

    @classmethod
    def lend(cls):
        way = cls.access
        cls.client = cls.viewer(display(), way.viewer_uri(cls.tls), *way.viewer_options(cls.tls),
                                *card_options(cls.database.nssdb, CERTS))

    # libcacard's own words, where ISO/IEC 7816-4 has 63Cx; vscclient mends them.
    wrong_pins = ["6985", "6985"]
    wrong_pin_error = "CKR_GENERAL_ERROR"

    @classmethod
    def said(cls):
        return cls.client.said()


class BySpicy(ByViewer):
    viewer = staticmethod(spicy)


class ByRemoteViewer(ByViewer):
    viewer = staticmethod(remote_viewer)


# ---- The matrix ----

OPEN = {}
TICKET_AND_TLS = {"ticket": True, "tls": True}
SASL_AND_TLS = {"sasl": True, "tls": True}
UNIX = {"unix": True}


class VscarddSpicy(BySpicy, OnVscardd, Cell, unittest.TestCase):
    """As the mailing list had it, with no ticket and no TLS."""

    ways = OPEN


class VscarddSpicyTls(BySpicy, OnVscardd, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS
    tls = True


class VscarddRemoteViewer(ByRemoteViewer, OnVscardd, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class VscarddVscclient(ByVscclient, OnVscardd, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class VscarddVscclientTls(ByVscclient, OnVscardd, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS
    tls = True


class VscarddVscclientSasl(ByVscclient, OnVscardd, Cell, unittest.TestCase):
    # A SASL mechanism with no encryption of its own is for TLS only.
    ways = SASL_AND_TLS
    tls = True


class VscarddPort(ByVscclient, OnVscardd, Cell, unittest.TestCase):
    """The whole protocol over a port channel, here of a UNIX socket's server."""

    reader_name = "[Virtual Reader]"  # a port takes it along
    ways = UNIX
    card = PORT_CARD


class QemuSpicy(BySpicy, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class QemuSpicyTls(BySpicy, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS
    tls = True


class QemuRemoteViewer(ByRemoteViewer, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class QemuVscclient(ByVscclient, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class QemuVscclientTls(ByVscclient, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS
    tls = True


class QemuVscclientSasl(ByVscclient, OnQemu, Cell, unittest.TestCase):
    # A SASL mechanism with no encryption of its own is for TLS only.
    ways = SASL_AND_TLS
    tls = True
    devices = (QEMU_READER, SMARTCARD_CARD)


class QemuPort(ByVscclient, OnQemu, Cell, unittest.TestCase):
    ways = UNIX
    devices = (QEMU_READER, PORT_CARD)

    def test_6_killed_client_and_a_new_one(self):
        """QEMU's card device takes no notice of a port that closes, so that a
        killed client's card seems to be there; a client that ends takes it out."""
        self.seen("removed", self.end_client)
        self.seen("inserted", self.lend)
        self.works()
        self.client.kill()
        self.lend()
        self.client.wait_said("the host took reader")
        self.works()


class QemuUsbredir(ByVscclient, OnQemu, Cell, unittest.TestCase):
    """The reader is our client's, and a USB device to the VM."""

    reader_name = "vscard"
    ways = TICKET_AND_TLS
    devices = (QEMU_USB,)
    more = ("--as-usb",)

    def test_6_killed_client_and_a_new_one(self):
        """With its client, the whole reader goes."""
        self.seen("no-reader", self.client.kill)
        self.seen("inserted", self.lend)
        self.works()

    @classmethod
    def leave(cls):
        cls.end_client()
        cls.guest.run("pcsc-tool wait no-reader 20", check=True)


class QemuBesideViewer(BesideViewer, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS


class QemuBesideViewerTls(BesideViewer, OnQemu, Cell, unittest.TestCase):
    ways = TICKET_AND_TLS
    tls = True


# ---- A second client ----

class TwoClients:
    """A SPICE server keeps one client, the last that came: the guest sees the
    first one's card pulled and the second's put in."""

    ways = OPEN

    @classmethod
    def setUpClass(cls):
        cls.database = database()
        cls.serve()
        cls.guest.run("pidof pcscd || start-pcscd --quiet", check=True)

    def test_the_second_takes_over(self):
        args = self.database.client_args(self.access.uri())
        first = Lender(*args)
        self.addCleanup(first.kill)
        self.guest.run("pcsc-tool wait inserted 20", check=True)
        waiting = self.guest.spawn("echo ready; pcsc-tool wait removed 20")
        waiting.read_until("ready")
        second = spicy(display(), self.access.viewer_uri(),
                       *card_options(self.database.nssdb, CERTS))
        self.addCleanup(second.kill)
        self.assertEqual(waiting.wait(30).status, 0)
        self.guest.run("pcsc-tool wait inserted 20", check=True)
        self.assertEqual(first.wait(), CONNECTION_LOST)
        self.assertIn("another client took the session over", first.errors())
        third = Lender(*args)
        self.addCleanup(third.kill)
        third.wait_said("the host took reader")
        self.guest.run("pcsc-tool wait inserted 20; opensc-tool --atr", check=True)
        third.end()
        self.guest.run("pcsc-tool wait removed 20", check=True)


class QemuTwoClients(TwoClients, OnQemu, unittest.TestCase):
    pass


class VscarddTwoClients(TwoClients, OnVscardd, unittest.TestCase):
    pass


# ---- Sizes, and a client that goes in mid-command ----

class Echo:
    """The echo card, lent by our client's end of the protocol on the smartcard
    channel, where it acts as a T=0 card."""

    ways = OPEN

    @classmethod
    def setUpClass(cls):
        cls.serve()
        cls.guest.run("pidof pcscd || start-pcscd --quiet", check=True)

    def lend(self):
        client = Program("tests/peer/echo-client", self.access.uri())
        self.addCleanup(client.kill)
        self.guest.run("pcsc-tool wait inserted 20", check=True)
        return client

    def test_sizes(self):
        client = self.lend()
        script = "\n".join(
            f"pcsc-tool echo -p T0 --count 2 --command-size {command} --response-size {size} "
            f"|| {{ echo failed at {command}, {size}; exit 1; }}"
            for size in (1, 51, 52, 53, 116, 254, 255, 256) for command in (0, 1, 52, 255))
        done = self.guest.run(script, timeout=120)
        self.assertEqual(done.status, 0, done.text)
        client.end()
        self.guest.run("pcsc-tool wait removed 20", check=True)


class QemuEcho(Echo, OnQemu, unittest.TestCase):
    """Not with a client that is killed in mid-command: with QEMU's reader such a
    command hangs for the 232 s of libccid's T=0 time-out, whatever the wire."""


class VscarddEcho(Echo, OnVscardd, unittest.TestCase):
    # Works for a minute, and says so each second.
    SLEEP = "00ED0258"

    def test_killed_in_mid_command_and_a_new_one(self):
        for _ in range(2):
            client = self.lend()
            pending = self.guest.spawn(f"echo ready; pcsc-tool apdu {self.SLEEP}")
            pending.read_until("ready")
            # The command is with the card when time extensions come.
            time.sleep(1.5)
            self.assertTrue(pending.running)
            client.kill()
            done = pending.wait(20)
            self.assertEqual(done.status, 1, done.text)
            self.assertRegex(done.text, "SCARD_[EW]_")
            self.guest.run("pcsc-tool wait removed 20", check=True)


del Cell, LifeScript  # they are no cases by themselves

if __name__ == "__main__":
    unittest.main()
