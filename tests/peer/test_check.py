# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscclient --check: each thing that can be in a card's way, made with real
servers where there are such, is told in plain words and by its exit status; and
who is served meanwhile does not notice."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

import spice
import vscard
from pcscrig import Rig as PcscRig
from programs import NORMAL, ROOT, SAN, Appliance, Folder, Program, environment, run
from rig import ECHO, power_on, round_trip
from ccid import CcidHost
from spice import Access, Pki, Session, free_port
from spice_fake import FakeServer
from spicerig import Rig as SpiceRig
from stream import connect
from vpcdcard import T1_ATR, TestCard

sys.path.insert(0, str(ROOT / "tests/guest"))
from qmp import Qmp  # noqa: E402 pylint: disable=wrong-import-position

# Exit statuses of vscclient (its --help).
DONE, OPTIONS, UNREACHED, REFUSED, CARD, LOST, PASSWORD, UNTRUSTED, NO_PCSCD, NO_READER, NO_CARD, \
    CARD_STUCK, SILENT, NOT_VSCARD, NO_CHANNEL, CHANNEL_BUSY = range(16)

FOLDER = Folder()
CARDS = ("--nssdb", FOLDER / "nssdb", "--cert", "id")
TWO_CARDS = ("-e", f'db="{FOLDER / "nssdb"}" use_hw=no soft=(,First,CAC,,id) '
             "soft=(,Second,CAC,,signing)")
NOWHERE = f"unix:{FOLDER / 'nowhere'}"
LIMIT = 90


