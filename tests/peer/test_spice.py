# SPDX-License-Identifier: LGPL-2.1-or-later
"""vscardd's SPICE server and commands of every size that is a border somewhere.
libspice-server 0.15.1 overruns its memory on messages of more than 270 bytes
toward a client of the smartcard channel, so extended APDUs travel there as short
ones, by command chaining and GET RESPONSE (ISO/IEC 7816-4), for cards that take
those; a port carries them whole. Also clients that come and go."""

import threading
import unittest

import vscard
from ccid import ABSENT, ACTIVE, DATA_BLOCK, CcidHost
from programs import Program
from rig import power_on, round_trip
from spice import CARD_PORT, PORT_CARD, Access, Session, SpiceAppliance
from stream import Closed

CAP_EXTENDED = 1 << 29
# Of whole APDUs. libspice-server's buffer holds 270 bytes of VSCard message; the
# longest APDU there is has 65,544 bytes, the longest response 65,538.
SIZES = [*range(258, 285), 600, 2000, 4000, 32768, 65535]
COMMANDS = [*SIZES, 65536, 65544]
RESPONSES = [*SIZES, 65536, 65537, 65538]


def command_of(size):
    """An extended echo command of `size` bytes: case 3, or 4 if it is too long."""
    ne = 65536 if size > 7 + 65535 else None
    data = bytes(i * 5 & 0xFF for i in range(size - 7 - (2 if ne else 0)))
    command = vscard.echo_command(size & 0xFF, data, ne, extended=True)
    return command


class ShortCard:
    """An echo card that takes short APDUs only, and says what is longer in parts
    and by GET RESPONSE, as a card does that has no extended APDUs. How much it
    has to say, it has to be told: a short Le ends at 256."""

    PART = 200

    def __init__(self, client):
        self.client = client
        self.parts = []         # the data of the chain so far
        self.rest = b""
        self.size = 0           # the length of the next response
        self.longest = 0        # command seen
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            while True:
                command = self.client.take_command()
                self.longest = max(self.longest, len(command))
                self.client.answer(self.response(command))
        except (Closed, OSError):
            pass

    def response(self, command):
        if command[1] == 0xC0:
            return self.portion(command[4] or 256)
        data, _ = vscard.split_apdu(command)
        self.parts.append(data)
        if command[0] & 0x10:
            return b"\x90\x00"
        data, self.parts = b"".join(self.parts), []
        self.rest = vscard.echo_pattern(command[3], data, self.size)
        return self.portion(0) if self.size > 256 else self.rest + b"\x90\x00"

    def portion(self, most):
        now, self.rest = self.rest[:min(most, self.PART)], self.rest[min(most, self.PART):]
        left = min(len(self.rest), 256)
        return now + (bytes([0x61, left & 0xFF]) if left else b"\x90\x00")


class Served(unittest.TestCase):
    """A vscardd with a SPICE server, and its reader's host."""

    card = None

    def setUp(self):
        self.access = self.enterContext(Access())
        words = {"card": self.card} if self.card else {}
        # One name for all: a reader that takes its client's is plugged in anew.
        self.appliance = self.enterContext(SpiceAppliance(self.access, ccid=",name=fixed",
                                                          **words))
        self.host = self.enterContext(CcidHost(self.appliance.usb())).open()

    def transmit(self, command):
        """The reader's answer to a command."""
        reply = self.host.final(self.host.start(command))
        self.assertEqual(reply.verdict, (DATA_BLOCK, ACTIVE, 0))
        return reply.data

    def echo(self, command):
        """The card's answer to a command, as an application has it that knows T=0:
        on the smartcard channel, where nobody tells what the host is, our client
        acts as a T=0 card (ISO/IEC 7816-3, 12.2)."""
        answer = self.transmit(command)
        data, status = answer[:-2], answer[-2:]
        while status[0] == 0x61:
            answer = self.transmit(bytes([0, 0xC0, 0, 0, status[1]]))
            data, status = data + answer[:-2], answer[-2:]
        return data + status


