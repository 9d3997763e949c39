# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscardd's command line: the commands people have written down since 2010
work as they stand, each mistake is one line that says what is wrong and what
is allowed, and what the log says never holds an APDU's data."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest

import vscard
from ccid import CcidHost
from programs import END_LIMIT, NORMAL, ROOT, SAN, Appliance, Folder, Program, run
from rig import power_on, round_trip
from stream import connect

DEVICES = ("-device", "usb-ccid", "-device", "ccid-card-passthru,chardev=ccid")


def until(what, limit=20):
    """Waits until `what` answers something true, and answers that."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
    return answer


def listening_ports(pid):
    """The TCP ports that are listened on in the network of a process."""
    lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return {int(line.split()[1].split(":")[1], 16) for line in lines if line.split()[3] == "0A"}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Case(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def usb_args(self):
        return ("-chardev", f"socket,id=usb0,path={self.folder / 'usb'},server=on,wait=off",
                "-device", "usbredir,id=bus0,chardev=usb0")

    def card_args(self):
        return ("-chardev", f"socket,id=ccid,path={self.folder / 'card'},server=on,wait=off")

    def refuse(self, args, pattern):
        """One line on stderr, nothing on stdout, status 1."""
        status, out, err = run("vscardd", *args)
        self.assertEqual((status, out), (1, ""), err)
        self.assertRegex(err, f"^vscardd: .*{pattern}")
        self.assertEqual(err.count("\n"), 1, err)

    def serve(self, host_at, card_at):
        """An APDU through the whole appliance."""
        with CcidHost(host_at).open() as host, vscard.Client.with_card(card_at) as client:
            power_on(host)
            round_trip(host, client, vscard.echo_command(1, b"abc", 16))


class Verbatim(Case):
    """Commands of the mailing list, word for word."""

    command = ("-chardev socket,server,host=0.0.0.0,port=2001,id=ccid,nowait "
               "-usb -device usb-ccid -device ccid-card-passthru,chardev=ccid").split()

    def test_socket_with_usb(self):
        """In a network and a /run of its own, so that the port and the place
        are free whatever else runs here."""
        probe = subprocess.run(["unshare", "-mn", "true"], check=False, stderr=subprocess.PIPE)
        if probe.returncode:
            self.skipTest(f"no namespaces here: {probe.stderr.decode().strip()}")
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        place = "/run" if os.getuid() == 0 else self.folder / "run"
        os.makedirs(place, exist_ok=True)
        inside = ["-mn", "sh", "-c", script, place, str(SAN / "vscardd"), *self.command]
        with Program("unshare", *inside, build=pathlib.Path("/usr/bin"),
                     XDG_RUNTIME_DIR=place) as program:
            self.check_served(program, f"/proc/{program.pid}/root{place}/vscard/usb-bus.0.sock")

    def test_folder_for_sockets(self):
        """It is made for what has a place in it by name, too."""
        place = "/run" if os.getuid() == 0 else self.folder / "run"
        folder = f"{place}/vscard"
        os.makedirs(place, exist_ok=True)
        command = ["-chardev", f"socket,id=p,path={folder}/pcscd.sock,server=on,wait=off",
                   "-device", "ifd,chardev=p", "-device", "virtio-serial",
                   "-chardev", f"socket,id=s,path={self.folder / 's'},server=on,wait=off",
                   "-device", f"virtserialport,chardev=s,name=x,path={folder}/port"]
        for used in (command, command[4:]):
            inside = ["-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', place,
                      str(SAN / "vscardd"), *used]
            with Program("unshare", *inside, build=pathlib.Path("/usr/bin"),
                         XDG_RUNTIME_DIR=place) as program:
                at = f"/proc/{program.pid}/root{folder}"
                until(lambda: program.check_alive() or os.path.exists(f"{at}/port"))
                self.assertEqual(os.path.exists(f"{at}/pcscd.sock"), used is command)
                self.assertEqual(os.stat(at).st_mode & 0o777, 0o700)

    def check_served(self, program, path):
        def serves():
            program.check_alive()
            return 2001 in listening_ports(program.pid) and os.path.exists(path)
        until(serves)
        with CcidHost(path).open() as host:
            self.assertEqual(host.slot_status().icc, 2)
        self.assertIn("/vscard/usb-bus.0.sock", program.errors())

    def test_socket_with_own_attach_point(self):
        port = free_port()
        command = [word.replace("0.0.0.0,port=2001", f"127.0.0.1,port={port}")
                   for word in self.command if word != "-usb"]
        with Program("vscardd", *self.usb_args(), *command):
            self.serve(self.folder / "usb", ("127.0.0.1", port))

    def test_usbredir_example(self):
        """The one of the design, and -usb beside it adds nothing."""
        port = free_port()
        with Program("vscardd", "-usb", "-chardev",
                     f"socket,id=usb0,path={self.folder / 'vm1.usb'},server=on,wait=off",
                     "-device", "usbredir,id=bus0,chardev=usb0", "-device", "usb-ccid,bus=bus0.0",
                     "-chardev", f"socket,id=c,host=127.0.0.1,port={port},server=on,wait=off",
                     "-device", "ccid-card-passthru,chardev=c") as program:
            self.serve(self.folder / "vm1.usb", ("127.0.0.1", port))
            self.assertNotIn("usb-bus", program.errors())

    def test_spellings(self):
        """Old and new booleans, and two dashes."""
        for spelling in ("server,nowait", "server=on,wait=off", "server=yes,nowait",
                         "nowait,server=true", "server=y,wait=n,nodelay"):
            with self.subTest(spelling):
                self.check_spelling(spelling)

    def check_spelling(self, spelling):
        port = free_port()
        with Program("vscardd", *self.usb_args(), "--chardev",
                     f"socket,{spelling},host=127.0.0.1,port={port},id=ccid", *DEVICES):
            self.serve(self.folder / "usb", ("127.0.0.1", port))

    def test_order_does_not_matter(self):
        with Program("vscardd", "-device", "ccid-card-passthru,chardev=ccid", "-device",
                     "usb-ccid", *self.card_args(), *self.usb_args()):
            self.serve(self.folder / "usb", self.folder / "card")

    def test_wait(self):
        """A server with wait=on waits for its client, then serves."""
        with Program("vscardd", *self.usb_args(), "-chardev",
                     f"socket,id=ccid,path={self.folder / 'card'},server=on", *DEVICES):
            with vscard.Client(self.folder / "card") as client:
                client.init()
                client.add_reader()
                client.insert()
                with CcidHost(self.folder / "usb").open() as host:
                    power_on(host)
                    round_trip(host, client, vscard.echo_command(1, b"abc", 16))

    def waiting(self):
        """An appliance that waits for its first client, and can be ended:
        its first socket is there."""
        program = Program("vscardd", *self.usb_args(), "-chardev",
                          f"socket,id=ccid,path={self.folder / 'card'},server=on", *DEVICES)
        self.addCleanup(program.kill)
        connect(self.folder / "usb").close()
        until(lambda: os.path.exists(self.folder / "card"))
        return program

    def test_wait_can_be_ended(self):
        self.waiting().end(signal.SIGTERM)

    def test_wait_can_be_interrupted(self):
        self.waiting().end(signal.SIGINT)

    def test_ended_wait_takes_its_sockets_away(self):
        self.waiting().end()
        self.assertEqual(os.listdir(self.folder.path), [])


CARD = "socket,id=ccid,path=/nonexistent/x,server=on,wait=off"
LONG = "/" + "x" * 120

# Words of the command line, and what the one line of error has to say.
MISTAKES = {
    "unknown backend": (["-chardev", "nosuch,id=a", "-device", "usb-ccid"],
                        "nosuch,id=a: .*unknown backend 'nosuch'.*socket"),
    "SPICE with no place": (["-spice", "disable-ticketing=on", *DEVICES],
                            "-spice disable-ticketing=on: no place to listen.*port="),
    "unknown key": (["-chardev", "socket,id=a,prot=1,path=/x", "-device", "usb-ccid"],
                    "unknown key 'prot'.*host.*path.*port.*server"),
    "repeated key": (["-chardev", "socket,id=a,port=1,port=2"], "'port' is given twice"),
    "key and its negation": (["-chardev", "socket,id=a,server,wait,nowait,port=1",
                              "-device", "usb-ccid"], "'wait' is given twice"),
    "bad id": (["-chardev", "socket,id=1a,port=1"], "bad id '1a'.*letter first"),
    "bad id character": (["-chardev", "socket,id=a/b,port=1"], "bad id 'a/b'"),
    "id alone": (["-chardev", "socket,id,port=1"], "bad id ''"),
    "no id": (["-chardev", "socket,port=1"], "id is missing"),
    "id twice": (["-chardev", "socket,id=a,port=1", "-chardev", "socket,id=a,port=2"],
                 "there is a chardev 'a' already"),
    "device id twice": (["-device", "usb-ccid,id=r", "-device", "usb-ccid,id=r"],
                        "there is a device 'r' already"),
    "bad port": (["-chardev", "socket,id=a,host=127.0.0.1,port=66000,server", "-device",
                  "usb-ccid"], "66000.*65535"),
    "negative port": (["-chardev", "socket,id=a,host=127.0.0.1,port=-1,server", "-device",
                       "usb-ccid"], "'?-1"),
    "bad number": (["-device", "usb-ccid,vendorid=0x10000"],
                   "bad value '0x10000' for 'vendorid'.*1 to 65535"),
    "number with a tail": (["-device", "usb-ccid,vendorid=12x"], "bad value '12x'"),
    "bad boolean": (["-chardev", "socket,id=a,path=/x,server=maybe", "-device", "usb-ccid"],
                    "bad value 'maybe' for 'server'.*on or off"),
    "empty key": (["-chardev", "socket,id=a,=3"], "a key is empty"),
    "no backend": (["-chardev", "id=a,port=1", "-device", "usb-ccid"], "backend"),
    "empty": (["-chardev", ""], "the backend is missing"),
    "path too long": (["-chardev", f"socket,id=a,path={LONG},server,nowait", "-device",
                       "usb-ccid"], "'path'.* 121 bytes.*107"),
    "no such folder": (["-chardev", CARD, "-device", "usb-ccid"],
                       "/nonexistent/x.*No such file or directory"),
    "path and port": (["-chardev", "socket,id=a,path=/x,port=3", "-device", "usb-ccid"],
                      "'port' does not go with 'path'"),
    "no address": (["-chardev", "socket,id=a,server", "-device", "usb-ccid"],
                   "no address is given.*host and port.*path"),
    "wait of a client": (["-chardev", "socket,id=a,path=/x,wait=off", "-device", "usb-ccid"],
                         "'wait' is for servers"),
    "unknown driver": (["-device", "usb-cid"],
                       "unknown driver 'usb-cid'.*usb-ccid.*ccid-card-passthru"),
    "unknown key of a driver": (["-device", "usb-ccid,color=red"],
                                "unknown key 'color'.*usb-ccid takes.*serial"),
    "nothing to serve": ([], "nothing to serve.*-device usb-ccid"),
    "no attach point": (["-device", "usb-ccid"], "no bus.*usbredir.*-usb.*usbip"),
    "usbredir without chardev": (["-device", "usbredir", "-device", "usb-ccid"],
                                 "chardev is missing"),
    "usbip without chardev": (["-device", "usbip", "-device", "usb-ccid"],
                              "chardev is missing; add -chardev socket,id=usbip0,host=127.0.0.1,"
                              "port=3240,server=on,wait=off and here chardev=usbip0"),
    "usbip with a chardev that is not": (["-device", "usbip,chardev=x", "-device", "usb-ccid"],
                                         "no chardev 'x'"),
    "unknown key of usbip": (["-device", "usbip,port=3240", "-device", "usb-ccid"],
                             "unknown key 'port'.*usbip takes.*chardev"),
    "ifd without chardev": (["-device", "ifd"], "-device ifd: chardev is missing"),
    "ifd with a chardev that is not": (["-device", "ifd,chardev=x"], "no chardev 'x'"),
    "ifd with no name for it": (["-device", "ifd,chardev="], "bad value '' for 'chardev'"),
    "unknown key of ifd": (["-device", "ifd,chardev=x,serial=1"],
                           "unknown key 'serial'; ifd takes: chardev, id, slots"),
    "ifd is on no bus": (["-device", "ifd,chardev=x,bus=bus0.0"], "unknown key 'bus'; ifd takes"),
    "key of ifd twice": (["-device", "ifd,chardev=x,chardev=y"], "'chardev' is given twice"),
    "slots of ifd without a number": (["-device", "ifd,chardev=x,slots"],
                                      "'slots' needs a value: slots=NUMBER"),
    "unknown option": (["-frobnicate"], "unknown option '-frobnicate'.*--help"),
    "no option": (["frobnicate"], "unknown option 'frobnicate'"),
    "argument missing": (["-device"], "-device wants an argument"),
    "unknown log item": (["-d", "nonsense"], "unknown item 'nonsense'.*-d help"),
    "log file": (["-D", "/nonexistent/log"], "-D /nonexistent/log.*No such file"),
    "no config file": (["-readconfig", "/nonexistent/c"], "-readconfig.*No such file"),
}


class Slots(Case):
    """Readers of several slots, and several readers of one client."""

    def lend(self, client, name, atr=vscard.ECHO_ATR):
        client.add_reader(name)
        client.insert(atr)
        return client.reader

    def test_all_slots(self):
        """A passthru without a slot has those that another leaves."""
        with Program("vscardd", *self.usb_args(), *self.card_args(), "-chardev",
                     f"socket,id=two,path={self.folder / 'two'},server,nowait",
                     "-device", "usb-ccid,slots=4", "-device", "ccid-card-passthru,chardev=ccid",
                     "-device", "ccid-card-passthru,chardev=two,slot=1") as program, \
             CcidHost(self.folder / "usb").open() as host, \
             vscard.Client(self.folder / "card") as client, \
             vscard.Client.with_card(self.folder / "two"):
            client.init()
            self.assertEqual([self.lend(client, b"%d" % i) for i in range(3)], [0, 1, 2])
            for slot in range(4):
                host.wait_icc(1, slot)
                self.assertEqual(host.power_on(slot).data, vscard.ECHO_ATR)
            client.send(vscard.READER_ADD, vscard.UNDEFINED_READER, b"fourth")
            client.expect_error(vscard.CANNOT_ADD_MORE_READERS)
            until(lambda: "'fourth'" in program.errors())
            self.assertRegex(program.errors(), "chardev ccid has one reader more.*more than 3 by "
                                               "slots=")

    def test_emulated_card_in_a_slot(self):
        subprocess.run([ROOT / "fixtures/make-nssdb", self.folder / "nssdb", "--pin", "1234"],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        card = (f"ccid-card-emulated,backend=certificates,db={self.folder / 'nssdb'},"
                "cert1=id,cert2=signing,cert3=encryption,slot=1")
        with Program("vscardd", *self.usb_args(), *self.card_args(), "-device",
                     "usb-ccid,slots=2", *DEVICES[2:], "-device", card), \
             CcidHost(self.folder / "usb").open() as host, \
             vscard.Client.with_card(self.folder / "card"):
            host.wait_icc(1, 1)
            self.assertIn(b"cd144", host.power_on(1).data)
            host.wait_icc(1, 0)
            self.assertEqual(host.power_on(0).data, vscard.ECHO_ATR)

    def test_shared_chardev(self):
        """A USB reader for each reader of one client."""
        args = []
        for n in range(2):
            args += ["-chardev", f"socket,id=u{n},path={self.folder / f'u{n}'},server,nowait",
                     "-device", f"usbredir,id=b{n},chardev=u{n}",
                     "-device", f"usb-ccid,id=r{n},bus=b{n}.0",
                     "-device", f"ccid-card-passthru,chardev=ccid,bus=r{n}.0"]
        with Program("vscardd", *self.card_args(), *args), \
             CcidHost(self.folder / "u0").open() as one, \
             CcidHost(self.folder / "u1").open() as other, \
             vscard.Client(self.folder / "card") as client:
            client.init()
            self.assertEqual(self.lend(client, b"A"), 0)
            power_on(one)
            self.assertEqual(other.slot_status().icc, 2)
            self.assertEqual(self.lend(client, b"B"), 1)
            power_on(other)
            round_trip(other, client, vscard.echo_command(1, b"abc", 16))


class Mistakes(Case):
    """Words that cannot be."""

    def test_table(self):
        for name, (args, pattern) in MISTAKES.items():
            with self.subTest(name):
                self.refuse(args, pattern)

    def test_taken_port(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            port = sock.getsockname()[1]
            self.refuse(["-chardev", f"socket,id=a,host=127.0.0.1,port={port},server,nowait",
                         "-device", "usb-ccid"], f"{port}.*Address already in use")

    def test_taken_path(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.folder / "taken")
            sock.listen()
            self.refuse(["-chardev", f"socket,id=a,path={self.folder / 'taken'},server,nowait",
                         "-device", "usb-ccid"], f"{self.folder / 'taken'}")

    def test_no_folder(self):
        self.refuse(["-chardev", "socket,id=a,path=/nonexistent/a,server,nowait", "-device",
                     "usb-ccid"], "/nonexistent/a: No such file.*its folder is not there; make it")

    def test_path_is_a_file(self):
        """A file in the way is refused, and still there after."""
        pathlib.Path(self.folder / "file").write_text("precious", encoding="ascii")
        self.refuse(["-chardev", f"socket,id=a,path={self.folder / 'file'},server,nowait",
                     "-device", "usb-ccid"], f"{self.folder / 'file'}")
        self.assertEqual(pathlib.Path(self.folder / "file").read_text(encoding="ascii"), "precious")

    def test_missing_chardev(self):
        self.refuse([*self.usb_args(), *DEVICES],
                    "chardev=ccid: there is no chardev 'ccid'; there are: usb0")
        self.refuse([*self.usb_args(), "-device", "usb-ccid", "-device", "ccid-card-passthru"],
                    "ccid-card-passthru: chardev is missing")

    def test_buses(self):
        usb, card = self.usb_args(), self.card_args()
        self.refuse([*usb, "-device", "usb-ccid,bus=nosuch.0"],
                    "there is no bus 'nosuch.0' for it; there are: bus0.0")
        self.refuse([*usb, "-device", "usb-ccid", "-device", "usb-ccid"], "full")
        self.refuse([*usb, "-device", "usb-ccid", "-device", "usb-ccid,bus=bus0.0"],
                    "bus 'bus0.0' is full")
        self.refuse([*usb, *card, *DEVICES, *DEVICES[2:]], "full.*-device usb-ccid")
        self.refuse([*usb, *card, "-device", "usb-ccid,id=r", *DEVICES[2:], "-device",
                     "ccid-card-passthru,chardev=ccid,bus=bus0.0"], "no bus 'bus0.0'.*r.0")

    def test_slots(self):
        usb, card = self.usb_args(), self.card_args()

        def refuse(*devices, pattern):
            words = [word for device in devices for word in ("-device", device)]
            self.refuse([*usb, *card, *words], pattern)

        passthru = "ccid-card-passthru,chardev=ccid"
        refuse("usb-ccid,slots=0", pattern="bad value '0' for 'slots'.*1 to 16")
        refuse("usb-ccid,slots=17", pattern="bad value '17' for 'slots'.*1 to 16")
        refuse("usb-ccid,id=r", f"{passthru},slot=1", pattern="the reader r has no slot 1.*slots=")
        refuse("usb-ccid,id=r,slots=3", f"{passthru},slot=1", f"{passthru},slot=1",
               pattern="another card has slot 1 of the reader r")
        refuse("usb-ccid,slots=2", passthru, passthru, pattern="full.*slots=")
        refuse("usb-ccid,slots=2", f"{passthru},slot=0", f"{passthru},slot=1",
               f"{passthru},slot=1", pattern="full.*slots=")

    def test_ifd(self):
        pcscd = ("-chardev", f"socket,id=pcscd,path={self.folder / 'pcscd'},server=on,wait=off")

        def refuse(*devices, pattern):
            words = [word for device in devices for word in ("-device", device)]
            self.refuse([*pcscd, *self.card_args(), *words], pattern)

        passthru = "ccid-card-passthru,chardev=ccid"
        for slots in ("0", "17", "two", ""):
            refuse(f"ifd,chardev=pcscd,slots={slots}",
                   pattern=f"bad value '{slots}' for 'slots'.*1 to 16")
        refuse("ifd,chardev=pcscd,id=r,slots=2", f"{passthru},slot=2",
               pattern="the reader r has no slot 2.*slots=")
        refuse("ifd,chardev=pcscd,slots=2", f"{passthru},slot=0", f"{passthru},slot=0",
               pattern="another card has slot 0")
        refuse("ifd,chardev=pcscd", passthru, passthru, pattern="full.*slots=")
        refuse("ifd,chardev=pcscd", "ifd,chardev=pcscd", pattern="'pcscd' is in use already")
        refuse("ifd,chardev=pcscd", "ccid-card-passthru,chardev=pcscd",
               pattern="'pcscd' is in use already")

    def test_seventeen_places(self):
        """More than one peer can have readers for."""
        args = []
        for n in range(2):
            args += ["-chardev", f"socket,id=u{n},path={self.folder / f'u{n}'},server,nowait",
                     "-device", f"usbredir,id=b{n},chardev=u{n}",
                     "-device", f"usb-ccid,id=r{n},bus=b{n}.0,slots={16 if n else 1}",
                     "-device", f"ccid-card-passthru,chardev=ccid,bus=r{n}.0"]
        self.refuse([*self.card_args(), *args], "16 readers, no more")

    def test_one_chardev_two_users(self):
        """Whoever comes second is named, with what to do."""
        usb = self.usb_args()
        cure = "chardev 'usb0' is in use already; give this one a chardev of its own"
        for second in ("ccid-card-passthru,chardev=usb0", "ifd,chardev=usb0"):
            self.refuse([*usb, "-device", "usb-ccid,bus=bus0.0", "-device", second],
                        f"-device {second}: {cure}")
        chardev = ["-chardev", f"socket,id=usb0,path={self.folder / 'usb'},server,nowait"]
        for second in ("usbip,id=b,chardev=usb0", "usbredir,id=b,chardev=usb0"):
            self.refuse([*chardev, "-device", "usbip,id=a,chardev=usb0", "-device", second,
                         "-device", "usb-ccid,bus=b.0"], f"-device {second}: {cure}")

    def test_certificates(self):
        self.refuse([*self.usb_args(), "-device", "usb-ccid", "-device",
                     "ccid-card-emulated,backend=certificates,cert1=a"], "cert2 is missing")
        self.refuse([*self.usb_args(), "-device", "usb-ccid", "-device",
                     "ccid-card-emulated,backend=nosuch"],
                    "backend 'nosuch'.*nss-emulated, certificates")

    def test_strange_words(self):
        """Control characters and broken UTF-8 do not reach the terminal."""
        for word in ("socket,id=a,p\x1b[2Jx=1", "socket,id=a,\n=1", "a" * 100000):
            status, out, err = run("vscardd", "-chardev", word, "-device", "usb-ccid")
            self.assertEqual((status, out, err.count("\n")), (1, "", 1))
            self.assertNotIn("\x1b", err)
            self.assertLess(len(err), 2000)


class Help(Case):
    """What there is, on stdout, with status 0."""

    def words(self, *args):
        status, out, err = run("vscardd", *args)
        self.assertEqual((status, err), (0, ""))
        return set(re.findall(r"^ *(-{0,2}[A-Za-z0-9-]+)", out, re.M)), out

    def test_chardev(self):
        self.assertIn("socket", self.words("-chardev", "help")[0])
        self.assertIn("socket", self.words("-chardev", "?")[0])

    def test_chardev_socket(self):
        for word in ("socket,help", "socket,?"):
            words, _ = self.words("-chardev", word)
            self.assertLessEqual({"host", "port", "to", "ipv4", "ipv6", "nodelay", "path",
                                  "abstract", "fd", "server", "wait", "reconnect", "id"}, words)

    def test_unknown_chardev(self):
        status, _, err = run("vscardd", "-chardev", "nosuch,help")
        self.assertEqual(status, 1)
        self.assertRegex(err, "nosuch.*socket")

    def test_devices(self):
        words, _ = self.words("-device", "help")
        drivers = {"usbredir", "usbip", "usb-ccid", "ifd", "ccid-card-passthru",
                   "ccid-card-emulated"}
        self.assertLessEqual(drivers, words)
        keys = {"usbredir": {"chardev"}, "usbip": {"chardev", "replug"},
                "usb-ccid": {"bus", "vendorid", "productid", "serial"},
                "ifd": {"chardev", "slots"}, "ccid-card-passthru": {"chardev", "bus"},
                "ccid-card-emulated": {"backend", "cert1", "cert2", "cert3", "db", "bus"}}
        for driver in drivers:
            with self.subTest(driver):
                self.assertLessEqual(keys[driver], self.words("-device", f"{driver},help")[0])

    def test_log_items(self):
        words, _ = self.words("-d", "help")
        self.assertLessEqual({"chardev", "vscard", "messages", "apdu", "ccid", "all"}, words)

    def test_help_and_version(self):
        for option in ("-h", "-help", "--help"):
            words, out = self.words(option)
            self.assertLessEqual({"--chardev", "--device", "--usb", "--readconfig", "-d", "-D",
                                  "--daemonize", "--pidfile", "--help", "--version"}, words)
            self.assertIn("Usage: vscardd", out)
        for option in ("-version", "--version"):
            self.assertRegex(self.words(option)[1], r"^vscardd \d+\.\d+")


CONFIG = """# A reader on two sockets, as QEMU writes such files.
[chardev "usb0"]
  backend = "socket"
  path = "{usb}"
  server = "on"
  wait = "off"

