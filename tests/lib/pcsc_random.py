#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PC/SC program that sends the echo card random commands of all cases and
lengths, and checks each response byte for byte:

    pcsc_random.py READER apdu|short|tpdu COUNT SEED

READER is a part of the reader's name. `apdu` takes all seven cases (ISO/IEC
7816-3:2006, 12.1.3), `short` those of short APDUs; `tpdu` speaks T=0, where
there is no Le beside data, and fetches with GET RESPONSE. Prints the ATR and how
many commands of each case came back right; runs in the guest and outside."""

import collections
import random
import sys

from smartcard.CardConnection import CardConnection
from smartcard.System import readers

from echo import echo_answer, echo_command, echo_pattern

# Where something changes, beside lengths anywhere.
BORDERS = [1, 2, 50, 51, 52, 53, 54, 116, 128, 244, 245, 254, 255]
SHORT_MAX, EXTENDED_MAX = 255, 65535


def length(rng, maximum):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(BORDERS)
    if kind == 1:
        return rng.randint(max(1, maximum - 3), maximum)
    return rng.randint(1, maximum if kind == 2 else min(maximum, 600))


def command(rng, case):
    """A random command of a case: "1", "2S", ... "4E"."""
    extended = case.endswith("E")
    maximum = EXTENDED_MAX if extended else SHORT_MAX
    data = rng.randbytes(length(rng, maximum)) if case[0] in "34" else b""
    ne = min(length(rng, maximum) + rng.randrange(2), maximum + 1) if case[0] in "24" else None
    return echo_command(rng.randrange(256), data, ne, extended)


def exchange(card, apdu):
    data, sw1, sw2 = card.transmit(list(apdu))
    return bytes(data), sw1, sw2


def by_apdu(card, apdu, _):
    data, sw1, sw2 = exchange(card, apdu)
    return data + bytes([sw1, sw2]) == echo_answer(apdu)


def fetch(card, tpdu):
    """One TPDU, once more with the length that 6Cxx names."""
    got, sw1, sw2 = exchange(card, tpdu)
    return exchange(card, tpdu[:4] + bytes([sw2])) if sw1 == 0x6C else (got, sw1, sw2)


def by_tpdu(card, apdu, case):
    """In TPDUs a command without Le is one with any Le: the card may have 256
    bytes for it, or none."""
    has_data = case[0] in "34"
    body = apdu[5:5 + apdu[4]] if has_data else b""
    tpdu = apdu[:5 + len(body)] if has_data else apdu.ljust(5, b"\0")
    got, sw1, sw2 = fetch(card, tpdu)
    wanted = (apdu[-1] or 256) if case[0] in "24" else None
    while sw1 == 0x61 and len(got) < (wanted or 256):
        ask = min(sw2 or 256, (wanted or 256) - len(got))
        more, sw1, sw2 = fetch(card, bytes([0, 0xC0, 0, 0, ask & 0xFF]))
        if not more:
            return False
        got += more
    if sw1 not in (0x90, 0x61) or (wanted is not None and len(got) != wanted):
        return False
    return got == echo_pattern(apdu[3], body, len(got))


def main():
    name, level, count, seed = sys.argv[1:]
    rng = random.Random(int(seed))
    cases = ["1", "2S", "3S", "4S"] + (["2E", "3E", "4E"] if level == "apdu" else [])
    right = collections.Counter()
    one, = [reader for reader in readers() if name in str(reader)]
    card = one.createConnection()
    card.connect(CardConnection.T0_protocol if level == "tpdu" else None)
    print("ATR", bytes(card.getATR()).hex())
    for n in range(int(count)):
        case = rng.choice(cases)
        apdu = command(rng, case)
        if not (by_tpdu if level == "tpdu" else by_apdu)(card, apdu, case):
            sys.exit(f"command {n}, case {case}, {len(apdu)} bytes, {apdu[:8].hex()}...: wrong")
        right[case] += 1
    card.disconnect()
    print(" ".join(f"{case}:{right[case]}" for case in cases))
    print("right", sum(right.values()))


main()
