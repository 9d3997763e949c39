# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests/bench/run sees of a process from outside."""

import pathlib
import re
import signal
import subprocess
import time


def system_calls(pid, seconds):
    """How many system calls a process makes in some idle seconds."""
    trace = subprocess.Popen(["strace", "-f", "-c", "-p", str(pid)], stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    trace.send_signal(signal.SIGINT)
    text = trace.communicate()[1].decode()
    if "attached" not in text:
        raise RuntimeError(f"strace cannot watch process {pid}: {text}")
    found = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total", text, re.M)
    return int(found.group(1)) if found else 0


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(
        f"/proc/{pid}/status").read_text("ascii")).group(1))
