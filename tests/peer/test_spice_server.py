# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscardd's SPICE server: a card lent over its smartcard channel, with a ticket,
TLS and SASL; what happens to the reader when a client, or the process that
holds the server, goes or is driven to its end; and each mistake of -spice,
-object and -chardev spicevmc in one line."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import time
import unittest

import spice
import vscard
from ccid import ABSENT, CcidHost
from programs import NORMAL, SAN, Appliance, Folder, environment, run
from rig import ECHO, power_on, round_trip
from spice import Access, Session, SmartcardClient, Way, free_port
from spicerig import DEVICE, REMOVE, Library, Rig, until
from stream import Closed, Late


class Card(unittest.TestCase):
    """One appliance for all; each case leaves it as it found it."""

    @classmethod
    def setUpClass(cls):
        cls.rig = Rig()

    @classmethod
    def tearDownClass(cls):
        cls.rig.close()

    def test_round_trips(self):
        with Session(self.rig.way) as session, SmartcardClient.with_card(session) as client:
            power_on(self.rig.host)
            for n in range(50):
                round_trip(self.rig.host, client, vscard.echo_command(n, b"abc", 200))

    def test_longest_short_answers(self):
        """Longer ones the reader asks the card for piece by piece, since SPICE's
        clients hold no more."""
        with Session(self.rig.way) as session, SmartcardClient.with_card(session) as client:
            power_on(self.rig.host)
            for size in range(240, 257):
                round_trip(self.rig.host, client, vscard.echo_command(1, b"a", size))
                round_trip(self.rig.host, client, vscard.echo_command(1, bytes(size - 1), 1))

    def test_removal_and_return(self):
        for _ in range(5):
            self.rig.serve()

    def test_client_vanishes_in_mid_command(self):
        with Session(self.rig.way) as session, SmartcardClient.with_card(session) as client:
            power_on(self.rig.host)
            seq = self.rig.host.start(ECHO)
            client.take_command()
        self.assertNotEqual(self.rig.host.final(seq).verdict[2], 0)
        self.rig.host.wait_icc(ABSENT)
        self.rig.serve()

    def test_second_session_takes_over(self):
        """The library lets the first go; its card is pulled."""
        with Session(self.rig.way) as session, SmartcardClient.with_card(session):
            power_on(self.rig.host)
            with Session(self.rig.way) as other:
                session.main.wait_closed()
                self.rig.host.wait_icc(ABSENT)
                with SmartcardClient.with_card(other) as client:
                    power_on(self.rig.host)
                    round_trip(self.rig.host, client, ECHO)

    def test_password_stays_inside(self):
        """The server's process has nothing of the settings where others see it."""
        pid = self.rig.appliance.server_pid()
        for name in ("cmdline", "environ"):
            text = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
            self.assertNotIn(str(self.rig.appliance.access.port).encode(), text)

    def test_library_is_not_in_vscardd(self):
        maps = f"/proc/{self.rig.appliance.pid}/maps"
        self.assertNotIn("libspice", pathlib.Path(maps).read_text(encoding="utf-8"))

    def test_display_for_viewers(self):
        """Viewers take the smartcard channel once they show a display."""
        with Session(self.rig.way) as session:
            self.assertIn((spice.DISPLAY, 0), session.channels)
            self.assertIn((spice.SMARTCARD, 0), session.channels)


def smartcard_message(kind, reader=0, data=b"", length=None):
    return lambda channel: channel.send(
        spice.DATA, spice.pack_card(kind, reader, data, length))


