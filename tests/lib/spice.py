# SPDX-License-Identifier: LGPL-2.1-or-later
"""A SPICE client from the protocol's description alone, for tests: the link with
its ticket, plain or in TLS, the main channel, and smartcard, port and usbredir
channels; each step also by itself, so that a test can do one wrong. Shares
nothing with the product and nothing with libspice. Also what a SPICE server
needs to be given: certificates, and a SASL database.

Numbers are little-endian; names and values are those of spice-protocol."""

import random
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse
from typing import NamedTuple

import vscard
from programs import Appliance, Folder
from stream import LIMIT, Closed, Stream, connect

MAGIC, MAJOR, MINOR = b"REDQ", 2, 2

# Channel types.
MAIN, DISPLAY, INPUTS, CURSOR = 1, 2, 3, 4
SMARTCARD, USBREDIR, PORT = 8, 9, 10

# Common capabilities, as bits.
CAP_AUTH_SELECTION, CAP_AUTH_SPICE, CAP_AUTH_SASL, CAP_MINI_HEADER = 1, 2, 4, 8
AUTH_SPICE, AUTH_SASL = 1, 2

# SPICE_LINK_ERR_...
OK, ERROR, INVALID_MAGIC, INVALID_DATA, VERSION_MISMATCH, NEED_SECURED, NEED_UNSECURED, \
    PERMISSION_DENIED, BAD_CONNECTION_ID, CHANNEL_NOT_AVAILABLE = range(10)

# Messages of every channel: from the server, and to it.
MIGRATE, MIGRATE_DATA, SET_ACK, PING, WAIT_FOR_CHANNELS, DISCONNECTING, NOTIFY = range(1, 8)
ACK_SYNC, ACK, PONG, FLUSH_MARK, _, CLIENT_DISCONNECTING = range(1, 7)

# The main channel's.
MAIN_INIT, MAIN_CHANNELS_LIST = 103, 104
MAIN_AGENT_CONNECTED, MAIN_AGENT_DISCONNECTED, MAIN_AGENT_DATA, MAIN_AGENT_TOKEN = range(107, 111)
MAIN_AGENT_CONNECTED_TOKENS = 115
ATTACH_CHANNELS, AGENT_START, TO_AGENT_DATA, TO_AGENT_TOKEN = 104, 106, 107, 108

# Smartcard, usbredir and port channels, both ways.
DATA = 101
PORT_INIT, PORT_EVENT = 201, 202
TO_PORT_EVENT = 201
PORT_OPENED, PORT_CLOSED, PORT_BREAK = range(3)

MESS_SIZE = 18
REPLY_SIZE = 178
KEY_SIZE = 162
TICKET_SIZE = 128


class Refused(Exception):
    """The server does not take the link; `code` is SPICE_LINK_ERR_..."""

    def __init__(self, code):
        super().__init__(f"the link is refused with error {code}")
        self.code = code


# ---- The link, in pieces ----

def link_header(size, magic=MAGIC, major=MAJOR, minor=MINOR):
    return struct.pack("<4sIII", magic, major, minor, size)


def link_mess(channel, ident=0, connection=0, common=(), caps=()):
    """SpiceLinkMess with its capability words, without a header."""
    return (struct.pack("<IBBIII", connection, channel, ident, len(common), len(caps), MESS_SIZE)
            + struct.pack(f"<{len(common) + len(caps)}I", *common, *caps))


class LinkReply(NamedTuple):
    error: int
    key: bytes
    common: tuple
    caps: tuple


def read_link_reply(stream, limit=LIMIT):
    """The server's answer to a link message."""
    magic, major, _, size = struct.unpack("<4sIII", stream.read(16, limit))
    if (magic, major) != (MAGIC, MAJOR) or size > 4096:
        raise AssertionError(f"not a SPICE server: {magic} {major}, {size} bytes")
    body = stream.read(size, limit)
    error, = struct.unpack_from("<I", body)
    if error != OK:
        return LinkReply(error, b"", (), ())
    key = body[4:4 + KEY_SIZE]
    commons, channels, offset = struct.unpack_from("<III", body, 4 + KEY_SIZE)
    words = struct.unpack_from(f"<{commons + channels}I", body, offset)
    return LinkReply(error, key, words[:commons], words[commons:])


