# SPDX-License-Identifier: LGPL-2.1-or-later
"""Good USB/IP clients against a real vscardd that exports two readers: lists,
imports, CCID conversations, unlinks, and the end of it all."""

import struct
import unittest

import ccid
import usbip
import vscard
from ccid import ABSENT, INACTIVE, pack
from programs import Appliance, Folder, Program
from rig import ECHO, ReaderCase, power_on, round_trip
from stream import Closed, Late, connect
from usbip import ECONNRESET, EPIPE, EREMOTEIO, ESHUTDOWN, IN, OK, OUT, Refused, UsbipHost
from usbiprig import LISTENS, UsbipAppliance, UsbipRig

LONG = vscard.echo_command(3, b"long", 200)


class UsbipCase(ReaderCase):
    """Reader 1-1 is this host's; 1-2 is the bystander's."""

    new_rig = UsbipRig

    @property
    def usb(self):
        return self.host.usb

    @property
    def address(self):
        return self.rig.appliance.address

    def quiet(self):
        """All changes were told: an interrupt transfer waits for the next."""
        while True:
            self.usb.control(0x80, 0, 0, 0, length=2)
            if self.usb.waiting in self.usb.pending:
                return self.usb.waiting
            self.host.next_change()

    def again(self):
        """The reader's next host, with its card powered on."""
        self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)


class Operations(UsbipCase):
    """What comes before an import."""

    def check_list(self):
        devices = usbip.device_list(self.address)
        self.assertEqual([d.busid for d in devices], ["1-1", "1-2"])
        for n, device in enumerate(devices, 1):
            self.assertEqual((device.busnum, device.devnum, device.speed), (1, n, 3))
            self.assertEqual((device.vendor, device.product), (0x0E0F, 0x0004))
            self.assertEqual(device.classes, (0, 0, 0))
            self.assertEqual((device.configuration, device.configurations), (1, 1))
            self.assertEqual(device.interfaces, [(0x0B, 0, 0)])
            self.assertIn(device.busid, device.path)

    def test_list_while_imported(self):
        self.check_list()
        self.works()

    def test_list_byte_by_byte(self):
        with connect(self.address) as stream:
            for byte in usbip.pack_op(usbip.REQ_DEVLIST):
                stream.send(bytes([byte]))
            self.assertEqual(usbip.read_op(stream, usbip.REP_DEVLIST), 0)
            self.assertEqual(stream.read(4), b"\0\0\0\2")
            self.assertEqual(len(stream.wait_closed()), 2 * (usbip.DEVICE + usbip.INTERFACE))

    def test_list_and_device_agree(self):
        """What the list says is what the device's own descriptor says."""
        device = usbip.device_list(self.address)[0]
        self.assertEqual(device._replace(interfaces=[]),
                         self.usb.device._replace(interfaces=[]))
        status, data = self.usb.control(0x80, 6, 0x0100, 0, length=18)
        self.assertEqual(status, OK)
        fields = struct.unpack("<BBHBBBBHHHBBBB", data)
        self.assertEqual(fields[3:6], device.classes)
        self.assertEqual(fields[7:10], (device.vendor, device.product, device.version))
        self.assertEqual(fields[13], device.configurations)

    def test_second_importer(self):
        for _ in range(3):
            with self.assertRaises(Refused) as refused:
                usbip.import_device(self.address, "1-1")
            self.assertEqual(refused.exception.status, usbip.ST_DEV_BUSY)
            self.works()

    def test_wrong_busid(self):
        for busid in ("1-3", "2-1", "1-0", "1-1.", "1-12", "1", "", "9" * 31):
            with self.subTest(busid=busid):
                with self.assertRaises(Refused) as refused:
                    usbip.import_device(self.address, busid)
                self.assertEqual(refused.exception.status, usbip.ST_NODEV)
        self.works()

    def test_both_at_once(self):
        """Two imports, their commands between each other's."""
        for n in range(20):
            command = vscard.echo_command(n, b"first", 20)
            seq = self.host.start(command)
            taken = self.client.take_command()
            self.rig.check_other()
            self.client.answer(vscard.echo_answer(taken))
            self.assertEqual(self.host.final(seq).data, vscard.echo_answer(command))

    def test_reimport_at_once(self):
        for _ in range(50):
            self.host.close()
            self.rig.host = self.host = self.rig.open_host(0)
        power_on(self.host)
        self.works()

    def test_commands_right_behind_the_import(self):
        """They need not wait for the reply."""
        self.host.close()
        stream = connect(self.address)
        setup = usbip.pack_setup(0x80, 6, 0x0100, 0, 18)
        stream.send(usbip.pack_op(usbip.REQ_IMPORT, "1-1") +
                    usbip.pack_submit(9, 0x10001, IN, 0, 18, setup=setup))
        self.assertEqual(usbip.read_op(stream, usbip.REP_IMPORT), 0)
        usbip.read_device(stream, 0)
        self.assertEqual(struct.unpack(">2I", stream.read(usbip.HEADER)[:8]), (3, 9))
        self.assertEqual(stream.read(18)[:2], b"\x12\x01")
        stream.close()
        self.again()