def setUpModule():
    """One database for all."""
    subprocess.run([str(ROOT / "fixtures/make-nssdb"), FOLDER / "nssdb", "--pin", "1234"],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(FOLDER.remove)


class CheckCase(unittest.TestCase):

    def judge(self, status, words, done):
        """It ended with `status`, and its last line has `words`; answers all of
        its lines. Each is a step."""
        code, out, err = done
        self.assertEqual(code, status, out + err)
        lines = out.splitlines()
        for line in lines:
            self.assertRegex(line, "^(ok|note|problem|all is well)[: ]")
        self.assertIn(words, lines[-1])
        self.assertEqual(sum(line.startswith("problem: ") for line in lines), status != DONE)
        return lines

    def check(self, status, words, *args, cards=CARDS, how="--check", **env):
        return self.judge(status, words, run("vscclient", how, *cards, *args, limit=LIMIT, **env))

    def check_under(self, status, words, prefix, *args, **env):
        """The same, started by another program. What changes the system around
        a program leaves sanitizers without what they need."""
        done = subprocess.run([*prefix, NORMAL / "vscclient", "--check", *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=LIMIT,
                              env=environment(**env))
        return self.judge(status, words,
                          (done.returncode, done.stdout.decode(), done.stderr.decode()))

    @contextlib.contextmanager
    def host(self, serve):
        """A listener whose one client `serve` gets; answers its address."""
        with vscard.Listener() as listener:
            failed = []

            def work():
                try:
                    with listener.accept() as host:
                        serve(host)
                except BaseException as error:  # pylint: disable=broad-except
                    failed.append(error)
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            yield f"tcp://127.0.0.1:{listener.port}"
            thread.join(LIMIT)
            self.assertEqual(failed, [])


# Root without these is as anybody where files are concerned.
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search",
              "--inh-caps=-dac_override,-dac_read_search")


class Pcscd(CheckCase):
    """What is wrong with it before there is a reader."""

    def service(self, name):
        """A socket where pcscd's would be, which belongs to somebody else."""
        path = FOLDER / name
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        self.addCleanup(sock.close)
        return sock, {"PCSCLITE_CSOCK_NAME": path}

    def test_not_running(self):
        self.check(NO_PCSCD, "pcscd does not run", "--pcsc", NOWHERE, cards=(),
                   PCSCLITE_CSOCK_NAME=FOLDER / "none")

    def test_not_installed(self):
        hide = ("unshare", "--mount", "sh", "-c",
                'mount --bind /dev/null "$(command -v pcscd)" && exec "$@"', "sh")
        self.check_under(NO_PCSCD, "pcscd is not installed", hide, "--pcsc", NOWHERE,
                         PCSCLITE_CSOCK_NAME=FOLDER / "none")

    def test_dead(self):
        _, env = self.service("dead")
        self.check(NO_PCSCD, "pcscd ended and left", "--pcsc", NOWHERE, cards=(), **env)

    def test_forbidden(self):
        sock, env = self.service("forbidden")
        sock.listen()
        os.chown(FOLDER / "forbidden", 65534, 65534)
        os.chmod(FOLDER / "forbidden", 0o700)
        self.check_under(NO_PCSCD, "this user may not use", AS_ANYBODY, "--pcsc", NOWHERE, **env)

    def test_not_let_in(self):
        """As by polkit: pcscd closes."""
        sock, env = self.service("closing")
        sock.listen()

        def close_each():
            with contextlib.suppress(OSError):
                while True:
                    sock.accept()[0].close()
        threading.Thread(target=close_each, daemon=True).start()
        self.check(NO_PCSCD, "polkit", "--pcsc", NOWHERE, cards=(), **env)
        sock.shutdown(socket.SHUT_RDWR)

    def test_hangs(self):
        sock, env = self.service("hanging")
        sock.listen()
        self.check(NO_PCSCD, "does not answer", "--pcsc", NOWHERE, cards=(), **env)


class MuteCard(TestCard):
    """It is there, and says nothing of sense when it gets power."""

    mute = False

    def control(self, code):
        super().control(code)
        self.mute = code != 0

    @property
    def atr(self):
        mute, self.mute = self.mute, False
        return bytes(40) if mute else T1_ATR

    @atr.setter
    def atr(self, atr):
        pass


class Readers(CheckCase):
    """pcscd serves."""

    @classmethod
    def setUpClass(cls):
        cls.rig = PcscRig()
        cls.addClassCleanup(cls.rig.close)

    def tearDown(self):
        for n, slot in enumerate(self.rig.slots):
            slot.remove()
            self.rig.wait_card(n, False)

    def insert(self, slot=0, kind=TestCard):
        card = self.rig.slots[slot].insert(kind())
        self.rig.wait_card(slot)
        return card

    def look(self, status, words, *args, address=NOWHERE):
        return self.check(status, words, "--pcsc", *args, address, cards=(), **self.rig.env)

    def test_no_reader(self):
        with PcscRig(()) as rig:
            self.check(NO_READER, "pcscd has no reader", "--pcsc", NOWHERE, cards=(), **rig.env)

    def test_none_left(self):
        self.assertIn(f"note: reader '{self.rig.names[0]}' is not lent: --exclude leaves it out",
                      self.look(NO_READER, "none to lend", "--exclude", "*"))
        self.assertIn(f"note: reader '{self.rig.names[0]}' is not lent: no --reader names it",
                      self.look(NO_READER, "none to lend", "--reader", "Other*"))

    def test_no_card(self):
        lines = self.look(NO_CARD, "put one into the reader")
        self.assertEqual(len([line for line in lines if "no card in reader" in line]), 2)

    def test_mute(self):
        self.insert(kind=MuteCard)
        self.look(CARD_STUCK, "no card can be used")

    def test_exclusive(self):
        card = self.insert()
        with self.rig.owner() as owner:
            self.assertEqual(owner.connect(self.rig.names[0], "SCARD_SHARE_EXCLUSIVE"), 0)
            log = list(card.log)
            lines = self.look(CARD_STUCK, "end the program that has it for itself")
            self.assertIn(f"note: another program has the card in reader '{self.rig.names[0]}' "
                          "for itself", lines)
            self.assertEqual(card.log, log)

    def test_used(self):
        """Shared with a program here: only --share exclusive minds."""
        card = self.insert()
        with self.rig.owner() as owner:
            self.assertEqual(owner.connect(self.rig.names[0]), 0)
            log = list(card.log)
            self.look(CARD_STUCK, "no card can be used", "--share", "exclusive")
            lines = self.look(UNREACHED, "there is no such socket")
            self.assertIn("which another program uses too", "\n".join(lines))
            self.assertEqual(card.log, log)

    def test_well(self):
        """The card of the second reader is in vscardd's."""
        self.insert(1)
        with Appliance() as appliance:
            lines = self.look(DONE, f"host's reader '{self.rig.names[1]}'",
                              address=f"unix:{appliance.card()}")
            self.assertIn("whole APDUs; its power and reset reach the card", "\n".join(lines))
            self.assertIn(f"note: the host refused reader '{self.rig.names[0]}': it has no place "
                          "for another reader", lines)

    def test_gone(self):
        """The readers go before the host has said a word of them."""
        with PcscRig() as rig:
            def kill(host):
                host.take_init()
                host.expect(vscard.READER_ADD)
                rig.stop()
                with contextlib.suppress(Exception):
                    host.stream.wait_closed(LIMIT)
            rig.slots[0].insert(TestCard())
            rig.wait_card(0)
            with self.host(kill) as address:
                lines = self.check(NO_CARD, "there is no card any more", "--pcsc", address,
                                   cards=(), **rig.env)
                self.assertIn(f"note: reader '{rig.names[0]}' is gone", lines)


class Database(CheckCase):

    def test_no_database(self):
        self.check(CARD, "no such directory", NOWHERE,
                   cards=("--nssdb", FOLDER / "none", "--cert", "id"))

    def test_no_certificate(self):
        self.check(CARD, "no certificate of that name; 'certutil -K", NOWHERE,
                   cards=("--nssdb", FOLDER / "nssdb", "--cert", "other"))

    def test_no_card(self):
        self.check(NO_CARD, "there is no card", NOWHERE,
                   cards=("-e", f'db="{FOLDER / "nssdb"}" use_hw=yes'))


class Way(CheckCase):
    """Nobody is reached."""

    # A network of its own with one neighbour, who is deaf.
    ALONE = ("unshare", "--net", "sh", "-c", """
        ip link set lo up && ip link add v0 type veth peer name v1 &&
        ip link set v0 up && ip link set v1 up && ip addr add 192.0.2.1/24 dev v0 &&
        ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev v0 nud permanent &&
        ip route add unreachable 198.51.100.1 && exec "$@" """, "sh")

    def test_name(self):
        self.check(UNREACHED, "nobody knows where 'no.such.invalid' is", "no.such.invalid", "2001")

    def test_refused(self):
        self.check(UNREACHED, "Connection refused: nobody listens there",
                   f"tcp://127.0.0.1:{free_port()}")

    def test_no_socket(self):
        self.check(UNREACHED, "there is no such socket", NOWHERE)

    def test_forbidden(self):
        with vscard.Listener(FOLDER / "theirs"):
            os.chown(FOLDER / "theirs", 65534, 65534)
            os.chmod(FOLDER / "theirs", 0o700)
            self.check_under(UNREACHED, "this user may not use it", AS_ANYBODY, *CARDS,
                             f"unix:{FOLDER / 'theirs'}")

    def test_no_network(self):
        self.check_under(UNREACHED, "this machine has no way there", ("unshare", "--net"), *CARDS,
                         "tcp://192.0.2.1:2001")

    def test_no_route(self):
        self.check_under(UNREACHED, "the network does not lead there", self.ALONE, *CARDS,
                         "tcp://198.51.100.1:2001")

    def test_timeout(self):
        self.check_under(UNREACHED, "nothing answers there", self.ALONE, *CARDS,
                         "tcp://192.0.2.2:2001")


class Hosts(CheckCase):
    """Somebody is reached, who is no host, or not for us."""

    def test_silence(self):
        with self.host(lambda host: host.stream.wait_closed(LIMIT)) as address:
            self.check(SILENT, "nobody answers", address)

    def test_closed(self):
        with self.host(lambda host: None) as address:
            self.check(NOT_VSCARD, "is no VSCard host", address)

    def test_other_bytes(self):
        def ssh(host):
            host.stream.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(ssh) as address:
            self.check(NOT_VSCARD, "is no VSCard host", address)

    def test_other_magic(self):
        def other(host):
            host.receive()
            host.send(vscard.INIT, b"ABCD" + bytes(8))
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(other) as address:
            self.check(NOT_VSCARD, "magic", address)

    def test_other_version(self):
        """It is told, and no obstacle."""
        def newer(host):
            host.receive()
            host.send(vscard.INIT, vscard.MAGIC + (3).to_bytes(4, "big") + bytes(4))
            host.expect(vscard.READER_REMOVE)
            host.send(vscard.ERROR, bytes(4))
            host.take_reader()
            host.take_card()
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(newer) as address:
            lines = self.check(DONE, "all is well", address)
            self.assertIn("ok: it answers, and speaks VSCard 0.0.3", lines)
            self.assertIn("note: this is another version of the protocol", "\n".join(lines))
            self.assertIn("T=0 TPDUs", "\n".join(lines))

    def test_spice_port(self):
        """A display is no card's host, when it is not asked as one."""
        with SpiceRig() as rig:
            self.check(NOT_VSCARD, "spice://", f"tcp://127.0.0.1:{rig.appliance.access.port}")

    def test_refused(self):
        def full(host):
            host.take_init()
            host.expect(vscard.READER_ADD)
            host.send(vscard.ERROR, vscard.CANNOT_ADD_MORE_READERS.to_bytes(4, "big"),
                      vscard.UNDEFINED_READER)
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(full) as address:
            lines = self.check(REFUSED, "more slots=", address)
            self.assertIn("it has no place for another reader", lines[-2])

    def test_not_taken(self):
        def idle(host):
            host.take_init()
            host.expect(vscard.READER_ADD)
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(idle) as address:
            self.check(SILENT, "the host does not take the reader", address)

    def test_lost(self):
        with self.host(lambda host: host.take_init() or host.expect(vscard.READER_ADD)) as address:
            self.check(LOST, "the connection was lost", address)

    def test_well(self):
        """Twice, for the first leaves nothing behind; and the card is gone after."""
        with Appliance() as appliance:
            for _ in range(2):
                self.check(DONE, "the card is in the host's reader 'Virtual Reader'",
                           f"unix:{appliance.card()}")
            host = CcidHost(appliance.usb()).open()
            with host, vscard.Client.with_card(appliance.card()) as client:
                power_on(host)
                round_trip(host, client, ECHO)

    def test_two(self):
        """One place, two cards: the one that is in tells."""
        with Appliance() as appliance:
            lines = self.check(DONE, "all is well", f"unix:{appliance.card()}", cards=TWO_CARDS)
            self.assertIn("note: the host refused reader 'Second'", "\n".join(lines))

    def test_served(self):
        """Another client is connected: it goes on, through and after the check."""
        with Appliance() as appliance:
            host = CcidHost(appliance.usb()).open()
            with host, vscard.Client.with_card(appliance.card()) as client:
                power_on(host)
                self.check(SILENT, "another client is connected", f"unix:{appliance.card()}")
                round_trip(host, client, ECHO)

    def test_signal(self):
        with self.host(lambda host: host.stream.wait_closed(LIMIT)) as address:
            program = Program("vscclient", "--check", *CARDS, address)
            self.addCleanup(program.kill)
            deadline = time.monotonic() + LIMIT
            while "ok: connected" not in program.output():
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)
            program.process.terminate()
            self.assertEqual(program.wait(), LOST)
            self.assertIn("told to end", program.output().splitlines()[-1])


