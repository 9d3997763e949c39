# SPDX-License-Identifier: LGPL-2.1-or-later
"""The IFD handler's functions, each in each state of a reader, called by a
program that stands for pcscd, with VSCard peers that are good, slow, gone or
hostile. What each function answers is pcsc-lite's ifdhandler.h; an answer that
comes late is never the answer to the next command."""

import os
import random
import socket
import time
import unittest

import ifd
import vscard
from ifd import (COMMUNICATION_ERROR, HOSTILE, ICC_NOT_PRESENT, POWER_ACTION, POWER_DOWN, POWER_UP,
                 RESET, RESPONSE_TIMEOUT, SUCCESS, Driver)
from programs import Folder, Program
from stream import Closed
from vscard import APDU, ATR, CARD_REMOVE, ERROR, INIT, READER_ADD, READER_REMOVE, Client, pack

ECHO = vscard.echo_command(7, b"ifd", 20)
SLOW = vscard.echo_command(1, b"slow", 4)
NEXT = vscard.echo_command(2, b"next", 30)
ROUNDS = 200


def wait_for(condition, what, limit=20):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.005)


class DriverCase(unittest.TestCase):
    """A driver with the library loaded, and a place for sockets."""

    options = ""

    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        self.driver = Driver()
        self.addCleanup(self.driver.kill)

    def tearDown(self):
        self.driver.end()

    @property
    def path(self):
        return self.folder / "card"

    def open(self, lun=0, options=None):
        """Opens a reader that listens; answers the code."""
        options = self.options if options is None else options
        return self.driver.open(lun, f"vscard:socket,path={self.path},server=on{options}")

    def reader(self):
        self.assertEqual(self.open(), SUCCESS)

    def client(self, powered=True, caps=vscard.CAP_EXTENDED):
        """A good client with a card in the open reader."""
        client = Client.with_card(self.path, caps=caps)
        self.addCleanup(client.close)
        wait_for(self.driver.present, "the card is not seen")
        if powered:
            self.assertEqual(self.driver.power(), (SUCCESS, vscard.ECHO_ATR,
                                                   len(vscard.ECHO_ATR)))
        return client

    def works(self, client, command=ECHO, lun=0):
        pending = self.driver.start("transmit", lun, command, ifd.ROOM)
        self.assertEqual(client.serve_one(), command)
        answer = vscard.echo_answer(command)
        self.assertEqual(pending.result(), (SUCCESS, answer, len(answer)))

    def lives(self):
        """The reader takes a new client, and its card answers."""
        with self.client() as client:
            self.works(client)
        wait_for(lambda: not self.driver.present(), "the card stays")