# What a hostile client says on its smartcard channel.
HOSTILE = {
    "length beyond the message": smartcard_message(vscard.APDU, 0, b"abc", 1000),
    "length of four gigabytes": smartcard_message(vscard.APDU, 0, b"abc", 0xFFFFFFFF),
    "length short of the message": smartcard_message(vscard.APDU, 0, b"abcdef", 2),
    "half a header": lambda channel: channel.send(spice.DATA, b"\7\0\0\0"),
    "nothing": lambda channel: channel.send(spice.DATA),
    "a reader that is not there": smartcard_message(vscard.APDU, 1, b"abc"),
    "a reader far away": smartcard_message(vscard.APDU, 0xFFFFFFFF, b"abc"),
    "an Init": smartcard_message(vscard.INIT, 0, b"VSCD\0\0\0\2"),
    "FlushComplete": smartcard_message(vscard.FLUSH_COMPLETE),
    "an unknown type": smartcard_message(77, 0, b"abc"),
    "removal of a reader never added": smartcard_message(vscard.READER_REMOVE),
    "removal of another reader": smartcard_message(vscard.READER_REMOVE, 3),
    "a card before a reader": smartcard_message(vscard.ATR, 0, vscard.ECHO_ATR),
    "an endless message": lambda channel: channel.stream.send_anyway(
        struct.pack("<HI", spice.DATA, 0x7FFFFFFF) + bytes(1000)),
    "migration data": lambda channel: channel.send(2, bytes(64)),
    "flush mark": lambda channel: channel.send(spice.FLUSH_MARK),
    "unknown message": lambda channel: channel.send(999, b"abc"),
}
# Those at which the library ends its process.
DEADLY = {"flush mark"}


class Hostile(unittest.TestCase):
    """A client that breaks the server breaks no reader."""

    def test_messages(self):
        for name, say in HOSTILE.items():
            with self.subTest(name), Rig() as rig:
                first = rig.appliance.server_pid()
                with Session(rig.way) as session:
                    channel = session.open(spice.SMARTCARD)
                    say(channel)
                    try:
                        channel.wait_closed(0.3)
                    except Late:
                        pass
                    channel.close()
                rig.check_other()
                if name in DEADLY:
                    rig.appliance.new_server_pid(first)
                rig.serve()
                rig.check_other()

    def test_end_of_the_process(self):
        """A client that ends the server's process: its card is pulled, the
        process comes back by itself, and the log says so."""
        with Rig() as rig:
            first = rig.appliance.server_pid()
            with Session(rig.way) as session, SmartcardClient.with_card(session) as client:
                power_on(rig.host)
                client.channel.send(spice.FLUSH_MARK)
                rig.host.wait_icc(ABSENT)
            rig.check_other()
            rig.appliance.new_server_pid(first)
            rig.serve()
            self.assertRegex(rig.appliance.errors(),
                             "warning: the SPICE server failed: .* it is started anew")

    def test_again_and_again(self):
        """Each time it takes longer, and it comes back."""
        with Rig() as rig:
            for _ in range(4):
                with Session(rig.way) as session:
                    first = rig.appliance.server_pid()
                    with session.open(spice.SMARTCARD) as channel:
                        channel.send(spice.FLUSH_MARK)
                        session.main.wait_closed()
                rig.check_other()
                rig.appliance.new_server_pid(first)
            rig.serve()
            self.assertRegex(rig.appliance.errors(), r"started anew in \d+ ms")


