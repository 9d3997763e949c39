# SPDX-License-Identifier: LGPL-2.1-or-later
"""spice-gtk's client without a window, through its GObject bindings: the session
that spicy and remote-viewer have, as a program that says a line for each thing
the agent does and takes commands from its standard input. Run by Debian's own
interpreter, which has the bindings.

    /usr/bin/python3 glib_client.py UNIX_PATH

It says `agent 0` or `agent 1`, `ready` (the agent has said that it has a clipboard),
`mouse MODE`, `closed`, `grabbed` (the guest has something on its clipboard),
`asked` (the guest wants ours), `text TEXT` (what the guest had). `offer TEXT`
puts a text on our clipboard, `fetch` asks for the guest's, `quit` ends it."""

import os
import sys

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib as Spice  # pylint: disable=wrong-import-position

CLIPBOARD = 0  # VD_AGENT_CLIPBOARD_SELECTION_CLIPBOARD
CLIPBOARD_BY_DEMAND = 5  # VD_AGENT_CAP_CLIPBOARD_BY_DEMAND
UTF8_TEXT = 1  # VD_AGENT_CLIPBOARD_UTF8_TEXT


def say(*words):
    print(*words, flush=True)


def listen(thing, signal, handler):
    """What `connect` is for other objects; for these it is to connect."""
    GObject.Object.connect(thing, signal, handler)


class Client:
    """The session and its main channel."""

    def __init__(self, path):
        self.main = None
        self.text = ""
        self.loop = GLib.MainLoop()
        self.session = Spice.Session()
        self.session.set_property("unix-path", path)
        self.session.set_property("enable-audio", False)
        listen(self.session, "channel-new", self.on_channel)
        GLib.unix_fd_add_full(0, 0, GLib.IOCondition.IN | GLib.IOCondition.HUP, self.on_command)

    def run(self):
        if not Spice.Session.connect(self.session):
            raise SystemExit("the session does not start")
        self.loop.run()

    def on_channel(self, _, channel):
        if not isinstance(channel, Spice.MainChannel):
            return
        self.main = channel
        listen(channel, "channel-event", self.on_event)
        listen(channel, "notify::agent-connected", self.on_agent)
        listen(channel, "main-agent-update", self.on_update)
        listen(channel, "notify::mouse-mode", self.on_mouse)
        listen(channel, "main-clipboard-selection-grab", self.on_grab)
        listen(channel, "main-clipboard-selection-request", self.on_request)
        listen(channel, "main-clipboard-selection", self.on_data)
        Spice.Channel.connect(channel)

    def on_event(self, _, event):
        if event != Spice.ChannelEvent.OPENED:
            say("closed", event.value_nick)

    def on_agent(self, channel, _):
        say("agent", int(channel.get_property("agent-connected")))

    def on_update(self, channel):
        # Also told when an agent has come of which nothing is known yet.
        if channel.agent_test_capability(CLIPBOARD_BY_DEMAND):
            say("ready")

    def on_mouse(self, channel, _):
        say("mouse", channel.get_property("mouse-mode"))

    def on_grab(self, _, selection, *__):
        if selection == CLIPBOARD:
            say("grabbed")
        return True

    def on_request(self, _, selection, kind):
        if (selection, kind) != (CLIPBOARD, UTF8_TEXT):
            return False
        say("asked")
        self.main.clipboard_selection_notify(CLIPBOARD, UTF8_TEXT, self.text.encode())
        return True

    def on_data(self, _, selection, kind, data, *__):
        if (selection, kind) == (CLIPBOARD, UTF8_TEXT):
            say("text", bytes(data).decode())

    def on_command(self, fd, _):
        line = os.read(fd, 65536).decode()
        for command in line.splitlines():
            word, _, rest = command.partition(" ")
            if word == "offer":
                self.text = rest
                self.main.clipboard_selection_grab(CLIPBOARD, [UTF8_TEXT])
            elif word == "fetch":
                self.main.clipboard_selection_request(CLIPBOARD, UTF8_TEXT)
            elif word == "quit":
                self.session.disconnect()
                self.loop.quit()
        if not line:
            self.loop.quit()
        return bool(line)


if __name__ == "__main__":
    Client(sys.argv[1]).run()
