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

import functools
import time
import subprocess
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
def qemu_access(**ways):
    return Access(**ways)


@kept
def qemu_guest(way, *devices):
    """A guest whose QEMU is the SPICE server."""
    args = [word for device in devices for word in device]
    return Guest(controllers=["uhci", "xhci"], qemu_args=way.args + args, env=way.env)


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
        cls.access = qemu_access(**cls.ways)
        cls.guest = qemu_guest(cls.access, *cls.devices)


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
        time.sleep(3);print(self.client.errors())
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


del Cell, LifeScript  # they are no cases by themselves

if __name__ == "__main__":
    unittest.main()
