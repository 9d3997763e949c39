# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client for QEMU's control protocol, QMP.

Commands wait for their answers, events are kept until somebody waits for them.
"""

import itertools
import json
import socket
import threading

from agent import GuestError, GuestTimeout


class QmpError(GuestError):
    """QEMU refused a command; kind is QMP's error class."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error.get('desc')}")
        self.kind = error.get("class")


class Qmp:
    """Talks QMP over sock, which it then owns."""

    def __init__(self, sock):
        self._sock = sock
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._answers = {}
        self._events = []
        self._lost = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        """Take messages until QEMU hangs up."""
        try:
            with self._sock.makefile("rb") as stream:
                for line in stream:
                    self._message(json.loads(line))
        except OSError:
            pass
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def _message(self, message):
        with self._changed:
            if "event" in message:
                self._events.append(message)
            elif "id" in message:
                self._answers[message["id"]] = message
            self._changed.notify_all()

    def execute(self, command, arguments, timeout=30):
        """Run a command and answer what it returns."""
        number = next(self._numbers)
        message = {"execute": command, "arguments": arguments, "id": number}
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise GuestError(f"{command}: QEMU is gone: {error}") from error
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._lost,
                                   timeout)
            answer = self._answers.pop(number, None)
        if answer is None:
            raise GuestError(f"{command}: no answer from QEMU")
        if "error" in answer:
            raise QmpError(command, answer["error"])
        return answer["return"]

    def wait_event(self, name, timeout=30, **data):
        """Wait for an event of that name and data; answers and forgets it."""
        def matching():
            return next((event for event in self._events
                         if event["event"] == name and
                         data.items() <= event.get("data", {}).items()), None)

        with self._changed:
            self._changed.wait_for(lambda: matching() or self._lost, timeout)
            event = matching()
            if event is None:
                raise GuestTimeout(f"no event {name} {data or ''} from QEMU")
            self._events.remove(event)
            return event

    def close(self):
        """Hang up and end the thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        self._sock.close()