def ticket(key, password):
    """The password for the server's eyes: RSA-OAEP with its key."""
    with Folder() as folder:
        with open(folder / "key", "wb") as file:
            file.write(key)
        return subprocess.run(
            ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER",
             "-inkey", folder / "key", "-pkeyopt", "rsa_padding_mode:oaep"],
            input=password.encode() + b"\0", stdout=subprocess.PIPE, check=True).stdout


def secure(stream, ca=None, limit=LIMIT):
    """The stream in TLS; `ca` is the file that the server's certificate is
    checked with, as of the address 127.0.0.1; None for not at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    stream.sock.settimeout(limit)
    return Stream(context.wrap_socket(stream.sock, server_hostname="127.0.0.1"))


class Way(NamedTuple):
    """How to reach a server and be let in."""

    address: object         # a UNIX path, or (host, port)
    password: str = ""
    tls: bool = False
    ca: str = None
    mini: bool = True

    def connect(self, limit=LIMIT):
        stream = connect(self.address, limit)
        return secure(stream, self.ca, limit) if self.tls else stream


# ---- A channel ----

class Channel:
    """One connection, one channel, as far as `start` and `finish` have brought
    it. Common messages are answered while others are waited for."""

    def __init__(self, way, kind, ident=0, connection=0, caps=()):
        self.way = way
        self.kind, self.ident, self.connection = kind, ident, connection
        self.own_caps = tuple(caps)
        self.stream = way.connect()
        self.mini = False
        self.serial = 0
        self.window = self.left = 0
        self.reply = None
        self.notices = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def start(self):
        """Sends the link message and takes the reply."""
        common = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | (CAP_MINI_HEADER if self.way.mini else 0)
        mess = link_mess(self.kind, self.ident, self.connection, [common], self.own_caps)
        self.stream.send(link_header(len(mess)) + mess)
        self.reply = read_link_reply(self.stream)
        if self.reply.error != OK:
            raise Refused(self.reply.error)
        return self

    def finish(self):
        """Sends the ticket and takes the result."""
        theirs = self.reply.common[0] if self.reply.common else 0
        chosen = struct.pack("<I", AUTH_SPICE) if theirs & CAP_AUTH_SELECTION else b""
        self.stream.send(chosen + ticket(self.reply.key, self.way.password))
        code, = struct.unpack("<I", self.stream.read(4))
        if code != OK:
            raise Refused(code)
        self.mini = bool(self.way.mini and theirs & CAP_MINI_HEADER)
        return self

    def open(self):
        return self.start().finish()

    def pack(self, kind, body=b"", size=None):
        """A message; `size` overrides what its header claims."""
        size = len(body) if size is None else size
        if self.mini:
            return struct.pack("<HI", kind, size) + body
        self.serial += 1
        return struct.pack("<QHII", self.serial, kind, size, 0) + body

    def send(self, kind, body=b"", size=None):
        self.stream.send(self.pack(kind, body, size))

    def receive_any(self, limit=LIMIT):
        """The next message, whatever it is."""
        if self.mini:
            kind, size = struct.unpack("<HI", self.stream.read(6, limit))
        else:
            _, kind, size, _ = struct.unpack("<QHII", self.stream.read(18, limit))
        if size > 1 << 24:
            raise AssertionError(f"a message {kind} of {size} bytes")
        body = self.stream.read(size, limit)
        if self.window and kind != SET_ACK:
            self.left -= 1
            if not self.left:
                self.left = self.window
                self.stream.send_anyway(self.pack(ACK))
        return kind, body

    def receive(self, limit=LIMIT):
        """The next message that is the channel's own."""
        deadline = time.monotonic() + limit
        while True:
            kind, body = self.receive_any(max(deadline - time.monotonic(), 0))
            if kind == SET_ACK:
                generation, self.window = struct.unpack_from("<II", body)
                self.left = self.window
                self.stream.send_anyway(self.pack(ACK_SYNC, struct.pack("<I", generation)))
            elif kind == PING:
                self.stream.send_anyway(self.pack(PONG, body[:12]))
            elif kind == NOTIFY:
                self.notices.append(body[24:].rstrip(b"\0").decode(errors="replace"))
            elif kind == DISCONNECTING:
                raise Closed("the server says that it disconnects")
            elif kind > 100:
                return kind, body

    def expect(self, wanted, limit=LIMIT):
        """The body of the next message of a type; others are passed over."""
        deadline = time.monotonic() + limit
        while True:
            kind, body = self.receive(max(deadline - time.monotonic(), 0))
            if kind == wanted:
                return body

    def wait_closed(self, limit=LIMIT):
        """Reads until the server closes."""
        return self.stream.wait_closed(limit)


