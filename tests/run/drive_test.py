#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct drive against viaduct-blk, and against back-ends that lie or die: the right bytes, or a clear error and no hang.

usage: drive_test.py VIADUCT VIADUCT-BLK VIADUCT-HOSTILE
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

from points import Wrong, check, run

VIADUCT, BLK, HOSTILE = (os.path.abspath(p) for p in sys.argv[1:4])
SIZE = 6 << 20
PATIENCE = 60

WAYS = {
    "direct": ["--dma=direct"],
    "window": ["--dma=window"],
    "own pool": ["--dma=bounce"],
    "global pool": ["--dma=bounce", "--pool=global"],
    "small pool": ["--dma=bounce", "--pool-size=320K", "--block-size=32K", "--depth=32"],
    "tight pool and odd depth": ["--dma=bounce", "--pool=global", "--pool-size=400K", "--block-size=64K", "--depth=7", "--poll"],
    "growing pool": ["--dma=bounce", "--pool-grow", "--pool-size=64M", "--depth=16"],
    "growing global pool": ["--dma=bounce", "--pool=global", "--pool-grow", "--pool-size=768K", "--block-size=64K", "--depth=64"],
    "device's memory": ["--dma=device"],
    "device's memory, several queues": ["--dma=device", "--queues=3", "--depth=5", "--block-size=20K"],
    "several queues": ["--dma=bounce", "--queues=3", "--depth=5"],
    "small queue": ["--dma=direct", "--queue-size=4", "--depth=4", "--block-size=4K"],
    "identity": ["--dma=identity", "--queues=2"],
    "iommu-strict": ["--dma=iommu-strict", "--block-size=64K"],
    "iommu-strict, pushed": ["--dma=iommu-strict", "--push", "--queues=2", "--depth=9", "--block-size=4K"],
    "iommu-lazy": ["--dma=iommu-lazy", "--block-size=16K"],
    "iommu-lazy, pushed and polled": ["--dma=iommu-lazy", "--push", "--poll", "--queues=3", "--block-size=36K"],
    "hybrid-strict": ["--dma=hybrid-strict"],
    "hybrid-strict, ragged": ["--dma=hybrid-strict", "--threshold=4K", "--block-size=13K", "--push"],
    "hybrid-lazy": ["--dma=hybrid-lazy", "--queues=2", "--block-size=128K"],
    "hybrid-lazy below its threshold": ["--dma=hybrid-lazy", "--block-size=16K"],
}

BACK_END = {  # its options for these
    "small queue": ["--seg-max=2"],
    "several queues": ["--order-platform"],
    "device's memory": ["--own-memory=2048"],
    "device's memory, several queues": ["--own-memory=2048"],
}

# What a back-end does wrong, and what the error has to say about it.
LIES = {
    "wrong-id": "broke the rules of its queue",
    "twice": "broke the rules of its queue",
    "long": "broke the rules of its queue",
    "index": "broke the rules of its queue",
    "status": "answered a read",
    "nothing": "answered a read",
    "die": "went away",
    "hangup": "went away",
    "speak": "spoke without being asked",
    "silent": "without an answer",
}

# Wrong words on the command line, and what has to be said.
MISUSES = [
    (["--dma=none", "s", "info"], "direct, window, bounce or device"),
    (["--dma=iommu", "s", "info"], "hybrid-lazy"),
    (["--pool-grow", "--dma=direct", "s", "info"], "needs a pool"),
    (["--pool=global", "--dma=device", "s", "info"], "one back-end's"),
    (["--device-bit=33", "s", "info"], "from 50 to 63"),
    (["--threshold=0", "s", "info"], "from 1 to"),
    (["--pool-size=3", "s", "info"], "a size from"),
    (["--depth=9999", "s", "info"], "from 1 to"),
    (["--queue-size=100", "s", "info"], "power of two"),
    (["--mix=randrw:101", "s", "load"], "--mix"),
    (["--verify", "s", "load"], "--mix that writes"),
    (["--depth=512", "s", "info"], "--queue-size"),
    (["s", "erase"], "no command erase"),
    (["s", "out"], "FILE belongs to out"),
    (["--json", "s", "out", "-"], "can't both"),
    (["s"], "missing"),
]


