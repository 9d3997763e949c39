# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs of PC/SC see of a card that is lent: opensc-tool, pcsc_scan,
pyscard and scdaemon, on this machine or in a guest. Seen is mixed into a suite
for each way in which a card is lent; its cards are in the owner's pcscd."""

import pathlib
import random
import re
import time
import urllib.parse

import vscard
from pcscrig import Vicc
from vpcdcard import BOTH_ATR, T0_ATR, T1_ATR, T0Card, TestCard

HERE = pathlib.Path(__file__).resolve().parent
# Its historical bytes say that it takes extended APDUs (ISO/IEC 7816-4:2013,
# 12.1.1.9).
EXTENDED_ATR = vscard.make_atr(b"\x80\x73\x00\x00\x40" + b"extended")
VICC_ATR = bytes.fromhex("3B951381018073FF01000B")
COUNT = 1000
ECHO_LENGTH = 40


def data_of(text):
    """The bytes of each data line in an Assuan conversation."""
    return [urllib.parse.unquote_to_bytes(line[2:]) for line in text.split(b"\n")
            if line.startswith(b"D ")]


def of_t0(atr):
    """What a host of T=0 is told of a card that is of T=1: its historical bytes."""
    said = {T1_ATR: b"t1 card", EXTENDED_ATR: EXTENDED_ATR[3:-1]}
    if atr == VICC_ATR:  # its speed is kept
        return bytes.fromhex("3B15138073FF0100")
    return vscard.make_atr(said[atr], (0,)) if atr in said else atr


class Seen:
    """For a class with
      owner         the rig of the owner; what is lent is its first slot
      reader_name   a part of the reader's name, of the only reader there
      sh(command, input=b"")  what a command prints, as bytes
      place         the folder of the programs of ours, and
      python        what runs them
      wait(event)   waits until the card is "inserted" or "removed"
      t0_only       is the reader one of T=0 TPDUs?"""

    t0_only = False

    def setUp(self):
        super().setUp()
        self.addCleanup(self.take_out)

    def take_out(self):
        # scdaemon, which was told to end, still resets the card; and vpcd, whose
        # card goes in the middle of that, does not take the next one.
        time.sleep(1.5)
        self.owner.slots[0].remove()
        self.owner.wait_card(0, False)
        self.wait("removed")

    def put_in(self, card):
        """Puts a card in; answers the ATR that is to be seen."""
        self.owner.slots[0].insert(card)
        self.owner.wait_card(0)
        self.wait("inserted")
        atr = VICC_ATR if isinstance(card, Vicc) else card.atr
        return of_t0(atr) if self.t0_only else atr

    # ---- Programs ----

    def check_opensc(self, atr):
        self.assertRegex(self.sh("opensc-tool --list-readers").decode(),
                         rf"\n0 +Yes .*{re.escape(self.reader_name)}")
        said = self.sh("opensc-tool --atr").split()[-1].decode()
        self.assertEqual(bytes.fromhex(said.replace(":", "")), atr)

    def check_scan(self, atr):
        said = self.sh("pcsc_scan -n -t 1").decode()
        self.assertIn(self.reader_name, said)
        self.assertIn("Card inserted", said)
        self.assertEqual(bytes.fromhex(re.findall(r"ATR: ([0-9A-F ]+)", said)[-1]), atr)

    def check_scdaemon(self, atr, command=None, answer=None):
        """By way of pcscd; the answer to `command` may be one of which nothing is
        known but its length."""
        command = command or bytes([0, 0xEC, 0, 1, ECHO_LENGTH])
        answer = answer or vscard.echo_answer(command)
        self.check_assuan("--disable-ccid", atr, command, answer)

    def check_assuan(self, options, atr, command, answer):
        script = f"SERIALNO undefined\nAPDU --atr\nAPDU {command.hex()}\nBYE\n"
        said = self.sh(f"/usr/lib/gnupg/scdaemon --server {options}", script.encode())
        self.assertIn(b"S CARD-ATR " + atr.hex().upper().encode(), said)
        data, = data_of(said)
        if isinstance(answer, int):
            self.assertEqual((len(data), data[-2:]), (answer + 2, b"\x90\x00"))
        else:
            self.assertEqual(data, answer)

    def random_commands(self, atr, level, kind="echo"):
        """The lines of pcsc_random.py, which saw the card with `atr`."""
        seed = random.randrange(1 << 32)
        said = self.sh(f"{self.python} {self.place}/pcsc_random.py '{self.reader_name}' {level} "
                        f"{COUNT} {seed} {kind}").decode().splitlines()
        self.assertEqual(said[0], f"ATR {atr.hex()}", f"seed {seed}")
        self.assertEqual(said[-1], f"right {COUNT}", f"seed {seed}")
        return said

    def check(self, card, level, kind="echo"):
        atr = self.put_in(card)
        self.check_opensc(atr)
        self.check_scan(atr)
        self.random_commands(atr, level, kind)
        self.check_scdaemon(atr)
        return atr

    # ---- Cards ----

    def level(self, level):
        return {"short": "tpdu", "apdu": "envelope"}[level] if self.t0_only else level

    def test_1_card_of_t0(self):
        """61xx and 6Cxx are its way to speak, and ENVELOPE."""
        self.check(T0Card(T0_ATR), "tpdu" if self.t0_only else "apdu", "t0")

    def test_2_card_of_t1(self):
        self.check(TestCard(T1_ATR), self.level("short"))

    def test_3_card_of_both(self):
        self.check(TestCard(BOTH_ATR), self.level("short"))

    def test_4_extended(self):
        self.check(TestCard(EXTENDED_ATR), self.level("apdu"))

    def test_5_vicc(self):
        """vicc's ISO 7816 card: what it took and answered, as it passed there."""
        card = Vicc()
        self.addCleanup(card.close)
        atr = self.put_in(card)
        self.check_opensc(atr)
        self.check_scan(atr)
        card.log.clear()
        said = self.random_commands(atr, self.level("short"), "other")
        sent = [tuple(map(bytes.fromhex, line.split()[1:])) for line in said
                if line.startswith("sent ")]
        self.assertEqual(len(sent), COUNT)
        self.check_log(card.log, sent)
        self.check_scdaemon(atr, bytes.fromhex("0084000008"), 8)

    def check_log(self, log, sent):
        """A command's form may change on its way, but not its header and data."""
        taken = [(command, answer) for command, answer in log if answer != b"\x67\x00"]
        self.assertEqual([without_le(command) for command, _ in taken],
                         [without_le(command) for command, _ in sent])
        self.assertEqual([answer for _, answer in taken], [answer for _, answer in sent])


def without_le(command):
    data, _ = vscard.split_apdu(command)
    return command[:4] + data
