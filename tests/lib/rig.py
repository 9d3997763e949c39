# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vscardd with two readers for hostile peers: they get the first one, and the
second belongs to a well-behaved host and client that must never notice. After
each conversation `check` proves that all is well."""

import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, INACTIVE, CcidHost
from programs import SAN, Appliance


def round_trip(host, client, command):
    """One command from a host's XfrBlock to a client's card and back."""
    seq = host.start(command)
    taken = client.take_command()
    if taken != command:
        raise AssertionError(f"the card got {taken.hex()}, not {command.hex()}")
    client.answer(vscard.echo_answer(command))
    reply = host.final(seq)
    if reply.verdict != (DATA_BLOCK, ACTIVE, 0):
        raise AssertionError(f"{reply} for a command the card answered")
    if reply.data != vscard.echo_answer(command):
        raise AssertionError(f"the host got {len(reply.data)} bytes that are not the card's")


def power_on(host, atr=vscard.ECHO_ATR):
    """Powers on the card that is there or comes; it is the one with `atr`, or
    with None any."""
    host.wait_icc(INACTIVE)
    reply = host.power_on()
    if reply.verdict != (DATA_BLOCK, ACTIVE, 0) or atr not in (None, reply.data):
        raise AssertionError(f"{reply} for power on")


ECHO = vscard.echo_command(1, b"echo", 16)


class Rig:
    """The appliance, its hosts, and the client on the second reader."""

    def __init__(self, build=SAN, **more):
        self.appliance = self.start(readers=2, build=build, **more)
        self.count = 0
        try:
            self.host = self.open_host(0)
            self.other = self.open_host(1)
            self.other_client = vscard.Client.with_card(self.appliance.card(1))
            power_on(self.other)
        except BaseException as error:
            said = self.appliance.errors()
            self.appliance.kill()
            raise AssertionError(f"no rig; vscardd said:\n{said}") from error

    def start(self, **more):
        """The vscardd it is about; its second reader's card comes by a socket."""
        return Appliance(**more)

    def open_host(self, n):
        """A host of reader n."""
        return CcidHost(self.appliance.usb(n)).open()

    def close(self):
        """Ends all; the appliance has to go in order."""
        self.host.close()
        self.other.close()
        self.other_client.close()
        self.appliance.end()

    def client(self):
        """A client that has said nothing yet."""
        return vscard.Client(self.appliance.card(0))

    def client_with_card(self):
        """A well-behaved client whose card is powered on."""
        client = vscard.Client.with_card(self.appliance.card(0))
        power_on(self.host)
        return client

    def new_host(self):
        """The first reader gets a new host; the old one is gone."""
        self.host.close()
        self.host = self.open_host(0)

    def check_other(self):
        """The second reader has not noticed."""
        self.count += 1
        command = vscard.echo_command(self.count & 0xFF, b"bystander", 32)
        round_trip(self.other, self.other_client, command)

    def check(self):
        """The process lives, a fresh client is served, the others are well,
        and no answer is left over from before."""
        self.appliance.check_alive()
        self.check_other()
        with self.client_with_card() as client:
            command = vscard.echo_command(self.count & 0xFF, b"fresh", 200)
            round_trip(self.host, client, command)
        self.host.wait_icc(ABSENT)


class RigCase(unittest.TestCase):
    """The cases of a class share a rig. One that leaves it unwell has failed,
    and the next gets a new rig, so that each failure is of one case."""

    new_rig = Rig

    @classmethod
    def setUpClass(cls):
        cls.rig = cls.new_rig()

    @classmethod
    def tearDownClass(cls):
        cls.rig.close()

    def settle(self):
        """To be called at the end of each case."""
        try:
            self.rig.check()
        except BaseException:
            self.rig.appliance.kill()
            type(self).rig = self.new_rig()
            raise


class ReaderCase(RigCase):
    """A reader with a powered card for each test."""

    def setUp(self):
        self.host = self.rig.host
        self.client = self.rig.client_with_card()

    def tearDown(self):
        self.client.close()
        self.settle()

    def works(self):
        round_trip(self.rig.host, self.client, ECHO)

    def serve(self, seq):
        """The card answers the command it has; so does the reader `seq`."""
        command = self.client.serve_one()
        reply = self.host.final(seq)
        self.assertEqual(reply.verdict, (DATA_BLOCK, ACTIVE, 0))
        self.assertEqual(reply.data, vscard.echo_answer(command))