class Process(unittest.TestCase):
    """The life of the server's process beside vscardd's."""

    def test_killed(self):
        with Rig() as rig:
            with Session(rig.way) as session, SmartcardClient.with_card(session):
                power_on(rig.host)
                first = rig.appliance.server_pid()
                os.kill(first, signal.SIGKILL)
                rig.host.wait_icc(ABSENT)
            rig.appliance.new_server_pid(first)
            rig.serve()
            rig.check_other()
            self.assertIn("by signal 9", rig.appliance.errors())

    def test_killed_in_mid_command(self):
        with Rig() as rig, Session(rig.way) as session:
            with SmartcardClient.with_card(session) as client:
                power_on(rig.host)
                seq = rig.host.start(ECHO)
                client.take_command()
                first = rig.appliance.server_pid()
                os.kill(first, signal.SIGKILL)
                self.assertNotEqual(rig.host.final(seq).verdict[2], 0)
            rig.appliance.new_server_pid(first)
            rig.serve()

    def test_hung(self):
        """One that does not come back to its loop ends by itself: here a line of
        its log finds no room, since nobody reads. One that was idle for as long
        does not."""
        with Rig() as rig, Library() as library:
            rig.serve()
            idle = rig.appliance.server_pid()
            library.control.setblocking(False)
            numbers = iter(range(8, 1000000))
            # A busy machine's may only be late when there is no room the first time.
            deadline = time.monotonic() + 120
            while library.process.poll() is None and time.monotonic() < deadline:
                try:
                    n = next(numbers)
                    library.say(DEVICE, n, 1, "port", "org.vscard.test.0")
                    library.say(REMOVE, n)
                except BlockingIOError:
                    time.sleep(0.1)
                except OSError:  # it has just ended
                    break
            self.assertEqual(library.process.wait(10), -signal.SIGALRM)
            self.assertEqual(rig.appliance.server_pid(), idle)
            rig.serve()

    def test_hung_is_said(self):
        with Rig() as rig:
            first = rig.appliance.server_pid()
            os.kill(first, signal.SIGALRM)
            rig.appliance.new_server_pid(first)
            rig.serve()
            self.assertIn("ended since it had hung; it is started anew",
                          rig.appliance.errors())

    def check_gone(self, pid):
        def gone():
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
            except FileNotFoundError:
                return True
            return stat.rpartition(")")[2].split()[0] == "Z"
        until(gone)

    def test_ends_with_vscardd(self):
        rig = Rig()
        pid = rig.appliance.server_pid()
        rig.close()
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def test_ends_with_a_killed_vscardd(self):
        rig = Rig()
        pid = rig.appliance.server_pid()
        rig.appliance.kill()
        self.check_gone(pid)

    def test_takes_no_signal_but_vscardds(self):
        """A terminal's Ctrl-C goes to both; vscardd decides."""
        with Rig() as rig:
            pid = rig.appliance.server_pid()
            for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, sig)
            rig.serve()
            self.assertEqual(rig.appliance.server_pid(), pid)

    def test_none_without_spice(self):
        with Appliance() as appliance:
            children = f"/proc/{appliance.pid}/task/{appliance.pid}/children"
            self.assertEqual(pathlib.Path(children).read_text(encoding="ascii"), "")
            maps = pathlib.Path(f"/proc/{appliance.pid}/maps").read_text(encoding="utf-8")
            self.assertNotIn("libspice", maps)

    def test_alone(self):
        """It is no program for people."""
        status, out, err = run("vscardd-spice")
        self.assertEqual((status, out, err.count("\n")), (2, "", 1))
        self.assertIn("part of vscardd", err)

    def test_memory(self):
        """200 clients leave nothing behind, in either process."""
        with Rig(build=NORMAL) as rig:
            pid = rig.appliance.server_pid()

            def measure():
                files = len(os.listdir(f"/proc/{pid}/fd")) + rig.appliance.open_files()
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                    own = sum(int(line.split()[1]) for line in rollup
                              if line.startswith("Private_Dirty:"))
                return own, rig.appliance.private_kib(), files

            # The last client's other channels may still be on their way out.
            for _ in range(30):
                rig.serve()
            time.sleep(1)
            before = measure()
            for _ in range(200):
                rig.serve()
            after = measure()
            self.assertEqual(rig.appliance.server_pid(), pid)
            self.assertLess(after[0] - before[0], 600, "KiB in the server's process")
            self.assertLess(after[1] - before[1], 200, "KiB in vscardd")
            until(lambda: measure()[2] <= before[2])