class Transfers(UsbipCase):
    """An import at work."""

    def test_conversation(self):
        for size in (0, 1, 52, 53, 54, 255, 256):
            command = vscard.echo_command(size & 0xFF, b"hello", size)
            round_trip(self.host, self.client, command)

    def test_long_answers(self):
        """Up to the longest there is, in one transfer."""
        for size in (257, 502, 503, 4096, 60000, 65536):
            command = vscard.echo_command(size & 0xFF, b"hello", size)
            round_trip(self.host, self.client, command)

    def test_byte_by_byte(self):
        message = pack(ccid.XFR_BLOCK, 0, self.host.next_seq(), ECHO)
        out, into = self.host.out.address, self.host.into.address
        _, sent = self.usb.pack(usbip.OUT, out, len(message), message)
        wanted, asked = self.usb.pack(IN, into & 15, 300)
        for byte in sent + asked:
            self.usb.stream.send(bytes([byte]))
        self.client.serve_one()
        self.assertEqual(ccid.unpack(self.usb.take(wanted).data).data, vscard.echo_answer(ECHO))

    def test_zero_packets_said_as_linux_does(self):
        """number_of_packets 0: Linux's way to say none."""
        self.usb.packets = 0
        self.works()

    def test_shorter_than_the_answer(self):
        """Each piece is what was asked for, and nothing is lost."""
        seq = self.host.start(LONG)
        self.client.serve_one()
        got, into = b"", self.host.into.address
        for size in (1, 5, 9, 64, 0, 100, 1000):
            status, data = self.usb.bulk_in(into, size)
            self.assertEqual(status, OK)
            self.assertLessEqual(len(data), size)
            got += data
        reply = ccid.unpack(got)
        self.assertEqual((reply.seq, reply.data), (seq, vscard.echo_answer(LONG)))
        self.works()

    def test_control_shorter_than_the_answer(self):
        setup = usbip.pack_setup(0x80, 6, 0x0200, 0, 255)
        for size in (0, 1, 8, 9, 200):
            reply = self.usb.take(self.usb.submit(IN, 0, size, setup=setup))
            self.assertEqual((reply.status, len(reply.data)), (OK, min(size, 93)))

    def test_short_not_ok(self):
        self.host.start(ECHO)
        self.client.serve_one()
        status, data = self.usb.bulk_in(self.host.into.address, 300, flags=usbip.SHORT_NOT_OK)
        self.assertEqual((status, ccid.unpack(data).data), (EREMOTEIO, vscard.echo_answer(ECHO)))
        self.host.start(ECHO)
        self.client.serve_one()
        status, data = self.usb.bulk_in(self.host.into.address, len(data),
                                        flags=usbip.SHORT_NOT_OK)
        self.assertEqual((status, ccid.unpack(data).data), (OK, vscard.echo_answer(ECHO)))
        self.works()

    def test_zero_packet(self):
        """A message of whole packets, with and without an empty one after it."""
        for flags in (usbip.ZERO_PACKET, 0, usbip.ZERO_PACKET):
            command = vscard.echo_command(1, bytes(512 - 10 - 9), 16)
            message = pack(ccid.XFR_BLOCK, 0, self.host.next_seq(), command)
            self.assertEqual(len(message), 512)
            self.assertEqual(self.usb.bulk_out(self.host.out.address, message, flags), (OK, 512))
            self.client.serve_one()
            self.assertEqual(self.host.reply().data, vscard.echo_answer(command))

    def test_stall_and_clear(self):
        """An unknown request stalls; a halted endpoint does until it is cleared."""
        self.assertEqual(self.usb.control(0xC0, 99, 0, 0, length=4), (EPIPE, b""))
        into = self.host.into.address
        waiting = self.usb.submit_in(into, 64)
        self.assertEqual(self.usb.control(0x02, 3, 0, into), (OK, b""))
        self.assertEqual(self.usb.take(waiting).status, EPIPE)
        self.assertEqual(self.usb.bulk_in(into, 64), (EPIPE, b""))
        self.assertEqual(self.usb.control(0x02, 1, 0, into), (OK, b""))
        self.works()

    def test_set_interface(self):
        self.assertEqual(self.usb.control(0x01, 11, 0, 0), (OK, b""))
        self.assertEqual(self.usb.control(0x01, 11, 1, 0), (EPIPE, b""))
        self.works()

    def test_set_configuration(self):
        """It resets what is under way: transfers end, the card is not powered."""
        changes = self.quiet()
        waiting = self.usb.submit_in(self.host.into.address, 64)
        self.assertEqual(self.usb.set_configuration(1), (OK, 1))
        self.assertEqual(self.usb.take(waiting).status, ESHUTDOWN)
        self.assertEqual(self.usb.take(changes).status, ESHUTDOWN)
        self.usb.start_interrupts(self.host.interrupt.address)
        power_on(self.host)
        self.works()

    def test_port_reset(self):
        """What clients without a hub of their own send: the device is reset and
        configured as before."""
        changes = self.quiet()
        self.assertEqual(self.usb.control(0x23, 3, 4, 1), (OK, b""))
        self.assertEqual(self.usb.take(changes).status, ESHUTDOWN)
        self.usb.start_interrupts(self.host.interrupt.address)
        power_on(self.host)
        self.works()

    def test_unknown_endpoints(self):
        for direction, endpoint in ((IN, 1), (IN, 15), (OUT, 2), (OUT, 3), (OUT, 15)):
            data = b"" if direction == IN else b"x"
            reply = self.usb.take(self.usb.submit(direction, endpoint, 1, data))
            self.assertEqual((reply.status, reply.actual), (usbip.ENOENT, 0))
        self.works()

    def test_abort(self):
        """A class request and a message, crossing."""
        seq = self.host.start(ECHO)
        self.client.take_command()
        self.assertEqual(self.host.abort_request(0, seq + 1), OK)
        self.host.command(ccid.ABORT, seq=seq + 1)
        self.assertEqual(self.host.final(seq).error, ccid.ABORTED)
        self.assertEqual(self.host.final(seq + 1).type, ccid.SLOT_STATUS)
        self.client.answer(b"\x90\x00")
        self.again()


