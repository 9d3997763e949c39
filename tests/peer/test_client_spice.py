# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscclient as a client of QEMU's SPICE server: each way to a card device, each
way to give a password, TLS and SASL, and what it says and how it ends when
something is in the way. The machine has no guest and, where it need not, does
not run: QEMU's reader answers all the same."""

import contextlib
import os
import pathlib
import pty
import select
import socket
import subprocess
import sys
import time
import unittest

from programs import ROOT, SAN, Folder, Program, defects, environment, run
from spice import Pki, Sasl, Session, Way, free_port
from stream import LIMIT, connect

sys.path.insert(0, str(ROOT / "tests/guest"))
from qmp import Qmp  # noqa: E402 pylint: disable=wrong-import-position

# Exit statuses of vscclient (its --help).
DONE, OPTIONS, UNREACHED, REFUSED, CARD, LOST, PASSWORD, UNTRUSTED = range(8)

FOLDER = Folder()
CARDS = ("--nssdb", FOLDER / "nssdb", "--cert", "id")
TWO_CARDS = ("-e", f'db="{FOLDER / "nssdb"}" use_hw=no soft=(,First,CAC,,id) '
             "soft=(,Second,CAC,,signing)")
TOOK = "the host took reader 'Virtual Reader'"
SECRET = "open sesame"


def setUpModule():
    """One database for all."""
    subprocess.run([str(ROOT / "fixtures/make-nssdb"), FOLDER / "nssdb", "--pin", "1234"],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(FOLDER.remove)


# What a machine has. The reader itself is that of QEMU.
READER = ("-usb", "-device", "usb-ccid,id=reader")
CARD_OF = ("-device", "ccid-card-passthru,chardev=card")
SMARTCARD = (*READER, "-chardev", "spicevmc,id=card,name=smartcard", *CARD_OF)
REDIR = ("-device", "usb-ehci,id=ehci", "-device", "usb-redir,chardev=usb,id=redir,bus=ehci.0")
# What `info usb` says of one with a device that the client lends; 1.5 without.
HIGH_SPEED = "Speed 480 Mb/s, Product USB Redirection Device"
USBREDIR = ("-chardev", "spicevmc,id=usb,name=usbredir", *REDIR)


def port(name):
    """A machine whose card device is on a port."""
    return (*READER, "-chardev", f"spiceport,id=card,name={name}", *CARD_OF)


class Qemu(Program):
    """A machine with a SPICE server, on a port of 127.0.0.1 (`spice` says which)
    or where `spice` says, and a monitor."""

    def __init__(self, spice, *devices, **env):
        self.places = Folder()
        self.qmp = None
        qmp = self.places / "qmp"
        super().__init__("/usr/bin/qemu-system-x86_64", "-M", "pc", "-m", "16", "-S",
                         "-nodefaults", "-no-user-config", "-display", "none",
                         "-qmp", f"unix:{qmp},server=on,wait=off", "-spice", spice, *devices,
                         **env)
        try:
            self.qmp = Qmp(connect(qmp).sock)
            # It answers once all is there.
            self.qmp.execute("qmp_capabilities", {})
        except BaseException as error:
            said = self.errors()
            self.kill()
            raise AssertionError(f"no QEMU; it said:\n{said}") from error

    def monitor(self, line):
        return self.qmp.execute("human-monitor-command", {"command-line": line})

    def wait_usb(self, text, there=True, limit=LIMIT):
        """Waits until `info usb` has, or has not, a text."""
        deadline = time.monotonic() + limit
        while (text in self.monitor("info usb")) != there:
            if time.monotonic() > deadline:
                raise AssertionError(f"'{text}':\n{self.monitor('info usb')}")
            time.sleep(0.05)

    def kill(self):
        super().kill()
        if self.qmp:
            self.qmp.close()
        self.places.remove()


class SpiceCase(unittest.TestCase):

    def qemu(self, *devices, keys="disable-ticketing=on", number=None, **env):
        """A machine on a plain port; `self.uri` leads there."""
        self.number = number or free_port()
        self.uri = f"spice://127.0.0.1:{self.number}"
        return self.start_qemu(f"port={self.number},addr=127.0.0.1,{keys}", *devices, **env)

    def start_qemu(self, spice, *devices, **env):
        machine = Qemu(spice, *devices, **env)
        self.addCleanup(machine.kill)
        return machine

    def client(self, *args, cards=CARDS, **env):
        program = Program("vscclient", *cards, *args, **env)
        self.addCleanup(program.kill)
        return program

    def says(self, program, text, limit=LIMIT):
        deadline = time.monotonic() + limit
        while text not in program.errors():
            program.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"no '{text}' in:\n{program.errors()}")
            time.sleep(0.02)

    def lends(self, *args, cards=CARDS, **env):
        """The host takes the reader, and the client ends in order; answers what
        it said."""
        program = self.client(*args, cards=cards, **env)
        self.says(program, TOOK)
        return program.end()

    def ends(self, program, status, *texts):
        """It ends by itself with one line that has each of `texts`."""
        self.assertEqual(program.wait(), status, program.errors())
        self.assertEqual(defects(program.errors()), [])
        lines = program.errors().splitlines()
        self.assertTrue(any(all(text in line for text in texts) for line in lines),
                        f"{texts} not in:\n{program.errors()}")

    def fails(self, status, texts, *args, **env):
        """It ends so without a terminal to ask on."""
        self.ends(self.client(*args, **env), status, *texts)

    def write(self, name, text):
        path = FOLDER / name
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return path


