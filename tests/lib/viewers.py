# SPDX-License-Identifier: LGPL-2.1-or-later
"""The SPICE viewers that people have, spicy and remote-viewer, on an X server
with no screen: started each with folders of its own, spoken to by keys, and
ended. They lend the three certificates of a database as a card, where asked."""

import atexit
import os
import pathlib
import shlex
import signal
import subprocess
import time

from programs import Folder
from stream import LIMIT


class Display:
    """An Xvfb. It picks a free display itself, and no user but ours reaches it."""

    def __init__(self):
        read, write = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "2048x1536x24",
             "-nolisten", "tcp"],
            pass_fds=[write], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        atexit.register(self.close)
        os.close(write)
        with open(read, encoding="ascii") as answer:
            number = answer.readline().strip()
        if not number:
            raise AssertionError("Xvfb does not start")
        self.name = f":{number}"
        # While the pointer is over the VM's picture, a viewer has all keys for the
        # VM: the screen is larger than any of their windows.
        self.xdotool("mousemove", 2040, 1530)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        atexit.unregister(self.close)
        self.process.kill()
        self.process.wait()

    def xdotool(self, *args):
        return subprocess.run(["xdotool", *map(str, args)], env=dict(os.environ, DISPLAY=self.name),
                              check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, timeout=LIMIT).stdout

    def window(self, *pattern):
        """The id of the window that `pattern` of xdotool finds, once it is shown."""
        return self.xdotool("search", "--sync", "--onlyvisible", *pattern).split()[0]

    def key(self, window, *keys):
        """Types keys into a window."""
        self.xdotool("windowfocus", "--sync", window, "key", *keys)


def desktop(display, home):
    """The environment of a program on a display, with a home of its own and
    nothing of a desktop that the test may run in. spicy complains about its own
    list of recent addresses over TLS, so that complaints are not its end, as they
    are our programs'."""
    return {"HOME": home, "XDG_RUNTIME_DIR": home, "XDG_CACHE_HOME": home, "XDG_CONFIG_HOME": home,
            "XDG_DATA_HOME": home, "DISPLAY": display.name, "WAYLAND_DISPLAY": "",
            "GDK_BACKEND": "x11", "GTK_MODULES": "", "G_DEBUG": "", "NO_AT_BRIDGE": "1",
            "GSETTINGS_BACKEND": "memory", "LC_ALL": "C.UTF-8",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
            "GST_REGISTRY": os.path.join(home, "gst"), "GST_REGISTRY_UPDATE": "no"}


class Viewer:
    """A viewer at work on `display`, in folders of its own: what it remembers of
    a run, and the libraries' sockets, are nobody else's."""

    def __init__(self, display, *command, **env):
        self.display = display
        self.folder = Folder()
        self.log = self.folder / "log"
        home = self.folder / "home"
        os.makedirs(home, mode=0o700)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, **desktop(display, home), **env), start_new_session=True)
        self.name = command[0]
        atexit.register(self.kill)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def wait(self, limit=LIMIT):
        return self.process.wait(limit)

    def wait_said(self, words, limit=LIMIT):
        """Waits until it has said something."""
        deadline = time.monotonic() + limit
        while words not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} never said '{words}', but:\n{self.said()}")
            time.sleep(0.05)

    def window(self):
        """The id of its window, once it shows one."""
        return self.display.window("--pid", self.pid)

    def key(self, *keys):
        """Types keys, as "shift+F8", into its window."""
        self.display.key(self.window(), *keys)

    def kill(self):
        """Ends it without asking, as kill -9 does, with all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.folder.remove()
        atexit.unregister(self.kill)

    # Both take these keys while they show a VM.

    def insert(self):
        self.key("shift+F8")

    def remove(self):
        self.key("shift+F9")


class Followed:
    """A viewer that another program starts, by `command` and with `env`."""

    def __init__(self, display, *command):
        self.folder = Folder()
        home = self.folder / "home"
        os.makedirs(home, mode=0o700)
        self.env = desktop(display, home)
        self.pid_file = self.folder / "pid"
        words = " ".join(map(shlex.quote, map(str, command)))
        script = f'echo $$ > {self.pid_file}; exec {words} "$@"'
        self.command = shlex.join(["sh", "-c", script, "sh"])
        atexit.register(self.kill)

    @property
    def pid(self):
        """Its process; 0 before it has started."""
        try:
            return int(pathlib.Path(self.pid_file).read_text(encoding="ascii") or 0)
        except FileNotFoundError:
            return 0

    def kill(self):
        """Ends it, if who started it has not."""
        atexit.unregister(self.kill)
        pid = self.pid
        if pid and self.env["HOME"] in own_environment(pid):
            os.kill(pid, signal.SIGKILL)
        self.folder.remove()


def own_environment(pid):
    """The environment a process was started with; empty when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""


def card_options(nssdb, certs):
    """The options of spice-gtk that lend certificates. Its list has to have
    three, and the database is opened by the guest's PIN."""
    return ["--spice-smartcard", f"--spice-smartcard-db=sql:{nssdb}",
            f"--spice-smartcard-certificates={','.join(certs)}"]


def spicy(display, uri, *options, **env):
    return Viewer(display, "spicy", f"--uri={uri}", *options, **env)


def remote_viewer(display, where, *options, **env):
    """`where` is a URI or a .vv file."""
    return Viewer(display, "remote-viewer", where, *options, **env)
