# SPDX-License-Identifier: LGPL-2.1-or-later
"""OpenSC in a real guest with a card of a certificate database: through
vscardd's reader over usbredir, and through QEMU's own reader; lent by our
vscclient, and by a vscardd that has the card itself."""

import unittest

from guest import Guest
from opensc import CardScript, Database
from programs import Appliance, Folder, Program


class Lent(unittest.TestCase):
    """A guest, a database, and what the class's `lend` makes of them."""

    @classmethod
    def setUpClass(cls):
        cls.database = cls.enterClassContext(Database())
        cls.folder = cls.enterClassContext(Folder())
        cls.guest = cls.enterClassContext(Guest())
        cls.lend()
        cls.guest.run("start-pcscd", check=True)
        cls.guest.run("pcsc-tool wait inserted 20", check=True)


class OverUsbredir(CardScript, Lent):
    """Our reader, our client."""

    reader_name = "[Virtual Reader]"

    @classmethod
    def lend(cls):
        appliance = cls.enterClassContext(Appliance())
        cls.guest.attach_usbredir("reader", appliance.usb())
        cls.enterClassContext(Program(
            "vscclient", *cls.database.client_args(f"unix:{appliance.card()}")))


class QemusReader(CardScript, Lent):
    """QEMU's usb-ccid and ccid-card-passthru on UHCI, our client."""

    reader_name = "USB SmartCard Reader"

    @classmethod
    def lend(cls):
        cls.guest.add_usb_ccid(bus="uhci.0")
        path = cls.folder / "ccid"
        cls.guest.add_passthru_card("card", path, nodelay=False)
        cls.enterClassContext(Program("vscclient", *cls.database.client_args(f"unix:{path}")))


class InTheAppliance(CardScript, Lent):
    """Our reader, and ccid-card-emulated in vscardd itself."""

    reader_name = "vscard"

    @classmethod
    def lend(cls):
        card = ("ccid-card-emulated,backend=certificates,"
                f"db={cls.database.nssdb},cert1=id,cert2=signing,cert3=encryption")
        cls.enterClassContext(Appliance(readers=0, extra=[
            "-chardev", f"socket,id=usb0,path={cls.folder / 'usb'},server,nowait",
            "-device", "usbredir,chardev=usb0", "-device", "usb-ccid", "-device", card]))
        cls.guest.attach_usbredir("reader", cls.folder / "usb")


del Lent  # it is no case by itself