class States(DriverCase):
    """Every function in every state."""

    def codes(self, lun=0):
        """What each function answers now; the command is answered by nobody."""
        driver = self.driver
        return {
            "presence": driver.code("presence", lun),
            "up": driver.power(POWER_UP, lun).code,
            "reset": driver.power(RESET, lun).code,
            "transmit": driver.transmit(ECHO, lun).code,
            "T=1": driver.code("protocol", lun, ifd.T1),
            "atr": driver.get(ifd.TAG_ATR, lun).code,
            "slots": driver.get(ifd.TAG_SLOTS, lun).code,
            "set": driver.code("set", lun, ifd.TAG_SLOTS),
            "set unknown": driver.code("set", lun, 0x1234),
            "unknown": driver.get(0x1234, lun).code,
            "features": driver.code("control", lun, ifd.GET_FEATURES, 20),
            "control": driver.code("control", lun, 0x42000001, 20),
            "down": driver.power(POWER_DOWN, lun).code,
            "power what": driver.power(77, lun).code,
            "wait": driver.code("wait", lun, 1),
            "stop": driver.code("stop", lun),
        }

    # What a reader answers with or without a card.
    HAS_READER = {"atr": SUCCESS, "slots": SUCCESS, "set": ifd.VALUE_READ_ONLY,
                  "set unknown": ifd.ERROR_TAG, "unknown": ifd.ERROR_TAG, "features": SUCCESS,
                  "control": ifd.ERROR_NOT_SUPPORTED, "down": SUCCESS,
                  "power what": ifd.NOT_SUPPORTED, "wait": SUCCESS, "stop": SUCCESS}
    NO_CARD = {**HAS_READER, "presence": ICC_NOT_PRESENT, "up": POWER_ACTION,
               "reset": POWER_ACTION, "transmit": ICC_NOT_PRESENT, "T=1": ifd.PTS_FAILURE}

    def no_reader(self, lun=0):
        """-1 is the driver's, for a function that pcscd would not get."""
        expected = dict.fromkeys(self.HAS_READER, COMMUNICATION_ERROR)
        expected.update({"presence": COMMUNICATION_ERROR, "up": COMMUNICATION_ERROR,
                         "reset": COMMUNICATION_ERROR, "transmit": COMMUNICATION_ERROR,
                         "T=1": COMMUNICATION_ERROR, "wait": -1, "stop": -1,
                         "power what": ifd.NOT_SUPPORTED})
        self.assertEqual(self.codes(lun), expected)
        self.assertEqual(self.driver.code("close", lun), COMMUNICATION_ERROR)

    def test_no_channel(self):
        for lun in (0, 1, 0x10000, 0xFFFF0000, 0xFFFFFFFF):
            self.no_reader(lun)

    def test_closed(self):
        self.reader()
        self.assertEqual(self.driver.code("close"), SUCCESS)
        self.no_reader()
        self.assertEqual(self.driver.code("threads"), 0)

    def test_another_reader_and_slot(self):
        self.reader()
        self.no_reader(1)
        self.no_reader(0x10000)

    def test_no_peer(self):
        self.reader()
        self.assertEqual(self.codes(), self.NO_CARD)

    def test_peer_without_reader_and_card(self):
        self.reader()
        with Client(self.path) as client:
            self.assertEqual(self.codes(), self.NO_CARD)
            client.init()
            self.assertEqual(self.codes(), self.NO_CARD)
            client.add_reader()
            self.assertEqual(self.codes(), self.NO_CARD)

    def test_card_without_power(self):
        self.reader()
        client = self.client(powered=False)
        self.assertEqual(self.driver.transmit(ECHO), (COMMUNICATION_ERROR, b"", 0))
        self.assertEqual(self.driver.code("protocol", 0, ifd.T1), ifd.PTS_FAILURE)
        self.assertEqual(self.driver.get(ifd.TAG_ATR), (SUCCESS, b"", 0))
        self.assertEqual(self.driver.get(ifd.ATTR_PRESENCE).data, b"\2")
        self.assertEqual(self.driver.get(ifd.ATTR_STATUS).data, b"\0")
        self.assertEqual(self.driver.power(RESET).data, vscard.ECHO_ATR)
        self.works(client)

    def test_card_with_power(self):
        self.reader()
        client = self.client()
        self.assertEqual(self.driver.code("protocol", 0, ifd.T1), SUCCESS)
        self.assertEqual(self.driver.code("protocol", 0, ifd.T0), ifd.PROTOCOL_NOT_SUPPORTED)
        self.assertEqual(self.driver.code("protocol", 0, 4), ifd.PROTOCOL_NOT_SUPPORTED)
        for tag in (ifd.TAG_ATR, ifd.ATTR_ATR):
            self.assertEqual(self.driver.get(tag).data, vscard.ECHO_ATR)
        self.assertEqual(self.driver.get(ifd.ATTR_STATUS).data, b"\1")
        self.works(client)
        for action in (POWER_UP, RESET):
            self.assertEqual(self.driver.power(action).data, vscard.ECHO_ATR)
            self.works(client)
        self.assertEqual(self.driver.power(POWER_DOWN).code, SUCCESS)
        self.assertEqual(self.driver.transmit(ECHO).code, COMMUNICATION_ERROR)
        self.assertEqual(self.driver.get(ifd.TAG_ATR).length, 0)

    def test_command_under_way(self):
        """Everything that needs not the card goes on; what needs it is refused."""
        self.reader()
        client = self.client()
        pending = self.driver.start("transmit", 0, SLOW, ifd.ROOM)
        self.assertEqual(client.take_command(), SLOW)
        expected = {**self.HAS_READER, "presence": ifd.ICC_PRESENT, "up": COMMUNICATION_ERROR,
                    "reset": COMMUNICATION_ERROR, "transmit": COMMUNICATION_ERROR,
                    "T=1": SUCCESS, "down": COMMUNICATION_ERROR}
        self.assertEqual(self.codes(), expected)
        self.assertFalse(pending.done)
        client.answer(b"\x90\x00")
        self.assertEqual(pending.result().data, b"\x90\x00")
        self.works(client)

    def test_peer_lost_in_a_command(self):
        self.reader()
        client = self.client()
        pending = self.driver.start("transmit", 0, SLOW, ifd.ROOM)
        client.take_command()
        client.close()
        self.assertEqual(pending.result(), (ICC_NOT_PRESENT, b"", 0))
        self.assertFalse(self.driver.present())
        self.assertEqual(self.codes(), self.NO_CARD)
        self.lives()

    def test_closed_in_a_command(self):
        self.reader()
        client = self.client()
        pending = self.driver.start("transmit", 0, SLOW, ifd.ROOM)
        client.take_command()
        self.assertEqual(self.driver.code("close"), SUCCESS)
        self.assertEqual(pending.result(), (COMMUNICATION_ERROR, b"", 0))
        client.stream.wait_closed()
        self.no_reader()
        self.reader()
        self.lives()

    def test_closed_in_a_power_on(self):
        """Of two slots one is closed while its card is asked for its ATR: what
        power it gets all the same is taken away."""
        for slot in range(2):
            self.assertEqual(self.open(slot, ",slots=2"), SUCCESS)
        with Client(self.path) as client:
            client.init(vscard.CAP_REQUESTS)
            client.add_reader()
            client.insert()
            wait_for(self.driver.present, "the card is not seen")
            pending = self.driver.start("power", 0, POWER_UP, ifd.ATR_ROOM)
            token, _ = client.take_request(vscard.POWER_ON)
            self.assertEqual(self.driver.code("close"), SUCCESS)
            self.assertEqual(pending.result().code, COMMUNICATION_ERROR)
            self.assertEqual(client.receive().type, vscard.CANCEL)
            client.answer_request(token, vscard.ECHO_ATR)
            token, _ = client.take_request(vscard.POWER_OFF)
            client.answer_request(token)

    def test_closed_while_it_waits(self):
        self.reader()
        pending = self.driver.start("wait", 0, 600000)
        time.sleep(0.1)
        self.assertFalse(pending.done)
        self.assertEqual(self.driver.code("close"), SUCCESS)
        pending.result()

    def test_capabilities(self):
        self.reader()
        for tag, value in ((ifd.TAG_SLOTS, b"\1"), (ifd.TAG_THREAD_SAFE, b"\1"),
                           (ifd.TAG_SLOT_THREAD_SAFE, b"\1"), (ifd.TAG_SIMULTANEOUS, b"\xff"),
                           (ifd.TAG_KILLABLE, b"\0"), (ifd.ATTR_PRESENCE, b"\0"),
                           (ifd.ATTR_VENDOR, b"vscard\0"), (ifd.ATTR_TYPE, b"VSCard reader\0"),
                           (ifd.ATTR_MAXINPUT, (65544).to_bytes(4, "little"))):
            with self.subTest(tag=hex(tag)):
                self.assertEqual(self.driver.get(tag), (SUCCESS, value, len(value)))
                # The length alone, and too little room for it.
                self.assertEqual(self.driver.call("get", 0, tag, "-").length, len(value))
                self.assertEqual(self.driver.get(tag, room=len(value)).code, SUCCESS)
                self.assertEqual(self.driver.get(tag, room=len(value) - 1).code,
                                 ifd.INSUFFICIENT_BUFFER)
        for tag in (ifd.TAG_WAIT, ifd.TAG_STOP):
            self.assertEqual(self.driver.get(tag).length, 8)
        self.assertEqual(self.driver.get(ifd.ATTR_SERIAL).code, ifd.ERROR_TAG)

    def test_described(self):
        """What a reader's side says of it shows, until another one is there."""
        def shows(type_, code):
            wait_for(lambda: (self.driver.get(ifd.ATTR_TYPE).data,
                              self.driver.get(ifd.ATTR_SERIAL).code) == (type_, code),
                     "what is said of the reader does not show")
        self.reader()
        with Client(self.path) as client:
            client.init(vscard.CAP_REQUESTS)
            client.send(vscard.READER_INFO, vscard.UNDEFINED_READER,
                        vscard.pack_info((vscard.NAME_TAG, b"Name"), (vscard.SERIAL_TAG, b"7")))
            client.add_reader()
            shows(b"Name\0", SUCCESS)
        shows(b"Name\0", SUCCESS)
        with Client.with_card(self.path):
            shows(b"VSCard reader\0", ifd.ERROR_TAG)

    def test_control(self):
        """One feature, no PIN pad: and what it says is so."""
        self.reader()
        answer = self.driver.call("control", 0, ifd.GET_FEATURES, 20)
        self.assertEqual((answer.code, answer.data[:2], answer.length), (SUCCESS, b"\x12\4", 6))
        code = int.from_bytes(answer.data[2:], "big")
        answer = self.driver.call("control", 0, code, 6)
        self.assertEqual(answer, (SUCCESS, b"\x0a\4" + (65535).to_bytes(4, "little"), 6))
        for room in (0, 5):
            self.assertEqual(self.driver.call("control", 0, code, room),
                             (ifd.INSUFFICIENT_BUFFER, b"", 0))
        self.assertEqual(self.driver.call("control", 0, 1, 20), (ifd.ERROR_NOT_SUPPORTED, b"", 0))

    def test_buffers(self):
        self.reader()
        client = self.client()
        self.assertEqual(self.driver.power(room=len(vscard.ECHO_ATR)).code, SUCCESS)
        self.assertEqual(self.driver.power(room=len(vscard.ECHO_ATR) - 1),
                         (ifd.INSUFFICIENT_BUFFER, b"", 0))
        size = len(vscard.echo_answer(ECHO))
        for room, code in ((size, SUCCESS), (size - 1, ifd.INSUFFICIENT_BUFFER),
                           (0, ifd.INSUFFICIENT_BUFFER)):
            pending = self.driver.start("transmit", 0, ECHO, room)
            client.serve_one()
            answer = pending.result()
            self.assertEqual((answer.code, answer.length), (code, size if code == SUCCESS else 0))
        # A command that is none.
        for command in (bytes(65545), bytes(70000)):
            self.assertEqual(self.driver.transmit(command).code, COMMUNICATION_ERROR)
        self.works(client)

    def test_sizes(self):
        self.reader()
        client = self.client()
        for size in (0, 1, 52, 255, 256, 65535):
            for ne in (None, 1, 256, 257, 65536):
                self.works(client, vscard.echo_command(5, random.randbytes(size), ne))


