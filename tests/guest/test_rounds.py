# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two readers and three cards, put in and taken out at random: after each round
a guest, to which both are lent in one reader of two slots, sees what the owner
does."""

import random
import unittest

import pcsc_seen
import vscard
from guest import Guest
from pcscrig import Rig
from programs import Appliance, Program
from vpcdcard import TestCard

# The owner's pcscd looks at its readers every 400 ms, which is what a round
# takes. tests/peer/test_pcsc.py has 500 without a guest.
ROUNDS = 300


class Rounds(unittest.TestCase):

    def setUp(self):
        self.owner = self.enterContext(Rig(("Owner",)))
        self.appliance = appliance = self.enterContext(
            Appliance(ccid=",slots=2", extra=["-d", "ccid,vscard"]))
        self.client = self.enterContext(Program("vscclient", "--pcsc", f"unix:{appliance.card()}",
                                                **self.owner.env))
        self.client.wait_said("took reader 'Owner 00 01'")
        self.guest = self.enterContext(Guest(python=True, memory="384M"))
        self.guest.attach_usbredir("reader", appliance.usb())
        self.guest.run("start-pcscd --quiet", check=True)
        self.guest.run("pcsc-tool -r '00 01' wait reader 60", check=True)
        self.guest.put("/tmp/watch.py", (pcsc_seen.HERE / "pcsc_watch.py").read_bytes())
        self.watch = self.guest.spawn("python3.11 /tmp/watch.py")
        self.addCleanup(self.watch.kill)
        self.view = {}

    def swap(self, chance, cards):
        """At most one thing happens to each slot."""
        for slot in self.owner.slots:
            move = chance.random()
            if slot.card is not None and move < 0.4:
                slot.remove()
            elif move < 0.7:
                there = [other.card for other in self.owner.slots]
                slot.insert(chance.choice([card for card in cards if card not in there]))

    def wait_view(self, wanted, when):
        while self.view != wanted:
            try:
                slot, what = self.watch.read_until(rb"(\d\d \d\d) (\w+)\n", 20).groups()
            except Exception as error:
                raise AssertionError(f"{when}: {self.view}, not {wanted}; {self.all_views()}") \
                    from error
            self.view[slot.decode()] = what.decode()

    def all_views(self):
        """Who has seen what, from the guest to the owner."""
        with self.owner.owner() as owner:
            there = [owner.present(name) for name in self.owner.names]
        return "\n".join([self.guest.run("pcsc-tool list").text,
                          *self.appliance.errors().splitlines()[-8:],
                          *self.client.errors().splitlines()[-8:], f"the owner: {there}"])

    def test_rounds(self):
        cards = [TestCard(vscard.make_atr(b"card %d" % n)) for n in range(3)]
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        self.wait_view({"00 00": "empty", "00 01": "empty"}, "at first")
        for n in range(ROUNDS):
            self.swap(chance, cards)
            self.wait_view({f"00 {slot:02}": part.card.atr.hex() if part.card else "empty"
                            for slot, part in enumerate(self.owner.slots)},
                           f"seed {seed}, round {n}")


if __name__ == "__main__":
    unittest.main()
