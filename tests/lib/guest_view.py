# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VSCard host of several readers that keeps what it was told: which readers
there are, what is in them, and how often that changed. It takes messages when
it is asked something."""

import struct
import time

import vscard
from stream import LIMIT, Closed, Late


class GuestView:

    def __init__(self, host, caps=vscard.CAP_APDU_LEVEL, readers=16):
        self.host = host
        self.most = readers
        self.names = {}  # reader id: name
        self.atrs = {}   # reader id: ATR of the card in it
        self.changes = 0
        host.take_init(caps)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.host.close()

    def take(self, limit=LIMIT):
        """Takes one message; answers what is asked for."""
        message = self.host.receive(limit)
        reader = message.reader
        if message.type == vscard.READER_ADD:
            reader = next((n for n in range(self.most) if n not in self.names), None)
            if reader is None:
                self.acknowledge(message.reader, vscard.CANNOT_ADD_MORE_READERS)
                return message
            self.names[reader] = message.data.decode()
        elif message.type == vscard.READER_REMOVE:
            del self.names[reader]
            self.atrs.pop(reader, None)
        elif message.type == vscard.ATR:
            if reader in self.atrs:
                raise AssertionError(f"a second card in reader {reader}")
            self.atrs[reader] = message.data
        elif message.type == vscard.CARD_REMOVE:
            del self.atrs[reader]
        else:
            return message
        self.changes += 1
        self.acknowledge(reader)
        return message

    def acknowledge(self, reader, code=vscard.SUCCESS):
        self.host.send(vscard.ERROR, struct.pack(">I", code), reader)

    def wait(self, condition, limit=LIMIT):
        """Takes messages until `condition` holds."""
        deadline = time.monotonic() + limit
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"the readers are {self.cards()}")
            try:
                self.take(left)
            except Late:
                pass

    def cards(self):
        """Name and ATR, or None, of each reader."""
        return {name: self.atrs.get(reader) for reader, name in self.names.items()}

    def wait_cards(self, cards, limit=LIMIT):
        self.wait(lambda: self.cards() == cards, limit)

    def wait_card(self, name, limit=LIMIT):
        """Waits for a card in the reader `name`; answers the reader's id."""
        self.wait(lambda: self.cards().get(name) is not None, limit)
        return self.reader(name)

    def reader(self, name):
        return next(reader for reader, its in self.names.items() if its == name)

    def start(self, reader, command):
        self.host.send(vscard.APDU, command, reader)

    def answer(self, reader, limit=LIMIT):
        """The response to what was started; None if the card went instead."""
        while True:
            message = self.take(limit)
            if message.reader != reader:
                continue
            if message.type == vscard.APDU:
                return message.data
            if message.type in (vscard.CARD_REMOVE, vscard.READER_REMOVE):
                return None
            if message.type == vscard.ERROR:
                return message.data

    def transmit(self, reader, command, limit=LIMIT):
        self.start(reader, command)
        return self.answer(reader, limit)

    def wait_closed(self):
        try:
            while True:
                self.take()
        except Closed:
            pass