class Late(DriverCase):
    """A reader whose requests may take a second."""

    options = ",timeout=1"

    def test_late_answers(self):
        """The answer to a command that was given up is not the next one's."""
        self.reader()
        client = self.client()
        for _ in range(3):
            self.assertEqual(self.driver.transmit(SLOW), (RESPONSE_TIMEOUT, b"", 0))
            self.assertEqual(client.take_command(), SLOW)
            pending = self.driver.start("transmit", 0, NEXT, ifd.ROOM)
            time.sleep(0.1)
            client.answer(vscard.echo_answer(SLOW))
            self.assertEqual(client.serve_one(), NEXT)
            self.assertEqual(pending.result().data, vscard.echo_answer(NEXT))
            self.works(client)

    def test_never(self):
        """A card that says nothing any more: each command ends in time, and a
        new card is not held up by it."""
        self.reader()
        client = self.client()
        for _ in range(2):
            self.assertEqual(self.driver.transmit(SLOW).code, RESPONSE_TIMEOUT)
        self.assertEqual(client.take_command(), SLOW)
        client.remove()
        wait_for(lambda: not self.driver.present(), "the card stays")
        client.insert()
        wait_for(self.driver.present, "the card is not seen")
        self.assertEqual(self.driver.power().code, SUCCESS)
        client.close()
        self.lives()

    def test_removed_and_inserted_in_a_command(self):
        self.reader()
        client = self.client()
        pending = self.driver.start("transmit", 0, SLOW, ifd.ROOM)
        client.take_command()
        client.remove()
        client.insert()
        self.assertEqual(pending.result().code, ICC_NOT_PRESENT)


