#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PC/SC program that watches all readers and says what changes: a line with
the last five characters of the reader's name, by which pcscd tells slots apart,
and the ATR of the card in it, or "empty". For one set of readers; runs in the
guest and outside."""

from smartcard.scard import (INFINITE, SCARD_SCOPE_USER, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT,
                             SCARD_STATE_UNAWARE, SCardEstablishContext, SCardGetStatusChange,
                             SCardListReaders)


def main():
    _, context = SCardEstablishContext(SCARD_SCOPE_USER)
    states = [(name, SCARD_STATE_UNAWARE) for name in SCardListReaders(context, [])[1]]
    seen = {}
    while True:
        _, now = SCardGetStatusChange(context, INFINITE, states)
        for name, state, atr in now:
            if state & SCARD_STATE_PRESENT and atr:
                what = bytes(atr).hex()
            elif state & SCARD_STATE_EMPTY:
                what = "empty"
            else:
                continue
            if seen.get(name) != what:
                seen[name] = what
                print(name[-5:], what, flush=True)
        states = [(name, state) for name, state, _ in now]


main()
