# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscclient as a service: what it tells the service manager, that it needs no
more than its unit leaves it, and how both ends take a network that goes for ten
seconds, or for good, between commands and in the middle of one. The network is
a router between two namespaces of the test's own."""

import contextlib
import ctypes
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, CcidHost
from pcscrig import Rig as PcscRig
from programs import NORMAL, ROOT, Appliance, Folder, Program, environment
from rig import power_on
from spicerig import Rig as SpiceRig
from vpcdcard import TestCard

FOLDER = Folder()
CARDS = ("--nssdb", FOLDER / "nssdb", "--cert", "id")
LIMIT = 120


def setUpModule():
    """One database for all."""
    subprocess.run([str(ROOT / "fixtures/make-nssdb"), FOLDER / "nssdb", "--pin", "1234"],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(FOLDER.remove)


class Manager:
    """Hears what a service says."""

    def __init__(self):
        self.path = FOLDER / "notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(LIMIT)

    def hear(self):
        return self.sock.recv(4096).decode()

    def expect(self, words):
        """The next thing it says."""
        said = self.hear()
        if words not in said:
            raise AssertionError(f"'{said}' came for '{words}'")

    def close(self):
        self.sock.close()
        os.unlink(self.path)


class Notify(unittest.TestCase):

    def test_life(self):
        """Ready before the host is, connected, lost, and stopping."""
        manager = Manager()
        self.addCleanup(manager.close)
        place = FOLDER / "host"
        program = Program("vscclient", *CARDS, "--reconnect=1", f"unix:{place}",
                          NOTIFY_SOCKET=manager.path)
        self.addCleanup(program.kill)
        manager.expect("READY=1")
        manager.expect("STATUS=not connected: cannot connect to")
        with vscard.Listener(place) as listener:
            host = listener.accept()
            host.take_init()
            while "STATUS=connected to" not in (said := manager.hear()):
                self.assertIn("STATUS=not connected: cannot connect to", said)
            host.close()
            manager.expect("STATUS=not connected: the ")
        program.end()
        while "STOPPING=1" not in (said := manager.hear()):
            self.assertIn("STATUS=not connected", said)

    def test_bad_options(self):
        """Not ready, and the status that the unit knows."""
        manager = Manager()
        self.addCleanup(manager.close)
        done = subprocess.run([NORMAL / "vscclient", "--nonsense"], check=False,
                              stderr=subprocess.DEVNULL,
                              env=environment(NOTIFY_SOCKET=manager.path))
        unit = pathlib.Path(ROOT / "tools/vscclient.service").read_text("utf-8")
        prevented = re.search("(?m)^RestartPreventExitStatus=(.*)$", unit)[1].split()
        self.assertIn(str(done.returncode), prevented)
        manager.sock.settimeout(0.1)
        self.assertRaises(TimeoutError, manager.hear)


def allowed_calls(group):
    """The system calls of a group of systemd's."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    names = [line.strip() for line in text.splitlines()[1:]]
    calls = {name for name in names if name and name[0] not in "@#"}
    for name in names:
        if name.startswith("@"):
            calls |= allowed_calls(name)
    return calls


class Confined(unittest.TestCase):
    """What the unit leaves it is enough. (A service manager is not there to be
    asked; what it would forbid is looked for in a trace.)"""

    @classmethod
    def setUpClass(cls):
        unit = pathlib.Path(ROOT / "tools/vscclient.service").read_text("utf-8")
        settings = dict(re.findall(r"(?m)^(\w+)=(.*)$", unit))
        cls.calls = allowed_calls(settings["SystemCallFilter"])
        cls.families = settings["RestrictAddressFamilies"].split()

    def trace(self, words, *args, **env):
        """Runs vscclient under strace until it has said `words`."""
        log = FOLDER / "trace"
        program = Program("/usr/bin/strace", "-f", "-qq", "-o", log, NORMAL / "vscclient", *args,
                          build=NORMAL, **env)
        self.addCleanup(program.kill)
        program.wait_said(words, LIMIT)
        pid = int(pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children")
                  .read_text("ascii").split()[0])
        os.kill(pid, 15)
        self.assertEqual(program.wait(LIMIT), 0)
        text = pathlib.Path(log).read_text(errors="replace")
        # The first is how it is started.
        calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", text)) - {"execve"}
        self.assertGreater(len(calls), 20)
        self.assertEqual(calls - self.calls, set())
        families = set(re.findall(r"(?m)^\d+ +socket\((\w+)", text))
        self.assertEqual(families - set(self.families), set())
        return families

    def test_database(self):
        with Appliance(build=NORMAL) as appliance:
            self.trace("the host took", *CARDS, "--reconnect", f"unix:{appliance.card()}")

    def test_pcsc(self):
        with PcscRig() as rig, Appliance(build=NORMAL) as appliance:
            rig.slots[0].insert(TestCard())
            rig.wait_card(0)
            self.trace("card inserted", "--pcsc", "--reconnect", f"unix:{appliance.card()}",
                       **rig.env)

    def test_spice(self):
        with SpiceRig() as rig:
            families = self.trace("the host took", *CARDS, "--reconnect",
                                  rig.appliance.access.uri())
        self.assertIn("AF_INET", families)

    def test_nobody(self):
        families = self.trace("trying again", *CARDS, "--reconnect=60", "localhost", "1")
        self.assertIn("AF_NETLINK", families)


class Cable:
    """The network namespaces of a host and a client, each with a cable to a
    router, the third. Each is held by a process."""

    HOST, CLIENT, ROUTER = range(3)
    ADDRESSES = ("192.0.2.1", "198.51.100.1")
    GATEWAYS = ("192.0.2.254", "198.51.100.254")
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self):
        self.holders = [self.hold() for _ in range(3)]
        for end, (address, gateway) in enumerate(zip(self.ADDRESSES, self.GATEWAYS)):
            self.run(end, "ip link set lo up && ip link add cable type veth peer name "
                          f"cable{end} netns {self.holders[self.ROUTER].pid} && "
                          f"ip addr add {address}/24 dev cable")
            self.run(self.ROUTER, f"ip addr add {gateway}/24 dev cable{end} && "
                                  f"ip link set cable{end} up")
            self.link(end, True)
        self.join()

    def link(self, end, there):
        """The cable is put in, with a route, or pulled out."""
        self.run(end, f"ip link set cable up && ip route add default via {self.GATEWAYS[end]}"
                 if there else "ip link set cable down")

    @staticmethod
    def hold():
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                  stdout=subprocess.PIPE)
        holder.stdout.read(1)
        return holder

    def enter(self, path):
        with open(path, "rb") as namespace:
            if self.libc.setns(namespace.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns")

    @contextlib.contextmanager
    def at(self, end):
        """What is started meanwhile, by this thread, is at that end."""
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        with open(own, "rb") as back:
            self.enter(f"/proc/{self.holders[end].pid}/ns/net")
            try:
                yield
            finally:
                self.libc.setns(back.fileno(), 0x40000000)

    def run(self, end, command):
        with self.at(end):
            subprocess.run(["sh", "-c", command], check=True)

    def forward(self, on):
        self.run(self.ROUTER, f"echo {on} >/proc/sys/net/ipv4/ip_forward")

    def cut(self):
        """Nothing goes through, and neither end is told."""
        self.forward(0)

    def join(self):
        self.forward(1)

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()


class WideAppliance(Appliance):
    """A vscardd whose reader's card comes over the cable."""

    def reader_args(self, n):
        card = f"socket,id=card{n},host={Cable.ADDRESSES[0]},port={2001 + n},server=on,wait=off"
        return [card if word.startswith(f"socket,id=card{n}") else word
                for word in super().reader_args(n)]


# What a TestCard does for three seconds, and what it echoes at once.
WORK = bytes([0, 0xED, 0, 30])
QUICK = vscard.echo_command(1, b"quick", 16)
# A connection on which nothing comes is over after this many seconds, 20 and
# what is due when a machine is busy.
NOTICED = 60


class Network(unittest.TestCase):
    """vscardd at one end of a cable, a pcscd with a card at the other."""

    def setUp(self):
        self.cable = Cable()
        self.addCleanup(self.cable.close)
        self.pcscd = PcscRig()
        self.addCleanup(self.pcscd.close)
        self.pcscd.slots[0].insert(TestCard())
        self.pcscd.wait_card(0)
        with self.cable.at(Cable.HOST):
            self.appliance = WideAppliance(ccid=",name=Reader")
        self.addCleanup(self.appliance.kill)
        self.host = CcidHost(self.appliance.usb()).open()
        self.addCleanup(self.host.close)

    def lend(self, reconnect=1):
        with self.cable.at(Cable.CLIENT):
            # Others at the card are not what this is about, and from another network
            # it is not seen that there are none.
            self.client = Program("vscclient", "--reader", self.pcscd.names[0], "--hold",
                                  f"--reconnect={reconnect}", Cable.ADDRESSES[0], "2001",
                                  **self.pcscd.env)
        self.addCleanup(self.client.kill)

    def serves(self):
        self.assertEqual(self.host.final(self.host.start(QUICK)).data, vscard.echo_answer(QUICK))

    def begin(self):
        self.lend()
        power_on(self.host, None)
        self.serves()

    def end(self):
        self.client.end()
        self.host.close()
        self.appliance.end()

    def absent(self):
        """The host sees the card go, in bounded time."""
        while self.host.slot_status(0).icc != ABSENT:
            self.host.next_change(NOTICED)

    def back(self):
        """The card is there again by itself, and as after a removal: without
        power."""
        power_on(self.host, None)
        self.serves()

    def test_ten_seconds(self):
        """Between commands nothing is to be noticed."""
        self.begin()
        self.cable.cut()
        time.sleep(10)
        self.cable.join()
        self.serves()
        self.assertNotIn("lost", self.client.errors())
        self.end()

    def test_ten_seconds_midway(self):
        """The command takes so much longer, and ends as it would have."""
        self.begin()
        seq = self.host.start(WORK)
        time.sleep(1)
        self.cable.cut()
        time.sleep(10)
        self.cable.join()
        reply = self.host.final(seq, limit=NOTICED)
        self.assertEqual((reply.verdict, reply.data), ((DATA_BLOCK, ACTIVE, 0), b"\x90\x00"),
                         self.client.errors())
        self.serves()
        self.assertNotIn("lost", self.client.errors())
        self.end()

    def test_gone(self):
        """For longer: a card taken out, and put in when the network is back."""
        self.begin()
        self.cable.cut()
        self.absent()
        self.client.wait_said("lost", NOTICED)
        self.cable.join()
        self.back()
        self.end()

    def test_gone_midway(self):
        """The command ends as for a card that was pulled."""
        self.begin()
        seq = self.host.start(WORK)
        time.sleep(1)
        self.cable.cut()
        reply = self.host.final(seq, limit=NOTICED)
        self.assertEqual(reply.icc, ABSENT)
        self.client.wait_said("lost", NOTICED)
        self.cable.join()
        self.back()
        self.end()

    def test_link(self):
        """The cable is pulled out of the client, and put in again."""
        self.begin()
        self.cable.link(Cable.CLIENT, False)
        self.absent()
        self.client.wait_said("lost", NOTICED)
        self.cable.link(Cable.CLIENT, True)
        self.back()
        self.end()

    def test_change(self):
        """A network that comes is used at once, however long the wait was to be."""
        self.cable.link(Cable.CLIENT, False)
        self.lend(3000)
        self.client.wait_said("trying again in")
        self.cable.link(Cable.CLIENT, True)
        self.back()
        self.end()


if __name__ == "__main__":
    unittest.main()