class Channels(SpiceCase):
    """Each way to a reader."""

    def test_smartcard(self):
        """Each client in its turn, for the one before says goodbye."""
        self.qemu(*SMARTCARD)
        for args in ((), ("--channel", "smartcard")):
            said = self.lends(*args, self.uri)
            self.assertIn(f"connected to {self.uri}, smartcard\n", said)
            self.assertEqual(said.count(TOOK), 1)

    def test_unix(self):
        self.start_qemu(f"unix=on,addr={FOLDER / 'spice'},disable-ticketing=on", *SMARTCARD)
        self.lends(f"spice+unix://{FOLDER / 'spice'}")

    def test_second_reader(self):
        """The channel has one place; the first reader keeps it."""
        self.qemu(*SMARTCARD)
        program = self.client(self.uri, cards=TWO_CARDS)
        self.says(program, "the host took reader 'First'")
        self.says(program, "the host refused reader 'Second': it has no place for another")
        program.end()

    def test_port(self):
        """The port of the known name is found without being asked for."""
        self.qemu(*port("org.vscard.ccid.0"))
        for args in ((), ("--channel", "port")):
            self.assertIn(f"connected to {self.uri}, port org.vscard.ccid.0\n",
                          self.lends(*args, self.uri))

    def test_port_name(self):
        self.qemu(*port("a.b"))
        self.lends("--channel", "port:a.b", self.uri)
        self.fails(REFUSED, ["port", "org.vscard.ccid.0"], "--channel", "port", self.uri)

    def test_goodbye(self):
        """A client that leaves while the machine answers does not end QEMU, which
        libspice-server 0.15.1 does by an assertion if the connection is gone in
        the middle of it."""
        machine = self.qemu(*port("org.vscard.ccid.0"))
        for _ in range(8):
            self.lends(self.uri)
            machine.check_alive()

    def test_not_taken(self):
        """A channel that somebody has who is no card device."""
        self.qemu("-chardev", "spicevmc,id=card,name=smartcard", "-device",
                  "isa-serial,chardev=card")
        program = self.client(self.uri)
        self.says(program, f"{self.uri}, smartcard does not take the reader: no card device")
        program.end()

    def running(self, *devices):
        """QEMU's usb-redir reads while its machine runs."""
        machine = self.qemu(*devices)
        machine.qmp.execute("cont", {})
        return machine

    def test_usb(self):
        """A machine without a reader gets one, as long as the client is there."""
        machine = self.running(*USBREDIR)
        program = self.client("--as-usb", self.uri)
        self.says(program, TOOK)
        machine.wait_usb(HIGH_SPEED)
        program.end()
        machine.wait_usb(HIGH_SPEED, there=False)

    def test_usb_second_reader(self):
        self.running(*USBREDIR)
        program = self.client("--as-usb", self.uri, cards=TWO_CARDS)
        self.says(program, "the host took reader 'First'")
        self.says(program, "reader 'Second' is not lent: 1 is, and that is the most")
        program.end()

    def test_usb_socket(self):
        """The same without SPICE."""
        machine = self.running(
            "-chardev", f"socket,id=usb,path={FOLDER / 'usb'},server=on,wait=off", *REDIR)
        program = self.client("--as-usb", f"unix:{FOLDER / 'usb'}")
        self.says(program, TOOK)
        machine.wait_usb(HIGH_SPEED)
        program.end()
        machine.wait_usb(HIGH_SPEED, there=False)

    def test_usb_filter(self):
        """A machine that wants no smartcard readers says so."""
        self.running(*USBREDIR[:-1], USBREDIR[-1] + ",filter=0x0b:-1:-1:-1:0|-1:-1:-1:-1:1")
        self.fails(REFUSED, ["the host refused reader", "filter"], "--as-usb", self.uri)


