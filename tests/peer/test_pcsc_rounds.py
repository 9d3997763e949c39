# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards put in and taken out at random. A suite of its own, for pcscd looks at
these readers but every 0.4 s."""

import random
import unittest

import vscard
from pcsccase import PcscCase
from vpcdcard import TestCard


class Rounds(PcscCase):

    def test_rounds(self):
        """Two readers and three cards, put in and taken out at random: after
        each round the other side sees what the owner does."""
        cards = [TestCard(vscard.make_atr(f"card {n}".encode())) for n in range(3)]
        view = self.lend()
        chance = random.Random(4)
        for _ in range(500):
            for slot in self.rig.slots:
                move = chance.random()
                if slot.card is not None and move < 0.4:
                    slot.remove()
                elif move < 0.7:
                    free = [card for card in cards if card not in
                            [other.card for other in self.rig.slots]]
                    slot.insert(chance.choice(free))
            view.wait_cards({name: slot.card.atr if slot.card else None
                             for name, slot in zip(self.rig.names, self.rig.slots)})
        self.ended()


if __name__ == "__main__":
    unittest.main()
