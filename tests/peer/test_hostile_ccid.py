# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drivers that break CCID, against a real vscardd with a card behind it. What
the reader answers is asserted to the byte (CCID revision 1.1, clause 6.2.6 and
the tables of 6.1); after each conversation a good host and the other reader of
the process are well."""

import random
import struct
import unittest

import ccid
import usbredir
import vscard
from ccid import (ABORTED, ABSENT, ACTIVE, BAD_LENGTH, BAD_SLOT, DATA_BLOCK, FAILED, ICC_MUTE,
                  INACTIVE, NOT_SUPPORTED, SLOT_BUSY, SLOT_STATUS, pack)
from rig import ECHO, ReaderCase, power_on, round_trip
from stream import Closed


class Lengths(ReaderCase):
    """Bulk-OUT messages whose length is not what their header says."""

    def test_less_than_a_header(self):
        """1 to 9 bytes are answered as far as they go: what is not there is 0."""
        for size in range(1, 10):
            with self.subTest(size=size):
                self.host.write(pack(ccid.XFR_BLOCK, 0, 99)[:size])
                reply = self.host.final(99 if size >= 7 else 0)
                self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
                self.works()

    def test_one_byte_each_way(self):
        """dwLength one less, or one more, than what follows."""
        for data in (ECHO, b"", bytes(200)):
            for off in (-1, 1):
                if data or off > 0:
                    with self.subTest(size=len(data), off=off):
                        self.check_length(data, len(data) + off)

    def check_length(self, data, length):
        seq = self.host.command(ccid.XFR_BLOCK, 0, data, length=length)
        reply = self.host.final(seq)
        self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
        self.assertEqual(reply.data, b"")
        self.works()

    def test_enormous(self):
        for length in (0xFFFFFFF0, 0xFFFFFFFF, 1 << 31, ccid.MESSAGE_MAX - 9):
            with self.subTest(length=length):
                self.check_length(ECHO, length)

    def test_length_where_none_belongs(self):
        """Commands without data that have some."""
        for kind in (ccid.GET_STATUS, ccid.POWER_ON, ccid.POWER_OFF, ccid.GET_PARAMETERS,
                     ccid.RESET_PARAMETERS):
            with self.subTest(kind=kind):
                reply = self.host.ask(kind, 0, b"x")
                self.assertEqual((reply.status, reply.error), (FAILED | ACTIVE, BAD_LENGTH))
        self.works()

    def test_longest(self):
        """The longest command and the longest response there are."""
        command = vscard.echo_command(9, bytes(i & 0xFF for i in range(65535)), 65536)
        self.assertEqual(len(command), 65544)
        round_trip(self.host, self.client, command)

    def test_one_more_than_longest(self):
        reply = self.host.final(self.host.command(ccid.XFR_BLOCK, 0, bytes(65545)))
        self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
        self.works()

    def test_far_more_than_longest(self):
        """A message that goes on and on, in transfers of whole packets."""
        size = self.host.out.max_packet
        head = pack(ccid.XFR_BLOCK, 0, self.host.next_seq(), b"", length=1 << 24)
        self.host.write(head + bytes(size * 100 - len(head)))
        for _ in range(40):
            self.host.write(bytes(size * 100))
        self.host.write(b"")
        reply = self.host.final(self.host.seq)
        self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
        self.works()


class Packets(ReaderCase):
    """Messages and replies whose length is a multiple of the packet size."""

    def test_out_without_zero_length_packet(self):
        """A host may leave it out where dwLength says all."""
        for total in (64, 128, 512, 1024, 4096):
            for zero in (False, True):
                with self.subTest(total=total, zero=zero):
                    self.check_out(total, zero)

    def check_out(self, total, zero):
        extended = total > 200
        data = bytes(total - ccid.HEADER - (9 if extended else 6))
        command = vscard.echo_command(2, data, 5, extended)
        message = pack(ccid.XFR_BLOCK, 0, self.host.next_seq(), command)
        self.assertEqual(len(message), total)
        self.host.write(message, zero)
        self.serve(self.host.seq)
        self.works()

    def test_out_in_pieces(self):
        """One message in several transfers of whole packets, as drivers do
        whose transfers are bounded."""
        size = self.host.out.max_packet
        command = vscard.echo_command(2, bytes(size * 3), 5, True)
        message = pack(ccid.XFR_BLOCK, 0, self.host.next_seq(), command)
        for at in range(0, len(message), size):
            self.host.write(message[at:at + size])
        self.serve(self.host.seq)

    def test_zero_length_packets(self):
        """Empty transfers say nothing."""
        for _ in range(50):
            self.host.write(b"")
        self.works()

    def test_in(self):
        """Replies of whole packets, one short and one long of it."""
        for total in (63, 64, 65, 127, 128, 511, 512, 513, 1024, 4096):
            with self.subTest(total=total):
                ne = total - ccid.HEADER - 2
                round_trip(self.host, self.client, vscard.echo_command(0, b"", ne, True))
                self.works()

    def test_in_by_packets(self):
        """Read a packet at a time, of full and of high speed, a reply ends by
        a short or an empty one."""
        for total in (63, 64, 128, 512, 1024, 1025):
            for size in (64, 512):
                with self.subTest(total=total, size=size):
                    self.check_in_by_packets(total, size)

    def check_in_by_packets(self, total, size):
        command = vscard.echo_command(0, b"", total - ccid.HEADER - 2, True)
        seq = self.host.start(command)
        self.client.serve_one()
        parts = []
        while not parts or len(parts[-1]) == size:
            status, data = self.host.usb.bulk_in(self.host.into.address, size)
            self.assertEqual(status, usbredir.OK)
            parts.append(data)
        reply = ccid.unpack(b"".join(parts))
        self.assertEqual((reply.seq, reply.verdict), (seq, (DATA_BLOCK, ACTIVE, 0)))
        self.assertEqual(reply.data, vscard.echo_answer(command))
        self.assertEqual(len(parts), total // size + 1)


# Commands this reader does not have.
UNSUPPORTED = (ccid.SECURE, ccid.T0_APDU, ccid.ESCAPE, ccid.MECHANICAL)
UNKNOWN = (0x00, 0x60, 0x64, 0x66, 0x70, 0x74, 0x7F, 0x80, 0x81, 0xFF)
OPCODES = tuple(ccid.ANSWERS)


class Commands(ReaderCase):
    """Commands in the wrong place or of the wrong kind."""

    def test_wrong_slot(self):
        for slot in (1, 2, 15, 16, 0x7F, 0xFF):
            for kind in OPCODES:
                with self.subTest(slot=slot, kind=kind):
                    reply = self.host.ask(kind, slot)
                    self.assertEqual((reply.status, reply.error), (FAILED | ABSENT, BAD_SLOT))
                    self.assertEqual(reply.data, b"")
        self.works()

    def test_unsupported(self):
        for kind in UNSUPPORTED + UNKNOWN:
            with self.subTest(kind=kind):
                reply = self.host.ask(kind)
                self.assertEqual((reply.status, reply.error), (FAILED | ACTIVE, NOT_SUPPORTED))
                self.assertEqual(reply.data, b"")
        self.works()

    def test_not_powered(self):
        self.assertEqual(self.host.power_off().verdict, (SLOT_STATUS, INACTIVE, 0))
        reply = self.host.final(self.host.start(ECHO))
        self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | INACTIVE, ICC_MUTE))
        power_on(self.host)
        self.works()

    def test_no_card(self):
        self.client.remove()
        self.host.wait_icc(ABSENT)
        for kind, answer in ((ccid.POWER_ON, DATA_BLOCK), (ccid.XFR_BLOCK, DATA_BLOCK)):
            with self.subTest(kind=kind):
                reply = self.host.ask(kind, 0, ECHO if kind == ccid.XFR_BLOCK else b"")
                self.assertEqual(reply.verdict, (answer, FAILED | ABSENT, ICC_MUTE))
        self.assertEqual(self.host.slot_status().verdict, (SLOT_STATUS, ABSENT, 0))

    def test_power_select(self):
        """bPowerSelect 0 to 3 are voltages (6.1.1); more is offset 7's error."""
        for select in (4, 0x80, 0xFF):
            with self.subTest(select=select):
                reply = self.host.ask(ccid.POWER_ON, 0, b"", bytes([select, 0, 0]))
                self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, 7))
        self.works()

    def block(self, level, data):
        """An XfrBlock with a wLevelParameter (6.1.4), at offset 8."""
        return self.host.command(ccid.XFR_BLOCK, 0, data, b"\0" + struct.pack("<H", level))

    def test_level_parameter(self):
        """Pieces that nothing began, levels there are not, more of a response
        that is whole: offset 8's error."""
        for level in (2, 3, 4, 0x10, 0x11, 0x100, 0xFFFF):
            with self.subTest(level=level):
                reply = self.host.final(self.block(level, ECHO))
                self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, 8))
        self.works()

    def test_pieces(self):
        """A command in pieces (levels 1, 3, 3, 2): each but the last is
        answered by a request for more, bChainParameter 10h."""
        command = vscard.echo_command(5, bytes(range(200)), 300, True)
        for level, part in ((1, command[:50]), (3, command[50:51]), (3, b"")):
            reply = self.host.final(self.block(level, part))
            self.assertEqual((reply.verdict, reply.special, reply.data),
                             ((DATA_BLOCK, ACTIVE, 0), 0x10, b""))
        seq = self.block(2, command[51:])
        self.assertEqual(self.client.serve_one(), command)
        self.assertEqual(self.host.final(seq).data, vscard.echo_answer(command))

    def test_pieces_without_end(self):
        """More than the longest command is refused and forgotten."""
        self.host.final(self.block(1, bytes(60000)))
        reply = self.host.final(self.block(3, bytes(5545)))
        self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
        self.assertEqual(self.host.final(self.block(2, ECHO)).verdict,
                         (DATA_BLOCK, FAILED | ACTIVE, 8))
        self.works()

    def test_pieces_begun_anew(self):
        """What was begun and not ended never reaches the card."""
        for end in (self.works, lambda: self.host.power_off() and power_on(self.host)):
            self.host.final(self.block(1, b"\xff" * 500))
            end()
            self.assertEqual(self.host.final(self.block(2, ECHO)).verdict,
                             (DATA_BLOCK, FAILED | ACTIVE, 8))
            self.works()

    def test_commands_that_are_no_apdu(self):
        for size in (0, 1, 2, 3):
            with self.subTest(size=size):
                reply = self.host.ask(ccid.XFR_BLOCK, 0, ECHO[:size])
                self.assertEqual(reply.verdict, (DATA_BLOCK, FAILED | ACTIVE, BAD_LENGTH))
                self.assertEqual(reply.data, b"")
        self.works()

    def test_parameters(self):
        reply = self.host.parameters()
        self.assertEqual((reply.verdict, reply.special), ((ccid.PARAMETERS, ACTIVE, 0), 1))
        self.assertEqual(len(reply.data), 7)
        again = self.host.ask(ccid.SET_PARAMETERS, 0, reply.data, b"\1\0\0")
        self.assertEqual((again.verdict, again.data), ((ccid.PARAMETERS, ACTIVE, 0), reply.data))

    def test_parameters_of_both_protocols(self):
        """A card that offers T=0 first and T=1 too: either can be chosen."""
        self.client.insert(vscard.make_atr(b"dual", (0, 1)))
        power_on(self.host, vscard.make_atr(b"dual", (0, 1)))
        first = self.host.parameters()
        self.assertEqual((first.special, len(first.data)), (0, 5))
        other = bytes([0x11, 0x10, 0, 0x4D, 0, 0xFE, 0])
        reply = self.host.ask(ccid.SET_PARAMETERS, 0, other, b"\1\0\0")
        self.assertEqual((reply.verdict, reply.special, reply.data),
                         ((ccid.PARAMETERS, ACTIVE, 0), 1, other))
        reply = self.host.ask(ccid.RESET_PARAMETERS)
        self.assertEqual((reply.special, reply.data), (0, first.data))

    def test_parameters_of_wrong_size(self):
        for protocol, right in ((0, 5), (1, 7)):
            for size in (0, 1, right - 1, right + 1, 64, 255):
                with self.subTest(protocol=protocol, size=size):
                    reply = self.host.ask(ccid.SET_PARAMETERS, 0, bytes(size),
                                          bytes([protocol, 0, 0]))
                    self.assertEqual((reply.type, reply.status), (ccid.PARAMETERS, FAILED))
                    # The card is T=1: of T=0 the protocol is wrong already.
                    self.assertEqual(reply.error, BAD_LENGTH if protocol else 7)
        self.works()

    def test_parameters_of_no_protocol(self):
        for protocol in (2, 3, 0x80, 0xFF):
            with self.subTest(protocol=protocol):
                reply = self.host.ask(ccid.SET_PARAMETERS, 0, bytes(7), bytes([protocol, 0, 0]))
                self.assertEqual(reply.verdict, (ccid.PARAMETERS, FAILED | ACTIVE, 7))

    def test_random_messages(self):
        """One answer for each message with a header, whatever is in it."""
        chance = random.Random(7)
        for _ in range(500):
            data = chance.randbytes(chance.choice((0, 0, 1, 5, 7, 30)))
            kind = chance.choice(OPCODES + UNKNOWN + (chance.randrange(256),))
            if kind in (ccid.XFR_BLOCK, ccid.ABORT):
                continue
            seq = self.host.command(kind, chance.choice((0, 0, 1)), data, chance.randbytes(3),
                                    chance.choice((None, None, chance.randrange(1 << 32))))
            reply = self.host.reply()
            self.assertEqual(reply.seq, seq)
        self.host.power_off()
        power_on(self.host)
        self.works()


