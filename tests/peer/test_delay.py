# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long wire that tests/bench/run measures over does what it says: nothing
is lost, nothing comes too soon, and what crosses is counted."""

import random
import socket
import threading
import time
import unittest

from delay import CARD, USER, Relay

SIZE = 3 << 20


def read(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return data


class DelayTest(unittest.TestCase):
    def setUp(self):
        self.listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.relay = self.enterContext(
            Relay(0.2, lambda: socket.create_connection(self.listener.getsockname())))
        self.card = self.enterContext(socket.create_connection(("127.0.0.1", self.relay.port)))
        self.user = self.enterContext(self.listener.accept()[0])
        for sock in (self.card, self.user):
            sock.settimeout(20)

    def test_not_before_a_round_trip(self):
        for round_trip in (0.2, 0.05):
            self.relay.round_trip = round_trip
            began = time.monotonic()
            self.user.sendall(b"command")
            self.assertEqual(read(self.card, 7), b"command")
            self.assertGreaterEqual(time.monotonic() - began, round_trip / 2)
            self.card.sendall(b"answer")
            self.assertEqual(read(self.user, 6), b"answer")
            self.assertGreaterEqual(time.monotonic() - began, round_trip)

    def test_turns(self):
        for _ in range(5):
            self.user.sendall(b"a header")
            read(self.card, 8)
            self.user.sendall(b" and a payload")
            read(self.card, 14)
            self.card.sendall(b"an answer")
            read(self.user, 9)
        self.card.sendall(b"news")
        read(self.user, 4)
        self.assertEqual(self.relay.turns, 5)
        self.assertEqual([self.relay.sent[side] for side in (USER, CARD)], [5 * 22, 5 * 9 + 4])
        self.relay.forget()
        self.assertEqual((self.relay.turns, self.relay.sent), (0, [0, 0]))

    def test_both_ways_at_once_in_order_to_the_end(self):
        """Also when what is under way is much more than a socket holds."""
        rand = random.Random(1)
        up, down = rand.randbytes(SIZE), rand.randbytes(SIZE)
        for sock, data in ((self.user, down), (self.card, up)):
            threading.Thread(target=self.send, args=(sock, data), daemon=True).start()
        self.assertEqual(read(self.card, SIZE + 1), down)
        self.assertEqual(read(self.user, SIZE + 1), up)

    @staticmethod
    def send(sock, data):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    def test_one_end_ends(self):
        """The other may still speak."""
        self.user.sendall(b"last")
        self.user.shutdown(socket.SHUT_WR)
        self.assertEqual(read(self.card, 5), b"last")
        self.card.sendall(b"answer")
        self.assertEqual(read(self.user, 6), b"answer")

    def test_nobody_there(self):
        self.listener.close()
        with socket.create_connection(("127.0.0.1", self.relay.port)) as card:
            card.settimeout(20)
            self.assertEqual(card.recv(1), b"")
