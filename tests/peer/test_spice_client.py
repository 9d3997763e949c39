# SPDX-License-Identifier: LGPL-2.1-or-later
"""The SPICE client's session against real servers: QEMUs that boot nothing, a
smartcard channel that answers at once, ports that carry QEMU's own control
protocol, and migration from one QEMU to another. spice-probe (beside this file)
does what it is told and says what it hears."""

import json
import socket
import subprocess
import sys
import threading
import time
import unittest

from programs import ROOT, Folder, Program, environment
from spice import PORT, Access, Pki, Session, free_port, pack_card
from spice_fake import Probe
import vscard

sys.path.insert(0, str(ROOT / "tests/guest"))
from qmp import Qmp  # pylint: disable=wrong-import-position

# VmcSpiceError.
PASSWORD, NO_CHANNEL, BUSY, TLS_WANTED, TLS_UNWANTED, SESSION, PROTOCOL, GONE, UNTRUSTED = range(9)

READER_ADD = pack_card(vscard.READER_ADD).hex()
SUCCESS = pack_card(vscard.ERROR, 0, bytes(4)).hex()
# QEMU's reader is one for T=0.
ATR = pack_card(vscard.ATR, 0, vscard.make_atr(b"card", (0,))).hex()

CARD = ("-chardev", "spicevmc,id=ccid,name=smartcard", "-usb", "-device", "usb-ccid",
        "-device", "ccid-card-passthru,chardev=ccid")
# QEMU answers on it, at any length.
QMP_PORT = ("-chardev", "spiceport,id=mon,name=org.qemu.monitor", "-mon",
            "chardev=mon,mode=control")
# Nobody opens it: the guest has no driver.
DEAD_PORT = ("-device", "virtio-serial", "-chardev", "spiceport,id=dead,name=org.example.dead",
             "-device", "virtserialport,chardev=dead,name=org.example.dead")
USB = ("-device", "qemu-xhci", "-chardev", "spicevmc,id=usb0,name=usbredir",
       "-device", "usb-redir,chardev=usb0", "-chardev", "spicevmc,id=usb1,name=usbredir",
       "-device", "usb-redir,chardev=usb1")