class Changes(DriverCase):
    """Insertion and removal wake pcscd, which does not poll."""

    def waits(self):
        return self.driver.start("wait", 0, 600000)

    def seen(self, pending, present):
        pending.result()
        self.assertEqual(self.driver.present(), present)

    def test_events(self):
        self.reader()
        pending = self.waits()
        client = self.client(powered=False)
        self.seen(pending, True)
        pending = self.waits()
        client.remove()
        self.seen(pending, False)
        pending = self.waits()
        client.insert()
        self.seen(pending, True)
        pending = self.waits()
        client.close()
        self.seen(pending, False)

    def test_event_before_the_wait(self):
        self.reader()
        self.driver.code("wait", 0, 1)
        self.client(powered=False)
        self.seen(self.waits(), True)

    def test_a_swap_between_two_looks(self):
        """A card in the place of another: removed first, for the whole turn."""
        self.reader()
        pending = self.waits()
        client = self.client(powered=False)
        self.seen(pending, True)
        self.assertEqual(self.driver.power().code, SUCCESS)
        client.remove()
        client.insert()
        for _ in range(3):
            self.assertFalse(self.driver.present())
        self.assertEqual(self.driver.power().code, POWER_ACTION)
        self.assertEqual(self.driver.transmit(ECHO).code, ICC_NOT_PRESENT)
        self.assertEqual(self.driver.get(ifd.TAG_ATR).length, 0)
        self.seen(self.waits(), False)
        self.seen(self.waits(), True)
        self.assertEqual(self.driver.transmit(ECHO).code, COMMUNICATION_ERROR)
        self.assertEqual(self.driver.power().code, SUCCESS)
        self.works(client)

    def test_stop(self):
        self.reader()
        pending = self.waits()
        self.assertEqual(self.driver.code("stop"), SUCCESS)
        pending.result()
        # Also before the wait, and once.
        self.driver.code("stop")
        self.waits().result()
        pending = self.waits()
        time.sleep(0.2)
        self.assertFalse(pending.done)
        self.driver.code("stop")
        pending.result()

    def test_commands_do_not_wake(self):
        self.reader()
        client = self.client()
        self.driver.code("wait", 0, 1)
        pending = self.waits()
        for _ in range(10):
            self.works(client)
        self.assertFalse(pending.done)
        self.driver.code("stop")
        pending.result()


