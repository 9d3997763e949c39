# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Linux guest for tests and the demo, as an object.

    with Guest() as guest:
        guest.attach_usbredir("reader", "/run/user/0/reader.usb", bus="xhci.0")
        guest.run("start-pcscd", check=True)
        print(guest.run("pcsc-tool list").text)

QEMU runs under TCG, so that it works where there is no KVM, and starts the
kernel without a boot loader. All that this talks to QEMU goes over socket pairs
that QEMU inherits: nobody else can reach them, and if this process dies, the
guest notices and powers itself off.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

import agent
from agent import GuestError, GuestTimeout, Result      # noqa: F401
from qmp import Qmp, QmpError                           # noqa: F401

HERE = pathlib.Path(__file__).resolve().parent
PORT = "org.vscard.agent"

# The drivers of the buses; the bus itself is called, say, "uhci.0".
CONTROLLERS = {
    "uhci": "piix4-usb-uhci",
    "ehci": "usb-ehci",
    "xhci": "qemu-xhci",
}

# Of the machines this one boots fastest. qboot would spare 0.2 s, but never
# reaches the kernel when the machine has a ccid-card-emulated (QEMU 7.2). The
# kernel's options leave out what a test does not need; rdrand spares the guest
# to collect entropy.
MACHINE = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
           "-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,+rdrand"]
KERNEL_OPTIONS = ("console=ttyS0 quiet nokaslr mitigations=off rodata=off lsm= "
                  "cryptomgr.notests")

BOOT_SECONDS = 60       # many times what it takes on a machine that is busy
QUIT_SECONDS = 10
TAIL_LINES = 30


def build():
    """Answer the folder of the guest's kernel and initramfs; builds if needed."""
    done = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise GuestError("the guest cannot be built, see above")
    return pathlib.Path(done.stdout.strip())


def tail(path):
    """Answer the last lines of a text file, if it is there."""
    try:
        with open(path, errors="replace") as file:
            return "".join(collections.deque(file, TAIL_LINES))
    except FileNotFoundError:
        return ""


def chardev(address, server=False, nodelay=True):
    """Answer QMP's description of a socket chardev.

    The address is a path of a UNIX socket or a pair of host and port. A server
    does not wait for its client.
    """
    data = {"server": server}
    if isinstance(address, (str, os.PathLike)):
        data["addr"] = {"type": "unix", "data": {"path": str(address)}}
    else:
        host, port = address
        data["addr"] = {"type": "inet", "data": {"host": host,
                                                 "port": str(port)}}
        data["nodelay"] = nodelay
    if server:
        data["wait"] = False
    return {"type": "socket", "data": data}


