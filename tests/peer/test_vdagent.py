# SPDX-License-Identifier: LGPL-2.1-or-later
"""The SPICE agent through virtserialport: Debian's spice-vdagentd takes the port's
socket for the port itself, its session agent owns the clipboard of an X server,
and spice-gtk's client is at the other end."""

import os
import pathlib
import shutil
import subprocess
import time
import unittest

from programs import ROOT, Appliance, Folder, Program
from spice import MAIN_AGENT_CONNECTED, MAIN_AGENT_DISCONNECTED, Access, Session
from stream import LIMIT
from viewers import Display

PORT = "com.redhat.spice.0"
DEBIAN_PYTHON = "/usr/bin/python3"  # the one that Debian's bindings are for


def until(what, limit=LIMIT):
    """Waits until `what` answers something true, and answers that."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)
    return answer


class Real(Program):
    """A program of the distribution's."""

    def __init__(self, program, *args, **env):
        env.setdefault("G_DEBUG", "")
        super().__init__(program, *args, build=pathlib.Path(shutil.which(program)).parent, **env)

    def __exit__(self, *_):
        self.kill()


class Client(Real):
    """spice-gtk's client; what it said is taken in order."""

    def __init__(self, path):
        super().__init__(DEBIAN_PYTHON, str(ROOT / "tests/lib/glib_client.py"), path,
                         stdin=subprocess.PIPE)
        self.at = 0

    def take(self, *words):
        """Waits for one of the lines `words`, passing over others."""
        def look():
            self.check_alive()
            lines = self.output().splitlines()
            while self.at < len(lines):
                self.at += 1
                if lines[self.at - 1] in words:
                    return lines[self.at - 1]
            return None
        try:
            return until(look)
        except AssertionError as error:
            raise AssertionError(f"none of {words}, but:\n{self.output()}") from error

    def order(self, *words):
        self.say((" ".join(words) + "\n").encode())


class Case(unittest.TestCase):
    """An appliance with SPICE and the agent's port."""

    @classmethod
    def setUpClass(cls):
        cls.display = Display()

    @classmethod
    def tearDownClass(cls):
        cls.display.close()

    def setUp(self):
        self.access = Access(unix=True)
        self.addCleanup(self.access.remove)
        self.port = self.access / "port"
        self.appliance = self.enterContext(Appliance(0, [
            *self.access.args, "-device", "virtio-serial",
            "-chardev", "spicevmc,id=vdagent,name=vdagent", "-device",
            f"virtserialport,chardev=vdagent,name={PORT},path={self.port}"]))

    def agent(self):
        return Agent(self.access, self.port, self.display)



class Agent:
    """Both parts of the agent, on `display`."""

    def __init__(self, access, port, display):
        self.home = home = Folder()
        mouse, place = access.write("uinput", ""), home / "session"
        # Without a mouse of the kernel's, without a login manager.
        self.daemon = Real("spice-vdagentd", "-x", "-X", "-f", "-d", "-d", "-u", mouse,
                           "-s", port, "-S", place)
        until(lambda: os.path.exists(place))
        # The daemon opens the port once a session is there.
        self.session = Real("spice-vdagent", "-x", "-d", "-s", port, "-S", place,
                            DISPLAY=display.name, HOME=home.path, XDG_RUNTIME_DIR=home.path,
                            DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.kill()
        self.daemon.kill()
        self.home.remove()

    def wait(self, words):
        """Waits until either part has said `words`."""
        until(lambda: words in self.said())

    def said(self):
        self.daemon.check_alive()
        return self.daemon.errors() + self.session.errors() + self.session.output()


class Clipboard(Case):
    """What the agent is for."""

    def clip(self, *args, **more):
        return subprocess.run(["xclip", "-selection", "clipboard", *args], check=False,
                              env=dict(os.environ, DISPLAY=self.display.name), timeout=LIMIT,
                              stderr=subprocess.DEVNULL, **more)

    def pasted(self):
        return self.clip("-o", stdout=subprocess.PIPE).stdout

    def test_both_ways(self):
        """A text from the client to the guest, and one back."""
        agent = self.enterContext(self.agent())
        client = self.enterContext(Client(self.access.socket))
        client.take("agent 1")
        client.take("ready")
        agent.wait("New client connected")

        client.order("offer", "a card for the guest")
        agent.wait("sent clipboard grab")
        until(lambda: self.pasted() == b"a card for the guest")
        client.take("asked")

        self.clip("-i", input=b"a word from the guest", stdout=subprocess.DEVNULL)
        client.take("grabbed")
        client.order("fetch")
        client.take("text a word from the guest")


class Presence(Case):
    """The client sees an agent exactly while there is one."""

    def test_comes_and_goes(self):
        client = self.enterContext(Client(self.access.socket))
        client.take("mouse 1")
        for _ in range(2):
            self.assertNotIn("agent", client.output().splitlines()[client.at:])
            with self.agent():
                client.take("agent 1")
            client.take("agent 0")
        self.appliance.check_alive()

    def test_is_first(self):
        """No client is needed for the agent to open its port; one that comes
        and goes does not close it."""
        agent = self.enterContext(self.agent())
        agent.wait("opening vdagent virtio channel")
        for _ in range(2):
            with Session(self.access.way()) as session:
                self.assertTrue(session.agent_connected)
        self.assertEqual(agent.said().count("opening vdagent virtio channel"), 1)

    def test_own_client(self):
        """The same in the protocol's words."""
        with Session(self.access.way()) as session:
            self.assertFalse(session.agent_connected)
            with self.agent():
                session.main.expect(MAIN_AGENT_CONNECTED)
            session.main.expect(MAIN_AGENT_DISCONNECTED)


if __name__ == "__main__":
    unittest.main()
