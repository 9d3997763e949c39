# SPDX-License-Identifier: LGPL-2.1-or-later
"""Char devices joined: chardev-join between sockets, virtserialport's socket, and
a SPICE channel of USB redirection joined with QEMU's usb-redir, so that a SPICE
client's USB device is one of the VM's."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time
import unittest

from programs import SAN, Appliance, Folder, Program, run
from spice import USBREDIR, Access, Session
from stream import LIMIT, Closed, Stream, connect
from usbredir import HELLO

VDAGENT = ("-device virtio-serial -chardev spicevmc,id=vdagent,name=vdagent "
           "-device virtserialport,chardev=vdagent,name=com.redhat.spice.0").split()


def until(what, limit=LIMIT):
    """Waits until `what` answers something true, and answers that."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)
    return answer


class Case(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def server(self, name):
        return ("-chardev", f"socket,id={name},path={self.folder / name},server=on,wait=off")

    def connect(self, name):
        stream = connect(self.folder / name)
        self.addCleanup(stream.close)
        return stream

    def refuse(self, pattern, *args):
        """One line on stderr, nothing on stdout, status 1."""
        status, out, err = run("vscardd", *args)
        self.assertEqual((status, out), (1, ""), err)
        self.assertRegex(err, f"^vscardd: .*{pattern}")
        self.assertEqual(err.count("\n"), 1, err)


class Sockets(Case):
    """chardev-join; nothing else is needed to serve."""

    def serve(self, *more):
        return Appliance(0, [*self.server("a"), *self.server("b"), "-device",
                             "chardev-join,chardev=a,with=b", *more])

    def check_both_ways(self, a, b):
        for one, other in ((a, b), (b, a)):
            data = os.urandom(1 << 20)
            sender = threading.Thread(target=one.send, args=(data,))
            sender.start()
            self.assertEqual(other.read(len(data)), data)
            sender.join()

    def test_both_ways_and_again(self):
        with self.serve():
            for first, second in (("a", "b"), ("b", "a")):
                one = self.connect(first)
                one.send(b"early")
                other = self.connect(second)
                self.assertEqual(other.read(5), b"early")
                self.check_both_ways(one, other)
                one.send(b"last")
                one.close()
                self.assertEqual(other.wait_closed(), b"last")
                other.close()

    def test_stale_bytes(self):
        """Who left before the other came is not heard by it."""
        with self.serve("-d", "chardev") as appliance:
            for _ in range(3):
                gone = self.connect("a")
                gone.send(b"stale")
                gone.close()
            a = self.connect("a")
            a.send(b"fresh")
            until(lambda: appliance.errors().count("chardev a: opened") == 4)
            b = self.connect("b")
            self.assertEqual(b.read(5), b"fresh")
            self.check_both_ways(a, b)

    def test_client_that_finds_nobody(self):
        place = self.folder / "b"
        for more, words in (("", "add reconnect=SECONDS"), (",reconnect=1", "trying again in 1 s")):
            with Program("vscardd", *self.server("a"), "-chardev",
                         f"socket,id=b,path={place}{more}", "-device",
                         "chardev-join,chardev=a,with=b") as program:
                # pylint: disable-next=cell-var-from-loop
                until(lambda: words in program.errors())
                self.assertIn("chardev b: cannot connect", program.errors())

    def test_refused(self):
        a, b, c = self.server("a"), self.server("b"), self.server("c")
        self.refuse("chardev is missing", "-device", "chardev-join")
        self.refuse("with is missing; add with=ID", *a, "-device", "chardev-join,chardev=a")
        self.refuse("no chardev 'b'; there are: a", *a, "-device",
                    "chardev-join,chardev=a,with=b")
        self.refuse("name two that differ", *a, "-device", "chardev-join,chardev=a,with=a")
        self.refuse("chardev 'b' is in use already", *a, *b, *c, "-device",
                    "chardev-join,chardev=a,with=b", "-device", "chardev-join,chardev=c,with=b")


class Ports(Case):
    """virtserialport, with a socket where a SPICE channel would be."""

    def port(self, name="x", more=""):
        return ("-device", f"virtserialport,chardev=a,name={name}{more}")

    def test_port(self):
        path = f",path={self.folder / 'port'},bus=vs.0,nr=1"
        with Appliance(0, [*self.server("a"), "-device", "virtio-serial,id=vs,max_ports=2",
                           *self.port(more=path)]):
            for _ in range(2):
                port, a = self.connect("port"), self.connect("a")
                port.send(b"from the port")
                self.assertEqual(a.read(13), b"from the port")
                a.send(b"to the port")
                self.assertEqual(port.read(11), b"to the port")
                a.close()
                self.assertEqual(port.wait_closed(), b"")
        self.assertFalse(os.path.exists(self.folder / "port"))

    def test_refused(self):
        a, bus = self.server("a"), ("-device", "virtio-serial")
        here = f",path={self.folder / 'port'}"
        self.refuse("nothing to serve", *bus)
        self.refuse("chardev is missing", *bus, "-device", "virtserialport")
        self.refuse("name is missing; add", *bus, *a, "-device", "virtserialport,chardev=a")
        self.refuse("virtio-serial-bus .*-device virtio-serial", *a, *self.port(more=here))
        self.refuse("no bus 'other.0'.*there are: virtio-serial#1.0", *a, *bus,
                    *self.port(more=here + ",bus=other.0"))
        self.refuse("add path=PATH", *a, *bus, *self.port("../x"))
        self.refuse("/nonexistent/port: No such file", *a, *bus,
                    *self.port(more=",path=/nonexistent/port"))
        self.refuse("somebody listens there", *a, *bus,
                    *self.port(more=f",path={self.folder / 'a'}"))
        self.refuse("full", *a, *self.server("b"), "-device", "virtio-serial,id=v,max_ports=1",
                    *self.port(more=here + ",bus=v.0"), "-device",
                    f"virtserialport,chardev=b,name=y,bus=v.0,path={self.folder / 'y'}")
        self.refuse("chardev 'a' is in use already", *a, *bus, *self.port(more=here), "-device",
                    f"virtserialport,chardev=a,name=y,path={self.folder / 'y'}")

    def test_verbatim(self):
        """The mailing list's command, with a /run of its own for the port."""
        probe = subprocess.run(["unshare", "-mn", "true"], check=False, stderr=subprocess.PIPE)
        if probe.returncode:
            self.skipTest(f"no namespaces here: {probe.stderr.decode().strip()}")
        place = "/run" if os.getuid() == 0 else self.folder / "run"
        os.makedirs(place, exist_ok=True)
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        with Program("unshare", "-mn", "sh", "-c", script, place, str(SAN / "vscardd"), *VDAGENT,
                     build=pathlib.Path("/usr/bin"), XDG_RUNTIME_DIR=place) as program:
            path = f"/proc/{program.pid}/root{place}/vscard/com.redhat.spice.0"
            until(lambda: program.check_alive() or os.path.exists(path))
            connect(path).close()
            until(lambda: f"{place}/vscard/com.redhat.spice.0" in program.errors())


class Qemu(Program):
    """A VM with nothing in it but a place for a USB device on `path`. Its
    firmware looks at the devices there are; that is all it does."""

    def __init__(self, folder, path):
        self.monitor_path = folder / "qmp"
        super().__init__(
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "pc,accel=tcg", "-m", "32", "-device", "qemu-xhci", "-qmp",
            f"unix:{self.monitor_path},server=on,wait=off", "-chardev",
            f"socket,id=r,path={path},reconnect=1", "-device", "usb-redir,chardev=r,id=redir",
            build=pathlib.Path(shutil.which("qemu-system-x86_64")).parent)
        self.monitor = connect(self.monitor_path)
        self.answer("QMP")
        self.ask("qmp_capabilities")

    def answer(self, word):
        """The next message with `word` in it."""
        while True:
            line = bytearray()
            while not line.endswith(b"\n"):
                line += self.monitor.read(1)
            message = json.loads(line)
            if word in message:
                return message[word]

    def ask(self, command, **arguments):
        self.monitor.send(json.dumps({"execute": command, "arguments": arguments}).encode())
        return self.answer("return")

    def device(self):
        """How QEMU shows the port's device: `attached` or not."""
        tree = self.ask("human-monitor-command", **{"command-line": "info qtree"})
        return next(line for line in tree.splitlines() if "USB Redirection Device" in line)

    def usb(self):
        return self.ask("human-monitor-command", **{"command-line": "info usb"})

    def kill(self):
        if hasattr(self, "monitor"):
            self.monitor.close()
        super().kill()


class Pump(threading.Thread):
    """Bytes from one stream to another, until either ends."""

    def __init__(self, source, sink):
        super().__init__(daemon=True)
        self.source, self.sink, self.first = source, sink, b""
        self.start()

    def run(self):
        try:
            while True:
                data = self.source.read(1, 3600)
                data += bytes(self.source.input)
                self.source.input.clear()
                self.first = self.first or data
                self.sink.send(data)
        except (Closed, OSError, ValueError):
            # A read and a write of a socket are not kept from each other.
            if type(self.sink) is Stream:  # pylint: disable=unidiomatic-typecheck
                with contextlib.suppress(OSError):  # it is closed
                    self.sink.sock.shutdown(socket.SHUT_RDWR)


class UsbRedirection(Case):
    """spicevmc usbredir joined with the socket of QEMU's usb-redir. The USB device
    is a reader of another vscardd, on the SPICE client's side."""

    def setUp(self):
        super().setUp()
        self.access = Access(unix=True)
        self.addCleanup(self.access.remove)
        self.far = self.enterContext(Appliance())

    def serve(self):
        return self.enterContext(Appliance(0, [
            *self.access.args, "-chardev", "spicevmc,id=r,name=usbredir", *self.server("s"),
            "-device", "chardev-join,chardev=r,with=s"]))

    def session_with_usb(self):
        """A session, once the server offers USB redirection."""
        def look():
            session = Session(self.access.way())
            if (USBREDIR, 0) in session.channels:
                return session
            session.close()
            return None
        return until(look)

    def test_device_reaches_qemu(self):
        self.serve()
        with Session(self.access.way()) as session:
            self.assertNotIn(USBREDIR, [kind for kind, _ in session.channels])
        with Qemu(self.folder, self.folder / "s") as qemu:
            self.assertNotIn("attached", qemu.device())
            for _ in range(2):
                session, channel, far, out = until(lambda: self.attach(qemu))
                self.assertRegex(qemu.usb(), r"Speed (12|480) Mb/s.*USB Redirection Device")
                self.assertEqual(int.from_bytes(out.first[:4], "little"), HELLO)
                self.assertIn(b"qemu usb-redir guest", out.first)
                channel.close()
                session.close()
                until(lambda: "attached" not in qemu.device())
                far.close()

    def attach(self, qemu):
        """A session whose device QEMU has; None if its channel was still the one
        that QEMU had before it connected again, and went with it."""
        session = self.session_with_usb()
        channel = session.usbredir()
        far = connect(self.far.usb())
        out = Pump(channel, far)
        Pump(far, channel)
        until(lambda: "attached" in qemu.device() or not out.is_alive())
        if out.is_alive():
            return session, channel, far, out
        for end in (channel, session, far):
            end.close()
        return None

    def test_qemu_goes(self):
        """The channel ends with the VM, and is there again with the next."""
        self.serve()
        for _ in range(2):
            with Qemu(self.folder, self.folder / "s"):
                with self.session_with_usb() as session:
                    channel = session.usbredir()
                    channel.read(12)
            self.assertIn(b"qemu", channel.wait_closed())


if __name__ == "__main__":
    unittest.main()