class Server(Program):
    """A QEMU without a guest; `access` is how its SPICE server is reached."""

    def __init__(self, access, *devices, seamless=True, log=None):
        self.access = access
        here, there = socket.socketpair()
        args = list(access.args)
        args[-1] += f",seamless-migration={'on' if seamless else 'off'}"
        with there:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16", "-nodefaults",
                 "-display", "none", "-chardev", f"socket,id=qmp,fd={there.fileno()}", "-mon",
                 "chardev=qmp,mode=control", *args, *devices],
                stdin=subprocess.DEVNULL, stdout=log or subprocess.DEVNULL,
                stderr=log or subprocess.DEVNULL, pass_fds=[there.fileno()],
                env=environment(**access.env))
        self.monitor = Qmp(here)
        self.qmp("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def qmp(self, command, **arguments):
        return self.monitor.execute(command, arguments)

    def connection_id(self):
        return self.qmp("query-spice")["channels"][0]["connection-id"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.monitor.close()

    def send_to(self, other, folder):
        place = f"unix:{folder / 'migration'}"
        other.qmp("migrate-incoming", uri=place)
        self.qmp("migrate", uri=place)
        self.monitor.wait_event("STOP")
        other.monitor.wait_event("RESUME")


class CardProbe(Probe):
    """A client of the smartcard channel."""

    def add_reader(self):
        self.tell(f"send {READER_ADD}")
        self.expect_data(SUCCESS)

    def insert(self):
        """A card is put in; QEMU acknowledges that."""
        self.tell(f"send {ATR}")
        self.expect_data(SUCCESS)

    def remove_and_insert(self):
        """What a reader that lost its state would not take."""
        self.tell(f"send {pack_card(vscard.CARD_REMOVE).hex()}")
        self.expect_data(SUCCESS)
        self.insert()


class SpiceCase(unittest.TestCase):
    """Servers and clients that end with the test."""

    def access(self, **how):
        access = Access(**how)
        self.addCleanup(access.remove)
        return access

    def server(self, access, *devices, **how):
        return self.enterContext(Server(access, *devices, **how))

    def probe(self, address, want="smartcard", how="0", **env):
        probe = CardProbe(address, want, how, **env)
        self.addCleanup(probe.kill)
        return probe

    def wait(self, condition, limit=20):
        deadline = time.monotonic() + limit
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def works(self, probe):
        probe.expect("opened smartcard")
        probe.add_reader()
        probe.end()


class Ways(SpiceCase):
    """How a server is reached, and whom it lets in."""

    def test_tcp(self):
        access = self.access()
        self.server(access, *CARD)
        self.works(self.probe(access.uri()))

    def test_unix(self):
        access = self.access(unix=True)
        self.server(access, *CARD)
        self.works(self.probe(f"spice+unix://{access.socket}"))

    def test_password(self):
        access = self.access(ticket=True)
        self.server(access, *CARD)
        self.works(self.probe(access.uri(), SPICE_PASSWORD=access.password))
        for wrong in ({"SPICE_PASSWORD": "wrong"}, {}):
            with self.subTest(wrong):
                probe = self.probe(access.uri(), **wrong)
                probe.expect(f"failed 0 {PASSWORD} .*password.*")
                probe.end()

    def test_tls(self):
        access = self.access(tls=True)
        self.server(access, *CARD)
        trusted = f"{access.uri(tls=True)}?ca-file={access.pki.ca}"
        self.works(self.probe(trusted))
        with Pki() as other:
            probe = self.probe(f"{access.uri(tls=True)}?ca-file={other.ca}")
            probe.expect(f"failed 0 {UNTRUSTED} .+")
            probe.end()
        probe = self.probe(f"spice+tls://127.0.0.1:{access.port}?ca-file={access.pki.ca}")
        probe.expect(f"failed 0 {TLS_UNWANTED} .*TLS.*")
        probe.end()

    def test_only_the_card_over_tls(self):
        access = self.access(tls=True)
        access.args[-1] += ",tls-channel=smartcard"
        server = self.server(access, *CARD)
        probe = self.probe(f"{access.uri()}?tls-port={access.tls_port}&ca-file={access.pki.ca}")
        probe.expect("opened smartcard")
        probe.add_reader()
        safe = {channel["channel-type"]: channel["tls"]
                for channel in server.qmp("query-spice")["channels"]}
        self.assertEqual(safe, {1: False, 8: True})
        probe.end()
        probe = self.probe(access.uri())
        probe.expect(f"failed 0 {TLS_WANTED} .*TLS.*")
        probe.end()

    def test_nobody_there(self):
        probe = self.probe(f"spice://127.0.0.1:{free_port()}")
        probe.expect(f"failed 0 {GONE} cannot connect to .*: Connection refused")
        probe.end()

    def test_silence(self):
        """A server that takes connections and says nothing is no server."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            probe = self.probe(f"spice://127.0.0.1:{mute.getsockname()[1]}")
            probe.expect(f"failed 0 {GONE} .* did not answer in 10 s.*")
            probe.end()


class Channels(SpiceCase):
    """Which channel, and who else has it."""

    def test_no_smartcard(self):
        access = self.access()
        self.server(access, *QMP_PORT)
        for want in ("smartcard", "card"):
            probe = self.probe(access.uri(), want)
            probe.expect(f"failed 0 {NO_CHANNEL} the server has no smartcard channel: add "
                         "-chardev spicevmc,.*name=smartcard.*")
            probe.end()

    def test_port_by_name(self):
        access = self.access()
        self.server(access, *DEAD_PORT, *QMP_PORT)
        probe = self.probe(access.uri(), "port=org.qemu.monitor")
        probe.expect("opened")
        self.converse(probe)
        probe.end()
        probe = self.probe(access.uri(), "port=org.nobody")
        probe.expect(f"failed 0 {NO_CHANNEL} the server has no port 'org.nobody'.*")
        probe.end()

    def converse(self, probe):
        """QEMU's greeting, and a long answer. (One over 128 KiB would never end:
        QEMU waits to be asked for the rest.)"""
        self.assertIn("QMP", self.take_json(probe))
        for command in ("qmp_capabilities", "query-commands"):
            probe.tell(f"send {json.dumps({'execute': command}).encode().hex()}")
            answer = self.take_json(probe)
        self.assertGreater(len(answer["return"]), 100)

    def take_json(self, probe):
        data = b""
        while not data.endswith(b"\n"):
            data += bytes.fromhex(probe.expect("data (.*)")[1])
        return json.loads(data)

    def test_slow_reader(self):
        """What a port says to a user that pauses waits, all of it."""
        access = self.access()
        self.server(access, *QMP_PORT)
        probe = self.probe(access.uri(), "port=org.qemu.monitor")
        probe.expect("opened")
        self.take_json(probe)
        probe.tell(f"send {json.dumps({'execute': 'qmp_capabilities'}).encode().hex()}")
        self.take_json(probe)
        probe.tell("pause")
        ask = json.dumps({"execute": "query-commands"}).encode().hex()
        for _ in range(40):
            probe.tell(f"send {ask}")
        time.sleep(0.5)
        probe.silent()
        probe.tell("go")
        data = b""
        while data.count(b"\n") < 40:
            data += bytes.fromhex(probe.expect("data (.*)")[1])
        self.assertEqual(len(set(data.splitlines())), 1)
        probe.end()

    def test_port_nobody_opened(self):
        access = self.access()
        server = self.server(access, *DEAD_PORT, *QMP_PORT)
        probe = self.probe(access.uri(), "port=org.example.dead")
        self.wait(lambda: any(channel["channel-type"] == PORT for channel in
                              server.qmp("query-spice")["channels"]))
        probe.silent()
        probe.end()

    def test_card_on_a_port(self):
        """A port of the card's name is preferred to the smartcard channel."""
        access = self.access()
        self.server(access, "-usb", "-device", "usb-ccid", "-chardev",
                    "spiceport,id=card,name=org.vscard.ccid.0", "-device",
                    "ccid-card-passthru,chardev=card", *QMP_PORT)
        probe = self.probe(access.uri(), "card")
        probe.expect("opened")
        probe.tell(f"send {vscard.pack(vscard.READER_ADD).hex()}")
        # QEMU says Init on a chardev that opens.
        data = ""
        while not data.endswith(vscard.pack(vscard.ERROR, 0, bytes(4)).hex()):
            data += probe.expect("data (.*)")[1]
        probe.end()

    def test_second_usbredir(self):
        """The first that nobody has; with both taken, BUSY."""
        access = self.access()
        server = self.server(access, *USB)
        with Session(access.way()) as viewer:
            first = viewer.usbredir(0)
            ident = hex(server.connection_id())
            probe = self.probe(access.uri(), "usbredir", "beside")
            probe.tell(f"join {ident}")
            probe.expect("opened")
            probe.expect("data 0{8}.*")
            other = self.probe(access.uri(), "usbredir", "beside")
            other.tell(f"join {ident}")
            other.expect(rf"failed \d+ {BUSY} the usbredir channel is taken by another client.*")
            other.end()
            first.close()
            probe.end()

    def test_taken_smartcard(self):
        access = self.access()
        server = self.server(access, *CARD)
        with Session(access.way()) as viewer:
            card = viewer.smartcard()
            probe = self.probe(access.uri(), "card", "beside")
            probe.tell(f"join {hex(server.connection_id())}")
            heard = probe.expect(rf"(failed \d+|opened smartcard|closed) ?{BUSY}? ?.*")
            if heard[1].startswith("opened"):
                probe.expect(f"closed {BUSY} the smartcard channel is taken by another client.*")
            card.close()
            # And once it is free, it is got.
            probe.expect("opened smartcard")
            probe.add_reader()
            probe.end()


class Lives(SpiceCase):
    """Sessions that end, and begin again."""

    def test_second_client(self):
        access = self.access()
        self.server(access, *CARD)
        probe = self.probe(access.uri())
        probe.expect("opened smartcard")
        with Session(access.way()):
            probe.expect(f"closed {GONE} .*another client.*")
        probe.end()

    def test_server_killed(self):
        access = self.access()
        with Server(access, *CARD):
            probe = self.probe(access.uri(), "smartcard", 1)
            probe.expect("opened smartcard")
            probe.add_reader()
        probe.expect(f"closed {GONE} .+")
        first = int(probe.expect(rf"failed (\d+) {GONE} cannot connect.*")[1])
        second = int(probe.expect(rf"failed (\d+) {GONE} cannot connect.*")[1])
        self.assertLess(first, second)
        self.server(access, *CARD)
        probe.expect("opened smartcard")
        probe.add_reader()
        probe.end()

    def test_disconnect(self):
        """A user that is done closes the channel; a new one gets it again."""
        access = self.access()
        self.server(access, *CARD)
        probe = self.probe(access.uri())
        for _ in range(3):
            probe.expect("opened smartcard")
            probe.add_reader()
            probe.tell("disconnect")
            probe.expect(r"closed \d told to")
            probe.tell("detach")
            probe.tell("attach")
        probe.expect("opened smartcard")
        probe.end()

    def test_beside_a_viewer(self):
        access = self.access()
        server = self.server(access, *CARD)
        probe = self.probe(access.uri(), "card", "beside")
        for _ in range(2):
            with Session(access.way()):
                probe.tell(f"join {hex(server.connection_id())}")
                probe.expect("opened smartcard")
                probe.add_reader()
                probe.tell("leave")
                probe.expect(f"closed {GONE} told to leave")
        probe.tell("join 0x1234")
        probe.expect(rf"failed \d+ {SESSION} .+")
        probe.end()

    def test_nonsense_from_the_user(self):
        """A header whose length no message has ends the conversation."""
        access = self.access()
        self.server(access, *CARD)
        probe = self.probe(access.uri())
        probe.expect("opened smartcard")
        # In pieces, and two in one: each is its own message.
        probe.tell(f"send {READER_ADD[:6]}")
        probe.tell(f"send {READER_ADD[6:] + ATR}")
        probe.expect_data(SUCCESS + SUCCESS)
        probe.tell(f"send {pack_card(vscard.APDU, 0, b'', 65557).hex()}")
        probe.expect("unsent")
        probe.expect(r"closed \d a message of 65557 bytes is not one for a smartcard channel")
        probe.end()


class Forwarder:
    """A port that leads to another, so that a host can be out of reach first."""

    def __init__(self, port, to):
        self.to = to
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    @staticmethod
    def copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            other.close()

    def close(self):
        self.listener.close()


class Migration(SpiceCase):
    """The VM moves, and the card with it."""

    def pair(self, seamless, *devices, **how):
        """Two hosts, and a client of the first that has its card in."""
        self.folder = self.enterContext(Folder())
        here, there = self.access(**how), self.access(**how)
        source = self.server(here, *devices, seamless=seamless)
        target = self.server(there, *devices, "-incoming", "defer", seamless=seamless)
        return source, target

    def client(self, source, address=None):
        probe = self.probe(address or source.access.uri(), "smartcard", 1)
        probe.expect("opened smartcard")
        probe.add_reader()
        probe.insert()
        return probe

    def announce(self, source, probe, **where):
        """As management tools do, and wait for the client."""
        source.qmp("client_migrate_info", protocol="spice", hostname="127.0.0.1", **where)
        self.wait(lambda: "ready to follow" in probe.errors())

    def test_seamless(self):
        source, target = self.pair(True, *CARD)
        probe = self.client(source)
        self.announce(source, probe, port=target.access.port)
        source.send_to(target, self.folder)
        probe.remove_and_insert()
        source.kill()
        probe.remove_and_insert()
        probe.silent()
        probe.end()

    def test_seamless_port(self):
        source, target = self.pair(True, *QMP_PORT)
        probe = self.probe(source.access.uri(), "port=org.qemu.monitor", 1)
        probe.expect("opened")
        probe.expect("data 7b22514d50.*")
        self.announce(source, probe, port=target.access.port)
        source.send_to(target, self.folder)
        # The new host's monitor greets its client, too, in the same stream.
        probe.expect("data 7b22514d50.*")
        source.kill()
        probe.tell(f"send {json.dumps({'execute': 'qmp_capabilities'}).encode().hex()}")
        probe.expect_data(b'{"return": {}}\r\n'.hex())
        probe.silent()
        probe.end()

    def test_never_less_safe(self):
        """The card's channel alone was over TLS, and the new host has none."""
        folder = self.enterContext(Folder())
        here, there = self.access(tls=True), self.access()
        here.args[-1] += ",tls-channel=smartcard"
        source = self.server(here, *CARD)
        target = self.server(there, *CARD, "-incoming", "defer")
        probe = self.client(source, f"{here.uri()}?tls-port={here.tls_port}"
                                    f"&ca-file={here.pki.ca}")
        source.qmp("client_migrate_info", protocol="spice", hostname="127.0.0.1",
                   port=there.port)
        self.wait(lambda: "cannot follow the VM to 127.0.0.1: it has no TLS port"
                  in probe.errors())
        source.send_to(target, folder)
        probe.expect(r"closed \d the VM moved to a host where it cannot be followed")
        types = [c["channel-type"] for c in target.qmp("query-spice").get("channels", [])]
        self.assertNotIn(8, types)
        probe.end()

    def test_seamless_over_tls(self):
        source, target = self.pair(True, *CARD, tls=True)
        # Both hosts have a CA of their own; the client trusts both.
        with open(source.access.pki.ca, encoding="ascii") as one, \
                open(target.access.pki.ca, encoding="ascii") as other:
            both = source.access.write("both.pem", one.read() + other.read())
        probe = self.client(source, f"{source.access.uri(tls=True)}?ca-file={both}")
        self.announce(source, probe, **{"tls-port": target.access.tls_port})
        source.send_to(target, self.folder)
        probe.remove_and_insert()
        source.kill()
        probe.remove_and_insert()
        self.assertTrue(all(c["tls"] for c in target.qmp("query-spice")["channels"]))
        probe.silent()
        probe.end()

    def test_semi_seamless(self):
        source, target = self.pair(False, *CARD)
        probe = self.client(source)
        self.announce(source, probe, port=target.access.port)
        source.send_to(target, self.folder)
        probe.expect(r"closed \d the VM moved to another host")
        probe.expect("opened smartcard")
        probe.add_reader()
        source.kill()
        probe.insert()
        probe.silent()
        probe.end()

    def test_switch_host(self):
        """The host cannot be reached when the migration begins, but at its end."""
        source, target = self.pair(True, *CARD)
        probe = self.client(source)
        port = free_port()
        source.qmp("client_migrate_info", protocol="spice", hostname="127.0.0.1", port=port)
        self.wait(lambda: "cannot follow yet" in probe.errors())
        way = Forwarder(port, target.access.port)
        self.addCleanup(way.close)
        source.send_to(target, self.folder)
        probe.expect(r"closed \d the VM moved to another host")
        probe.expect("opened smartcard")
        source.kill()
        probe.add_reader()
        probe.silent()
        probe.end()

    def test_cancelled(self):
        """The client was at the new host already, and stays at the old."""
        source, target = self.pair(True, *CARD)
        probe = self.client(source)
        self.announce(source, probe, port=target.access.port)
        self.assertEqual(len(target.qmp("query-spice")["channels"]), 2)
        source.qmp("migrate", uri="exec:false")
        self.wait(lambda: not target.qmp("query-spice")["channels"])
        probe.remove_and_insert()
        probe.silent()
        probe.end()


if __name__ == "__main__":
    unittest.main()
