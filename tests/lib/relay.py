# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network that can fail: TCP connections to `address` go to a UNIX socket.
While it is down, nothing passes and nobody is told, as with a cable pulled."""

import socket
import threading


class Relay:

    def __init__(self, target):
        self.target = target
        self.up = threading.Event()
        self.up.set()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        self.sockets = []
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            self.sockets += [near, far]
            try:
                far.connect(self.target)
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(source, sink), daemon=True).start()

    def pass_on(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                self.up.wait()
                sink.sendall(data)
        except OSError:
            pass
        self.up.wait()
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def down(self):
        self.up.clear()

    def again(self):
        self.up.set()

    def close(self):
        self.listener.close()
        self.up.set()
        for sock in self.sockets:
            sock.close()
