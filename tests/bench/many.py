# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hundred remote readers in one vscardd: as many peers with a reader each, on
a USB reader each; and seven peers that share them out, each on one USB reader
of 16 slots. The peers are sockets of this process, so that what is measured is
not how fast programs start."""

import contextlib
import time

import vscard
from ccid import INACTIVE, CcidHost
from programs import NORMAL, Appliance
from report import table
from watch import resident, system_calls

READERS = 100
SLOTS = 16
# Each attach point keeps what it sent to its USB host for 3 s, and wakes up once
# or twice to wipe it; after twice as long nothing is left to do.
SETTLE = 7


class Peer(vscard.Client):
    """A client with `count` readers, a step at a time, so that many peers take
    each step together. It says what vscclient's would."""

    def __init__(self, address, count):
        super().__init__(address)
        self.count = count
        self.ids = []

    def greet(self):
        self.stream.send(vscard.pack_init(vscard.CAP_EXTENDED | vscard.CAP_REQUESTS))

    def greeted(self):
        self.host_caps = vscard.unpack_init(self.receive().data)[1]

    def add(self, n):
        if n < self.count:
            self.send(vscard.READER_ADD, vscard.UNDEFINED_READER, b"Reader %d" % n)

    def added(self, n):
        if n < self.count:
            self.ids.append(self.expect_error(vscard.SUCCESS))

    def insert_all(self):
        for reader in self.ids:
            self.send(vscard.ATR, reader, vscard.ECHO_ATR)


def lend(peers):
    """All that is said until every card is in."""
    for peer in peers:
        peer.greet()
    for peer in peers:
        peer.greeted()
    for n in range(max(peer.count for peer in peers)):
        for peer in peers:
            peer.add(n)
        for peer in peers:
            peer.added(n)
    for peer in peers:
        peer.insert_all()


def shared_out(devices):
    """How many readers each device's peer has."""
    return [READERS // devices + (n < READERS % devices) for n in range(devices)]


def shape(devices, ccid):
    """Private KiB with no peer and with all cards, KiB resident, system calls in
    10 s, and seconds from the first word of a peer until every host on usbredir
    has seen a card in every slot."""
    counts = shared_out(devices)
    with contextlib.ExitStack() as stack:
        appliance = stack.enter_context(Appliance(readers=devices, build=NORMAL, ccid=ccid))
        hosts = [stack.enter_context(CcidHost(appliance.usb(n))).open() for n in range(devices)]
        empty = appliance.private_kib()
        began = time.monotonic()
        peers = [stack.enter_context(Peer(appliance.card(n), count))
                 for n, count in enumerate(counts)]
        lend(peers)
        for host, count in zip(hosts, counts):
            for slot in range(count):
                host.wait_icc(INACTIVE, slot)
        took = time.monotonic() - began
        time.sleep(SETTLE)
        return (empty, appliance.private_kib(), resident(appliance.pid),
                system_calls(appliance.pid, 10), took)


def many():
    """Memory, idleness and arrival of many readers."""
    with Appliance(build=NORMAL) as appliance:
        one = appliance.private_kib()
    rows = []
    for devices, ccid in ((READERS, ""), (-(-READERS // SLOTS), f",slots={SLOTS}")):
        empty, full, rss, calls, took = shape(devices, ccid)
        rows.append([f"{devices} of {SLOTS if ccid else 1}", rss, empty, full,
                     f"{(full - one) / READERS:.1f}", calls, f"{took * 1000:.0f}"])
    table(f"{READERS} remote readers in one vscardd, whose USB hosts are there and idle; one\n"
          f"with one reader and no peer has {one} private KiB (aim: no system call)",
          ["peers and slots", "resident KiB", "private KiB, no peer", "with cards", "KiB a reader",
           "system calls in 10 s", "ms until all are seen"], rows)