class Rig:
    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.folder = folder
        self.image = self.path("disk.img")
        self.data = random.Random(1).randbytes(SIZE)
        self.serial = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def back_end(self, program, *options):
        self.serial += 1
        socket = self.path(f"{self.serial}.sock")
        process = subprocess.Popen([program, f"--socket-path={socket}", f"--blk-file={self.image}", *options], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(socket):
            check(process.poll() is None and time.monotonic() < deadline, f"{program} does not listen")
            time.sleep(0.01)
        return process, socket

    def drive(self, *words, status=0, **more):
        done = subprocess.run([VIADUCT, "drive", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
                              check=False, **more)
        check(done.returncode == status, f"drive {' '.join(words)}: status {done.returncode}, wanted {status}: {done.stderr.decode()}")
        return done


def stop(process):
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    check(process.returncode == 0, f"the back-end ended with {process.returncode}: {said.decode()}")


def kill(process):
    process.kill()
    process.communicate()


def judge_translation(way, report):
    """What was asked and told fits the way; and only a pool by itself claims to keep anything from a back-end that means harm."""
    told = report["translation"]
    apart = report["dma"] in ("bounce", "device")
    check(report["isolation"] == ("enforced" if apart else "advisory"), f"isolation is {report['isolation']}")
    if report["dma"] in ("direct", "window", "bounce", "device"):
        check(told is None, f"nothing is translated, and still: {told}")
        return
    check(not told["failed"] and not told["access_fails"], f"something failed: {told}")
    if report["dma"] == "identity" or "threshold" in way:
        check(told["misses"] == 0 and told["updates"] == 1 and told["invalidations"] == 0, f"what stays mapped was asked for: {told}")
        return
    check(told["updates"] > (SIZE // report["block_size"] if "pushed" in way else 1), f"hardly a page was mapped: {told}")
    if way == "iommu-strict, pushed":  # page by page, so that each miss is answered by itself
        check(told["updates"] > told["misses"] + 1, f"nothing was told before it was asked for: {told}")
    check(told["misses"] > 0 or "pushed" in way or "ragged" in way, f"nothing was asked for: {told}")
    if "strict" in report["dma"]:
        check(told["flushes"] >= SIZE // report["block_size"] and told["invalidations"] > 0, f"what was mapped stayed so: {told}")


def judge_growth(report):
    """Reserved was what was needed, in chunks of 64 slots and one or two to spare, and not more."""
    pool, slots = report["pool"]["grown"], report["pool"]["slots"]
    check(pool["failed"] == 0 and pool["conversions"] > 1, f"it did not grow: {pool}")
    check(pool["needed_slots_most"] == report["pool"]["high_water"], f"needed {pool}, high water {report['pool']}")
    most = -(-pool["needed_slots_most"] // 64) * 64
    check(most <= pool["reserved_slots_most"] <= min(most + 64, slots), f"reserved was not what was needed: {pool}")
    check(slots < 1000 or pool["reserved_slots_most"] < slots // 4, f"all of it was reserved: {pool}")


def copies(rig, way):
    """Out, verify, in and out again, with the check strategy on top."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK, "--num-queues=3", *BACK_END.get(way, []))
    try:
        options = WAYS[way] + ["--check", f"--json={rig.path('report.json')}"]
        arrived = rig.drive(*options, socket, "out", "-").stdout
        check(arrived == rig.data, "other bytes arrived than the disk holds")
        with open(rig.path("report.json")) as f:
            report = json.load(f)
        check(report["ok"] and report["speed"]["bytes"] == SIZE and report["misuses"] == 0, f"the report is odd: {report}")
        shared = report["reach"]["reachable_bytes"]
        judge_translation(way, report)
        check(("growing" in way) == bool(report["pool"] and report["pool"]["grown"]), f"the pool is odd: {report['pool']}")
        if "growing" in way:
            judge_growth(report)
        if "bounce" in options[0]:
            check(shared == 0 and report["reach"]["reachable_pool_bytes"] > 0, f"private memory is reachable: {report['reach']}")
            check(0.99 < report["copies_per_byte"] < 1.02, f"{report['copies_per_byte']} bytes copied for each byte moved")
        elif "device" in way:  # which has no descriptor of ours, and so no way to any of our memory
            reach = report["reach"]
            check(shared == reach["reachable_pool_bytes"] == 0, f"memory of ours is reachable: {reach}")
            check(reach["reachable_other_bytes"] == 2048 << 10, f"it has more than its own: {reach}")
            check(0.99 < report["copies_per_byte"] < 1.02, f"{report['copies_per_byte']} bytes copied for each byte moved")
        else:
            check(shared == report["reach"]["driver_bytes_total"], f"shared memory is not: {report['reach']}")
            copies = {"hybrid-strict, ragged": (0.01, 0.1), "hybrid-lazy below its threshold": (0.99, 1.02)}.get(way, (0, 0.001))
            check(copies[0] <= report["copies_per_byte"] <= copies[1], f"{report['copies_per_byte']} bytes copied for each byte moved")
        changed = rig.write("new.img", rig.data[::-1])
        rig.drive(*options, socket, "in", changed)
        rig.drive(*options, socket, "verify", changed)
        rig.drive(*options, socket, "out", rig.path("back.img"))
        check(rig.read("back.img") == rig.data[::-1], "what was written did not come back")
        stop(process)
        check(rig.read("disk.img") == rig.data[::-1], "what was written is not in the image")
    finally:
        kill(process)


def differences(rig):
    """verify names the first byte that differs; sizes that don't match are refused before anything is written."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK)
    try:
        other = bytearray(rig.data)
        other[1234567] ^= 1
        said = rig.drive(socket, "verify", rig.write("other.img", bytes(other)), status=1).stderr.decode()
        check("1 bytes" in said and "1234567" in said, said)
        said = rig.drive(socket, "verify", rig.write("short.img", rig.data[:-512]), status=1).stderr.decode()
        check(str(SIZE - 512) in said, said)
        said = rig.drive(socket, "in", rig.write("long.img", bytes(other) + bytes(512)), status=1).stderr.decode()
        check("nothing was written" in said, said)
        said = rig.drive(socket, "in", rig.write("odd.img", bytes(other)[:-100]), status=1).stderr.decode()
        check("nothing was written" in said, said)
        said = rig.drive(socket, "in", rig.path("none.img"), status=1).stderr.decode()
        check("none.img" in said and "No such file" in said, said)
        said = rig.drive(socket, "out", "/dev/full", status=1).stderr.decode()
        check("/dev/full" in said and "No space" in said, said)
        said = rig.drive("--block-size=1M", socket, "out", "/dev/null", status=1).stderr.decode()
        check("choose less" in said, said)
        stop(process)
        check(rig.read("disk.img") == rig.data, "the image changed")
    finally:
        kill(process)


def read_only(rig):
    """A read-only disk is read, and never written to."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK, "--read-only")
    try:
        check("BLK_RO" in rig.drive(socket, "info").stdout.decode(), "info does not say read-only")
        rig.drive(socket, "verify", rig.image)
        check("read-only" in rig.drive(socket, "in", rig.image, status=1).stderr.decode(), "no clear error")
        check("read-only" in rig.drive("--mix=randwrite", socket, "load", status=1).stderr.decode(), "no clear error")
        stop(process)
    finally:
        kill(process)


def load(rig):
    """Verified random I/O, and every write found again."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK)
    try:
        for way in (["--dma=direct"], ["--pool=global", "--pool-size=256K"], ["--dma=identity"], ["--dma=iommu-strict"],
                    ["--dma=iommu-lazy", "--push"], ["--dma=hybrid-lazy", "--threshold=4K"]):
            for mix in ("randrw:70", "randwrite", "rw"):
                out = rig.drive(*way, "--check", f"--mix={mix}", "--verify", "--ops=4000", "--depth=24", "--json", socket, "load")
                report = json.loads(out.stdout)
                check(report["speed"]["ops"] == 4000 and report["misuses"] == 0, f"the report is odd: {report}")
                if "lazy" in report["dma"]:
                    told = report["translation"]
                    check(0 < told["flushes"] < 1000 and 0 < told["invalidations"] < 4000, f"lazy is not: {told}")
        stop(process)
    finally:
        kill(process)


def lazy_ends(rig):
    """What is unmapped lazily is taken back after its time, however few there are: fewer than wait for one another at most."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK)
    options = ["--dma=hybrid-lazy", "--block-size=32K", "--depth=1", "--ops=100", "--json"]
    loading = None
    try:
        for _ in range(20):  # a run counts that took far longer than that time: on a busy machine one may slip through between two stops
            loading = subprocess.Popen([VIADUCT, "drive", *options, socket, "load"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            while loading.poll() is None:
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.005)
                process.send_signal(signal.SIGCONT)
                time.sleep(0.0005)
            report = json.loads(loading.stdout.read())
            if report["speed"]["seconds"] > 0.02:
                break
        check(report["ok"] and report["speed"]["seconds"] > 0.02, f"it took no time: {report['speed']}")
        check(0 < report["translation"]["flushes"] < 100, f"nothing was taken back, or each by itself: {report['translation']}")
        stop(process)
    finally:
        if loading:
            kill(loading)
        kill(process)


def lost_writes(rig):
    """load --verify finds what somebody changed behind its back."""
    rig.write("disk.img", bytes(SIZE))
    process, socket = rig.back_end(BLK)
    try:
        loading = subprocess.Popen([VIADUCT, "drive", "--mix=randwrite", "--verify", "--seconds=1.5", socket, "load"],
                                   stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with open(rig.image, "r+b") as f:
            while loading.poll() is None:
                f.seek(random.randrange(SIZE // 4096) * 4096)
                f.write(b"lost")
                f.flush()
        said = loading.stderr.read().decode()
        check(loading.returncode == 1 and "should be write" in said, f"status {loading.returncode}: {said}")
        stop(process)
    finally:
        kill(process)


def lies(rig, lie, way):
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(HOSTILE, f"--lie={lie}", "--after=5")
    try:
        begun = time.monotonic()
        said = rig.drive(*WAYS[way], "--check", "--timeout=1", "--depth=4", "--block-size=32K", socket, "out", "/dev/null",
                         status=1).stderr.decode()
        check(LIES[lie] in said, said)
        check("misuse" not in said, said)
        check(time.monotonic() - begun < 20, "it took too long")
    finally:
        kill(process)


def killed(rig, way):
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK)
    loading = subprocess.Popen([VIADUCT, "drive", *way, "--seconds=50", socket, "load"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        check(loading.poll() is None, "it ended early")
        kill(process)
        _, said = loading.communicate(timeout=20)
        check(loading.returncode == 1 and "went away" in said.decode(), f"status {loading.returncode}: {said.decode()}")
    finally:
        kill(loading)


def frozen(rig, way):
    """A back-end that stops answering while pages are to be had back from it: an error within the time limit."""
    rig.write("disk.img", rig.data)
    process, socket = rig.back_end(BLK)
    loading = subprocess.Popen([VIADUCT, "drive", *way, "--timeout=1", "--seconds=50", socket, "load"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        check(loading.poll() is None, "it ended early")
        process.send_signal(signal.SIGSTOP)
        _, said = loading.communicate(timeout=20)
        said = said.decode()
        clear = "told of mappings" in said or "without an answer" in said
        check(loading.returncode == 1 and clear, f"status {loading.returncode}: {said}")
    finally:
        kill(loading)
        kill(process)


def nobody_listens(rig):
    """No socket, a socket that nobody listens at, a path too long."""
    for socket in (rig.path("none.sock"), "/" + "x" * 120):  # of these only the first is worth waiting for
        said = rig.drive("--timeout=1", socket, "info", status=1).stderr.decode()
        check(said.startswith("viaduct drive: "), said)


def devices_memory(rig):
    """Memory of the back-end's is refused where there is none, where it is too small, and where both ends mean another bit by it."""
    rig.write("disk.img", rig.data)
    for options, what in [([], "offers no memory of its own"), (["--own-memory=64"], "too small"),
                          (["--own-memory=2048", "--own-memory-bit=50"], "feature bit 63")]:
        process, socket = rig.back_end(BLK, *options)
        try:
            said = rig.drive("--dma=device", socket, "out", "/dev/null", status=1).stderr.decode()
            check(what in said, said)
            bit = ["--device-bit=50"] if "--own-memory-bit=50" in options else []
            if bit:
                rig.drive("--dma=device", *bit, socket, "out", rig.path("back.img"))
                check(rig.read("back.img") == rig.data, "other bytes arrived")
            rig.drive(socket, "out", "/dev/null")  # and for who shares memory nothing has changed
        finally:
            kill(process)


def usage(rig):
    """Wrong words are refused with status 2, and the error says which."""
    for words, what in MISUSES:
        said = rig.drive(*words, status=2).stderr.decode()
        check(what in said, f"{words}: {said}")
    check("Commands:" in rig.drive("--help").stdout.decode(), "no help")


def attacked(rig, way, finds):
    """The canaries that the hostile back-end finds are those that the way promises, and no other byte is damaged."""
    rig.write("disk.img", rig.data)
    rig.serial += 1
    socket, canaries, report = rig.path(f"{rig.serial}.sock"), rig.path(f"{rig.serial}.canaries"), rig.path("attack.json")
    process = subprocess.Popen([HOSTILE, f"--socket-path={socket}", f"--blk-file={rig.image}", f"--canaries={canaries}"],
                               stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)
    try:
        out = rig.drive(*WAYS[way], "--check", "--probe=16", f"--canary-out={canaries}", f"--json={report}", socket, "out", "-").stdout
        check(out == rig.data, "other bytes arrived than the disk holds")
        found = json.loads(process.communicate(timeout=PATIENCE)[0])
        check(process.returncode == 0 and found["armed"], "it did not attack")
        check(tuple(found["found"].values()) == finds, f"found {found['found']}")
        with open(report) as f:
            probe = json.load(f)["probe"]
        damaged = probe["guard_bytes_damaged"] > 0, probe["unwritten_bytes_changed"] > 0
        shown = finds[0] and "hybrid" not in way  # whose small buffers share no page with anything of the driver's
        check(damaged == (shown, shown), f"the probe says {probe}")
    finally:
        kill(process)


def points():
    for way in WAYS:
        yield f"copies: {way}", lambda rig, way=way: copies(rig, way)
    for lie in LIES:
        yield f"a back-end that lies: {lie}", lambda rig, lie=lie: lies(rig, lie, "own pool")
    yield "a back-end that lies: die, growing pool", lambda rig: lies(rig, "die", "growing pool")
    yield "a back-end that lies: wrong-id, direct", lambda rig: lies(rig, "wrong-id", "direct")
    for lie in ("wrong-id", "die", "hangup", "silent", "nothing", "index"):
        yield f"a back-end that lies: {lie}, iommu-strict", lambda rig, lie=lie: lies(rig, lie, "iommu-strict")
    for way in ("--dma=bounce", "--dma=iommu-strict", "--dma=iommu-lazy"):
        yield f"a back-end that dies by the way is an error, not a hang: {way[6:]}", lambda rig, way=way: killed(rig, [way])
    for way in (["--dma=iommu-strict"], ["--dma=iommu-strict", "--push"], ["--dma=hybrid-lazy", "--threshold=4K"]):
        yield f"a back-end that freezes is an error: {' '.join(way)[6:]}", lambda rig, way=way: frozen(rig, way)
    for way, finds in {"direct": (True, True), "global pool": (False, True), "own pool": (False, False),
                       "growing global pool": (False, True), "iommu-strict": (True, True),
                       "hybrid-strict": (True, True)}.items():
        yield f"attack: {way}", lambda rig, way=way, finds=finds: attacked(rig, way, finds)
    for test in (differences, devices_memory, read_only, load, lazy_ends, lost_writes, nobody_listens, usage):
        yield test.__doc__.replace("#", ""), test


sys.exit(run(points(), Rig, "viaduct-drive-"))