class Several(ReaderCase):
    """More than one command at a time."""

    def test_second_command_while_pending(self):
        """The slot is busy for all but Abort; the first still gets its own."""
        seq = self.host.start(ECHO)
        for kind in OPCODES:
            if kind in UNSUPPORTED + (ccid.ABORT,):
                continue
            with self.subTest(kind=kind):
                self.check_busy(kind)
        self.serve(seq)
        self.works()

    def check_busy(self, kind):
        second = self.host.command(kind, 0, ECHO if kind == ccid.XFR_BLOCK else b"")
        reply = self.host.reply()
        while reply.status & 0xC0 == ccid.TIME_EXTENSION:
            reply = self.host.reply()
        self.assertEqual((reply.seq, reply.verdict),
                         (second, (ccid.ANSWERS[kind], FAILED | ACTIVE, SLOT_BUSY)))

    def test_same_sequence_number(self):
        seq = self.host.start(ECHO)
        self.host.command(ccid.XFR_BLOCK, 0, ECHO, seq=seq)
        self.assertEqual(self.host.final(seq).verdict, (DATA_BLOCK, FAILED | ACTIVE, SLOT_BUSY))
        self.serve(seq)
        self.works()

    def test_nine_unread_answers(self):
        """Nine commands, no IN transfer: all answers come, in order."""
        self.check_unread(9)

    def test_many_unread_answers(self):
        """A host that reads nothing for long is held up or served, but
        neither forgotten nor fed with another's answers."""
        self.check_unread(200)

    def check_unread(self, count):
        usb, seqs, sent = self.host.usb, [], []
        for _ in range(count):
            seqs.append(self.host.next_seq())
            sent.append(usb.submit_out(self.host.out.address,
                                       pack(ccid.GET_STATUS, 0, seqs[-1])))
        for seq in seqs:
            self.assertEqual(self.host.final(seq).verdict, (SLOT_STATUS, ACTIVE, 0))
        for ident in sent:
            self.assertEqual(usb.take_bulk(ident)[:2], (usbredir.OK, 10))
        self.works()

    def test_unread_answer_survives_cancel(self):
        """A cancelled IN transfer takes no answer with it."""
        for _ in range(50):
            ident = self.host.usb.submit_in(self.host.into.address, ccid.MESSAGE_MAX)
            self.host.usb.cancel(ident)
            status, _, data = self.host.usb.take_bulk(ident)
            self.assertEqual((status, data), (usbredir.CANCELLED, b""))
            self.assertEqual(self.host.slot_status().verdict, (SLOT_STATUS, ACTIVE, 0))
        self.works()

    def test_time_extension(self):
        """A card that takes its time: the host hears of it before 3 s."""
        seq = self.host.start(ECHO)
        for _ in range(2):
            reply = self.host.reply(limit=2.5)
            self.assertEqual((reply.type, reply.seq, reply.status & 0xC0),
                             (DATA_BLOCK, seq, ccid.TIME_EXTENSION))
            self.assertGreaterEqual(reply.error, 1)
        self.serve(seq)