class Guest:
    """One virtual machine. Use it with `with`, or call start() and stop().

    memory        as QEMU's -m has it
    controllers   which of CONTROLLERS the machine has
    qemu_args     more arguments for QEMU
    folder        where vmlinux and initramfs are; default: build()'s answer
    serial_log    where to keep the console's output; default: nowhere after
                  stop()
    env           what QEMU's environment has besides ours
    python        with python3.11 and pyscard; give it more memory, too
    """

    def __init__(self, *, memory="256M", controllers=tuple(CONTROLLERS),
                 qemu_args=(), folder=None, serial_log=None, env=None,
                 python=False):
        self.memory = memory
        self.controllers = controllers
        self.qemu_args = list(qemu_args)
        self.folder = folder
        self.directory = None       # for sockets and logs, while it runs
        self._serial_log = serial_log
        self._env = env or {}
        self._initramfs = "initramfs-python" if python else "initramfs"
        self._process = None
        self._agent = None
        self._qmp = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop()

    @property
    def serial_log(self):
        """The path of the console's output."""
        return pathlib.Path(self._serial_log or self.directory / "serial.log")

    @property
    def pid(self):
        """The process id of QEMU."""
        return self._process.pid

    def _arguments(self, agent_fd, qmp_fd):
        """Answer QEMU's command line."""
        line = ["qemu-system-x86_64", *MACHINE, "-m", self.memory,
                "-kernel", f"{self.folder}/vmlinux",
                "-initrd", f"{self.folder}/{self._initramfs}",
                "-append", KERNEL_OPTIONS,
                "-serial", f"file:{self.serial_log}",
                "-chardev", f"socket,id=qmp,fd={qmp_fd}",
                "-mon", "chardev=qmp,mode=control",
                "-chardev", f"socket,id=agent,fd={agent_fd}",
                "-device", "virtio-serial",
                "-device", f"virtserialport,chardev=agent,name={PORT}"]
        for name in self.controllers:
            line += ["-device", f"{CONTROLLERS[name]},id={name}"]
        return line + self.qemu_args

    def start(self, timeout=BOOT_SECONDS):
        """Boot, and wait for the agent."""
        if self._process:
            raise GuestError("the guest is already running")
        self.folder = self.folder or build()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vscard-guest-"))
        try:
            self._launch()
            self._qmp.execute("qmp_capabilities", {})
            self._agent.wait_ready(timeout)
        except BaseException as error:
            report = self._report()
            self.stop()
            if not isinstance(error, GuestError):
                raise
            kind = (GuestTimeout if isinstance(error, GuestTimeout)
                    else GuestError)
            raise kind(f"{error}\n{report}") from error

    def _launch(self):
        """Start QEMU with its ends of the two socket pairs."""
        if not shutil.which("qemu-system-x86_64"):
            raise GuestError("qemu-system-x86_64 is missing on this host "
                             "(Debian package qemu-system-x86)")
        agent_here, agent_there = socket.socketpair()
        qmp_here, qmp_there = socket.socketpair()
        with agent_there, qmp_there, open(self.directory / "qemu.log",
                                          "wb") as log:
            fds = [agent_there.fileno(), qmp_there.fileno()]
            self._process = subprocess.Popen(
                self._arguments(*fds), pass_fds=fds, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self._env})
        self._agent = agent.Agent(agent_here)
        self._qmp = Qmp(qmp_here)

    def _report(self):
        """Answer what QEMU and the guest's console said last."""
        return (f"QEMU: {tail(self.directory / 'qemu.log')}\n"
                f"console: {tail(self.serial_log)}")

    def stop(self):
        """End QEMU and remove the directory. Does nothing if that is done."""
        if self._process:
            with contextlib.suppress(GuestError):
                if self._process.poll() is None:
                    self._qmp.execute("quit", {}, timeout=QUIT_SECONDS)
            self._reap()
            self._process = None
        for channel in (self._agent, self._qmp):
            if channel:
                channel.close()
        self._agent = self._qmp = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = None

    def _reap(self):
        """Wait for QEMU's end; hasten it step by step."""
        for hasten in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(QUIT_SECONDS)
                return
            except subprocess.TimeoutExpired:
                hasten()
        self._process.wait()

    def power_off(self, timeout=30):
        """Have the guest power off by itself and wait until QEMU has ended."""
        self._agent.power_off()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise GuestTimeout("the guest does not power off") from None

    # What happens in the guest.

    def run(self, command, input=None, timeout=60, check=False):
        """Run a shell command in the guest; answers a Result.

        input is bytes. With check a status other than 0 is a GuestError. At the
        time-out the command is killed and a GuestTimeout raised.
        """
        result = agent.run(self._agent, command, input, timeout)
        if check and result.status != 0:
            raise GuestError(f"{command}: status {result.status}\n{result.text}")
        return result

    def spawn(self, command):
        """Start a shell command in the guest; answers a Process.

        See agent.Process: read_until, write, close_input, kill, wait.
        """
        return self._agent.spawn(command)

    def put(self, path, data, mode=0o644):
        """Write bytes to a file in the guest."""
        quoted = shlex.quote(str(path))
        self.run(f"cat > {quoted} && chmod {mode:o} {quoted}", data, check=True)

    def get(self, path):
        """Answer the bytes of a file in the guest."""
        return self.run(f"cat {shlex.quote(str(path))}", check=True).output

    # What happens to the machine.

    def qmp(self, command, arguments=None, **more):
        """Run a QMP command; answers what it returns. QmpError if refused."""
        return self._qmp.execute(command, {**(arguments or {}), **more})

    def wait_event(self, name, timeout=30, **data):
        """Wait for a QMP event, one that has come before included."""
        return self._qmp.wait_event(name, timeout, **data)

    def add_device(self, driver, id, **properties):
        """Plug a device in."""
        self.qmp("device_add", driver=driver, id=id, **properties)

    def detach(self, id):
        """Unplug a device, and remove its chardev if one was made for it."""
        self.qmp("device_del", id=id)
        self.wait_event("DEVICE_DELETED", device=id)
        if any(one["label"] == f"{id}.chardev"
               for one in self.qmp("query-chardev")):
            self.qmp("chardev-remove", id=f"{id}.chardev")

    def _add_with_chardev(self, driver, id, backend, **properties):
        """Plug in a device with a chardev of its own; none is left on failure."""
        name = f"{id}.chardev"
        self.qmp("chardev-add", id=name, backend=backend)
        try:
            self.add_device(driver, id, chardev=name, **properties)
        except GuestError:
            self.qmp("chardev-remove", id=name)
            raise

    def attach_usbredir(self, id, address, bus="xhci.0", server=False,
                        **properties):
        """Plug in the USB device that a usbredir peer at address offers.

        QEMU connects to the address, or listens there with server=True.
        """
        self._add_with_chardev("usb-redir", id, chardev(address, server),
                               bus=bus, **properties)

    def add_usb_ccid(self, id="ccid", bus="uhci.0", **properties):
        """Plug in QEMU's own reader. On EHCI it does not work."""
        self.add_device("usb-ccid", id, bus=bus, **properties)

    def add_passthru_card(self, id, address, reader="ccid", server=True,
                          nodelay=True, **properties):
        """Put QEMU's remote card in QEMU's own reader.

        QEMU listens for a VSCard client at the address, or connects there with
        server=False.
        """
        self._add_with_chardev("ccid-card-passthru", id,
                               chardev(address, server, nodelay),
                               bus=f"{reader}.0", **properties)


def main():
    """Boot a guest, run one command and answer its status."""
    parser = argparse.ArgumentParser(
        prog="run", description="Runs a command in the test guest.")
    parser.add_argument("--qemu-arg", action="append", default=[],
                        metavar="ARG", help="one more argument for QEMU, as in "
                        "--qemu-arg=-device --qemu-arg=usb-ccid,bus=uhci.0")
    parser.add_argument("--memory", default="256M")
    parser.add_argument("--serial-log", help="keep the console's output here")
    parser.add_argument("--timeout", type=float, default=600,
                        help="seconds until the command is killed")
    parser.add_argument("command", nargs="+", help="one argument is a shell "
                        "command; several are a program and its arguments")
    options = parser.parse_args()
    command = (options.command[0] if len(options.command) == 1
               else shlex.join(options.command))
    try:
        with Guest(memory=options.memory, qemu_args=options.qemu_arg,
                   serial_log=options.serial_log) as guest:
            status = show(guest.spawn(command), options.timeout)
    except GuestError as error:
        print(f"run: {error}", file=sys.stderr)
        return 255
    return status if status >= 0 else 128 - status


def show(process, timeout):
    """Print the output of a Process as it comes; answers its status."""
    process.close_input()
    for chunk in process.chunks(timeout):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return process.wait(0).status


if __name__ == "__main__":
    sys.exit(main())
