# SPDX-License-Identifier: LGPL-2.1-or-later
"""A card far away: what crosses the wire, and how long it takes, while OpenSC
reads three certificates and signs. The card is the CAC of a certificate
database in a reader of a pcscd, its owner's. From there it is lent over a wire
of 0, 50 and 100 ms (tests/lib/delay.py), each way in turn, to a reader that
OpenSC finds in another pcscd, on this machine or in the guest."""

import contextlib
import os
import pathlib
import socket
import statistics
import subprocess
import time

from delay import CARD, USER, Delay, Relay
from guest import Guest
from ifd import IfdRig, entry
from opensc import CERTS, PIN, TEXT, Database
from pcscrig import Rig, ViccRelay
from programs import NORMAL, Appliance, Folder, Program, environment
from report import ratio, table
from spice import free_port

DELAYS = (0, 50, 100)
# Without any delay the machine's other work shows: the median of three.
ROUNDS = {0: 3}
LIMIT = 300
# An unused card is without power when pcscd has waited 5 s for the next program.
UNUSED, IDLE = 7, 10

READ = "pkcs11-tool --read-object --type cert --id {} --output-file cert{}"
SIGN = (f"pkcs11-tool --sign --mechanism SHA256-RSA-PKCS --id {CERTS['signing']} --login "
        f"--pin {PIN} --input-file text --output-file signature")
SCRIPT = " && ".join([*(READ.format(key, key) for key in CERTS.values()), SIGN])
CACHED = "app default { framework pkcs15 { use_file_caching = public; file_cache_dir = cache; } }"
TRACED = "app default { debug = 9; debug_file = stderr; }"
CONF = {"off": "app default { framework pkcs15 { use_file_caching = no; } }", "on": CACHED}


class Here:
    """Where OpenSC runs: on this machine, as a client of a pcscd."""

    def __init__(self, rig, folder):
        self.env = environment(**rig.env, OPENSC_CONF="conf")
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()

    def put(self, name, data):
        (self.folder / name).write_bytes(data)

    def get(self, name):
        return (self.folder / name).read_bytes()

    def run(self, script):
        return subprocess.run(["sh", "-c", script], cwd=self.folder, env=self.env, check=True,
                              timeout=LIMIT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT).stdout.decode(errors="replace")


class There:
    """In the guest."""

    def __init__(self, guest):
        self.guest = guest

    def put(self, name, data):
        self.guest.put(f"/tmp/{name}", data)

    def get(self, name):
        return self.guest.get(f"/tmp/{name}")

    def run(self, script):
        return self.guest.run(f"cd /tmp && export OPENSC_CONF=conf && {script}", check=True,
                              timeout=LIMIT).text


def use(place, database):
    """Certificates and signature, which must be right; answers the seconds."""
    place.put("text", TEXT)
    began = time.monotonic()
    place.run(SCRIPT)
    took = time.monotonic() - began
    for nickname, key in CERTS.items():
        if place.get(f"cert{key}") != database.certificate(nickname):
            raise RuntimeError(f"another certificate than {nickname}")
    said = database.verify("signing", TEXT, place.get("signature"))
    if said != "Verified OK":
        raise RuntimeError(f"the signature: {said}")
    return took


# ---- The ways ----

def to(family, address):
    def connect():
        sock = socket.socket(family)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    return connect


class ByVscclient:
    """`vscclient --pcsc` at the owner's, and over there what listens at an
    address; `wait(present)` returns when the card is there, or gone."""

    def __init__(self, owner, place, connect, wait):
        self.owner, self.place, self.wait = owner, place, wait
        self.wire = Relay(0, connect)

    @contextlib.contextmanager
    def lent(self):
        address = f"tcp://127.0.0.1:{self.wire.port}"
        with Program("vscclient", "--pcsc", address, build=NORMAL, **self.owner.env):
            self.wait(True)
            yield
        self.wait(False)


class ByVicc:
    """`vicc --type relay` at the owner's, and over there vpcd's reader."""

    def __init__(self, owner, place, rig):
        self.owner, self.place, self.rig = owner, place, rig
        self.wire = Delay(0)

    @contextlib.contextmanager
    def lent(self):
        card = ViccRelay(self.wire.carry, self.owner.env)
        try:
            self.rig.slots[0].insert(card)
            self.rig.wait_card(0)
            yield
        finally:
            self.rig.slots[0].remove()
            card.close()
        self.rig.wait_card(0, False)


def in_rig(rig, reader):
    def wait(present):
        with rig.owner() as user:
            while user.present(reader) != present:
                time.sleep(0.05)
    return wait


def in_guest(guest, reader):
    def wait(present):
        guest.run(f"pcsc-tool -r {reader} wait {'inserted' if present else 'removed'} 45",
                  check=True)
    return wait