class Ways(unittest.TestCase):
    """How a client is let in."""

    def check(self, access, tls=False):
        with Rig(access) as rig:
            rig.serve(access.way(tls))
            return rig

    def refused(self, way):
        with self.assertRaises((spice.Refused, Closed)):
            Session(way).close()

    def test_ticket(self):
        access = Access(ticket=True)
        with Rig(access) as rig:
            self.refused(access.way()._replace(password="another"))
            self.refused(access.way()._replace(password=""))
            rig.serve()

    def test_ticket_after_a_new_start(self):
        """The new process knows the password too."""
        access = Access(ticket=True)
        with Rig(access) as rig:
            first = rig.appliance.server_pid()
            os.kill(first, signal.SIGKILL)
            rig.appliance.new_server_pid(first)
            rig.serve()
            self.refused(access.way()._replace(password="another"))

    def secret_args(self, port, secret):
        return ["-object", f"secret,id=pw,{secret}", "-spice",
                f"port={port},addr=127.0.0.1,password-secret=pw"]

    def check_secret(self, secret, password):
        access = Access()
        access.args = self.secret_args(access.port, secret)
        access.password = password
        self.check(access)

    def test_secret_in_base64(self):
        self.check_secret("data=b3BlbiBzZXNhbWU=,format=base64", "open sesame")

    def test_secret_of_a_base64_file(self):
        with Folder() as folder:
            pathlib.Path(folder / "pw").write_text("b3BlbiBz\nZXNhbWU=\n", encoding="ascii")
            self.check_secret(f"file={folder / 'pw'},format=base64", "open sesame")

    def test_secret_of_a_raw_file(self):
        """To the last byte, as QEMU has it: a comma, a line end."""
        with Folder() as folder:
            pathlib.Path(folder / "pw").write_text("one,two\n", encoding="ascii")
            self.check_secret(f"file={folder / 'pw'}", "one,two\n")

    def test_password_on_the_command_line(self):
        access = Access()
        access.args = ["-spice", f"port={access.port},addr=127.0.0.1,password=plain"]
        access.password = "plain"
        with Rig(access) as rig:
            rig.serve()
            self.assertIn("use password-secret", rig.appliance.errors())
            child = rig.appliance.server_pid()
            self.assertNotIn(b"plain", pathlib.Path(f"/proc/{child}/cmdline").read_bytes())

    def test_tls(self):
        access = Access(tls=True)
        with Rig(access) as rig:
            rig.serve(access.way(tls=True))
            rig.serve(access.way())

    def test_tls_channels(self):
        """-spice in parts, and a key that may be repeated."""
        access = Access(tls=True)
        access.args += ["-spice", "tls-channel=smartcard,tls-channel=main"]
        with Rig(access) as rig:
            rig.serve(access.way(tls=True))
            with self.assertRaises(spice.Refused) as caught:
                Session(access.way()).close()
            self.assertEqual(caught.exception.code, spice.NEED_SECURED)

    def test_sasl_offered(self):
        access = Access(sasl=True)
        with Rig(access) as rig:
            self.assertNotIn("defaults hold", rig.appliance.errors())
            self.refused(access.way()._replace(password=""))

    def test_sasl_without_configuration(self):
        access = Access(sasl=True)
        with Rig(access, SASL_CONF_PATH="/nonexistent") as rig:
            self.assertIn("no vscardd.conf", rig.appliance.errors())

    def test_unix_socket(self):
        access = Access(unix=True)
        access.args = ["-spice", f"unix=on,addr={access.socket},disable-ticketing=on"]
        with Rig(access) as rig:
            rig.serve()
            first = rig.appliance.server_pid()
            os.kill(first, signal.SIGKILL)
            rig.appliance.new_server_pid(first)
            rig.serve()

    def test_unix_socket_is_taken_away(self):
        with Folder() as folder:
            access = Access()
            access.args = ["-spice", f"unix=on,addr={folder / 'spice'},disable-ticketing=on"]
            rig = Rig(access)
            self.assertEqual(os.listdir(folder.path), ["spice"])
            rig.close()
            self.assertEqual(os.listdir(folder.path), [])

    def test_config_file(self):
        access = Access()
        path = access.write("config", f"""
[spice]
  port = "{access.port}"
  addr = "127.0.0.1"
  password-secret = "pw"
[object "pw"]
  qom-type = "secret"
  data = "from a file"
""")
        access.args = ["-readconfig", path]
        access.password = "from a file"
        self.check(access)


DEVICES = ("-device", "usb-ccid", "-device", "ccid-card-passthru,chardev=ccid")
OPEN = "disable-ticketing=on"
SPICE = f"unix=on,addr=SOCKET,{OPEN}"