class Readers(DriverCase):
    """Several slots, several readers, and what is refused."""

    def test_slots(self):
        for slot in range(4):
            self.assertEqual(self.open(slot, ",slots=4"), SUCCESS)
        self.assertEqual(self.open(4, ",slots=4"), COMMUNICATION_ERROR)
        self.assertEqual(self.open(0, ",slots=4"), COMMUNICATION_ERROR)
        self.assertEqual(self.open(0, ",slots=3"), COMMUNICATION_ERROR)
        self.assertEqual(self.driver.get(ifd.TAG_SLOTS).data, b"\4")
        client = Client(self.path)
        client.init()
        for slot in range(4):
            client.add_reader(b"reader %d" % slot)
            self.assertEqual(client.reader, slot)
        for slot in (2, 0, 3):
            client.reader = slot
            client.insert(vscard.make_atr(b"card %d" % slot))
        wait_for(lambda: self.driver.present(3), "the card is not seen")
        self.assertEqual([self.driver.present(slot) for slot in range(4)],
                         [True, False, True, True])
        for slot in (0, 2, 3):
            self.assertEqual(self.driver.power(lun=slot).data, vscard.make_atr(b"card %d" % slot))
        # All at once, answered in another order.
        pending = {slot: self.driver.start("transmit", slot,
                                           vscard.echo_command(slot, b"", 9), 20)
                   for slot in (0, 2, 3)}
        got = {}
        for _ in pending:
            message = client.receive()
            got[message.reader] = message.data
        for slot in (3, 0, 2):
            client.send(APDU, slot, vscard.echo_answer(got[slot]))
            self.assertEqual(pending[slot].result().data,
                             vscard.echo_answer(vscard.echo_command(slot, b"", 9)))
        # One slot closed: the others go on; the last ends the conversation.
        for slot in (0, 1, 3):
            self.assertEqual(self.driver.code("close", slot), SUCCESS)
            self.assertEqual(self.driver.code("close", slot), COMMUNICATION_ERROR)
            self.assertTrue(self.driver.present(2))
        self.assertEqual(self.driver.code("close", 2), SUCCESS)
        client.stream.wait_closed()
        self.assertEqual(self.driver.code("threads"), 0)

    def test_slots_at_work(self):
        """Commands on four slots at once: each gets its own answer, whichever
        thread runs the loop."""
        for slot in range(4):
            self.assertEqual(self.open(slot, ",slots=4"), SUCCESS)
        with Program("tests/peer/echo-client", f"path={self.path}", "t1",
                     *(f"--reader=R{n}" for n in range(4))):
            for slot in range(4):
                wait_for(lambda slot=slot: self.driver.present(slot), "the card is not seen")
                self.assertEqual(self.driver.power(lun=slot).code, SUCCESS)
            self.assertEqual(self.driver.code("wait", 0, 1), SUCCESS)
            for n in range(300):
                commands = [vscard.echo_command(n + slot & 0xFF, b"%d" % n, 4 + slot)
                            for slot in range(4)]
                pending = [self.driver.start("transmit", slot, command, 20)
                           for slot, command in enumerate(commands)]
                for command, call in zip(commands, pending):
                    self.assertEqual(call.result().data, vscard.echo_answer(command))
        for slot in range(4):
            wait_for(lambda slot=slot: not self.driver.present(slot), "the card stays")

    def test_readers(self):
        """Sixteen, each with its client; one that opens or closes is not in the
        way of the others."""
        clients = []
        for n in range(16):
            self.assertEqual(self.driver.open(n << 16, f"'vscard:socket,path={self.path}{n},"
                                                       "server=on'"), SUCCESS)
            clients.append(Client.with_card(f"{self.path}{n}"))
        for n, client in enumerate(clients):
            wait_for(lambda lun=n << 16: self.driver.present(lun), "the card is not seen")
            self.assertEqual(self.driver.power(lun=n << 16).code, SUCCESS)
            self.works(client, vscard.echo_command(n, b"", 30), n << 16)
        pending = self.driver.start("transmit", 3 << 16, SLOW, 20)
        for n in range(16):
            if n != 3:
                self.assertEqual(self.driver.code("close", n << 16), SUCCESS)
                clients[n].stream.wait_closed()
        clients[3].serve_one()
        self.assertEqual(pending.result().code, SUCCESS)
        self.assertEqual(self.driver.code("close", 3 << 16), SUCCESS)
        self.assertEqual(self.driver.code("threads"), 0)

    def test_connecting(self):
        """The reader connects, is there without its peer, and comes back."""
        with vscard.Listener(self.path) as listener:
            self.assertEqual(self.driver.open(0, f"vscard:socket,path={self.path}"), SUCCESS)
            for _ in range(2):
                client = Client(listener.accept().stream)
                client.init()
                client.add_reader()
                client.insert()
                wait_for(self.driver.present, "the card is not seen")
                client.close()
                wait_for(lambda: not self.driver.present(), "the card stays")

    def test_channel(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.assertEqual(self.driver.code("channel", 0, port), SUCCESS)
        with Client.with_card(("127.0.0.1", port)):
            wait_for(self.driver.present, "the card is not seen")
        for channel in (0, 65536, 0xFFFFFFFF):
            self.assertEqual(self.driver.code("channel", 0x10000, channel), COMMUNICATION_ERROR)

    def test_refused(self):
        for name in ("socket", "", '"', "vscard:", "vscard:socket", "spicevmc,name=smartcard",
                     "vscard:spiceport,name=x", "vscard:socket,path=/nowhere/at/all,server=on",
                     f"socket,path={self.path},server=on,wait=on",
                     f"socket,path={self.path},server,wait", "socket,fd=3",
                     f"socket,path={self.path},slots=0", f"socket,path={self.path},slots=17",
                     f"socket,path={self.path},slots", f"socket,path={self.path},timeout=0",
                     f"socket,path={self.path},slots=1,slots=1",
                     f"socket,path={self.path},frobnicate=on", "a," * 1000):
            with self.subTest(name=name):
                self.assertEqual(self.driver.open(0, name), COMMUNICATION_ERROR)
                self.assertEqual(self.driver.code("threads"), 0)
        self.reader()

    def test_place_taken(self):
        self.reader()
        self.assertEqual(self.open(0x10000), COMMUNICATION_ERROR)
        self.lives()
        self.assertEqual(self.driver.code("close"), SUCCESS)
        self.assertEqual(self.open(0x10000), SUCCESS)

    def test_opened_and_closed(self):
        """In a row and from several threads; loaded and unloaded."""
        for _ in range(50):
            self.reader()
            self.assertEqual(self.driver.code("close"), SUCCESS)
        pending = [self.driver.start("open", n << 16,
                                     f"socket,path={self.path}{n},server=on".encode())
                   for n in range(12)]
        self.assertEqual({call.result().code for call in pending}, {SUCCESS})
        pending = [self.driver.start("close", n << 16) for n in range(12)]
        self.assertEqual({call.result().code for call in pending}, {SUCCESS})
        self.assertEqual(self.driver.code("threads"), 0)
        self.assertEqual(self.driver.code("unload"), SUCCESS)
        self.assertEqual(self.driver.code("load"), SUCCESS)
        self.reader()
        self.lives()


class Hostile(DriverCase):
    """Peers that break the protocol: the reader ends what it must, and takes
    the next client."""

    def test_in_a_command(self):
        """Whatever comes in place of the answer, the command ends, and with
        another's bytes never."""
        self.assertEqual(self.open(options=",timeout=1"), SUCCESS)
        for data in HOSTILE:
            with self.subTest(data=data[:24].hex()):
                client = self.client()
                pending = self.driver.start("transmit", 0, ECHO, ifd.ROOM)
                client.take_command()
                client.stream.send(data)
                answer = pending.result()
                if data == pack(APDU, 0, bytes(65544)):
                    self.assertEqual(answer.code, COMMUNICATION_ERROR)
                self.assertNotEqual(answer.code, SUCCESS)
                client.close()
                wait_for(lambda: not self.driver.present(), "the card stays")
                self.lives()

    def test_at_any_time(self):
        self.reader()
        for data in HOSTILE:
            with self.subTest(data=data[:24].hex()):
                with Client(self.path) as client:
                    client.stream.send(data)
                client = self.client()
                try:
                    client.stream.send(data)
                except Closed:
                    pass
                client.close()
                wait_for(lambda: not self.driver.present(), "the card stays")
                self.lives()

    def test_at_random(self):
        """Messages at random, while the functions are called."""
        seed = int(os.environ.get("VSCARD_SEED", time.time_ns() & 0xFFFF))
        rand = random.Random(seed)
        self.assertEqual(self.open(options=",timeout=1,slots=2"), SUCCESS)
        self.assertEqual(self.open(1, options=",timeout=1,slots=2"), SUCCESS)
        with self.subTest(seed=seed):
            for _ in range(ROUNDS):
                with Client(self.path) as client:
                    calls = [self.driver.start(*call) for call in self.some_calls(rand)]
                    try:
                        for _ in range(rand.randrange(8)):
                            client.stream.send(self.some_message(rand))
                    except (Closed, OSError):
                        pass
                for call in calls:
                    call.result()
            wait_for(lambda: not self.driver.present(), "the card stays")

    @staticmethod
    def some_message(rand):
        kind = rand.choice((INIT, READER_ADD, READER_ADD, ATR, ATR, ATR, APDU, CARD_REMOVE,
                            READER_REMOVE, ERROR, rand.randrange(20)))
        data = rand.choice((vscard.ECHO_ATR, b"", rand.randbytes(rand.randrange(40)),
                            vscard.MAGIC + bytes([0, 0, 0, 2]) + rand.randbytes(4), b"\x90\x00"))
        return pack(kind, rand.choice((0, 0, 1, 2, 0xFFFFFFFF)), data)

    @staticmethod
    def some_calls(rand):
        lun = rand.randrange(2)
        calls = (("power", lun, POWER_UP, 33), ("transmit", lun, ECHO, 300), ("presence", lun),
                 ("get", lun, ifd.ATTR_VENDOR, 100), ("power", lun, POWER_DOWN, 33),
                 ("wait", lun, 10), ("stop", lun))
        return [rand.choice(calls) for _ in range(3)]


if __name__ == "__main__":
    unittest.main()