class Aborts(ReaderCase):
    """Abort takes a control request and a bulk message, in either order
    (5.3.1); the card's late answer goes nowhere."""

    def late_answer(self):
        """The card answers what was aborted; then all is as usual."""
        self.client.answer(b"\xee\xee\x90\x00")
        self.works()

    def test_control_first(self):
        seq = self.host.start(ECHO)
        self.client.take_command()
        number = self.host.next_seq()
        self.assertEqual(self.host.abort_request(0, number), usbredir.OK)
        self.host.command(ccid.ABORT, seq=number)
        self.check_aborted(seq, number)
        self.late_answer()

    def test_bulk_first(self):
        seq = self.host.start(ECHO)
        self.client.take_command()
        number = self.host.next_seq()
        self.host.command(ccid.ABORT, seq=number)
        self.assertEqual(self.host.abort_request(0, number), usbredir.OK)
        self.check_aborted(seq, number)
        self.late_answer()

    def check_aborted(self, seq, number):
        """The command fails with CMD_ABORTED, the Abort succeeds, once each."""
        verdicts = {}
        while len(verdicts) < 2:
            reply = self.host.reply()
            if reply.status & 0xC0 != ccid.TIME_EXTENSION:
                self.assertNotIn(reply.seq, verdicts)
                verdicts[reply.seq] = reply.verdict
        self.assertEqual(verdicts, {seq: (DATA_BLOCK, FAILED | ACTIVE, ABORTED),
                                    number: (SLOT_STATUS, ACTIVE, 0)})
        self.assertEqual(self.host.slot_status().verdict, (SLOT_STATUS, ACTIVE, 0))

    def test_commands_between(self):
        """After the control request all but its Abort fail with CMD_ABORTED."""
        number = self.host.next_seq()
        self.assertEqual(self.host.abort_request(0, number), usbredir.OK)
        for kind in (ccid.GET_STATUS, ccid.XFR_BLOCK, ccid.POWER_ON):
            reply = self.host.ask(kind, 0, ECHO if kind == ccid.XFR_BLOCK else b"")
            self.assertEqual(reply.verdict, (ccid.ANSWERS[kind], FAILED | ACTIVE, ABORTED))
        self.host.command(ccid.ABORT, seq=number)
        self.assertEqual(self.host.final(number).verdict, (SLOT_STATUS, ACTIVE, 0))
        self.works()

    def test_nothing_pending(self):
        for first in ("control", "bulk"):
            with self.subTest(first=first):
                number = self.host.next_seq()
                if first == "bulk":
                    self.host.command(ccid.ABORT, seq=number)
                self.assertEqual(self.host.abort_request(0, number), usbredir.OK)
                if first == "control":
                    self.host.command(ccid.ABORT, seq=number)
                self.assertEqual(self.host.final(number).verdict, (SLOT_STATUS, ACTIVE, 0))
                self.works()

    def test_wrong_slot(self):
        for slot in (1, 16, 0xFF):
            with self.subTest(slot=slot):
                self.assertEqual(self.host.abort_request(slot, 9), usbredir.STALL)
                self.works()

    def test_over_and_over(self):
        """Commands aborted in a row: every answer finds its own command."""
        for turn in range(20):
            seq = self.host.start(vscard.echo_command(turn, b"x", 4))
            number = self.host.next_seq()
            self.host.abort_request(0, number)
            self.host.command(ccid.ABORT, seq=number)
            self.check_aborted(seq, number)
            self.client.take_command()
            self.client.answer(bytes([turn]) * 4 + b"\x90\x00")
            # Whoever hears of this reader has heard the answer before.
            self.client.send(vscard.CARD_REMOVE, 77)
            self.client.expect_error(vscard.GENERAL_ERROR)
        self.works()

    def test_answered_after_next_command(self):
        """The late answer comes when the next command waits already."""
        seq = self.host.start(ECHO)
        self.client.take_command()
        number = self.host.next_seq()
        self.host.abort_request(0, number)
        self.host.command(ccid.ABORT, seq=number)
        self.check_aborted(seq, number)
        after = self.host.start(ECHO)
        self.client.answer(b"\xee\x90\x00")
        self.serve(after)


