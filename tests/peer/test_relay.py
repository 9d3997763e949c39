# SPDX-License-Identifier: LGPL-2.1-or-later
"""A viewer on the relay, before a QEMU that boots nothing: the viewers that
people have reach the VM's display through it, plain and in TLS, with and
without a ticket; the session's id is learnt; the channel that is claimed does
not get to the server; and the viewer's connection file is private and gone at
the end. relay-viewer (beside this file) does it and says what it hears."""

import os
import pathlib
import re
import socket
import stat
import subprocess
import sys
import time
import unittest

from programs import ROOT, SAN, Folder, Program, environment
from spice import DISPLAY, MAIN, SMARTCARD, Access
from viewers import Display

sys.path.insert(0, str(ROOT / "tests/guest"))
from qmp import Qmp  # pylint: disable=wrong-import-position

CARD = ("-chardev", "spicevmc,id=ccid,name=smartcard", "-usb", "-device", "usb-ccid",
        "-device", "ccid-card-passthru,chardev=ccid")
LIMIT = 60


def until(what, why, limit=LIMIT):
    """Waits until `what` answers something true, and answers that."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise AssertionError(why())
        time.sleep(0.05)
    return answer


class Server:
    """A QEMU without a guest; its screen is what the firmware shows."""

    def __init__(self, access, *devices):
        here, there = socket.socketpair()
        with there:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16", "-nodefaults",
                 "-vga", "std", "-display", "none", "-chardev",
                 f"socket,id=qmp,fd={there.fileno()}", "-mon", "chardev=qmp,mode=control",
                 *access.args, *devices],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=[there.fileno()], env=environment(**access.env))
        self.monitor = Qmp(here)
        self.monitor.execute("qmp_capabilities", {})

    def channels(self):
        """The clients' channels as {type: (connection id, tls)}; QEMU says ids as
        numbers with a sign."""
        answer = self.monitor.execute("query-spice", {})
        return {c["channel-type"]: (c["connection-id"] & 0xFFFFFFFF, c["tls"])
                for c in answer.get("channels", [])}

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.monitor.close()


class RelayCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.display = Display()
        cls.addClassCleanup(cls.display.close)

    def serve(self, *devices, **how):
        self.access = Access(**how)
        self.addCleanup(self.access.remove)
        self.server = Server(self.access, *devices)
        self.addCleanup(self.server.kill)

    def view(self, address, claimed, *words, password=None):
        """The relay with a viewer that has folders of its own."""
        self.home = Folder()
        self.addCleanup(self.home.remove)
        os.chmod(self.home.path, 0o700)
        env = {"HOME": self.home.path, "XDG_RUNTIME_DIR": self.home.path,
               "XDG_CACHE_HOME": self.home.path, "XDG_CONFIG_HOME": self.home.path,
               "DISPLAY": self.display.name, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1",
               "GSETTINGS_BACKEND": "memory", "G_DEBUG": "",
               "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
        if password:
            env["SPICE_PASSWORD"] = password
        relay = Program("tests/peer/relay-viewer", address, str(claimed), *words, build=SAN,
                        **env)
        self.addCleanup(relay.kill)
        return relay

    def said(self, relay, pattern):
        """What it says that matches; waits for it."""
        def found():
            relay.check_alive()
            return re.search(pattern, relay.output(), re.MULTILINE)

        return until(found, lambda: f"nothing came for '{pattern}':\n{relay.output()}"
                                    f"{relay.errors()}")

    def reaches_display(self, relay, tls=False):
        """The server shows its screen to the viewer, in the session whose id the
        relay learnt."""
        channels = until(lambda: (c := self.server.channels()).keys() >= {MAIN, DISPLAY} and c,
                         lambda: f"no display: {self.server.channels()}\n{relay.output()}"
                                 f"{relay.errors()}")
        learnt = int(self.said(relay, r"^session (\d+)$")[1])
        for kind in (MAIN, DISPLAY):
            self.assertEqual(channels[kind], (learnt, tls))

    def finish(self, relay):
        """All goes, and nothing is left."""
        relay.end()
        self.assertEqual([], list(pathlib.Path(self.home.path).glob("vscclient-*")))

    def test_remote_viewer(self):
        self.serve()
        relay = self.view(self.access.uri(), 0, "remote-viewer")
        self.reaches_display(relay)
        self.finish(relay)

    def test_remote_viewer_with_file_ticket_and_tls(self):
        self.serve(ticket=True, tls=True)
        relay = self.view(self.access.vv(tls=True), 0, "remote-viewer")
        self.reaches_display(relay, tls=True)
        self.assertRegex(relay.output(), r"^ports 0 \d+\n")
        self.finish(relay)

    def test_spicy(self):
        self.serve()
        relay = self.view(self.access.uri(), 0, "spicy")
        self.reaches_display(relay)
        self.finish(relay)

    def test_spicy_in_tls(self):
        """Both ports, and the channels that have to be secure are."""
        self.serve(tls=True)
        address = (f"spice://127.0.0.1?port={self.access.port}&tls-port={self.access.tls_port}"
                   f"&ca-file={self.access.pki.ca}")
        relay = self.view(address, 0, "spicy", "--spice-secure-channels=all")
        self.reaches_display(relay, tls=True)
        self.finish(relay)

    def test_unix(self):
        self.serve(unix=True)
        relay = self.view(self.access.uri(), 0, "remote-viewer")
        self.reaches_display(relay)
        self.finish(relay)

    def test_claimed(self):
        """The viewer offers a card, too: without the relay's claim it gets the
        channel, with it the channel is free and the viewer lives on."""
        self.serve(*CARD)
        for claimed in (0, SMARTCARD):
            with self.subTest(claimed=claimed):
                relay = self.view(self.access.uri(), claimed, "spicy", "--spice-smartcard")
                self.reaches_display(relay)
                if claimed:
                    # spice-gtk's words for "channel not available".
                    until(lambda: "unhandled error 9" in relay.errors(),
                          lambda: f"the viewer tries no card: {relay.errors()}")
                    self.assertNotIn(SMARTCARD, self.server.channels())
                else:
                    until(lambda: SMARTCARD in self.server.channels(),
                          lambda: f"no card: {self.server.channels()}")
                self.finish(relay)
                until(lambda: not self.server.channels(), lambda: "the viewer stays")

    def test_untrusted(self):
        """The server is checked as the viewer would have: not at all is not it."""
        self.serve(tls=True)
        relay = self.view(self.access.uri(tls=True), 0, "remote-viewer")
        self.said(relay, r"^failed .*not trusted.*--ca-file")
        self.finish(relay)

    def test_server_gone(self):
        self.serve()
        relay = self.view(self.access.uri(), 0, "spicy")
        self.reaches_display(relay)
        self.server.process.kill()
        self.assertEqual(relay.wait(LIMIT), 0)
        self.assertRegex(relay.output(), r"(?m)^ended .*server closed")
        self.assertRegex(relay.output(), r"(?m)^viewer the viewer ended")

    def test_private_file(self):
        """What a viewer is given: readable by this user only, and the user's own
        file but for where to go. The viewer is a script that keeps it."""
        self.serve(ticket=True, tls=True)
        own = pathlib.Path(self.access.vv(tls=True))
        with own.open("a", encoding="ascii") as file:
            file.write("title=A VM \\\\ here\nfullscreen=0\nhost-subject=CN=127.0.0.1\n"
                       "delete-this-file=0\nproxy=\n[ovirt]\nhost=manager.example\n")
        script = pathlib.Path(self.access.write(
            "viewer", '#!/bin/sh\nstat -c %a-%a "$2" "${2%/*}" >"$1.mode"\ncp "$2" "$1"\n'
                      'echo "$@" >"$1.words"\nexit 3\n'))
        script.chmod(stat.S_IRWXU)
        kept = self.access / "kept"
        relay = self.view(str(own), 0, str(script), kept)
        relay.wait(LIMIT)
        self.assertRegex(relay.output(), r"(?m)^viewer the viewer ended with status 3$")
        self.assertEqual(pathlib.Path(kept + ".mode").read_text(encoding="ascii"),
                         "600-600\n700-700\n")
        text = pathlib.Path(kept).read_text(encoding="ascii")
        lines = text.splitlines()
        tls_port = re.match(r"ports 0 (\d+)", relay.output())[1]
        self.assertIn("host=127.0.0.1", lines)
        self.assertIn(f"tls-port={tls_port}", lines)
        self.assertIn("password=the ticket", lines)
        self.assertIn("title=A VM \\\\ here", lines)
        self.assertIn("delete-this-file=1", lines)
        self.assertNotIn("delete-this-file=0", lines)
        self.assertIn("host=manager.example", lines)
        self.assertNotIn("host-subject", text)
        self.assertNotIn("proxy", text)
        self.assertEqual(text.count("ca="), 1)
        # The relay's, and that of wherever the viewer goes without it.
        self.assertEqual(text.count("BEGIN CERTIFICATE"), 2)
        self.assertIn(pathlib.Path(self.access.pki.ca).read_text(encoding="ascii")
                      .splitlines()[1], text)
        self.assertNotIn("the ticket",
                         pathlib.Path(kept + ".words").read_text(encoding="ascii"))
        self.assertEqual([], list(pathlib.Path(self.home.path).glob("vscclient-*")))

    def test_no_such_viewer(self):
        self.serve()
        relay = self.view(self.access.uri(), 0, "no-such-viewer")
        self.assertEqual(relay.wait(LIMIT), 1)
        self.assertIn("cannot start the viewer 'no-such-viewer'", relay.errors())
        self.assertEqual([], list(pathlib.Path(self.home.path).glob("vscclient-*")))
