#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest moves from host to host in the middle of verified I/O: to a guard, to an IOMMU, to where nothing is protected, and back. What it
sees is the same all along, and no request is lost. Its memory stays in the process of `viaduct drive`; the device's state travels as bytes.

usage: move_test.py VIADUCT VIADUCT-BLK
"""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from points import Wrong, check

VIADUCT, BLK = (os.path.abspath(p) for p in sys.argv[1:3])
SIZE = 4 << 20
PATIENCE = 60
EVERY = 40  # requests from move to move
WAYS = ("direct", "window", "bounce", "identity", "iommu-strict", "iommu-lazy", "hybrid-strict", "hybrid-lazy")


class Rig:
    """Hosts with one disk, which they all reach."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.image = self.path("disk.img")
        self.data = random.Random(7).randbytes(SIZE)
        self.write("disk.img", self.data)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def digest(self, name="disk.img"):
        with open(self.path(name), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def start(self, name, *words):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.running.append(process)
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.path(name)):
            check(process.poll() is None and time.monotonic() < end, f"{words[0]} does not listen")
            time.sleep(0.01)
        return self.path(name)

    def host(self, name, *options):
        return self.start(name, BLK, f"--socket-path={self.path(name)}", f"--blk-file={self.image}", *options)

    def guarded(self, name, *options):
        back = self.host(name + ".back", *options)
        return self.start(name, VIADUCT, "guard", f"--front={self.path(name)}", f"--back={back}")

    def end(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            try:
                _, said = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            check(process.returncode == 0 and not said, f"{process.args[0]} ended with {process.returncode}: {said}")

    def kill(self):
        for process in self.running:
            process.kill()
            process.communicate()

    def drive(self, *words, status=0):
        done = subprocess.run([VIADUCT, "drive", "--json", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        check(done.returncode == status, f"drive {' '.join(words)}: status {done.returncode}, wanted {status}: {done.stderr}")
        return done.stderr if status else json.loads(done.stdout)


def judge(report, moves):
    told = report["moved"]
    check(told["moves"] >= moves, f"{told['moves']} moves, not {moves}")
    check(told["requests_left_over"] >= told["moves"], f"hardly a move was in the middle of anything: {told}")
    check(told["state_bytes"] > 56, f"no state: {told}")
    check(not report["misuses"], f"{report['misuses']} misuses")


def round_trip(way):
    """Verified writes and reads; a whole disk in, and out again."""
    def run(rig):
        home = rig.host("home", "--num-queues=3", "--serial=one")
        away = rig.host("away", "--num-queues=3", "--serial=one", "--direct")
        guard = rig.guarded("guard", "--num-queues=3", "--serial=one")
        route = [f"--dma={way}", "--queues=3", "--check", f"--move-every={EVERY}", f"--move-to={guard}", f"--move-to={away},translated",
                 f"--move-to={home},all", f"--move-to={guard},translated,all", f"--move-to={away}"]
        judge(rig.drive(*route, "--depth=16", "--mix=randrw", "--verify", "--ops=1500", home, "load"), 8)
        new = rig.write("new.img", random.Random(way).randbytes(SIZE))
        judge(rig.drive(*route, "--block-size=4K", home, "in", new), 8)
        check(rig.digest() == rig.digest("new.img"), "what arrived is not what was sent")
        judge(rig.drive(*route, "--block-size=8K", home, "out", rig.path("out.img")), 3)
        check(rig.digest("out.img") == rig.digest("new.img"), "what came back is not what was there")
    run.__name__ = f"{way} moves and loses nothing"
    return run


def each_move_alone(rig):
    """From everywhere to everywhere, there and back, so that no place makes up for what another one does wrong."""
    places = {"plain": rig.host("plain"), "guard": rig.guarded("guard"), "translated": rig.host("translated") + ",translated",
              "guard, translated": rig.guarded("both") + ",translated", "all": rig.host("all") + ",all"}
    for one, start in places.items():
        if "," in start:
            continue  # where it begins, things are as --dma says
        for other, to in places.items():
            if one == other:
                continue
            for way in "bounce", "direct":
                report = rig.drive(f"--dma={way}", "--depth=32", "--mix=randrw", "--verify", "--ops=400", f"--move-to={to}",
                                   f"--move-every={EVERY}", start, "load")
                judge(report, 3)
                check(report["isolation"] == ("enforced" if way == "bounce" and other != "all" else "advisory"), f"{report['isolation']}")


def what_a_place_gives_away(rig):
    """The pool, or all of the driver's memory: that is the place's matter, and the guest's pool is the same."""
    home, to = rig.host("home"), rig.host("to")
    for more, share in ("", 0), (",all", 1):
        for ops in range(500, 1000, 25):
            report = rig.drive("--mix=randrw", "--verify", f"--ops={ops}", f"--move-to={to}{more}", f"--move-every={EVERY}", home, "load")
            if report["moved"]["at"] == to:
                break
        reach = report["reach"]
        check(report["moved"]["at"] == to, "it never ended there")
        check(reach["reachable_bytes"] == share * reach["driver_bytes_total"] and reach["reachable_pool_bytes"] > 0, f"{more}: {reach}")


def another_kind_of_back_end(rig):
    """One that looks at a ring when it is kicked, and only then."""
    qsd = []
    for name in "one", "two":
        node = f"driver=file,node-name=disk,filename={rig.image},locking=off"
        export = f"type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path={rig.path(name)}"
        qsd.append(rig.start(name, "qemu-storage-daemon", "--blockdev", node, "--export", export))
    for way in "bounce", "direct":
        new = rig.write("new.img", random.Random(way).randbytes(SIZE))
        judge(rig.drive(f"--dma={way}", "--queues=2", "--depth=4", "--block-size=16K", f"--move-every={EVERY}", f"--move-to={qsd[1]}",
                        qsd[0], "in", new), 3)
        check(rig.digest() == rig.digest("new.img"), "what arrived is not what was sent")


def another_disk_is_refused(rig):
    """Each difference by its name, before anything is given or taken."""
    home = rig.host("home")
    others = {
        "small": (["--seg-max=62"], ["a byte of configuration space is another (12: 0x7e there, 0x3e here)"]),
        "read-only": (["--read-only"], ["offered here that the guest was not", "are not offered here"]),
        "queues": (["--num-queues=2"], ["the number of queues is another (0: 0x1 there, 0x2 here)", "offered here that the guest was not"]),
        "blocks": (["--block-size=4096", "--no-discard"], ["are not offered here (0: 0x2000 there", "configuration space"]),
    }
    before = rig.digest()
    for name, (options, words) in others.items():
        to = rig.host(name, *options)
        said = rig.drive("--mix=read", "--ops=500", f"--move-to={to}", f"--move-every={EVERY}", home, "load", status=1)
        for word in [to, "has another disk than the guest has seen", *words]:
            check(word in said, f"does not say '{word}': {said}")
    check(rig.digest() == before, "the disk was changed")


def nobody_there(rig):
    to = rig.path("nowhere")
    said = rig.drive("--ops=500", "--timeout=1", f"--move-to={to}", f"--move-every={EVERY}", rig.host("home"), "load", status=1)
    check("nowhere" in said, said)


def queues_that_are_too_large(rig):
    """What a place takes is known when it refuses."""
    home, to = rig.host("home", "--seg-max=30"), rig.host("small", "--queue-size=64", "--seg-max=30")
    done = subprocess.run([VIADUCT, "drive", "--ops=500", f"--move-to={to}", f"--move-every={EVERY}", home, "load"], capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    check(done.returncode == 1 and "SET_VRING_NUM" in done.stderr, f"{done.returncode}: {done.stderr}")
    small = rig.running.pop()
    small.send_signal(signal.SIGTERM)
    _, said = small.communicate(timeout=PATIENCE)
    check("a queue size has to be a power of two within the limit" in said, said)


def words_that_make_no_sense(_):
    for words, said in ((["--move-every=5", "s", "load"], "--move-to"), (["--move-to=", "s", "load"], "a socket's path"),
                        (["--move-to=s,nowhere", "s", "load"], "SOCKET,translated"),
                        (["--move-every=0", "s", "load"], "a number of requests"),
                        ([f"--move-to={n}" for n in range(16)] + ["s", "load"], "no more than 15")):
        done = subprocess.run([VIADUCT, "drive", *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
        check(done.returncode == 2 and said in done.stderr, f"{words}: {done.returncode}: {done.stderr}")


TESTS = [*(round_trip(way) for way in WAYS), each_move_alone, what_a_place_gives_away, another_kind_of_back_end,
         another_disk_is_refused, nobody_there, queues_that_are_too_large,
         words_that_make_no_sense]


def main():
    bad = 0
    print(f"TAP version 14\n1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig(folder)
            try:
                test(rig)
                rig.end()
                print(f"ok {number} - {test.__name__}", flush=True)
            except (Wrong, OSError, ValueError, subprocess.SubprocessError) as why:
                print(f"# {why}\nnot ok {number} - {test.__name__}", flush=True)
                bad += 1
            finally:
                rig.kill()
    return bad != 0


sys.exit(main())