def mistakes():
    """Command lines with what their one line of error has to say."""
    def spicy(keys, words):
        return ["-spice", keys], words

    def card(chardev, words):
        return ["-spice", SPICE, "-chardev", chardev, *DEVICES], words

    def secret(keys, words):
        return ["-object", keys], words

    return {
        "no place": spicy(f"addr=127.0.0.1,{OPEN}", "no place to listen.*port=.*tls-port=.*unix"),
        "port=0 is none": spicy(f"port=0,{OPEN}", "no place to listen"),
        "no way in": spicy("port=5999", "password-secret=.*sasl=on.*disable-ticketing"),
        "unknown key": spicy("port=1,colour=red", "unknown key 'colour'; -spice takes: addr"),
        "not here": spicy(f"port=1,{OPEN},image-compression=quic",
                          "image-compression has no meaning here"),
        "gl": spicy(f"port=1,{OPEN},gl=on", "gl has no meaning here"),
        "unix without addr": spicy(f"unix=on,{OPEN}", "unix=on wants addr=PATH"),
        "unix and port": spicy(f"unix=on,addr=/x,port=1,{OPEN}", "unix=on does not go with port"),
        "both families": spicy(f"port=1,ipv4=on,ipv6=on,{OPEN}", "exclude each other"),
        "equal ports": spicy(f"port=5,tls-port=5,{OPEN}", "port and tls-port are the same"),
        "channel without TLS": spicy(f"port=5,tls-channel=main,{OPEN}", "add tls-port="),
        "key given twice": spicy("port=5,port=6", "'port' is given twice"),
        "long password": spicy(f"port=5,password={'x' * 61}", "1 to 60 bytes"),
        "both passwords": spicy("port=5,password=a,password-secret=b", "there is no secret 'b'"),
        "no certificates": spicy(f"tls-port=5999,x509-dir=/nonexistent,{OPEN}",
                                 "cannot read /nonexistent/server-key.pem.*x509-key-file="),
        "unknown channel": spicy(f"port=5999,plaintext-channel=tv,{OPEN}",
                                 "no channel 'tv'; there are: main, smartcard"),
        "address": spicy(f"port=5999,addr=192.0.2.1,{OPEN}",
                         "cannot listen on 192.0.2.1:5999: Cannot assign requested address"),
        "a file in the way": spicy(f"unix=on,addr=/etc/passwd,{OPEN}",
                                   "/etc/passwd is there and is no socket"),
        "no secret": spicy("port=5,password-secret=x", "there is no secret 'x'; there are: none"),
        "no name": card("spicevmc,id=ccid",
                        "name is missing.*one of: vdagent, smartcard, usbredir$"),
        "unknown name": card("spicevmc,id=ccid,name=keyboard",
                             "'keyboard' is not one of the allowed: vdagent, smartcard, usbredir"),
        "debug": card("spicevmc,id=ccid,name=smartcard,debug=4", "'4'|from 0 to 3"),
        "no port name": card("spiceport,id=ccid", "name is missing.*name=org"),
        "unknown object": secret("tls-creds-x509,id=a", "unknown object 'tls-creds-x509'"),
        "secret without id": secret("secret,data=x", "id is missing"),
        "neither": secret("secret,id=a", "one of file=PATH and data=TEXT"),
        "both": secret("secret,id=a,data=x,file=/x", "one of file=PATH and data=TEXT"),
        "no file": secret("secret,id=a,file=/nonexistent", "cannot read /nonexistent"),
        "encrypted": secret("secret,id=a,data=x,keyid=b", "keyid, iv"),
        "format": secret("secret,id=a,data=x,format=hex", "neither raw nor base64"),
        "not base64": secret("secret,id=a,data=**,format=base64", "not base64"),
    }