class Unlinks(UsbipCase):
    """Transfers that are given up."""

    def test_pending_interrupt(self):
        usb = self.usb
        first = self.quiet()
        self.assertEqual(usb.take(usb.unlink(first)).status, ECONNRESET)
        self.assertNotIn(first, usb.replies)
        usb.start_interrupts(self.host.interrupt.address)
        self.client.remove()
        self.host.next_change()
        self.client.insert()
        power_on(self.host)
        self.works()

    def test_change_while_nothing_waits(self):
        """What nobody waited for is told to the next who does."""
        usb = self.usb
        self.assertEqual(usb.take(usb.unlink(self.quiet())).status, ECONNRESET)
        self.client.remove()
        self.rig.check_other()
        usb.start_interrupts(self.host.interrupt.address)
        self.host.next_change()
        self.client.insert()
        power_on(self.host)
        self.works()

    def test_pending_bulk_in(self):
        usb, into = self.usb, self.host.into.address
        seq = self.host.start(ECHO)
        command = self.client.take_command()
        waiting = [usb.submit_in(into, 300) for _ in range(3)]
        for one in reversed(waiting):
            self.assertEqual(usb.take(usb.unlink(one)).status, ECONNRESET)
        self.client.answer(vscard.echo_answer(command))
        self.assertEqual(self.host.final(seq).data, vscard.echo_answer(ECHO))

    def test_one_of_several(self):
        usb, into = self.usb, self.host.into.address
        seq = self.host.start(ECHO)
        command = self.client.take_command()
        first, second = usb.submit_in(into, 300), usb.submit_in(into, 300)
        self.assertEqual(usb.take(usb.unlink(first)).status, ECONNRESET)
        self.client.answer(vscard.echo_answer(command))
        self.assertEqual(ccid.unpack(usb.take(second).data).seq, seq)
        self.works()

    def test_ended(self):
        """The reply came first: the unlink is told that there was nothing."""
        usb = self.usb
        done = usb.submit(IN, 0, 18, setup=usbip.pack_setup(0x80, 6, 0x0100, 0, 18))
        late = usb.unlink(done)
        self.assertEqual(usb.take(done).actual, 18)
        self.assertEqual(usb.take(late).status, OK)
        self.assertEqual(usb.take(usb.unlink(done)).status, OK)
        self.assertEqual(usb.take(usb.unlink(0xFFFFFFFF)).status, OK)
        self.works()

    def test_race(self):
        """Unlinks that cross the answers: of each pair of replies one has it."""
        usb, into = self.usb, self.host.into.address
        for n in range(30):
            command = vscard.echo_command(n, b"race", 10)
            seq = self.host.start(command)
            waiting = usb.submit_in(into, 300)
            self.client.serve_one()
            unlinked = usb.take(usb.unlink(waiting)).status
            if unlinked == ECONNRESET:
                reply = self.host.final(seq)
            else:
                self.assertEqual(unlinked, OK)
                reply = ccid.unpack(usb.take(waiting).data)
            self.assertEqual(reply.data, vscard.echo_answer(command))


