# SPDX-License-Identifier: LGPL-2.1-or-later
"""A long wire on one machine: bytes between two sockets arrive half a round trip
later, each way, in order and as many as are sent. It also counts what crosses,
by the same measure whatever is spoken: a turn is all that the user's side sends
before the card's side speaks again, so that a command and its answer are one.

    with Relay(0.05, lambda: connect(path)) as relay:   # path: the user's side
        Program("vscclient", ..., f"tcp://127.0.0.1:{relay.port}")

Each end is acknowledged at once. A real wire of this length would have a peer
that leaves Nagle's algorithm on and writes a message in two wait for one round
trip more; here nobody does."""

import queue
import socket
import threading
import time

CHUNK = 1 << 16
END = b""
USER, CARD = range(2)


class Delay:
    """A wire of `round_trip` seconds, which may be changed at any time."""

    def __init__(self, round_trip):
        self.round_trip = round_trip
        self.lock = threading.Lock()
        self.forget()

    def forget(self):
        """Begins to count anew."""
        with self.lock:
            self.turns = 0
            self.sent = [0, 0]      # bytes, by USER and CARD
            self.spoke = CARD       # who did so last

    def carry(self, user, card):
        """Takes bytes from either socket to the other until both have ended."""
        for sock in (user, card):
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [(user, card, USER), (card, user, CARD)]
        others = [threading.Thread(target=work, args=args, daemon=True)
                  for source, sink, side in ways for line in [queue.Queue()]
                  for work, args in [(self.take, (source, line, side)), (give, (line, sink))]]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()

    def take(self, source, line, side):
        while data := receive(source):
            with self.lock:
                self.turns += side == USER != self.spoke
                self.spoke = side
                self.sent[side] += len(data)
            line.put((time.monotonic() + self.round_trip / 2, data))
        line.put((time.monotonic() + self.round_trip / 2, END))


def receive(source):
    """What has come, or END."""
    try:
        data = source.recv(CHUNK)
        if source.family != socket.AF_UNIX:
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data
    except OSError:
        return END


def give(line, sink):
    """Sends each piece when it is due; the end of a stream is one, too."""
    data = None
    while data != END:
        due, data = line.get()
        time.sleep(max(0, due - time.monotonic()))
        try:
            if data == END:
                sink.shutdown(socket.SHUT_WR)
            else:
                sink.sendall(data)
        except OSError:
            pass  # its reader ends by itself


class Relay(Delay):
    """The same as a listener on loopback for the card's side, `port`; `connect`
    answers a socket connected to the user's side, or raises OSError, and then
    the card's side finds its connection closed."""

    def __init__(self, round_trip, connect):
        super().__init__(round_trip)
        self.connect = connect
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                card, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(card,), daemon=True).start()

    def join(self, card):
        with card:
            try:
                user = self.connect()
            except OSError:
                return
            with user:
                self.carry(user, card)

    def close(self):
        """No more connections; those there are end with their peers."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