class Session:
    """A session with its main channel: `channels` is the server's list of
    (type, id), `id` the connection id."""

    def __init__(self, way):
        self.way = way
        self.main = Channel(way, MAIN).open()
        init = self.main.expect(MAIN_INIT)
        self.id, = struct.unpack_from("<I", init)
        self.agent_connected = bool(struct.unpack_from("<I", init, 16)[0])
        self.main.send(ATTACH_CHANNELS)
        pairs = self.main.expect(MAIN_CHANNELS_LIST)
        count, = struct.unpack_from("<I", pairs)
        self.channels = [tuple(pairs[4 + 2 * i:6 + 2 * i]) for i in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.main.close()

    def open(self, kind, ident=0):
        """Another channel of the session."""
        channel = Channel(self.way, kind, ident, self.id)
        try:
            return channel.open()
        except BaseException:
            channel.close()
            raise

    def smartcard(self):
        return SmartcardClient(self.open(SMARTCARD))

    def usbredir(self, ident=0):
        return DataStream(self.open(USBREDIR, ident))

    def port(self, name):
        """The port channel of that name as a stream of bytes."""
        for kind, ident in self.channels:
            if kind != PORT:
                continue
            channel = self.open(PORT, ident)
            init = channel.expect(PORT_INIT)
            size, _, opened = struct.unpack_from("<IIB", init)
            # The name's place is told by its offset in the message.
            if init[-size:].rstrip(b"\0").decode() == name:
                stream = PortStream(channel)
                stream.opened = bool(opened)
                return stream
            channel.close()
        raise AssertionError(f"no port {name} among {self.channels}")


class DataStream(Stream):
    """A channel of data as a stream of bytes."""

    def __init__(self, channel):  # pylint: disable=super-init-not-called
        self.channel = channel
        self.input = bytearray()
        self.ended = False

    def close(self):
        self.channel.close()

    def send(self, data, limit=LIMIT):
        self.channel.send(DATA, bytes(data))

    def take(self, kind, body):
        """One message of the channel."""
        if kind == DATA:
            self.input += body

    def fill(self, deadline):
        try:
            self.take(*self.channel.receive(max(deadline - time.monotonic(), 0)))
        except Closed:
            self.ended = True
            raise


class PortStream(DataStream):
    """A port channel; `opened` says whether its other side is there."""

    opened = False

    def take(self, kind, body):
        if kind == PORT_EVENT:
            self.opened = body[0] == PORT_OPENED
        else:
            super().take(kind, body)

    def wait_opened(self, opened=True, limit=LIMIT):
        deadline = time.monotonic() + limit
        while self.opened != opened:
            self.fill(deadline)

    def event(self, event):
        self.channel.send(TO_PORT_EVENT, bytes([event]))


# ---- The smartcard channel ----

def pack_card(kind, reader=0, data=b"", length=None):
    """A VSCard message as this channel has it: little-endian."""
    return struct.pack("<III", kind, reader, len(data) if length is None else length) + data


class SmartcardClient(vscard.Client):
    """The end that owns a card, over a smartcard channel, where nobody says
    VSC_Init and there is one reader."""

    def __init__(self, channel):  # pylint: disable=super-init-not-called
        self.channel = channel
        self.stream = channel.stream
        self.reader = None
        self.host_caps = None

    def close(self):
        self.channel.close()

    def send(self, kind, reader=None, data=b"", length=None):
        if reader is None:
            reader = 0 if self.reader is None else self.reader
        self.channel.send(DATA, pack_card(kind, reader, data, length))

    def receive(self, limit=LIMIT):
        body = self.channel.expect(DATA, limit)
        kind, reader, length = struct.unpack_from("<III", body)
        if length != len(body) - 12:
            raise AssertionError(f"a message that says {length} bytes and has {len(body) - 12}")
        return vscard.Message(kind, reader, body[12:])

    def init(self):
        pass

    def expect_error(self, code):
        """The next word of the other end is an Error of `code`. Its number is in
        the order that who wrote it has: the server's own errors are
        little-endian, the device's big-endian (zero is zero)."""
        message = self.receive_after_init()
        if message.type != vscard.ERROR or len(message.data) != 4:
            raise AssertionError(f"{message} came for an Error")
        if code not in (int.from_bytes(message.data, "big"),
                        int.from_bytes(message.data, "little")):
            raise AssertionError(f"Error {message.data.hex()}, not {code}")
        return message.reader

    @classmethod
    def with_card(cls, address, atr=vscard.ECHO_ATR):
        """`address` is a Session. A client that has said all up to its card."""
        client = address.smartcard()
        client.add_reader()
        client.insert(atr)
        return client


# ---- What a server is given ----

def free_port():
    """A port on 127.0.0.1 that nobody has; of those that the system does not
    give to outgoing connections, so that none takes it before the server does."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Pki(Folder):
    """A CA, and a server's key and certificate of it for 127.0.0.1 and
    localhost, under the names that x509-dir has."""

    SUBJECT = "C=IL,O=vscard tests,CN=127.0.0.1"

    def __init__(self, subject=SUBJECT, names="IP:127.0.0.1,DNS:localhost"):
        super().__init__()
        self.ca = self / "ca-cert.pem"
        self.subject = subject
        key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        openssl("req", "-x509", *key, "-subj", "/C=IL/O=vscard tests/CN=test CA",
                "-keyout", self / "ca-key.pem", "-out", self.ca)
        openssl("req", "-x509", *key, "-subj", "/" + subject.replace(",", "/"),
                "-CA", self.ca, "-CAkey", self / "ca-key.pem",
                "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE",
                "-keyout", self / "server-key.pem", "-out", self / "server-cert.pem")

    def public_key(self):
        """The server's SubjectPublicKeyInfo, DER."""
        pem = subprocess.run(["openssl", "x509", "-in", self / "server-cert.pem", "-pubkey",
                              "-noout"], check=True, stdout=subprocess.PIPE).stdout
        return subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem,
                              check=True, stdout=subprocess.PIPE).stdout