class Ends(UsbipCase):
    """Imports that end."""

    def test_detach_in_mid_command(self):
        """The next host hears nothing of the last one's command, and the card
        has lost its power."""
        self.host.start(ECHO)
        self.client.take_command()
        self.rig.new_host()
        self.host = self.rig.host
        self.assertEqual(self.host.slot_status().icc, INACTIVE)
        power_on(self.host)
        after = self.host.start(vscard.echo_command(8, b"", 3))
        self.client.answer(b"\xee\x90\x00")
        self.serve(after)

    def test_detach_in_mid_transfer(self):
        message = pack(ccid.XFR_BLOCK, 0, 1, ECHO)
        for cut in range(1, usbip.HEADER + len(message)):
            usb = self.rig.host.usb
            _, sent = usb.pack(OUT, self.host.out.address, len(message), message)
            usb.stream.send(sent[:cut])
            self.rig.new_host()
        self.host = self.rig.host
        power_on(self.host)

    def test_half_close_ends_it(self):
        self.usb.stream.sock.shutdown(1)
        self.assertEqual(self.usb.stream.wait_closed(), b"")
        self.again()

    def test_card_and_client(self):
        """Insertion, removal and a killed client over one import."""
        self.client.remove()
        self.host.wait_icc(ABSENT)
        self.client.insert()
        power_on(self.host)
        self.works()
        self.client.close()
        self.host.wait_icc(ABSENT)
        self.client = self.rig.client_with_card()
        self.works()


