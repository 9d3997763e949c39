#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PC/SC program that sends a card random commands of all cases and lengths,
and checks each response byte for byte:

    pcsc_random.py READER LEVEL COUNT SEED [CARD]

READER is a part of the reader's name. LEVEL `apdu` takes all seven cases (ISO/IEC
7816-3:2006, 12.1.3), `short` those of short APDUs; `tpdu` speaks T=0, where
there is no Le beside data, and fetches with GET RESPONSE; `envelope` says
case 4 of extended APDUs so, too. CARD is the test card that is in: `echo`, or
`t0` for T0Card, whose echo answers what P1 says; of `other` nothing is known, and
each command and its response is printed as a line. Prints the ATR and how many
commands of each case came back right; runs in the guest and outside."""

import collections
import random
import sys

from smartcard.CardConnection import CardConnection
from smartcard.System import readers

from echo import echo_answer, echo_command, echo_pattern, split_apdu, t0_size

# Where something changes, beside lengths anywhere.
BORDERS = [1, 2, 50, 51, 52, 53, 54, 116, 128, 244, 245, 254, 255]
# The longest that vpcd carries is some less than 65,535.
SHORT_MAX, EXTENDED_MAX = 255, 65500
# What most extended ones have, so that a thousand do not take all day.
MOSTLY_MAX = 2000
RARELY = 20
CASES = {"short": ["1", "2S", "3S", "4S"], "tpdu": ["1", "2S", "3S", "4S"]}
CASES["apdu"] = CASES["short"] + ["2E", "3E", "4E"]
# A command without Le is given the largest by T=0, which vpcd has no room for.
CASES["envelope"] = CASES["short"] + ["4E"]
GET_RESPONSE, ENVELOPE = 0xC0, 0xC2
OK = b"\x90\x00"


def length(rng, maximum):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(BORDERS)
    if kind == 1:
        return rng.randint(max(1, maximum - 3), maximum)
    return rng.randint(1, maximum if kind == 2 else min(maximum, 600))


def parts(rng, case, most):
    """(command data, Ne or None, extended?) of a case: "1", "2S", ... "4E"."""
    extended = case.endswith("E")
    maximum = most if extended else SHORT_MAX
    data = rng.randbytes(length(rng, maximum)) if case[0] in "34" else b""
    ne = min(length(rng, maximum) + rng.randrange(2), maximum + 1) if case[0] in "24" else None
    return data, ne, extended


class Echo:
    """The card that answers as many bytes as it is asked for."""

    def command(self, rng, case, most):
        return echo_command(rng.randrange(256), *parts(rng, case, most))

    def answer(self, apdu, _):
        return echo_answer(apdu)

    def of_tpdus(self, apdu, case, got):
        """In TPDUs a command without Le is one with any Le: the card may have
        256 bytes for it, more if it is extended, or none."""
        data, ne = split_apdu(apdu)
        wanted = ne if case[0] in "24" else len(got)
        return echo_pattern(apdu[3], data, wanted)


class T0(Echo):
    """A card of T=0 knows no Le beside data: P1 says what it has. It answers no
    more than asked, and says that there is more."""

    UNKNOWN = (0x02, 0x34, 0xA6, 0xE8, 0xF8)

    def command(self, rng, case, most):
        if case == "1":
            return bytes([0, rng.choice(self.UNKNOWN), rng.randrange(256), rng.randrange(256)])
        apdu = bytearray(echo_command(rng.randrange(256), *parts(rng, case, most)))
        if case[0] == "4" or (case[0] == "2" and rng.randrange(2)):
            apdu[2] = rng.randrange(1, 256 if case[1] == "E" else 0xF1)
        return bytes(apdu)

    def answer(self, apdu, case):
        if case == "1":
            return b"\x6d\x00"
        data, ne = split_apdu(apdu)
        size = t0_size(apdu[2]) if apdu[2] or data else min(ne, 256)
        left = max(size - ne, 0) if ne else 0
        sw = bytes([0x61, min(left, 256) & 0xFF]) if left else OK
        return echo_pattern(apdu[3], data, min(size, ne)) + sw

    def of_tpdus(self, apdu, case, _):
        return self.answer(apdu, case)[:-2]


class Other:
    """A card of ISO/IEC 7816-4 with files."""

    def command(self, rng, case, _):
        if case == "1":
            return bytes([0, rng.choice(T0.UNKNOWN), rng.randrange(256), rng.randrange(256)])
        if case[0] == "2":
            return bytes([0, 0x84, 0, 0, rng.randrange(256)])
        file = rng.choice((b"\x3f\x00", rng.randbytes(2)))
        return bytes([0, 0xA4, 0, 0x0C, 2]) + file + (b"\0" if case[0] == "4" else b"")


def exchange(card, apdu):
    data, sw1, sw2 = card.transmit(list(apdu))
    return bytes(data), sw1, sw2


def fetch(card, tpdu):
    """One TPDU, once more with the length that 6Cxx names."""
    got, sw1, sw2 = exchange(card, tpdu)
    return exchange(card, tpdu[:4] + bytes([sw2])) if sw1 == 0x6C else (got, sw1, sw2)


def send_tpdus(card, apdu, data):
    """The command without its Le: in ENVELOPEs if it is extended."""
    if len(apdu) > 5 and apdu[4] == 0:
        pieces = [apdu[at:at + SHORT_MAX] for at in range(0, len(apdu), SHORT_MAX)]
        for piece in pieces[:-1]:
            if exchange(card, bytes([0, ENVELOPE, 0, 0, len(piece)]) + piece) != (b"", *OK):
                return b"", 0, 0
        return exchange(card, bytes([0, ENVELOPE, 0, 0, len(pieces[-1])]) + pieces[-1])
    return fetch(card, apdu[:5 + len(data)] if data else apdu.ljust(5, b"\0"))


def by_tpdus(card, apdu, case):
    """All that comes for a command, its status behind."""
    data, ne = split_apdu(apdu)
    most = ne if case[0] in "24" else EXTENDED_MAX + 1
    got, sw1, sw2 = send_tpdus(card, apdu, data)
    while sw1 == 0x61 and len(got) < most:
        ask = min(sw2 or 256, most - len(got))
        more, sw1, sw2 = fetch(card, bytes([0, GET_RESPONSE, 0, 0, ask & 0xFF]))
        if not more:
            break
        got += more
    return got + bytes([sw1, sw2])


def by_apdu(card, apdu, _):
    data, sw1, sw2 = exchange(card, apdu)
    return data + bytes([sw1, sw2])


def status_is_right(got, wanted, case):
    """Where nobody said Le, or less than there is, more may be left."""
    return got == wanted or (case[0] in "24" and got[0] == 0x61 and wanted in (OK, got))


def is_right(rule, level, apdu, case, got):
    if level in ("apdu", "short"):
        return got == rule.answer(apdu, case)
    return (got[:-2] == rule.of_tpdus(apdu, case, got[:-2])
            and status_is_right(got[-2:], rule.answer(apdu, case)[-2:], case))


def connect(name, level):
    one, = [reader for reader in readers() if name in str(reader)]
    card = one.createConnection()
    card.connect(CardConnection.T0_protocol if level in ("tpdu", "envelope") else None)
    print("ATR", bytes(card.getATR()).hex())
    return card


def main():
    name, level, count, seed = sys.argv[1:5]
    kind = sys.argv[5] if len(sys.argv) > 5 else "echo"
    rule = {"echo": Echo, "t0": T0, "other": Other}[kind]()
    say = by_apdu if level in ("apdu", "short") else by_tpdus
    rng = random.Random(int(seed))
    right = collections.Counter()
    card = connect(name, level)
    for n in range(int(count)):
        case = rng.choice(CASES[level])
        rare = level == "apdu" and rng.randrange(RARELY) == 0
        apdu = rule.command(rng, case, EXTENDED_MAX if rare else MOSTLY_MAX)
        got = say(card, apdu, case)
        if kind == "other":
            print("sent", apdu.hex(), got.hex())
        elif not is_right(rule, level, apdu, case, got):
            sys.exit(f"command {n}, case {case}, {len(apdu)} bytes, {apdu[:8].hex()}...: wrong, "
                     f"{len(got)} bytes, ...{got[-2:].hex()}")
        right[case] += 1
    card.disconnect()
    print(" ".join(f"{case}:{right[case]}" for case in CASES[level]))
    print("right", sum(right.values()))


main()
