# SPDX-License-Identifier: LGPL-2.1-or-later
"""The OpenSC script: what a program in the guest must be able to do with a lent
card, whichever way the card came there. A suite mixes CardScript into its
cases for each way. Also the certificate database those cards are made of."""

import pathlib
import re
import subprocess
import tempfile

from programs import ROOT, Folder

PIN = "1234"
# The nicknames in the database, and the key ids OpenSC gives a CAC's.
CERTS = {"id": "0001", "signing": "0002", "encryption": "0003"}
TEXT = b"A text that the card signs.\n"
# SELECT of the CAC's first PKI applet.
SELECT = "00A4040007A0000000790100"


class Database(Folder):
    """A fresh certificate database, as fixtures/make-nssdb makes it."""

    def __init__(self):
        super().__init__()
        self.nssdb = self / "nssdb"
        subprocess.run([ROOT / "fixtures/make-nssdb", self.nssdb, "--pin", PIN],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def client_args(self, address, *more):
        """vscclient's arguments that lend the three certificates to `address`."""
        args = ["--nssdb", self.nssdb]
        for nickname in CERTS:
            args += ["--cert", nickname]
        return [*args, *more, address]

    def certificate(self, nickname):
        """The certificate's DER bytes, out of the database itself."""
        return subprocess.run(["certutil", "-L", "-d", f"sql:{self.nssdb}", "-n", nickname, "-r"],
                              check=True, stdout=subprocess.PIPE).stdout

    def verify(self, nickname, text, signature):
        """What openssl says of an RSA SHA-256 signature by that certificate."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "cert.der").write_bytes(self.certificate(nickname))
            (folder / "signature").write_bytes(signature)
            (folder / "text").write_bytes(text)
            key = subprocess.run(["openssl", "x509", "-inform", "DER", "-pubkey", "-noout",
                                  "-in", folder / "cert.der"], check=True,
                                 stdout=subprocess.PIPE).stdout
            (folder / "key.pem").write_bytes(key)
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", folder / "key.pem",
                                   "-signature", folder / "signature", folder / "text"],
                                  check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout.decode().strip()


def verify_command(pin):
    """The VERIFY command of a CAC: the PIN filled up to 8 bytes."""
    return "0020000008" + pin.encode().ljust(8, b"\xff").hex()


def sign(guest, text, key, pin=PIN):
    """Signs in the guest; answers (status and output, the signature)."""
    guest.put("/tmp/text", text)
    done = guest.run(f"rm -f /tmp/signature; pkcs11-tool --sign --mechanism SHA256-RSA-PKCS "
                     f"--id {key} --login --pin {pin} --input-file /tmp/text "
                     f"--output-file /tmp/signature", timeout=120)
    return done, guest.get("/tmp/signature") if done.status == 0 else b""


class CardScript:
    """Cases for a class that has `guest` with a running pcscd in which the card
    is, `database`, and `reader_name`, a part of the reader's name."""

    # What the card says of a wrong PIN, twice, and what OpenSC makes of it.
    wrong_pins = ["63C2", "63C1"]
    wrong_pin_error = "CKR_PIN_INCORRECT"

    def test_1_reader_and_atr(self):
        readers = self.guest.run("opensc-tool --list-readers", check=True).text
        self.assertIn(self.reader_name, readers)
        self.assertRegex(readers, r"\n0 +Yes ")
        lines = self.guest.run("opensc-tool --atr", check=True).text.splitlines()
        atr = bytes.fromhex(lines[-1].replace(":", ""))
        self.assertEqual(atr[0], 0x3B)
        self.assertIn(b"sfte cd144", atr)

    def test_2_certificates_byte_for_byte(self):
        for nickname, key in CERTS.items():
            self.guest.run(f"pkcs11-tool --read-object --type cert --id {key} "
                           "--output-file /tmp/cert", check=True, timeout=120)
            self.assertEqual(self.guest.get("/tmp/cert"), self.database.certificate(nickname),
                             nickname)

    def test_3_signature_verifies_outside(self):
        done, signature = sign(self.guest, TEXT, CERTS["signing"])
        self.assertEqual(done.status, 0, done.text)
        self.assertEqual(len(signature), 256)
        self.assertEqual(self.database.verify("signing", TEXT, signature), "Verified OK")
        self.assertNotEqual(self.database.verify("signing", TEXT + b"!", signature),
                            "Verified OK")

    def test_4_wrong_pin(self):
        done, _ = sign(self.guest, TEXT, CERTS["signing"], pin="4321")
        self.assertNotEqual(done.status, 0)
        self.assertIn(self.wrong_pin_error, done.text)
        wrong, right = verify_command("4321"), verify_command(PIN)
        done = self.guest.run(f"pcsc-tool apdu {SELECT} {right} {wrong} {wrong} {right}",
                              check=True).text
        self.assertEqual(re.findall(r"^(63C.|6985|9000)\b", done, re.M),
                         ["9000", *self.wrong_pins, "9000"], done)
        done, _ = sign(self.guest, TEXT, CERTS["signing"])
        self.assertEqual(done.status, 0, done.text)


class LifeScript(CardScript):
    """The same, and the card's life: for a class whose `client` can remove(),
    insert() and kill(), and which can lend() again."""

    def seen(self, event, act):
        """Does `act`, which the guest sees as the card being removed or inserted."""
        waiting = self.guest.spawn(f"echo ready; pcsc-tool wait {event} 45")
        waiting.read_until("ready")
        act()
        done = waiting.wait(90)
        self.assertEqual(done.status, 0, f"not {event}: {done.text}")

    def works(self):
        """The card answers in the guest."""
        done = self.guest.run(f"pcsc-tool apdu {SELECT} {verify_command(PIN)}", check=True).text
        self.assertEqual(re.findall(r"^(9000|61..)\b", done, re.M)[-1:], ["9000"], done)

    def test_5_removal_and_insertion(self):
        for _ in range(2):
            self.seen("removed", self.client.remove)
            self.seen("inserted", self.client.insert)
        self.works()

    def test_6_killed_client_and_a_new_one(self):
        self.seen("removed", self.client.kill)
        self.seen("inserted", self.lend)
        self.works()