@contextlib.contextmanager
def ways(owner, folder):
    """Every way by its name, with nothing lent yet."""
    path = folder / "far"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        ours = enter(IfdRig(entry("VSCard", f"vscard:socket,path={path},server=on")))
        vpcd = enter(Rig(("vpcd",)))
        guest = enter(Guest(controllers=["xhci"]))
        appliance = enter(Appliance(build=NORMAL))
        guest.attach_usbredir("ours", appliance.usb(), bus="xhci.0")
        guest.run("mkdir /tmp/cache && start-pcscd --quiet && pcsc-tool wait reader 45",
                  check=True)
        port = free_port()
        guest.add_usb_ccid(bus="xhci.0")
        guest.add_passthru_card("card", ("127.0.0.1", port))
        guest.run("for i in $(seq 100); do pcsc-tool list | grep -q '01 00' && exit 0; "
                  "usleep 100000; done; exit 1", check=True)
        found = {
            "vscclient, IFD handler": ByVscclient(
                owner, Here(ours, folder / "ours"), to(socket.AF_UNIX, path),
                in_rig(ours, "VSCard 00 00")),
            "vicc relay, vpcd": ByVicc(
                owner, Here(vpcd, folder / "vpcd"), vpcd),
            "vscclient, vscardd, usbredir, guest": ByVscclient(
                owner, There(guest), to(socket.AF_UNIX, appliance.card()), in_guest(guest, 0)),
            "vscclient, QEMU's reader, guest": ByVscclient(
                owner, There(guest), to(socket.AF_INET, ("127.0.0.1", port)),
                in_guest(guest, 1))}
        for way in found.values():
            if isinstance(way.wire, Relay):
                enter(way.wire)
        yield found


# ---- The table ----

def measure(way, database, delay, cache):
    """The medians of turns, bytes to the card and from it, and seconds."""
    way.place.put("conf", CONF[cache].encode())
    way.wire.round_trip = delay / 1000
    runs = []
    with way.lent():
        if cache == "on":
            use(way.place, database)
        for _ in range(ROUNDS.get(delay, 1)):
            way.wire.forget()
            took = use(way.place, database)
            runs.append([way.wire.turns, way.wire.sent[USER], way.wire.sent[CARD], took])
    return [statistics.median(column) for column in zip(*runs)]


def idle(way):
    """Turns and bytes while the card is there and nobody uses it."""
    way.wire.round_trip = 0
    with way.lent():
        time.sleep(UNUSED)
        way.wire.forget()
        time.sleep(IDLE)
        return way.wire.turns, sum(way.wire.sent)


def beside_ours(found, runs):
    """For each way, its seconds by those of our reader in the same place: the
    guest is emulated, and slow by itself."""
    ours = {}
    for name, way in found.items():
        first = ours.setdefault(type(way.place), name)
        yield ratio(runs[name][3], runs[first][3])


def at_home(owner, database, folder):
    """What OpenSC says to the card at its owner's: commands, and the seconds."""
    place = Here(owner, folder / "home")
    place.put("conf", TRACED.encode())
    place.put("text", TEXT)
    commands = place.run(SCRIPT).count("Outgoing APDU")
    place.put("conf", CONF["off"].encode())
    return commands, statistics.median(use(place, database) for _ in range(ROUNDS[0]))


def wan():
    """Commands on the wire and wall time by delay and by way."""
    with Folder() as folder, Database() as database, \
         IfdRig(entry("Owner", f"vscard:socket,path={folder / 'near'},server=on")) as owner, \
         Program("vscclient", *database.client_args(f"unix:{folder / 'near'}"), build=NORMAL):
        in_rig(owner, "Owner 00 00")(True)
        commands, took = at_home(owner, database, folder)
        rows = [["-", "off", "none, at the owner's", "-", "-", "-", "-", f"{took:.2f}", "-"]]
        with ways(owner, folder) as found:
            for delay, cache in [(0, "on"), *((delay, "off") for delay in DELAYS)]:
                runs = {name: measure(way, database, delay, cache) for name, way in found.items()}
                rows += [[delay, cache, name, f"{turns:.0f}", ratio(turns, commands),
                          f"{sent:.0f}", f"{got:.0f}", f"{took:.2f}", beside]
                         for (name, (turns, sent, got, took)), beside
                         in zip(runs.items(), beside_ours(found, runs))]
            unused = [[name, *idle(way)] for name, way in found.items()]
    table(f"Three certificates read and one signature made with OpenSC, which at the owner's\n"
          f"says {commands} commands to the card, GET RESPONSE included. A turn is a command and\n"
          "its answer, or whatever else crosses the wire and back (aim: 1.00 turns a command\n"
          "or less). Whoever leaves Nagle's algorithm on is spared its waits here",
          ["ms", "OpenSC's cache", "way", "turns", "a command", "bytes to card", "from card",
           "seconds", "beside ours"], rows)
    table(f"The same wire in {IDLE} s in which nobody uses the card (aim: 0)",
          ["way", "turns", "bytes"], unused)
