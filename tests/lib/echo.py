# SPDX-License-Identifier: LGPL-2.1-or-later
"""The echo card of the tests from its description alone (tests/lib/testcard.h):
its commands, and what it answers. No other module of ours is needed here, so
that it runs in the guest too."""

ECHO_INS = 0xEC


def split_apdu(apdu):
    """(command data, Ne) of a command APDU: cases 1 to 4, short and extended
    (ISO/IEC 7816-3, 12.1.3). None when it is not one."""
    body = apdu[4:]
    if len(apdu) < 4:
        return None
    if not body:
        return b"", 0
    if len(body) == 1:
        return b"", body[0] or 256
    if body[0]:
        return split_body(body[1:], body[0], 1)
    if len(body) == 3:
        return b"", int.from_bytes(body[1:], "big") or 65536
    return split_body(body[3:], int.from_bytes(body[1:3], "big"), 2)


def split_body(rest, lc, width):
    """Data of `lc` bytes, then nothing or an Le of `width` bytes."""
    if not lc or len(rest) not in (lc, lc + width):
        return None
    le = rest[lc:]
    return rest[:lc], (int.from_bytes(le, "big") or 1 << (8 * width)) if le else 0


def t0_size(p1):
    """How much the T=0 card's echo answers: a card of T=0 cannot see a case 4
    command's Le, so P1 says it, below F0 in bytes, from there in 256 bytes."""
    return p1 if p1 < 0xF0 else (p1 - 0xEF) * 256


def echo_pattern(p2, data, size):
    seed = (p2 ^ sum(data)) & 0xFF
    return bytes((seed + i * 7 + i // 251) & 0xFF for i in range(size))


def echo_answer(apdu):
    """What the echo card answers."""
    parts = split_apdu(apdu)
    if parts is None or apdu[0] != 0 or apdu[1] != ECHO_INS:
        return b"\x6d\x00"
    return echo_pattern(apdu[3], *parts) + b"\x90\x00"


def echo_command(p2=0, data=b"", ne=None, extended=None):
    """A command to the echo card; `ne` None for no Le."""
    if extended is None:
        extended = len(data) > 255 or (ne or 0) > 256
    head = bytes([0, ECHO_INS, 0, p2])
    if not extended:
        return (head + (bytes([len(data)]) + data if data else b"")
                + (b"" if ne is None else bytes([ne & 0xFF])))
    le = b"" if ne is None else (ne & 0xFFFF).to_bytes(2, "big")
    if data:
        return head + b"\0" + len(data).to_bytes(2, "big") + data + le
    return head + b"\0" + le
