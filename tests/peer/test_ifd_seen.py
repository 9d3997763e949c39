# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards of every kind in one pcscd, lent by `vscclient --pcsc` to another that
has our IFD handler: what programs there see of them."""

import shlex
import subprocess
import time
import unittest

import pcsc_seen
from ifd import IfdRig, entry
from pcscrig import Rig
from programs import Folder, Program, environment

LIMIT = 120


class Ifd(pcsc_seen.Seen, unittest.TestCase):

    reader_name = "VSCard 00 00"
    place = pcsc_seen.HERE
    python = "/usr/bin/python3"

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(Folder())
        cls.owner = cls.enterClassContext(Rig(("Owner",)))
        cls.rig = cls.enterClassContext(IfdRig(entry(
            "VSCard", f"vscard:socket,path={cls.folder / 'card'},server=on")))
        cls.client = Program("vscclient", "--pcsc", "--exclude", cls.owner.names[1],
                             f"unix:{cls.folder / 'card'}", **cls.owner.env)
        cls.addClassCleanup(cls.client.kill)
        cls.user = cls.enterClassContext(cls.rig.owner())

    @classmethod
    def tearDownClass(cls):
        cls.client.end()
        cls.rig.end()

    def sh(self, command, input=b""):
        done = subprocess.run(
            shlex.split(command), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False, timeout=LIMIT,
            env=environment(GNUPGHOME=self.folder.path, **self.rig.env))
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace"))
        return done.stdout

    def wait(self, event):
        deadline = time.monotonic() + LIMIT
        while self.user.present(self.reader_name) != (event == "inserted"):
            self.assertLess(time.monotonic(), deadline, self.rig.said())
            time.sleep(0.02)


if __name__ == "__main__":
    unittest.main()
