# SPDX-License-Identifier: BSD-2-Clause
"""What benchmarks of whole programs share: images in memory, servers beside each other, a client, and how near the processors are."""
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

IMAGE_MIB = 256
NEAR_NS = 300  # a cache line's round trip: below is near


def say(text):
    print(text, file=sys.stderr, flush=True)


def placement(build):
    said = subprocess.run([os.path.join(build, "bench/placement")], capture_output=True, text=True, check=True).stdout.strip()
    return "single" if said == "single" else "near" if float(said) < NEAR_NS else "far"


@contextlib.contextmanager
def image(mib=IMAGE_MIB):
    """A folder in memory with a disk of random bytes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = os.path.join(folder, "disk.img")
        with open(path, "wb") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))
        yield folder, path


class Server:
    """A process that listens at a socket, ended with the block."""

    def __init__(self, command, socket):
        self.command, self.socket = command, socket

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise SystemExit(f"bench: {self.command[0]} does not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=10)

    def cpu_us(self):
        """Processor time of all its threads so far."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total / 1000


def viaduct_blk(build, folder, disk):
    socket = os.path.join(folder, "viaduct.sock")
    return Server([os.path.join(build, "cli/viaduct-blk"), f"--socket-path={socket}", f"--blk-file={disk}"], socket)


def storage_daemon(folder, disk):
    socket = os.path.join(folder, "qsd.sock")
    program = shutil.which("qemu-storage-daemon")
    if not program:
        raise SystemExit("bench: qemu-storage-daemon is missing: install qemu-system-common (scripts/deps does)")
    return Server([program, "--blockdev", f"file,node-name=d0,filename={disk},cache.direct=off,aio=threads", "--export",
                   f"vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={socket},writable=on"], socket)


def guard(build, folder, back):
    socket = os.path.join(folder, "guard.sock")
    return Server([os.path.join(build, "cli/viaduct"), "guard", f"--front={socket}", f"--back={back.socket}", "--pool-size=64M"], socket)


def load(build, server, block, depth, mix, seconds, *options, dma="direct"):
    """viaduct drive's own figures: ops, kiops, p50_us ..."""
    command = [os.path.join(build, "cli/viaduct"), "drive", f"--dma={dma}", f"--block-size={block}", f"--depth={depth}", f"--mix={mix}",
               f"--seconds={seconds}", *options, "--json", server.socket, "load"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {done.stderr.strip()}")
    return json.loads(done.stdout)["speed"]


def figure(values, unit, where, **more):
    return dict(value=statistics.median(values), unit=unit, min=min(values), max=max(values), n=len(values), placement=where, **more)


def stolen():
    """Ticks that the machine under this one kept for others, and ticks that were used, of all processors so far."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return steal, user + nice + system + irq + softirq + steal


def steady(build, measure, times):
    """
    Measure until so many results count, four times as often at most. A result counts where the processors were equally far apart before and
    after, and no more than a twentieth of the time was stolen: stolen time is counted as the process's own.
    """
    kept = {"none": []}
    most = "none"
    for number in range(4 * times):
        before, start = placement(build), stolen()
        got = measure(number)
        after, end = placement(build), stolen()
        share = (end[0] - start[0]) / max(1, end[1] - start[1])
        say(f"  {number + 1}: {got}, {before}" + ("" if before == after else f" to {after}") + f", {100 * share:.0f}% stolen")
        if before == after and share < 0.05:
            kept.setdefault(before, []).append(got)
        most = max(kept, key=lambda where: len(kept[where]))
        if len(kept[most]) >= times:
            break
    if not kept[most]:
        raise SystemExit("bench: the processors moved, or were taken away, during every run; try again")
    return most, kept[most]