class SmartcardSizes(Served):
    def setUp(self):
        super().setUp()
        self.session = self.enterContext(Session(self.access.way()))
        client = self.enterContext(self.session.smartcard())
        client.add_reader()
        client.insert()
        power_on(self.host)
        self.short = ShortCard(client)

    def test_commands(self):
        for size in COMMANDS:
            command = command_of(size)
            data, ne = vscard.split_apdu(command)
            self.short.size = ne
            expected = vscard.echo_pattern(command[3], data, ne) + b"\x90\x00"
            self.assertEqual(self.transmit(command), expected, f"a command of {size} bytes")
        self.assertLessEqual(self.short.longest, 261)

    def test_responses(self):
        for size in RESPONSES:
            self.short.size = size - 2
            command = vscard.echo_command(size & 0xFF, b"say", self.short.size, extended=True)
            self.assertEqual(self.transmit(command), vscard.echo_answer(command),
                             f"a response of {size} bytes")


class SmartcardLong(Served):
    """A client that answers with more than it may, or at once with all."""

    def test_long_responses(self):
        for size in [*range(269, 285), 2000, 65538]:
            with Session(self.access.way()) as session:
                client = session.smartcard()
                client.add_reader()
                client.insert()
                power_on(self.host)
                command = vscard.echo_command(0, b"say", size - 2, extended=True)
                seq = self.host.start(command)
                client.take_command()
                client.answer(vscard.echo_answer(command))
                # The whole response is a good one; an end with an error is as good.
                reply = self.host.final(seq)
                if reply.verdict == (DATA_BLOCK, ACTIVE, 0):
                    self.assertEqual(reply.data, vscard.echo_answer(command))
                client.close()
            self.host.wait_icc(ABSENT)


class PortSizes(Served):
    card = PORT_CARD

    def test_both_directions(self):
        with Session(self.access.way()) as session, session.port(CARD_PORT) as port:
            client = vscard.Client(port)
            port.send(vscard.pack_init(CAP_EXTENDED))
            self.assertEqual(client.receive().type, vscard.INIT)
            client.add_reader()
            client.insert()
            power_on(self.host)
            for size in COMMANDS:
                round_trip(self.host, client, command_of(size))
            for size in RESPONSES:
                round_trip(self.host, client,
                           vscard.echo_command(size & 0xFF, b"say", size - 2, extended=True))
        self.host.wait_icc(ABSENT)


class OurClient(Served):
    """The same sizes with our client's end of the protocol."""

    card = PORT_CARD
    more = ("t1", "port")
    limit = 65536

    def test_sizes(self):
        with Program("tests/peer/echo-client", self.access.uri(), *self.more):
            power_on(self.host, atr=None)
            for size in (1, 51, 52, 53, 254, 255, 256, 257, *range(267, 285), 2000, 65535, 65536):
                for command in (vscard.echo_command(size & 0xFF, b"say", size),
                                vscard.echo_command(1, bytes(min(size, 65535)), 2)):
                    if size <= self.limit:
                        self.assertEqual(self.echo(command), vscard.echo_answer(command),
                                         f"{len(command)} bytes, {size}")
        self.host.wait_icc(ABSENT)


class OurClientSmartcard(OurClient):
    card = None
    more = ("t1", "smartcard")
    limit = 255


class ComingAndGoing(Served):
    """Clients of ours, one after the other, and two at a time."""

    SLEEP = bytes.fromhex("00ED0064")   # ten seconds of work

    def client(self):
        return Program("tests/peer/echo-client", self.access.uri(), "t1", "smartcard")

    def killed_in_mid_command(self, client):
        power_on(self.host, atr=None)
        seq = self.host.start(self.SLEEP)
        self.assertEqual(self.host.reply().status & 0xC0, 0x80, "a time extension")
        client()
        reply = self.host.final(seq)
        self.assertNotEqual(reply.status & 0x40, 0, reply)

    def test_killed_in_mid_command(self):
        for _ in range(3):
            client = self.client()
            self.killed_in_mid_command(client.kill)
            self.host.wait_icc(ABSENT)

    def test_a_second_client(self):
        """The first is thrown out, its command ends, the second's card comes."""
        first = self.client()
        self.addCleanup(first.kill)
        second = []
        self.killed_in_mid_command(lambda: second.append(self.client()))
        power_on(self.host, atr=None)
        self.assertEqual(self.echo(vscard.echo_command(1, b"x", 4)),
                         vscard.echo_answer(vscard.echo_command(1, b"x", 4)))
        self.assertEqual(first.wait(), 0)
        self.assertIn("echo-client: ", first.errors())
        second[0].end()


del Served  # it is no case by itself

if __name__ == "__main__":
    unittest.main()