[device "bus0"]
  driver = "usbredir"
  chardev = "usb0"

[device]
  driver = "usb-ccid"
  bus = "bus0.0"
"""
CARD_CONFIG = """
[chardev "ccid"]
backend="socket"
path="{card}"
server="on"
wait="off"
[device "card"]
driver="ccid-card-passthru"
chardev="ccid"
"""

# What a file holds, the line that is wrong, and what is said of it.
BAD_CONFIGS = {
    "key before a group": ('path = "x"\n', 1, "a key before any group"),
    "unknown group": ('\n[netdev "x"]\n', 2, "unknown group"),
    "no quotes": ('[chardev "a"]\nbackend = socket\n', 2, 'key = "value"'),
    "no value": ('[chardev "a"]\nbackend\n', 2, 'key = "value"'),
    "id without quotes": ("[chardev a]\n", 1, "stands in quotes"),
    "bracket missing": ('[chardev "a"\n', 1, "ends with ']'"),
    "key twice": ('[chardev "a"]\npath = "x"\npath = "y"\n', 3, "'path' is given twice"),
    "bad id": ('[chardev "1"]\n', 1, "bad id '1'"),
    "unknown driver": ('[device "a"]\ndriver = "nosuch"\n[device]\n', 1, "unknown driver 'nosuch'"),
    "id twice": ('[device "a"]\ndriver = "usb-ccid"\n[device "a"]\ndriver = "usb-ccid"\n', 3,
                 "there is a device 'a' already"),
}


class Configs(Case):
    """Files of -readconfig."""

    def write(self, text, name="config"):
        path = self.folder / name
        pathlib.Path(path).write_text(
            text.format(usb=self.folder / "usb", card=self.folder / "card"), encoding="utf-8")
        return path

    def test_good(self):
        for text in (CONFIG + CARD_CONFIG, (CONFIG + CARD_CONFIG).replace("\n", "\r\n")):
            with self.subTest(text[-3:]):
                with Program("vscardd", "-readconfig", self.write(text)):
                    self.serve(self.folder / "usb", self.folder / "card")

    def test_with_options(self):
        """A file and options, and two files, are one machine."""
        with Program("vscardd", "-readconfig", self.write(CONFIG), *self.card_args(),
                     *DEVICES[2:]):
            self.serve(self.folder / "usb", self.folder / "card")
        with Program("vscardd", "-readconfig", self.write(CARD_CONFIG, "b"), "-readconfig",
                     self.write(CONFIG, "a")):
            self.serve(self.folder / "usb", self.folder / "card")

    def test_bad(self):
        for name, (text, line, pattern) in BAD_CONFIGS.items():
            with self.subTest(name):
                path = self.write(text.replace("{", "{{").replace("}", "}}"))
                self.refuse(["-readconfig", path], f"{path}:{line}: .*{pattern}")

    def test_not_a_config(self):
        for content in (os.urandom(3000), b"\0" * 100, b"[" * 5000):
            pathlib.Path(self.folder / "junk").write_bytes(content)
            status, _, err = run("vscardd", "-readconfig", self.folder / "junk")
            self.assertEqual((status, err.count("\n")), (1, 1), err)
        self.refuse(["-readconfig", self.folder.path], "-readconfig")

    def test_too_large(self):
        pathlib.Path(self.folder / "large").write_bytes(b"#" * (1 << 20) + b"#")
        self.refuse(["-readconfig", self.folder / "large"], "not a file of at most 1048576 bytes")


class Daemon(Case):
    """Background, pid file, signals."""

    def args(self, name="a"):
        return (*self.usb_args(), *self.card_args(), *DEVICES, "-pidfile",
                self.folder / f"{name}.pid")

    def end_daemon(self, pid):
        """Ends a process that is no child of ours."""
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            until(lambda: not self.runs(pid), END_LIMIT)
        finally:
            if self.runs(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)

    def runs(self, pid):
        """Is there such a process, other than as a zombie?"""
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def test_daemonize(self):
        """The call comes back once it serves: no retry is needed then."""
        status, out, err = run("vscardd", *self.args(), "-daemonize", build=NORMAL)
        self.assertEqual((status, out, err), (0, "", ""))
        pid = int(pathlib.Path(self.folder / "a.pid").read_text(encoding="ascii"))
        try:
            self.assertTrue(os.path.exists(self.folder / "usb"))
            self.serve(self.folder / "usb", self.folder / "card")
            self.check_detached(pid)
        finally:
            self.end_daemon(pid)
        self.assertFalse(os.path.exists(self.folder / "a.pid"))

    def check_detached(self, pid):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        self.assertEqual(int(stat.rpartition(")")[2].split()[3]), pid)
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")

    def test_daemonize_that_cannot(self):
        """The caller hears why, and no process and no pid file stay."""
        status, _, err = run("vscardd", *self.usb_args(), *DEVICES, "-pidfile",
                             self.folder / "a.pid", "-daemonize")
        self.assertEqual(status, 1)
        self.assertRegex(err, "there is no chardev 'ccid'")
        self.assertFalse(os.path.exists(self.folder / "a.pid"))

    def test_pidfile(self):
        path = self.folder / "a.pid"
        with Program("vscardd", *self.args()) as program:
            until(lambda: os.path.exists(path) and os.path.getsize(path))
            self.assertEqual(pathlib.Path(path).read_text(encoding="ascii"), f"{program.pid}\n")
            self.check_second_refused(path)
            self.serve(self.folder / "usb", self.folder / "card")
        self.assertFalse(os.path.exists(path))

    def check_second_refused(self, path):
        other = self.folder / "other"
        for extra in ((), ("-daemonize",)):
            status, _, err = run("vscardd", "-chardev",
                                 f"socket,id=u,path={other},server=on,wait=off", "-device",
                                 "usbredir,chardev=u", "-device", "usb-ccid", "-pidfile", path,
                                 *extra)
            self.assertEqual(status, 1)
            self.assertRegex(err, f"-pidfile {path}: another vscardd holds it")
            self.assertFalse(os.path.exists(other))
        self.assertTrue(os.path.getsize(path))

    def test_stale_pidfile(self):
        """The file of a process that was killed stops nobody."""
        pathlib.Path(self.folder / "a.pid").write_text("1\n", encoding="ascii")
        with Program("vscardd", *self.args()) as program:
            self.serve(self.folder / "usb", self.folder / "card")
            self.assertEqual(pathlib.Path(self.folder / "a.pid").read_text(encoding="ascii"),
                             f"{program.pid}\n")

    def test_pidfile_that_cannot(self):
        status, _, err = run("vscardd", *self.usb_args(), "-device", "usb-ccid", "-pidfile",
                             "/nonexistent/pid")
        self.assertEqual(status, 1)
        self.assertRegex(err, "-pidfile /nonexistent/pid.*No such file")

    def test_signals(self):
        """Idle, with peers, and in the middle of a command."""
        for sig in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(sig):
                self.check_signal(sig)

    def check_signal(self, sig):
        appliance = Appliance()
        with CcidHost(appliance.usb()).open() as host:
            with vscard.Client.with_card(appliance.card()) as client:
                power_on(host)
                host.start(vscard.echo_command(1, b"", 5))
                client.take_command()
                appliance.end(sig)
        idle = Appliance()
        CcidHost(idle.usb()).open().close()
        idle.end(sig)

    def test_sockets_are_taken_away(self):
        """A UNIX socket does not outlive its server, so the next can start."""
        for _ in range(3):
            with Program("vscardd", *self.usb_args(), *self.card_args(), *DEVICES):
                self.serve(self.folder / "usb", self.folder / "card")
            self.assertFalse(os.path.exists(self.folder / "usb"))

    def test_killed_server_leaves_its_path(self):
        program = Program("vscardd", *self.usb_args(), *self.card_args(), *DEVICES)
        self.serve(self.folder / "usb", self.folder / "card")
        program.kill()
        self.assertTrue(os.path.exists(self.folder / "usb"))
        with Program("vscardd", *self.usb_args(), *self.card_args(), *DEVICES):
            self.serve(self.folder / "usb", self.folder / "card")


PIN = b"7351946820"
VERIFY = bytes([0x00, 0x20, 0x00, 0x81, len(PIN)]) + PIN
SECRET = bytes.fromhex("c0ffee1dea5eba11f00dcafe")


class Logs(Case):
    """-d and -D, and what they must not say."""

    def converse(self, appliance):
        """A VERIFY with a recognisable PIN, and an answer with a secret, both
        also in an extended APDU and in a second answer nobody waits for."""
        with CcidHost(appliance.usb()).open() as host:
            with vscard.Client.with_card(appliance.card()) as client:
                power_on(host)
                for command in (VERIFY, VERIFY[:4] + b"\0\0" + VERIFY[4:]):
                    seq = host.start(command)
                    self.assertEqual(client.take_command(), command)
                    client.answer(SECRET + b"\x90\x00")
                    client.answer(SECRET + b"\x90\x00")
                    self.assertEqual(host.final(seq).data, SECRET + b"\x90\x00")

    def check_clean(self, text):
        """No run of four bytes of the data, in hex of any style or as text."""
        plain = re.sub(r"[^0-9a-z]", "", text.lower())
        bare = re.sub(r"0x", "", text.lower())
        bare = re.sub(r"[^0-9a-z]", "", bare)
        for data in (PIN, SECRET):
            for at in range(len(data) - 3):
                part = data[at:at + 4].hex()
                self.assertNotIn(part, plain)
                self.assertNotIn(part, bare)
        self.assertNotIn(PIN.decode()[:5], text)

    def test_apdu(self):
        for items in ("apdu", "all", "chardev,vscard,messages,apdu,ccid,machine"):
            with self.subTest(items):
                appliance = Appliance(extra=("-d", items), G_MESSAGES_DEBUG="all")
                self.converse(appliance)
                text = appliance.end()
                self.check_clean(text)
                self.assertRegex(text.lower(), r"00 ?20 ?00 ?81")

    def test_check_would_notice(self):
        """The look for secrets finds them in the styles logs have."""
        for text in (PIN.hex(), PIN.hex(" ").upper(), PIN.hex(":"), PIN.decode(),
                     ", ".join(f"0x{byte:02X}" for byte in SECRET)):
            with self.assertRaises(AssertionError):
                self.check_clean(f"vscardd: APDU {text} done")

    def test_quiet_without_items(self):
        appliance = Appliance()
        self.converse(appliance)
        self.assertEqual(appliance.end(), "")

    def test_items(self):
        """Each item says something of its own."""
        for item, pattern in (("vscard", "reader"), ("messages", "(?i)apdu"),
                              ("ccid", "usbredir"), ("machine", "usb-ccid"),
                              ("chardev", "card0|usb0|unix")):
            with self.subTest(item):
                appliance = Appliance(extra=("-d", item))
                self.converse(appliance)
                text = appliance.end()
                self.assertRegex(text, pattern)
                self.check_clean(text)

    def test_file(self):
        path = self.folder / "log"
        for _ in range(2):
            appliance = Appliance(extra=("-d", "all", "-D", path))
            self.converse(appliance)
            self.assertEqual(appliance.end(), "")
        text = pathlib.Path(path).read_text(encoding="utf-8")
        self.check_clean(re.sub(r"(?m)^\S+ \S+ ", "", text))
        self.assertRegex(text, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ vscardd: ")
        self.assertEqual(text.count("vscardd: ending"), 2)


if __name__ == "__main__":
    unittest.main()