class Controls(ReaderCase):
    """Control transfers a device of this kind does not answer."""

    def test_unknown_requests(self):
        for kind in (0x00, 0x80, 0x21, 0xA1, 0x40, 0xC0, 0x22, 0xA2, 0x02, 0x82, 0x1F, 0xFF):
            for request in (0x04, 0x0D, 0x20, 0x7F, 0xFF):
                with self.subTest(kind=kind, request=request):
                    status, data = self.host.usb.control(kind, request, 0, 0,
                                                         length=8 if kind & 0x80 else 0)
                    self.assertEqual((status, data), (usbredir.STALL, b""))
        self.works()

    def test_wrong_lengths(self):
        """wLength says one thing, the packet has another."""
        for says, has in ((0xFFFF, 0), (8, 0), (0, 8), (8, 7), (1, 4096)):
            with self.subTest(says=says, has=has):
                self.check_control_out(says, has)
        self.rig.check_other()

    def check_control_out(self, says, has):
        """It may end the conversation; a new host is well then."""
        usb = self.host.usb
        setup = (0x21, ccid.REQUEST_ABORT, 0, 0, says)
        try:
            usb.stream.send(usb.pack_control(setup, bytes(has), usb.next_id()))
            self.assertEqual(self.host.slot_status().type, SLOT_STATUS)
        except Closed:
            self.rig.new_host()
            self.host = self.rig.host
            power_on(self.host)

    def test_descriptors_cut(self):
        """Any wLength of a descriptor request brings that much at most."""
        for value in (0x0100, 0x0200, 0x0300, 0x0301):
            _, whole = self.host.usb.control(0x80, 6, value, 0, length=0xFFFF)
            for length in (0, 1, 2, 7, 8, 9, len(whole), len(whole) + 1):
                with self.subTest(value=value, length=length):
                    status, data = self.host.usb.control(0x80, 6, value, 0, length=length)
                    self.assertEqual((status, data), (usbredir.OK, whole[:length]))

    def test_missing_descriptors(self):
        for value in (0x0000, 0x02FF, 0x03FE, 0x0F00, 0xFF00):
            with self.subTest(value=value):
                status, _ = self.host.usb.control(0x80, 6, value, 0, length=255)
                self.assertEqual(status, usbredir.STALL)

    def test_configurations(self):
        status, value = self.host.usb.set_configuration(7)
        self.assertNotEqual(status, usbredir.OK)
        self.assertEqual(self.host.usb.get_configuration(), (usbredir.OK, 1))
        status, *_ = self.host.usb.set_alt_setting(3, 9)
        self.assertNotEqual(status, usbredir.OK)
        self.works()

    def test_reset(self):
        """A bus reset in the middle of a command: no answer, a new start."""
        self.host.start(ECHO)
        self.client.take_command()
        self.host.usb.send(usbredir.RESET, b"", 0)
        self.host.pending = None
        self.assertEqual(self.host.usb.set_configuration(1), (usbredir.OK, 1))
        self.host.usb.start_interrupts(self.host.interrupt.address)
        self.client.answer(b"\xee\x90\x00")
        power_on(self.host)
        self.works()

if __name__ == "__main__":
    unittest.main()