class Sasl(Folder):
    """A SASL configuration with one user, for the environment of a server:
    `env` is what to add to it. Programs look for it under their own name."""

    USER, PASSWORD = "vscard", "the sasl password"
    PROGRAMS = ("qemu", "vscardd", "spice")

    def __init__(self, mechanisms="scram-sha-256"):
        super().__init__()
        for program in self.PROGRAMS:
            with open(self / f"{program}.conf", "w", encoding="ascii") as file:
                file.write(f"mech_list: {mechanisms}\npwcheck_method: auxprop\n"
                           f"auxprop_plugin: sasldb\nsasldb_path: {self / 'sasldb'}\n")
            subprocess.run(["saslpasswd2", "-p", "-c", "-f", self / "sasldb", "-a", program,
                            self.USER], input=self.PASSWORD.encode(), check=True)
        self.env = {"SASL_CONF_PATH": self.path}


class Access(Folder):
    """How a SPICE server is reached and whom it lets in: `args` are for QEMU and
    for vscardd alike, and the rest tells clients the same. `ticket`: a password
    is wanted; `tls`: there is a TLS port; `sasl`: SASL instead of a ticket;
    `unix`: a UNIX socket and no port."""

    TICKET = "the ticket"

    def __init__(self, ticket=False, tls=False, sasl=False, unix=False):
        super().__init__()
        self.sasl = Sasl() if sasl else None
        self.pki = Pki() if tls else None
        self.port = 0 if unix else free_port()
        self.tls_port = free_port() if tls else 0
        self.socket = self / "spice" if unix else None
        self.password = self.TICKET if ticket else Sasl.PASSWORD if sasl else ""
        self.env = self.sasl.env if sasl else {}
        self.write("password", self.password)
        keys = f"unix=on,addr={self.socket}" if unix else f"port={self.port},addr=127.0.0.1"
        if tls:
            keys += f",tls-port={self.tls_port},x509-dir={self.pki.path}"
        keys += (",sasl=on" if sasl else ",password-secret=ticket" if ticket
                 else ",disable-ticketing=on")
        secret = f"secret,id=ticket,file={self / 'password'}"
        self.args = [*(["-object", secret] if ticket else []), "-spice", keys]

    def remove(self):
        for folder in (self.sasl, self.pki):
            if folder:
                folder.remove()
        super().remove()

    def write(self, name, text):
        with open(self / name, "w", encoding="ascii") as file:
            file.write(text)
        return self / name

    def way(self, tls=False):
        """For this file's client."""
        address = self.socket or ("127.0.0.1", self.tls_port if tls else self.port)
        return Way(address, self.password, tls, self.pki.ca if tls else None)

    def uri(self, tls=False):
        """For vscclient."""
        if self.socket:
            return f"spice+unix://{self.socket}"
        return (f"spice+tls://127.0.0.1:{self.tls_port}" if tls
                else f"spice://127.0.0.1:{self.port}")

    def options(self, tls=False):
        """For vscclient, before the address; the password is `secret_env`'s."""
        return [*(["--ca-file", self.pki.ca] if tls else []),
                *(["--user", Sasl.USER] if self.sasl else [])]

    @property
    def secret_env(self):
        return {"VSCARD_SPICE_PASSWORD": self.password} if self.password else {}

    def viewer_uri(self, tls=False):
        """For spice-gtk's viewers."""
        if self.socket:
            return f"spice+unix://{self.socket}"
        password = f"&password={urllib.parse.quote(self.password)}" if self.password else ""
        return ("spice://127.0.0.1?"
                + (f"tls-port={self.tls_port}" if tls else f"port={self.port}") + password)

    def viewer_options(self, tls=False):
        return ["--spice-ca-file", self.pki.ca] if tls else []

    def vv(self, tls=False):
        """The path of a .vv file, as management tools hand to a viewer. With one,
        remote-viewer has no keys to insert and remove a card, and of those that
        the file could give it, it dies (virt-viewer 11.0, a double free)."""
        lines = ["[virt-viewer]", "type=spice", "host=127.0.0.1"]
        if tls:
            with open(self.pki.ca, encoding="ascii") as file:
                ca = file.read().replace("\n", "\\n")
            lines += [f"tls-port={self.tls_port}", f"ca={ca}"]
        else:
            lines += [f"port={self.port}"]
        lines += [f"password={self.password}"] if self.password else []
        return self.write("tls.vv" if tls else "plain.vv", "\n".join(lines) + "\n")


# ---- vscardd as a server ----

CARD_PORT = "org.vscard.ccid.0"


def passthru(chardev):
    """A card on a char device called ccid, for QEMU and vscardd alike."""
    return ("-chardev", chardev, "-device", "ccid-card-passthru,chardev=ccid")


SMARTCARD_CARD = passthru("spicevmc,id=ccid,name=smartcard")
PORT_CARD = passthru(f"spiceport,id=ccid,name={CARD_PORT}")


class SpiceAppliance(Appliance):
    """A vscardd whose first reader's card comes by SPICE; the others are as an
    Appliance has them."""

    def __init__(self, way, card=SMARTCARD_CARD, readers=1, **more):
        self.first_card = card
        super().__init__(readers=readers, extra=way.args, **way.env, **more)

    def reader_args(self, n):
        if n:
            return super().reader_args(n)
        kind, _, card = self.first_card[3].partition(",")
        return ["-chardev", f"socket,id=usb0,path={self.usb()},server=on,wait=off",
                "-device", "usbredir,id=bus0,chardev=usb0",
                "-device", f"usb-ccid,id=ccid0,bus=bus0.0{self.ccid}",
                *self.first_card[:3], f"{kind},{card},bus=ccid0.0"]