class Qemu(Program):
    """A machine without a guest; it answers all the same."""

    def __init__(self, *devices):
        self.places = Folder()
        super().__init__("/usr/bin/qemu-system-x86_64", "-M", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
                         "-qmp", f"unix:{self.places / 'qmp'},server=on,wait=off", *devices)
        self.qmp = Qmp(connect(self.places / "qmp").sock)
        self.qmp.execute("qmp_capabilities", {})

    def kill(self):
        super().kill()
        self.qmp.close()
        self.places.remove()


READER = ("-usb", "-device", "usb-ccid")
CARD_OF = ("-device", "ccid-card-passthru,chardev=card")


class QemuHosts(CheckCase):

    def qemu(self, *devices):
        qemu = Qemu(*devices)
        self.addCleanup(qemu.kill)

    def test_passthru(self):
        place = FOLDER / "passthru"
        self.qemu(*READER, "-chardev", f"socket,id=card,path={place},server=on,wait=off", *CARD_OF)
        lines = self.check(DONE, "all is well", f"unix:{place}")
        self.assertIn("ok: its reader exchanges T=0 TPDUs, so each card acts as one for T=0; its "
                      "power and reset do not reach the card, and it shows the reader under a "
                      "name of its own", lines)
        self.check(DONE, "all is well", f"unix:{place}")

    def test_usb(self):
        place = FOLDER / "redir"
        self.qemu("-device", "usb-ehci,id=ehci", "-chardev",
                  f"socket,id=usb,path={place},server=on,wait=off", "-device",
                  "usb-redir,chardev=usb,bus=ehci.0")
        self.check(DONE, "all is well", "--as-usb", f"unix:{place}")
        self.check(NOT_VSCARD, "is no VSCard host", f"unix:{place}")

    def test_no_channel(self):
        access = Access()
        self.addCleanup(access.remove)
        self.qemu(*access.args)
        for how in ("--check", "--check=all"):
            self.check(NO_CHANNEL, "no smartcard channel", access.uri(), how=how)
            self.check(NO_CHANNEL, "no usbredir channel", "--as-usb", access.uri(), how=how)

    def test_port(self):
        """A port may be the card's; its name only a client is told."""
        access = Access()
        self.addCleanup(access.remove)
        self.qemu(*access.args, *READER, "-chardev", "spiceport,id=card,name=other", *CARD_OF)
        lines = self.check(DONE, "up to the server's door", access.uri())
        self.assertIn("ok: it has a port channel", lines)
        self.check(NO_CHANNEL, "no smartcard channel", access.uri(), how="--check=all")
        self.check(DONE, "all is well: the card is in", "--channel", "port:other", access.uri(),
                   how="--check=all")

    def test_smartcard(self):
        access = Access()
        self.addCleanup(access.remove)
        self.qemu(*access.args, *READER, "-chardev", "spicevmc,id=card,name=smartcard", *CARD_OF)
        lines = self.check(DONE, "all is well: the card is in", access.uri(), how="--check=all")
        self.assertIn("ok: SPICE's smartcard channel", "\n".join(lines))

    def test_nobody_on_the_channel(self):
        with contextlib.closing(FakeServer()) as server:

            def serve():
                server.accept(spice.SMARTCARD).close()
                server.accept(spice.MAIN).init(7, (spice.SMARTCARD, 0))
                server.accept(spice.SMARTCARD).receive()
            threading.Thread(target=serve, daemon=True).start()
            self.check(SILENT, "no card device there uses the channel", server.uri(),
                       how="--check=all")