class Passwords(SpiceCase):

    def setUp(self):
        self.qemu(*SMARTCARD, "-object", f"secret,id=pw,data={SECRET}",
                  keys="password-secret=pw")

    def vv(self, *more):
        return self.write("console.vv", "\n".join([
            "[virt-viewer]", "type=spice", "host=127.0.0.1", f"port={self.number}", *more, ""]))

    def test_file(self):
        """The first line, whatever follows."""
        self.lends("--password-file", self.write("pw", f"{SECRET}\nnot this\n"), self.uri)

    def test_environment(self):
        """And nobody sees it there after that."""
        program = self.client(self.uri, VSCARD_SPICE_PASSWORD=SECRET)
        self.says(program, TOOK)
        environ = pathlib.Path(f"/proc/{program.pid}/environ").read_bytes()
        self.assertNotIn(SECRET.encode(), environ)
        self.assertNotIn(SECRET, program.end())

    def test_vv(self):
        """One that asks for it is gone then."""
        path = self.vv(f"password={SECRET}", "delete-this-file=1")
        self.lends(path)
        self.assertFalse(os.path.exists(path))

    def test_order(self):
        """The nearer one counts: the file, the environment, the .vv file."""
        right = self.write("pw", SECRET)
        self.lends("--password-file", right, self.vv("password=b"), VSCARD_SPICE_PASSWORD="a")
        self.lends(self.vv("password=b"), VSCARD_SPICE_PASSWORD=SECRET)
        self.lends(self.vv(f"password={SECRET}"), VSCARD_SPICE_PASSWORD="")

    def test_wrong(self):
        """Also with --reconnect it is not tried again."""
        wrong = self.write("pw", "open barley")
        for more in ((), ("--reconnect=1",)):
            self.fails(PASSWORD, ["password"], *more, "--password-file", wrong, self.uri)

    def test_none(self):
        for env in ({}, {"VSCARD_SPICE_PASSWORD": ""}):
            self.fails(PASSWORD, ["wants a password", "--password-file", "VSCARD_SPICE_PASSWORD",
                                  "terminal"], self.uri, **env)

    def test_bad_file(self):
        self.fails(OPTIONS, ["no.pw", "No such file"], "--password-file", FOLDER / "no.pw",
                   self.uri)
        self.fails(OPTIONS, ["empty"], "--password-file", self.write("pw", "\nx\n"), self.uri)


