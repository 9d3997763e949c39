# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig of rig.py with its two readers on one USB/IP server, on TCP as real
clients want it: 1-1 is for hostile peers, 1-2 for the bystander."""

import re

from ccid import CcidHost
from programs import Appliance
from rig import Rig
from usbip import UsbipHost

LISTENS = re.compile(r"chardev net: listening on tcp:127\.0\.0\.1:(\d+),server")


class UsbipAppliance(Appliance):
    """A vscardd that exports its readers; their cards come by UNIX sockets."""

    def __init__(self, readers=2, attach="", extra=(), **more):
        super().__init__(readers, extra=[
            "-chardev", f"socket,id=net,host=127.0.0.1,port=0,server=on,wait=off",
            "-device", f"usbip,id=bus0,chardev=net{attach}", *extra], **more)

    def reader_args(self, n):
        return ["-device", f"usb-ccid,id=ccid{n},bus=bus0.0",
                "-chardev", f"socket,id=card{n},path={self.card(n)},server=on,wait=off",
                "-device", f"ccid-card-passthru,chardev=card{n},bus=ccid{n}.0"]

    @property
    def address(self):
        """Where USB/IP clients connect."""
        return "127.0.0.1", int(LISTENS.search(self.errors()).group(1))

    def host(self, n=0):
        """A CCID host that has imported reader n."""
        return CcidHost(usb=UsbipHost(self.address, f"1-{n + 1}")).open()


class UsbipRig(Rig):
    """Both readers of one server."""

    def start(self, **more):
        return UsbipAppliance(**more)

    def open_host(self, n):
        return self.appliance.host(n)
