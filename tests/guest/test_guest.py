# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of the guest itself: it boots, obeys, sees readers and goes away.

Everything that other tests take for granted about the guest is proved here, with
QEMU's own reader, so that a failure elsewhere is not the guest's.
"""

import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from guest import Guest, GuestError, GuestTimeout, QmpError, build  # noqa: E402

# What a VSCard client sends to put a card into QEMU's reader.
VSC_INIT, VSC_READER_ADD, VSC_ATR, VSC_CARD_REMOVE = 1, 3, 5, 6
VSCARD_MAGIC = b"VSCD"
ATR = bytes.fromhex("3B00")

READER = "Gemalto Gemplus USB SmartCard Reader 433-Swap"
MEBIBYTE = bytes(range(256)) * 4096


def alive(pid):
    """Answer whether a process of that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def message(peer, kind, content):
    """Send a VSCard message of reader 0."""
    peer.sendall(struct.pack(">III", kind, 0, len(content)) + content)


class BuildTest(unittest.TestCase):
    """The build, when there is nothing to do."""

    def test_answers_the_same_folder_at_once(self):
        first = build()
        start = time.monotonic()
        self.assertEqual(build(), first)
        self.assertLess(time.monotonic() - start, 2)
        self.assertTrue((first / "vmlinux").is_file())
        self.assertTrue((first / "initramfs").is_file())

    def test_names_the_package_of_a_missing_tool(self):
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(["/usr/bin/python3", HERE / "build", empty],
                                  env={"PATH": empty}, stderr=subprocess.PIPE,
                                  text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("dpkg-deb (Debian package dpkg)", done.stderr)


class CommandTest(unittest.TestCase):
    """Commands, files and their limits, in one guest for all."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest())

    def test_status_and_output(self):
        result = self.guest.run("echo out; echo err >&2; exit 3")
        self.assertEqual((result.status, result.output), (3, b"out\nerr\n"))
        self.assertEqual(self.guest.run("true").status, 0)

    def test_check(self):
        with self.assertRaisesRegex(GuestError, "status 1\nno luck"):
            self.guest.run("echo no luck; false", check=True)

    def test_no_such_program(self):
        self.assertEqual(self.guest.run("/no/such/program").status, 127)

    def test_input(self):
        self.assertEqual(self.guest.run("tr a-z A-Z", b"shout").output, b"SHOUT")

    def test_input_that_nobody_reads(self):
        self.assertEqual(self.guest.run("exit 5", MEBIBYTE).status, 5)
        result = self.guest.run("exec <&-; sleep 0.2; exit 6", MEBIBYTE)
        self.assertEqual(result.status, 6)

    def test_output_of_what_stays_in_the_background(self):
        start = time.monotonic()
        self.assertEqual(self.guest.run("sleep 15 & echo on").output, b"on\n")
        self.assertLess(time.monotonic() - start, 10)

    def test_stuck_input_stops_no_other_command(self):
        stuck = self.guest.spawn("sleep 100")
        with self.assertRaises(GuestTimeout):
            stuck.write(MEBIBYTE, timeout=0.5)
        self.assertEqual(self.guest.run("echo free").text, "free\n")
        stuck.kill()
        self.assertEqual(stuck.wait().status, -signal.SIGKILL)

    def test_many_at_once(self):
        many = [self.guest.spawn(f"read x; echo {n} $x") for n in range(20)]
        for process in reversed(many):
            process.write(b"go\n")
        for n, process in enumerate(many):
            self.assertEqual(process.wait().text, f"{n} go\n")

    def test_too_many_at_once(self):
        many = [self.guest.spawn("sleep 100") for _ in range(64)]
        with self.assertRaisesRegex(GuestError, "too many"):
            self.guest.run("true")
        for process in many:
            process.kill()
        for process in many:
            process.wait()
        self.assertEqual(self.guest.run("true").status, 0)

    def test_watch(self):
        process = self.guest.spawn("echo one; read x; echo two $x; sleep 100")
        self.assertEqual(process.read_until("on(e)\n")[1], b"e")
        process.write(b"more\n")
        process.read_until("two more")
        self.assertTrue(process.running)
        with self.assertRaises(GuestTimeout):
            process.read_until("three", timeout=0.2)
        process.kill(signal.SIGTERM)
        self.assertEqual(process.wait().status, -signal.SIGTERM)
        with self.assertRaisesRegex(GuestError, "ended with -15"):
            process.read_until("three")

    def test_timeout_kills(self):
        with self.assertRaises(GuestTimeout):
            self.guest.run("sleep 100 & echo $! > /tmp/pid; wait", timeout=0.5)
        result = self.guest.run("while kill -0 $(cat /tmp/pid); do "
                                "usleep 10000; done", timeout=10)
        self.assertIn("No such process", result.text)

    def test_put_and_get_a_mebibyte(self):
        self.guest.put("/tmp/a file", MEBIBYTE, 0o600)
        self.assertEqual(self.guest.get("/tmp/a file"), MEBIBYTE)
        self.assertIn("-rw-------", self.guest.run("ls -l '/tmp/a file'").text)

    def test_get_without_file(self):
        with self.assertRaisesRegex(GuestError, "No such file"):
            self.guest.get("/no/such/file")

    def test_every_module_loads(self):
        self.guest.run("cd /lib/modules/* && cut -d: -f1 modules.dep |"
                       "sed 's|.*/||; s|[.]ko$||' | xargs modprobe -a",
                       check=True)

    def test_qmp(self):
        self.assertTrue(self.guest.qmp("query-status")["running"])
        with self.assertRaises(QmpError) as caught:
            self.guest.qmp("no-such-command")
        self.assertEqual(caught.exception.kind, "CommandNotFound")


class ReaderTest(unittest.TestCase):
    """QEMU's own reader, by way of pcscd and of scdaemon."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest())

    def start_pcscd(self, options=""):
        self.guest.run(f"start-pcscd {options}", check=True)
        self.addCleanup(self.guest.run, "stop-pcscd", check=True)

    def detach_reader(self):
        """Unplugs the reader; the guest's kernel takes a moment to see it."""
        self.guest.detach("ccid")
        self.guest.run("while lsusb -d 08e6:4433; do usleep 10000; done", check=True)

    def test_reader_comes_and_goes(self):
        self.start_pcscd()
        self.assertEqual(self.guest.run("pcsc-tool list").text, "no readers\n")
        for bus in ("uhci.0", "xhci.0"):
            with self.subTest(bus=bus):
                waiting = self.guest.spawn("echo on; pcsc-tool wait reader")
                waiting.read_until("on")
                self.guest.add_usb_ccid(bus=bus)
                self.assertEqual(waiting.wait().status, 0, waiting.output)
                text = self.guest.run("pcsc-tool list").text
                self.assertIn(READER, text)
                self.assertIn("state: empty", text)
                waiting = self.guest.spawn("pcsc-tool wait no-reader")
                waiting.read_until(": changed empty\n")
                self.guest.run("usleep 200000")
                self.assertTrue(waiting.running)
                self.guest.detach("ccid")
                self.assertEqual(waiting.wait().status, 0, waiting.output)
        self.assertIn(b"RFAddReader", self.guest.get("/tmp/pcscd.log"))

    def test_pcscd_starts_once_and_stops(self):
        self.guest.add_usb_ccid()
        self.addCleanup(self.detach_reader)
        for options in ("", "--quiet"):
            with self.subTest(options=options):
                self.guest.run(f"start-pcscd {options}", check=True)
                self.guest.run("pcsc-tool wait reader", check=True)
                again = self.guest.run("start-pcscd")
                self.assertEqual(again.status, 1)
                self.assertIn("already started", again.text)
                gone = self.guest.run("stop-pcscd && ! pidof pcscd")
                self.assertEqual(gone.status, 0, gone.text)
        self.assertEqual(self.guest.run("stop-pcscd").status, 1)

    def test_stop_waits_for_the_end(self):
        self.guest.run("start-pcscd && kill -STOP $(pidof pcscd)", check=True)
        stopping = self.guest.spawn("stop-pcscd")
        self.guest.run("usleep 200000")
        self.assertTrue(stopping.running)
        self.guest.run("kill -CONT $(pidof pcscd)", check=True)
        self.assertEqual(stopping.wait().status, 0)

    def test_errors_have_names(self):
        result = self.guest.run("pcsc-tool list")
        self.assertEqual((result.status, result.text),
                         (1, "SCardEstablishContext: SCARD_E_NO_SERVICE\n"))
        self.start_pcscd("--quiet")
        result = self.guest.run("pcsc-tool apdu 00A40000")
        self.assertEqual((result.status, result.text),
                         (1, "SCardConnect: SCARD_E_UNKNOWN_READER\n"))
        result = self.guest.run("pcsc-tool wait reader 0.2")
        self.assertEqual((result.status, result.text),
                         (1, "SCardGetStatusChange: SCARD_E_TIMEOUT\n"))
        self.assertEqual(self.guest.run("pcsc-tool apdu").status, 2)

    def test_scdaemon_finds_the_reader_itself(self):
        self.guest.add_usb_ccid(bus="uhci.0")
        self.addCleanup(self.detach_reader)
        self.guest.run("while ! lsusb -d 08e6:4433; do usleep 10000; done",
                       check=True)
        result = self.guest.run("/usr/lib/gnupg/scdaemon --server",
                                b"GETINFO reader_list\nBYE\n")
        self.assertIn("08E6:4433", result.text)


class PlugTest(unittest.TestCase):
    """Devices whose other half is a socket of ours."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest())

    def listen(self):
        """Answer a listening UNIX socket and its path."""
        path = str(self.guest.directory / f"{self.id()}.socket")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.settimeout(10)
        listener.bind(path)
        listener.listen()
        return listener, path

    def test_usbredir(self):
        listener, path = self.listen()
        for bus in ("uhci.0", "ehci.0", "xhci.0"):
            with self.subTest(bus=bus):
                self.guest.attach_usbredir("redirected", path, bus=bus)
                peer, _ = listener.accept()
                with peer, peer.makefile("rb") as stream:
                    # usbredir's hello: type 0, 68 bytes, id, version's text.
                    self.assertEqual(stream.read(8), bytes([0, 0, 0, 0, 68, 0, 0, 0]))
                    self.assertIn(b"qemu", stream.read(68))
                    self.guest.detach("redirected")
                    stream.read()
        self.assertEqual([one["label"] for one in self.guest.qmp("query-chardev")
                          if "redirected" in one["label"]], [])

    def test_usbredir_with_nobody_there(self):
        for _ in range(2):
            with self.assertRaisesRegex(QmpError, "Failed to connect"):
                self.guest.attach_usbredir("nobody", "/no/such/socket")

    def test_passthru_card(self):
        self.guest.run("start-pcscd", check=True)
        self.addCleanup(self.guest.run, "stop-pcscd", check=True)
        path = str(self.guest.directory / "card.socket")
        self.guest.add_usb_ccid()
        self.guest.add_passthru_card("card", path)
        waiting = self.guest.spawn("pcsc-tool wait inserted")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            message(peer, VSC_INIT, VSCARD_MAGIC + bytes([0, 0, 0, 2, 0, 0, 0, 0]))
            message(peer, VSC_READER_ADD, b"test")
            message(peer, VSC_ATR, ATR)
            self.assertEqual(waiting.wait().status, 0, waiting.output)
            self.assertIn(f"ATR: {ATR.hex().upper()}",
                          self.guest.run("pcsc-tool list").text)
            waiting = self.guest.spawn("pcsc-tool wait removed")
            waiting.read_until(": changed present")
            message(peer, VSC_CARD_REMOVE, b"")
            self.assertEqual(waiting.wait().status, 0, waiting.output)
        self.guest.detach("card")
        self.guest.detach("ccid")


class EndTest(unittest.TestCase):
    """No way of ending leaves a QEMU behind."""

    def test_power_off(self):
        with Guest(controllers=()) as guest:
            guest.power_off()
            with self.assertRaises(GuestError):
                guest.run("true")

    def test_stop_on_exception(self):
        with self.assertRaises(ZeroDivisionError):
            with Guest(controllers=()) as guest:
                pid, directory = guest.pid, guest.directory
                raise ZeroDivisionError
        self.assertFalse(alive(pid))
        self.assertFalse(directory.exists())

    def test_command_ends_with_the_guest(self):
        with Guest(controllers=()) as guest:
            process = guest.spawn("sleep 100")
        with self.assertRaisesRegex(GuestError, "the guest is gone"):
            process.wait()

    def test_qemu_refuses(self):
        with self.assertRaisesRegex(GuestError, "no-such-device"):
            Guest(qemu_args=["-device", "no-such-device"]).start()

    def test_death_of_the_test(self):
        script = ("import os, signal, guest; one = guest.Guest(controllers=());"
                  "one.start(); print(one.pid, one.directory, flush=True);"
                  "os.kill(os.getpid(), signal.SIGKILL)")
        with subprocess.Popen([sys.executable, "-B", "-c", script], cwd=HERE,
                              stdout=subprocess.PIPE, text=True) as dying:
            pid, directory = dying.stdout.read().split()
        self.addCleanup(subprocess.run, ["rm", "-r", directory])
        self.wait_gone(int(pid))

    def wait_gone(self, pid):
        """Wait until a process that is not our child has ended."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        with open(handle, "rb"):
            self.assertTrue(select.select([handle], [], [], 20)[0])

    def test_run_from_a_shell(self):
        done = subprocess.run([HERE / "run", "--", "echo seen; exit 3"],
                              stdout=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stdout), (3, b"seen\n"))


if __name__ == "__main__":
    unittest.main()
