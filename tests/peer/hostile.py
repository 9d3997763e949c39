# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the suites of clients that break the VSCard protocol share."""

import vscard
from ccid import ABSENT, DATA_BLOCK, FAILED, ICC_MUTE
from rig import RigCase
from vscard import CARD_REMOVE, ERROR, pack

# Nobody has this reader: a message for it is answered by an Error at once, so
# its answer tells that everything before has been dealt with.
NOBODY = 77
PROBE = pack(CARD_REMOVE, NOBODY)

NO_CARD_NOW = (DATA_BLOCK, FAILED | ABSENT, ICC_MUTE)
COMMAND = vscard.echo_command(3, b"pending", 20)


def said_until_probe(client):
    """(code, reader) of each Error up to the probe's; nothing else may come."""
    codes = []
    while True:
        message = client.receive()
        if message.type != ERROR or len(message.data) != 4:
            raise AssertionError(f"{message} came")
        code = int.from_bytes(message.data, "big")
        if message.reader == NOBODY:
            if code != vscard.GENERAL_ERROR:
                raise AssertionError(f"Error {code} for a reader that nobody has")
            return codes
        codes.append((code, message.reader))


class HostileCase(RigCase):
    """Hostile clients of one appliance."""

    def tearDown(self):
        self.settle()

    def after(self, data):
        """What a client with a card is told after it sent `data`."""
        with self.rig.client_with_card() as client:
            client.stream.send(data + PROBE)
            return said_until_probe(client)

    def assert_closes(self, data, before=vscard.Client.with_card):
        """The appliance ends the conversation once `data` is there."""
        with before(self.rig.appliance.card(0)) as client:
            client.stream.send_anyway(data)
            return client.stream.wait_closed()