class Names(unittest.TestCase):
    """A reader that takes the name of the remote one."""

    def lend(self, appliance, name):
        """A client of ours with a card in a reader of that name."""
        return Program("tests/peer/echo-client", f"path={appliance.card()}", "t1",
                       f"--reader={name}")

    def check_path(self, appliance, path):
        self.assertEqual(usbip.device_list(appliance.address)[0].path, path)

    def test_an_import_keeps_what_it_has(self):
        """The list and the next import have the new name; in a list that a
        terminal shows it is of plain letters."""
        with UsbipAppliance(readers=1) as appliance, appliance.host() as host, \
             self.lend(appliance, "Ren\u00e9's reader"):
            power_on(host, None)
            self.check_path(appliance, "/vscard/1-1 Ren??'s reader")
            host.close()
            with appliance.host() as after:
                power_on(after, None)

    def test_replug(self):
        with UsbipAppliance(readers=1, attach=",replug=on") as appliance, \
             appliance.host() as host, self.lend(appliance, "Reader of B"):
            with self.assertRaises(Closed):
                while True:
                    host.usb.receive()
            with appliance.host() as after:
                power_on(after, None)
                self.check_path(appliance, "/vscard/1-1 Reader of B")


class Appliances(unittest.TestCase):
    """Servers of other kinds."""

    def test_end_of_the_appliance(self):
        appliance = UsbipAppliance(readers=1)
        host = appliance.host()
        appliance.end()
        with self.assertRaises(Closed):
            while True:
                host.usb.receive()
        host.close()

    def test_unix_socket(self):
        """For a tunnel's end that is one."""
        with Folder() as folder, Appliance(readers=0, extra=[
                "-chardev", f"socket,id=net,path={folder / 'net'},server=on,wait=off",
                "-device", "usbip,chardev=net", "-device", "usb-ccid"]):
            with UsbipHost(folder / "net") as host:
                host.open()
                self.assertEqual(len(usbip.device_list(folder / "net")), 1)
                self.assertEqual(host.set_configuration(1), (OK, 1))

    def test_several_clients_while_one_is_waited_for(self):
        """wait=on, which is a server's default: the first client's connection is
        the char device's own, the others' are not."""
        with Program("vscardd", "-chardev",
                     "socket,id=net,host=127.0.0.1,port=0,server=on", "-device",
                     "usbip,chardev=net", "-device", "usb-ccid", "-device", "usb-ccid") as program:
            program.wait_said("waiting for a client on ")
            address = "127.0.0.1", int(LISTENS.search(program.errors()).group(1))
            with UsbipHost(address, "1-1") as first, UsbipHost(address, "1-2") as second:
                first.open()
                second.open()
                self.assertEqual(len(usbip.device_list(address)), 2)
                self.assertEqual(first.set_configuration(1), (OK, 1))
                self.assertEqual(second.set_configuration(1), (OK, 1))
            with UsbipHost(address, "1-1") as first:
                first.open()

    def test_many_readers(self):
        """All addresses of a bus, each with a host at once."""
        readers = ["-device", "usb-ccid,bus=bus0.0"] * 127
        with UsbipAppliance(readers=0, extra=readers) as appliance:
            devices = usbip.device_list(appliance.address)
            self.assertEqual([d.busid for d in devices], [f"1-{n}" for n in range(1, 128)])
            hosts = [UsbipHost(appliance.address, d.busid).open() for d in devices]
            for host in hosts:
                self.assertEqual(host.set_configuration(1), (OK, 1))
            self.assertEqual(len(usbip.device_list(appliance.address)), 127)
            for host in hosts:
                host.close()

    def test_silence(self):
        """A connection that asks for nothing ends by itself; an import does not."""
        with UsbipAppliance(readers=1) as appliance:
            host = appliance.host()
            with connect(appliance.address) as silent, connect(appliance.address) as slow:
                slow.send(usbip.pack_op(usbip.REQ_IMPORT, "1-1")[:39])
                self.assertEqual(silent.wait_closed(), b"")
                self.assertEqual(slow.wait_closed(), b"")
            with self.assertRaises(Late):
                host.usb.receive(limit=0.2)
            self.assertEqual(host.slot_status().icc, ABSENT)
            host.close()


if __name__ == "__main__":
    unittest.main()