class Terminal:
    """A vscclient on a terminal of its own, its stdin included."""

    def __init__(self, *args):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            program = str(SAN / "vscclient")
            with contextlib.suppress(OSError):
                os.execve(program, [program, *CARDS, *args], environment())
            os._exit(127)
        self.status = None
        self.text = ""

    def read(self, limit):
        """Some more of what is shown; False at its end."""
        if not select.select([self.fd], [], [], max(limit, 0))[0]:
            return True
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, text, count=1):
        deadline = time.monotonic() + LIMIT
        while self.text.count(text) < count:
            if not self.read(0.1) or time.monotonic() > deadline:
                raise AssertionError(f"no '{text}' in:\n{self.text}")

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Its exit status, when it has ended by itself."""
        deadline = time.monotonic() + LIMIT
        while self.read(0.1) and time.monotonic() < deadline:
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class Prompt(SpiceCase):

    def secret_qemu(self, **more):
        self.qemu(*SMARTCARD, "-object", f"secret,id=pw,data={SECRET}",
                  keys="password-secret=pw", **more)

    def terminal(self, *args):
        """A client on a terminal, before a machine that wants a password."""
        self.secret_qemu()
        terminal = Terminal(*args, self.uri)
        self.addCleanup(terminal.close)
        terminal.wait_for(f"Password for {self.uri}: ")
        return terminal

    def test_right(self):
        """A wrong one is asked for again, neither is shown, and the terminal is
        the commands' then."""
        self.answer(self.terminal("--reconnect"))

    def test_late(self):
        """Commands were read before: what is typed now is not for them."""
        number = free_port()
        terminal = Terminal("--reconnect=1", f"spice://127.0.0.1:{number}")
        self.addCleanup(terminal.close)
        terminal.wait_for("> ")
        self.secret_qemu(number=number)
        terminal.wait_for(f"Password for {self.uri}: ")
        self.answer(terminal)

    def answer(self, terminal):
        """Answers wrong, right, and ends it by a command."""
        terminal.type("exit\n")
        terminal.wait_for(f"Password for {self.uri}: ", 2)
        terminal.type(SECRET + "\n")
        terminal.wait_for(TOOK)
        self.assertNotIn("exit", terminal.text)
        self.assertNotIn(SECRET, terminal.text)
        terminal.type("list\n")
        terminal.wait_for("  0  card     lent      Virtual Reader")
        terminal.type("exit\n")
        self.assertEqual(terminal.end(), DONE, terminal.text)
        self.assertIn("list", terminal.text)
        self.assertEqual(defects(terminal.text), [])

    def test_wrong(self):
        terminal = self.terminal()
        for count in (2, 3):
            terminal.type("no\n")
            terminal.wait_for(f"Password for {self.uri}: ", count)
        terminal.type("no\n")
        self.assertEqual(terminal.end(), PASSWORD, terminal.text)
        self.assertEqual(terminal.text.count("Password for"), 3)
        self.assertEqual(defects(terminal.text), [])

    def test_given_up(self):
        terminal = self.terminal()
        terminal.type("\n")
        self.assertEqual(terminal.end(), PASSWORD, terminal.text)
        self.assertIn("no password was given", terminal.text)

    def test_interrupted(self):
        """Ctrl-C ends it as ever."""
        terminal = self.terminal()
        terminal.type("\x03")
        self.assertEqual(terminal.end(), DONE, terminal.text)


class Tls(SpiceCase):
    """One machine with two ports, plain and TLS."""

    @classmethod
    def setUpClass(cls):
        cls.pki = Pki()
        cls.other = Pki()
        cls.plain, cls.tls = free_port(), free_port()
        cls.machine = Qemu(f"port={cls.plain},tls-port={cls.tls},addr=127.0.0.1,"
                           f"x509-dir={cls.pki.path},disable-ticketing=on,"
                           "tls-channel=smartcard", *SMARTCARD)
        cls.addClassCleanup(cls.machine.kill)
        cls.addClassCleanup(cls.pki.remove)
        cls.addClassCleanup(cls.other.remove)
        cls.uri = f"spice+tls://127.0.0.1:{cls.tls}"

    def test_ca(self):
        self.lends("--ca-file", self.pki.ca, self.uri)

    def test_subject(self):
        """A name that the certificate does not bear, and the subject it does."""
        uri = self.uri.replace("127.0.0.1", "127.0.0.2")
        self.fails(UNREACHED, ["127.0.0.2"], "--ca-file", self.pki.ca, uri)
        self.lends("--ca-file", self.pki.ca, "--host-subject", self.pki.subject, self.uri)
        self.fails(UNTRUSTED, ["subject"], "--ca-file", self.pki.ca, "--host-subject", "CN=other",
                   self.uri)

    def test_name(self):
        """localhost is in the certificate, another name for it is not."""
        self.lends("--ca-file", self.pki.ca, self.uri.replace("127.0.0.1", "localhost"))
        name = socket.gethostname()
        with contextlib.suppress(OSError):
            if socket.gethostbyname(name).startswith("127."):
                self.fails(UNTRUSTED, ["name"], "--ca-file", self.pki.ca,
                           self.uri.replace("127.0.0.1", name))

    def test_untrusted(self):
        """A CA of somebody else, and none."""
        self.fails(UNTRUSTED, ["certificate"], "--ca-file", self.other.ca, self.uri)
        self.fails(UNTRUSTED, ["certificate"], self.uri, HOME=FOLDER.path)

    def test_key(self):
        """A pinned key needs no CA."""
        key = self.pki.public_key().hex()
        self.lends(f"{self.uri}?pubkey={key}", HOME=FOLDER.path)
        self.fails(UNTRUSTED, ["key"], f"{self.uri}?pubkey={self.other.public_key().hex()}")

    def test_no_such_file(self):
        self.fails(OPTIONS, ["no.pem"], "--ca-file", FOLDER / "no.pem", self.uri)

    def test_plain_to_tls(self):
        self.fails(UNREACHED, ["TLS"], f"spice://127.0.0.1:{self.tls}")

    def test_tls_to_plain(self):
        self.fails(UNREACHED, ["TLS"], "--ca-file", self.pki.ca,
                   f"spice+tls://127.0.0.1:{self.plain}")

    def test_channel(self):
        """The card's channel is served over TLS only: with both ports it is
        found there, with the plain one that is said."""
        self.lends(f"spice://127.0.0.1:{self.plain}?tls-port={self.tls}&ca-file={self.pki.ca}")
        self.fails(UNREACHED, ["TLS"], f"spice://127.0.0.1:{self.plain}")

    def test_vv(self):
        """A .vv file has all that is needed."""
        ca = pathlib.Path(self.pki.ca).read_text(encoding="ascii").replace("\n", "\\n")
        path = self.write("tls.vv", "\n".join([
            "[virt-viewer]", "type=spice", "host=127.0.0.1", f"tls-port={self.tls}",
            f"host-subject={self.pki.subject}", f"ca={ca}", ""]))
        self.lends(path, HOME=FOLDER.path)


