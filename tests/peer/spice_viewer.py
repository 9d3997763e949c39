# SPDX-License-Identifier: LGPL-2.1-or-later
"""A viewer as small as one can be, for `vscclient --viewer`:

    spice_viewer.py TOLD NOTE FILE.vv

It opens a session with the server that the file leads to, wants its smartcard,
usbredir and port channels as well, and writes into TOLD what became of them. It ends when the file
NOTE has its exit status."""

import configparser
import os
import pathlib
import select
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from spice import PORT, SMARTCARD, USBREDIR, Channel, Refused, Session, Way  # noqa: E402 pylint: disable=wrong-import-position
from stream import Closed  # noqa: E402 pylint: disable=wrong-import-position


def way_of(path):
    """Where a connection file leads, and how."""
    file = configparser.ConfigParser(interpolation=None)
    file.read(path)
    keys = file["virt-viewer"]
    tls = "tls-port" in keys
    ca = None
    if tls:
        handle, ca = tempfile.mkstemp()
        os.write(handle, keys["ca"].replace("\\n", "\n").encode())
        os.close(handle)
    return Way((keys["host"], int(keys["tls-port" if tls else "port"])),
               keys.get("password", ""), tls, ca)


def main():
    told_path, note, path = sys.argv[1:]
    with open(told_path, "a", encoding="ascii", buffering=1) as told:

        def on_signal(*_):
            print("told to end", file=told)
            sys.exit(0)

        signal.signal(signal.SIGTERM, on_signal)
        way = way_of(path)
        with Session(way) as session:
            print("session", file=told)
            for name, kind in (("smartcard", SMARTCARD), ("usbredir", USBREDIR), ("port", PORT)):
                try:
                    Channel(way, kind, 0, session.id).open().close()
                    print(f"{name} taken", file=told)
                except Refused as refused:
                    print(f"{name} refused {refused.code}", file=told)
                except Closed:
                    # So says a server that has none.
                    print(f"no {name}", file=told)
            sock = session.main.stream.sock
            while not os.path.exists(note):
                if select.select([sock], [], [], 0.05)[0] and not sock.recv(4096):
                    print("gone", file=told)
                    time.sleep(0.05)
        if way.ca:
            os.unlink(way.ca)
    sys.exit(int(pathlib.Path(note).read_text(encoding="ascii") or 0))


main()