class Spice(CheckCase):
    """A SPICE server of vscardd's."""

    def rig(self, **access):
        rig = SpiceRig(Access(**access))
        self.addCleanup(rig.appliance.kill)
        return rig

    def test_nobody(self):
        self.check(UNREACHED, "Connection refused; start the virtual machine",
                   f"spice://127.0.0.1:{free_port()}")

    def test_no_spice(self):
        def vnc(host):
            host.stream.send(b"RFB 003.008\n")
            with contextlib.suppress(Exception):
                host.stream.wait_closed(LIMIT)
        with self.host(vnc) as address:
            self.check(NOT_VSCARD, "no SPICE server", address.replace("tcp", "spice"))

    def test_not_disturbed(self):
        """Who has the server's one session keeps it."""
        rig = self.rig()
        with Session(rig.way) as session, spice.SmartcardClient.with_card(session) as client:
            power_on(rig.host)
            for channel in ("smartcard", "auto"):
                self.check(DONE, "up to the server's door", "--channel", channel,
                           rig.appliance.access.uri())
            round_trip(rig.host, client, ECHO)

    def test_well(self):
        rig = self.rig()
        self.check(DONE, "all is well: the card is in", rig.appliance.access.uri(),
                   how="--check=all")

    def test_password(self):
        rig = self.rig(ticket=True)
        access = rig.appliance.access
        lines = self.check(DONE, "up to the server's door", access.uri(), **access.secret_env)
        self.assertIn("takes the password", "\n".join(lines))
        for how in ("--check", "--check=all"):
            self.check(PASSWORD, "wrong password", access.uri(), how=how,
                       VSCARD_SPICE_PASSWORD="other")
            self.check(PASSWORD, "the server wants a password", access.uri(), how=how)

    def test_tls(self):
        rig = self.rig(tls=True)
        access = rig.appliance.access
        lines = self.check(DONE, "up to the server's door", *access.options(True),
                           access.uri(True))
        self.assertIn("over TLS, and is trusted", "\n".join(lines))
        with Pki() as other:
            self.check(UNTRUSTED, "", "--ca-file", other.ca, access.uri(True))
        self.check(UNTRUSTED, "", "--ca-file", FOLDER / "none", access.uri(True))

    def test_busy(self):
        """The channel has another client, who holds it in the same session."""
        with contextlib.closing(FakeServer()) as server:

            def serve():
                server.accept(spice.SMARTCARD).close()
                server.accept(spice.MAIN).init(7, (spice.SMARTCARD, 0))
                server.accept(spice.SMARTCARD).close()
            threading.Thread(target=serve, daemon=True).start()
            self.check(CHANNEL_BUSY, "another client", server.uri(), how="--check=all")


class Options(CheckCase):

    def test_together(self):
        self.assertEqual(run("vscclient", "--check", "--viewer", "true", "spice://h:1")[0],
                         OPTIONS)
        self.assertEqual(run("vscclient", "--check=some", NOWHERE)[0], OPTIONS)

    def test_help(self):
        status, text, _ = run("vscclient", "--help")
        self.assertEqual(status, DONE)
        for code in range(CHANNEL_BUSY + 1):
            self.assertRegex(text, rf"(?m)^ +{code}  \S")


if __name__ == "__main__":
    unittest.main()