class SaslLogin(SpiceCase):

    @classmethod
    def setUpClass(cls):
        cls.pki, cls.sasl = Pki(), Sasl()
        cls.tls = free_port()
        cls.machine = Qemu(f"tls-port={cls.tls},addr=127.0.0.1,x509-dir={cls.pki.path},sasl=on",
                           *SMARTCARD, **cls.sasl.env)
        cls.addClassCleanup(cls.machine.kill)
        cls.addClassCleanup(cls.pki.remove)
        cls.addClassCleanup(cls.sasl.remove)
        cls.uri = f"spice+tls://127.0.0.1:{cls.tls}?ca-file={cls.pki.ca}"

    def test_right(self):
        self.lends("--user", self.sasl.USER, self.uri, VSCARD_SPICE_PASSWORD=self.sasl.PASSWORD)

    def test_wrong(self):
        self.fails(PASSWORD, ["password"], "--user", self.sasl.USER, self.uri,
                   VSCARD_SPICE_PASSWORD="wrong")
        self.fails(PASSWORD, ["user"], "--user", "nobody", self.uri, VSCARD_SPICE_PASSWORD="wrong")

    def test_no_user(self):
        self.fails(PASSWORD, ["no user name is given"], self.uri, VSCARD_SPICE_PASSWORD="wrong")


