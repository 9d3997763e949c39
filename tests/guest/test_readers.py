# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several readers in a guest, their names, and power that is real: a reset by
pcscd reaches the card behind the wire."""

import re
import threading
import unittest

import vscard
from guest import Guest
from opensc import PIN, Database, verify_command
from programs import Appliance, Folder, Program
from stream import Closed

# The commands of the echo card (tests/lib/testcard.h).
MINUTE = "00ED0258"
# SELECT of the CAC's second PKI applet, and its SIGN/DECRYPT of a block that
# begins as one to be signed does.
SELECT = "00A4040007A0000000790101"
SIGN = ["8042800080" + ("0001" + "ff" * 126), "8042000080" + ("ff" * 75 + "00" + "5a" * 52) + "00"]
NOT_VERIFIED = "6985"


class Case(unittest.TestCase):
    """A guest, an appliance with two attach points, and what else a test says."""

    def setUp(self):
        self.folder = self.enterContext(Folder())

    def start(self, *devices, readers=2):
        args = []
        for n in range(readers):
            args += ["-chardev", f"socket,id=usb{n},path={self.folder / f'usb{n}'},server,nowait",
                     "-device", f"usbredir,id=bus{n},chardev=usb{n}"]
        args += ["-chardev", f"socket,id=card,path={self.folder / 'card'},server,nowait"]
        for device in devices:
            args += ["-device", device]
        self.appliance = self.enterContext(Appliance(readers=0, extra=args))
        self.guest = self.enterContext(Guest())
        for n in range(readers):
            self.guest.attach_usbredir(f"reader{n}", self.folder / f"usb{n}")
        self.guest.run("start-pcscd", check=True)

    def lend(self, *readers):
        """A client with an echo card in each reader; for a with statement."""
        return Program("tests/peer/echo-client", f"path={self.folder / 'card'}", "t1",
                       *(f"--reader={name}" for name in readers))

    def names(self, *parts):
        """Waits until pcscd has a card in a reader of each name; answers all
        names there are."""
        for part in parts:
            self.guest.run(f"pcsc-tool -r '{part}' wait inserted 30", check=True)
        listed = self.guest.run("pcsc-tool list").text
        return re.findall(r"^\d+: (.*)$", listed, re.MULTILINE)

    def check_parallel(self, busy, idle):
        """A command on one reader while another works."""
        pending = self.guest.spawn(f"echo ready; pcsc-tool -r '{busy}' apdu {MINUTE}")
        pending.read_until("ready")
        done = self.guest.run(f"pcsc-tool -r '{idle}' echo --count 20 --response-size 100")
        self.assertEqual(done.status, 0, done.text)
        self.assertTrue(pending.running)
        pending.kill()


class Slots(Case):
    """One USB reader of several slots."""

    def test_two_readers_of_one_client(self):
        self.start("usb-ccid,slots=2", "ccid-card-passthru,chardev=card", readers=1)
        with self.lend("A,1", "B,2"):
            names = self.names("00 00", "00 01")
            self.assertEqual([name[-6:] for name in names], [" 00 00", " 00 01"])
            self.check_parallel("00 00", "00 01")


class Readers(Case):
    """A USB reader for each reader of one client."""

    def test_named_each(self):
        self.start("usb-ccid,id=r0,bus=bus0.0", "usb-ccid,id=r1,bus=bus1.0",
                   "ccid-card-passthru,chardev=card,bus=r0.0",
                   "ccid-card-passthru,chardev=card,bus=r1.0")
        with self.lend("Reader of A,S-1", "Reader of B"):
            names = self.names("[Reader of A] (S-1)", "[Reader of B]")
            self.assertEqual(len(names), 2, names)
            self.check_parallel("Reader of A", "Reader of B")
            devices = self.devices()
        for name in ("Reader of A", "Reader of B"):
            self.guest.run(f"pcsc-tool -r '{name}' wait removed 30", check=True)
        # It comes back the other way round: no reader is another then.
        with self.lend("Reader of B", "Reader of A,S-1"):
            self.assertEqual(self.names("[Reader of A] (S-1)", "[Reader of B]"), names)
            self.assertEqual(self.devices(), devices)

    def devices(self):
        """The kernel's numbers of the readers: others when they are plugged in
        anew."""
        return self.guest.run("for file in $(grep -l 0b /sys/bus/usb/devices/*/bInterfaceClass); "
                              "do cat $(readlink -f ${file%/*})/../devnum; done").text


class Names(Case):
    """Who gives the reader its name."""

    def test_given(self):
        self.start("usb-ccid,id=r0,bus=bus0.0,name=My own", "usb-ccid,id=r1,bus=bus1.0,serial=77",
                   "ccid-card-passthru,chardev=card,bus=r0.0",
                   "ccid-card-passthru,chardev=card,bus=r1.0")
        with self.lend("Another,1", "A third,2"):
            names = self.names("[My own]", "[vscard] (77)")
            self.assertEqual(len(names), 2, names)


class Power(unittest.TestCase):
    """What one SCardReconnect() does to the card at the other end."""

    def test_a_reset_takes_the_pin_back(self):
        database = self.enterContext(Database())
        appliance = self.enterContext(Appliance())
        guest = self.enterContext(Guest())
        guest.attach_usbredir("reader", appliance.usb())
        guest.run("start-pcscd", check=True)
        self.enterContext(Program("vscclient", *database.client_args(f"unix:{appliance.card()}")))
        guest.run("pcsc-tool wait inserted 30", check=True)
        words = [SELECT, *SIGN, verify_command(PIN), *SIGN, "reset", SELECT, *SIGN]
        done = guest.run(f"pcsc-tool apdu {' '.join(words)}", timeout=60)
        self.assertEqual(done.status, 0, done.text)
        said = [line.split()[0][-4:] for line in done.text.splitlines()]
        self.assertEqual(said[:6], ["610D", "9000", NOT_VERIFIED, "9000", "9000", "9000"],
                         done.text)
        self.assertEqual(said[-3:], ["610D", "9000", NOT_VERIFIED], done.text)


class Worker(vscard.Client):
    """A client whose card answers power at once, and a command when it is told to;
    so long it says that it works, whatever the host thinks of it."""

    def __init__(self, address):
        super().__init__(address)
        self.commands = 0
        self.works, self.done = threading.Event(), threading.Event()
        self.init(vscard.CAP_REQUESTS)
        self.add_reader(b"Worker")
        self.insert()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def close(self):
        self.done.set()
        self.stream.sock.shutdown(2)
        self.thread.join()
        super().close()

    def serve(self):
        try:
            while True:
                message = self.receive(3600)
                if message.type == vscard.REQUEST:
                    self.answer_one(*vscard.unpack_request(message.data))
        except (Closed, OSError):
            return

    def answer_one(self, token, kind, data):
        if kind == vscard.TRANSMIT:
            self.commands += 1
            self.works.set()
            while not self.done.wait(1):
                self.send(vscard.WORKING, None, token.to_bytes(4, "big"))
            self.answer_request(token, vscard.echo_answer(data))
        else:
            self.answer_request(token, b"" if kind == vscard.POWER_OFF else vscard.ECHO_ATR)


class Busy(unittest.TestCase):
    """A card that works on what the host has given up."""

    def test_reader_plugged_in_again(self):
        """pcscd's power on ends as with a mute card, in time for libccid; and
        when the card is free, the next program has it."""
        appliance = self.enterContext(Appliance())
        guest = self.enterContext(Guest())
        guest.attach_usbredir("reader", appliance.usb())
        guest.run("start-pcscd", check=True)
        client = self.enterContext(Worker(appliance.card()))
        guest.run("pcsc-tool wait inserted 30", check=True)
        command = f"pcsc-tool apdu {vscard.echo_command(1, b'abc', 16).hex()}"
        guest.spawn(command)
        self.assertTrue(client.works.wait(30))
        guest.detach("reader")
        guest.run("pcsc-tool wait no-reader 30", check=True)
        guest.attach_usbredir("reader", appliance.usb())
        guest.run("for n in $(seq 100); do pcsc-tool list | grep -q mute && exit; sleep 1; done; "
                  "exit 1", timeout=200, check=True)
        self.assertEqual(client.commands, 1)
        client.done.set()
        said = guest.run(f"for n in $(seq 30); do {command} && exit; sleep 1; done; exit 1",
                         timeout=90)
        self.assertEqual(said.status, 0, said.text)
        self.assertEqual(client.commands, 2)


if __name__ == "__main__":
    unittest.main()