class Mistakes(unittest.TestCase):
    """One line on stderr, nothing on stdout, status 1."""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def refuse(self, args, pattern, **env):
        args = [word.replace("SOCKET", self.folder / "spice") for word in args]
        status, out, err = run("vscardd", *args, *self.reader(), **env)
        lines = [line for line in err.splitlines() if "use password-secret=ID" not in line]
        self.assertEqual((status, out, len(lines)), (1, "", 1), err)
        self.assertRegex(lines[0], f"^vscardd: .*(?:{pattern})")
        return lines[0]

    def reader(self):
        return ("-chardev", f"socket,id=usb0,path={self.folder / 'usb'},server=on,wait=off",
                "-device", "usbredir,chardev=usb0", "-device", "usb-ccid")

    def test_all(self):
        for name, (args, pattern) in mistakes().items():
            with self.subTest(name):
                self.refuse(args, pattern)

    def test_second_smartcard(self):
        for name in ("smartcard", "vdagent"):
            with self.subTest(name):
                self.refuse(["-spice", SPICE, "-chardev", f"spicevmc,id=a,name={name}",
                             "-chardev", f"spicevmc,id=b,name={name}"],
                            f"one {name} channel")

    def test_port_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refuse(["-spice", f"port={port},addr=127.0.0.1,{OPEN}"],
                        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
                        "give another port=")

    def test_two_servers_on_one_path(self):
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(self.folder / "spice")
            taken.listen()
            self.refuse(["-spice", SPICE], "is in use by another server")
        self.assertTrue(os.path.exists(self.folder / "spice"))

    def test_key_of_another_certificate(self):
        pki, other = spice.Pki(), spice.Pki()
        self.addCleanup(pki.remove)
        self.addCleanup(other.remove)
        self.refuse(["-spice", f"tls-port={free_port()},addr=127.0.0.1,x509-dir={pki.path},"
                     f"x509-key-file={other / 'server-key.pem'},{OPEN}"],
                    "cannot listen: Could not use private key file")

    def test_secrets_are_not_repeated(self):
        for args in (["-spice", "port=5,password=hunter2,colour=red"],
                     ["-object", "secret,id=a,data=hunter2,colour=red"],
                     ["-spice", f"port=5,x509-key-password=hunter2,{OPEN}"]):
            with self.subTest(args):
                self.assertNotIn("hunter2", self.refuse(args, "colour|tls-port"))

    def test_no_program(self):
        """A vscardd that is alone."""
        build = pathlib.Path(self.folder.path)
        (build / "vscardd").write_bytes((SAN / "vscardd").read_bytes())
        (build / "vscardd").chmod(0o755)
        done = subprocess.run([build / "vscardd", "-spice", f"port=5,{OPEN}", *self.reader()],
                              env=environment(), check=False, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the program vscardd-spice is missing", done.stderr)

    def test_config_group(self):
        path = self.folder / "config"
        pathlib.Path(path).write_text('[spice "a"]\nport = "5"\n', encoding="ascii")
        self.refuse(["-readconfig", path], "config:1: there is one SPICE server")


class Verbatim(unittest.TestCase):
    """The command of the mailing list, as it stands."""

    command = ("-chardev spicevmc,id=ccid,name=smartcard "
               "-usb -device usb-ccid -device ccid-card-passthru,chardev=ccid").split()

    def test_default_places(self):
        with Folder() as folder:
            os.makedirs(folder / "run")
            place = "/run" if os.getuid() == 0 else folder / "run"
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            with subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", script, place, str(SAN / "vscardd"),
                     *self.command], env=environment(XDG_RUNTIME_DIR=place),
                    stderr=subprocess.PIPE) as process:
                try:
                    self.check(f"/proc/{process.pid}/root{place}/vscard")
                finally:
                    process.terminate()
                    said = process.stderr.read().decode()
                self.assertIn("the SPICE server is at spice+unix://", said)

    def check(self, place):
        until(lambda: os.path.exists(f"{place}/usb-bus.0.sock"))
        with CcidHost(f"{place}/usb-bus.0.sock").open() as host:
            with Session(Way(f"{place}/spice.sock")) as session:
                with SmartcardClient.with_card(session) as client:
                    power_on(host)
                    round_trip(host, client, ECHO)


if __name__ == "__main__":
    unittest.main()