class InTheWay(SpiceCase):

    def test_nobody(self):
        uri = f"spice://127.0.0.1:{free_port()}"
        self.fails(UNREACHED, ["127.0.0.1", "refused"], uri)

    def test_no_spice(self):
        """Something listens, and it is no SPICE server."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        program = self.client(f"spice://127.0.0.1:{listener.getsockname()[1]}")
        peer, _ = listener.accept()
        peer.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        self.ends(program, UNREACHED, "SPICE")
        peer.close()

    def test_no_channel(self):
        """A machine that has none of what is wanted."""
        self.qemu()
        self.fails(REFUSED, ["smartcard", "channel"], "--channel", "smartcard", self.uri)
        self.fails(REFUSED, ["usbredir", "channel"], "--as-usb", self.uri)
        self.fails(REFUSED, ["smartcard", "channel"], self.uri)

    def test_gone(self):
        machine = self.qemu(*SMARTCARD)
        program = self.client(self.uri)
        self.says(program, TOOK)
        machine.kill()
        self.ends(program, LOST, f"connection to {self.uri}", "lost")

    def test_thrown_out(self):
        """Who comes last has the session, and who was there hears of it."""
        self.qemu(*SMARTCARD)
        program = self.client(self.uri)
        self.says(program, TOOK)
        with Session(Way(("127.0.0.1", self.number))):
            self.ends(program, LOST, "another client")

    def test_throws_out(self):
        """A viewer is thrown out, as the help says."""
        self.qemu(*SMARTCARD)
        with Session(Way(("127.0.0.1", self.number))) as viewer:
            program = self.client(self.uri)
            viewer.main.wait_closed()
            self.says(program, TOOK)
            program.end()

    def test_reconnect(self):
        """A machine that comes back has the card again."""
        machine = self.qemu(*SMARTCARD)
        program = self.client("--reconnect=1", self.uri)
        self.says(program, TOOK)
        machine.kill()
        self.says(program, "trying again")
        self.qemu(*SMARTCARD, number=self.number)
        deadline = time.monotonic() + LIMIT
        while program.errors().count(TOOK) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(program.end().count(TOOK), 2)

    def test_started_first(self):
        """With --reconnect the machine may come later."""
        number = free_port()
        program = self.client("--reconnect=1", f"spice://127.0.0.1:{number}")
        self.says(program, "trying again in 1 s")
        self.qemu(*SMARTCARD, number=number)
        self.says(program, TOOK)
        program.end()

    def test_address(self):
        """What is wrong with it is said before any card is made."""
        cards = ("--nssdb", FOLDER / "none", "--cert", "id")
        for address, text in (("spice://me:pw@h:1", "--password-file"),
                              (str(FOLDER / "no.vv"), "No such file")):
            status, _, errors = run("vscclient", *cards, address)
            self.assertEqual(status, OPTIONS, errors)
            self.assertIn(text, errors)
            self.assertNotIn("me:pw", errors)


class Viewer(SpiceCase):
    """Beside a viewer, which is a small one; vscclient takes it for a large."""

    def viewer(self, *args, **env):
        """A client with a viewer that shows the machine; `self.end` ends it."""
        self.note = FOLDER / "note"
        self.addCleanup(lambda: os.path.exists(self.note) and os.unlink(self.note))
        self.place = FOLDER / "viewer"
        self.addCleanup(lambda: os.path.exists(self.place) and os.unlink(self.place))
        command = f"/usr/bin/python3 {ROOT / 'tests/peer/spice_viewer.py'} {self.place} {self.note}"
        return self.client("--viewer", command, *args, **env)

    def end(self, status=0):
        self.write("note", str(status))

    def seen(self, text):
        """Waits for what the viewer tells."""
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(self.place) or text not in self.told():
            self.assertLess(time.monotonic(), deadline, self.told())
            time.sleep(0.05)

    def told(self):
        path = pathlib.Path(self.place)
        return path.read_text(encoding="ascii") if path.exists() else ""

    def check(self, program):
        """Both are served, the card's channel is kept free, and they end
        together."""
        self.says(program, TOOK)
        self.seen("session")
        self.seen("smartcard refused")
        self.end()
        self.ends(program, DONE, "the viewer ended")
        self.assertNotIn("gone", self.told())
        self.assertNotIn("the viewer gets no", program.errors())

    def test_plain(self):
        self.qemu(*SMARTCARD)
        self.check(self.viewer(self.uri))

    def test_usb(self):
        machine = self.qemu(*USBREDIR)
        machine.qmp.execute("cont", {})
        program = self.viewer("--as-usb", self.uri)
        self.says(program, TOOK)
        machine.wait_usb(HIGH_SPEED)
        self.seen("usbredir refused")
        self.says(program, "the viewer cannot redirect USB devices")
        self.end()
        self.ends(program, DONE, "the viewer ended")

    def test_port(self):
        """What the viewer misses is said."""
        self.qemu(*port("a.b"))
        program = self.viewer("--channel", "port:a.b", self.uri)
        self.says(program, TOOK)
        self.seen("port refused")
        self.says(program, "the viewer gets no port channel")
        self.end()
        self.ends(program, DONE, "the viewer ended")

    def test_secret(self):
        """Password and TLS: the viewer is given what it needs."""
        with Pki() as pki:
            tls = free_port()
            self.start_qemu(f"tls-port={tls},addr=127.0.0.1,x509-dir={pki.path},"
                            "password-secret=pw", *SMARTCARD,
                            "-object", f"secret,id=pw,data={SECRET}")
            self.check(self.viewer("--ca-file", pki.ca, f"spice+tls://127.0.0.1:{tls}",
                                   VSCARD_SPICE_PASSWORD=SECRET))

    def test_no_channel(self):
        """It is said, and the viewer goes on."""
        self.qemu()
        program = self.viewer(self.uri)
        self.says(program, "no smartcard channel")
        self.seen("session")
        self.end()
        self.ends(program, DONE, "the viewer ended")

    def test_told_to_end(self):
        """The viewer is told too."""
        self.qemu(*SMARTCARD)
        program = self.viewer(self.uri)
        self.says(program, TOOK)
        program.end()
        self.seen("told to end")

    def test_no_program(self):
        self.qemu(*SMARTCARD)
        self.fails(OPTIONS, ["no-such-viewer"], "--viewer", FOLDER / "no-such-viewer", self.uri)


if __name__ == "__main__":
    unittest.main()
