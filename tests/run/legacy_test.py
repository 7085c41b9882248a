#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Drivers of old on viaduct-blk: without VERSION_1 and ACCESS_PLATFORM, and big-endian, by a front-end that packs each word itself. TAP.

usage: legacy_test.py VIADUCT VIADUCT-BLK
"""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile

import wire
from points import Wrong, check

VIADUCT, BLK = (os.path.abspath(p) for p in sys.argv[1:3])
SIZE = 2 << 20
PROTOCOL = wire.MQ | wire.REPLY_ACK | wire.CONFIG | wire.STATUS | wire.CROSS_ENDIAN
EVENT_IDX, LOG_ALL = 1 << 29, 1 << 26


class Back:
    """viaduct-blk, and perhaps a guard before it; what they said at the end is in `said`."""

    def __init__(self, *options, guarded=False, image=None):
        self.folder = tempfile.TemporaryDirectory()
        self.image, self.path, self.said = (os.path.join(self.folder.name, name) for name in ("disk", "sock", "said"))
        if image:
            self.image = image
        else:
            with open(self.image, "wb") as f:
                f.write(random.Random(5).randbytes(SIZE))
        self.running = [self.start(BLK, f"--socket-path={self.path}", f"--blk-file={self.image}", "--serial=old", *options)]
        if guarded:
            front = self.path + ".front"
            self.running.append(self.start(VIADUCT, "guard", f"--front={front}", f"--back={self.path}"))
            self.path = front

    @staticmethod
    def start(*words):
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.said = ""
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            try:
                self.said += process.communicate(timeout=wire.PATIENCE)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            if kind is None:
                check(process.returncode == 0, f"it ended with {process.returncode}: {self.said}")
        self.folder.cleanup()


def disk_of(w, order, leave=0, protocol=PROTOCOL, say=True):
    """A legacy driver's disk: features accepted without FEATURES_OK, the ring in the layout and the order of old."""
    offered = w.offer(protocol)
    check(offered & wire.VERSION_1 and offered & wire.ACCESS_PLATFORM, "the device is not a transitional one that would rather translate")
    if w.protocol & wire.STATUS:
        w.tell(wire.SET_STATUS, struct.pack("<Q", 1 | 2))
    w.accept(offered & 0xFFFFFFFF & ~wire.PROTOCOL_FEATURES & ~EVENT_IDX & ~LOG_ALL & ~leave)
    w.share()
    disk = wire.Disk(w, order=order, say_order=say)
    if w.protocol & wire.STATUS:
        w.tell(wire.SET_STATUS, struct.pack("<Q", 1 | 2 | 4))
    return disk


def use(back, disk, order):
    """Every kind of request, whose fields are in this order, and what the disk has then."""
    data = random.Random(9).randbytes(8192)
    with open(back.image, "rb") as f:
        before = f.read(4096)
    check(disk.request(wire.IN, 0, room=4096) == (0, before, 4097), "what is read is not what is there")
    check(disk.request(wire.OUT, 0x100, data) == (0, b"", 1), "a write failed")
    check(disk.request(wire.IN, 0x100, room=8192) == (0, data, 8193), "what was written is not what is read")
    check(disk.request(wire.GET_ID, room=20)[1] == b"old".ljust(20, b"\0"), "another name")
    check(disk.ranges(wire.T_ZEROES, 0x102, 3)[0] == 0, "zeroing failed")
    check(disk.ranges(wire.T_ZEROES, 0x102, 3, flags=1)[0] == 0, "zeroing with a flag failed")
    check(disk.ranges(wire.T_ZEROES, 0x102, 3, flags=2)[0] == 2, "a flag that does not exist was taken")
    check(disk.request(wire.IN, 0x100, room=4096)[1] == data[:1024] + bytes(1536) + data[2560:4096], "other bytes were zeroed")
    check(disk.ranges(wire.T_DISCARD, 0x108, 8)[0] == 0, "discarding failed")
    check(disk.request(wire.T_FLUSH)[0] == 0, "flushing failed")
    check(disk.request(wire.IN, SIZE // 512, room=512)[0] == 1, "there is something behind the end")
    config = disk.w.config(60)
    fields = struct.unpack(order + "QIIHBBIBBHIBBHIIIIIB3x", config)
    want = {0: SIZE // 512, 2: 126, 6: 512, 9: 8, 13: 1, 14: 1 << 21, 15: 16, 16: 1, 18: 16}
    check(all(fields[at] == value for at, value in want.items()), f"configuration space in another order: {fields}")


def little_endian():
    with Back() as back:
        for more in {}, {"say": False}, {"protocol": wire.MQ | wire.CONFIG, "say": False}:
            w = wire.Wire(back.path)
            disk = disk_of(w, "<", **more)
            use(back, disk, "<")
            check(disk.stop() == disk.used_idx, "where it stopped is not where it was")
            w.close()


def big_endian():
    with Back() as back:
        w = wire.Wire(back.path)
        disk = disk_of(w, ">")
        use(back, disk, ">")
        for _ in range(300):  # so that an index in the wrong order differs in more than its place
            check(disk.request(wire.IN, 1, room=512)[0] == 0, "a read failed")
        check(disk.stop() == disk.used_idx == 311, f"it stopped at {disk.stop()}, not {disk.used_idx}")
        w.close()


def one_after_the_other():
    """A byte order ends with its driver."""
    with Back() as back:
        for order in "><>":
            w = wire.Wire(back.path)
            check(struct.unpack("<Q", config_before(w))[0] == SIZE // 512, "configuration space is in the last driver's order")
            use(back, disk_of(w, order, say=order == ">"), order)
            w.close()
        w = wire.Wire(back.path)
        check(struct.unpack("<Q", config_before(w))[0] == SIZE // 512, "configuration space is in the last driver's order")
        w.accept(w.offer(PROTOCOL) & ~wire.PROTOCOL_FEATURES & ~wire.ACCESS_PLATFORM & ~EVENT_IDX & ~LOG_ALL)
        w.share()
        use(back, wire.Disk(w), "<")
        w.close()


def config_before(w):
    w.number(wire.GET_FEATURES)
    w.tell(wire.SET_PROTOCOL, struct.pack("<Q", wire.CONFIG))
    return w.config(8)


def stable_without_flush():
    """A driver that knows no FLUSH has a disk that writes through; what it writes is there when it is told so."""
    with Back() as back:
        w = wire.Wire(back.path)
        disk = disk_of(w, "<", leave=wire.FLUSH)
        check(disk.request(wire.OUT, 5, b"x" * 512)[0] == 0 and disk.request(wire.T_FLUSH)[0] == 2, "FLUSH was not accepted")
        w.close()


def through_the_guard():
    """Little-endian; what the guard can't pass on it does not offer."""
    with Back(guarded=True) as back:
        w = wire.Wire(back.path)
        disk = disk_of(w, "<", say=False)
        check(not w.protocol & wire.CROSS_ENDIAN, "the guard offers what it has not")
        use(back, disk, "<")
        w.close()


def refused(back, words, tell):
    w = wire.Wire(back.path)
    try:
        tell(w)
    except wire.Refused:
        pass
    else:
        raise Wrong(f"not refused: {words}")
    w.close()


def what_makes_no_sense():
    said = [(lambda w: (w.offer(PROTOCOL), w.tell(wire.SET_ENDIAN, struct.pack("<II", 0, 2))), "neither 0 (little) nor 1 (big)"),
            (lambda w: (w.offer(PROTOCOL), w.tell(wire.SET_ENDIAN, struct.pack("<II", 9, 1))), "a ring that this device does not have"),
            (lambda w: (w.offer(wire.REPLY_ACK), w.tell(wire.SET_ENDIAN, struct.pack("<II", 0, 1))), "a protocol feature that was not"),
            (modern_and_big, "whose rings are little-endian"), (turned_while_it_runs, "the ring is running"),
            (one_of_each, "a device has one driver")]
    for tell, words in said:
        with Back("--num-queues=2") as back:
            refused(back, words, tell)
        check(words in back.said, f"does not say '{words}': {back.said}")


def modern_and_big(w):
    w.accept(w.offer(PROTOCOL) & (wire.VERSION_1 | wire.FLUSH))
    w.share()
    wire.Disk(w, order=">", say_order=True)


def turned_while_it_runs(w):
    disk_of(w, ">")
    w.tell(wire.SET_ENDIAN, struct.pack("<II", 0, 0))


def one_of_each(w):
    """The second ring is never told of an order, and so is little-endian."""
    disk = disk_of(w, ">")
    w.tell(wire.SET_NUM, struct.pack("<II", 1, 64))
    w.tell(wire.SET_BASE, struct.pack("<II", 1, 0))
    w.tell(wire.SET_ADDR, struct.pack("<IIQQQQ", 1, 0, w.user + 0x8000, w.user + 0xA000, w.user + 0x9000, 0))
    w.tell(wire.SET_KICK, struct.pack("<Q", 1), [disk.kick])


def what_a_device_requires():
    """Transitional unless told otherwise; then FEATURES_OK does not stay, and no ring runs."""
    for what, good, bad in (("modern", wire.VERSION_1, 0), ("platform", wire.VERSION_1 | wire.ACCESS_PLATFORM, wire.VERSION_1)):
        with Back("--require=" + what) as back:
            w = wire.Wire(back.path)
            offered = w.offer(PROTOCOL)
            try:
                w.accept(offered & (0x03FFFFFF | bad))
                raise Wrong(f"{what}: a driver without it was taken")
            except wire.Refused:
                pass
            w.tell(wire.SET_STATUS, struct.pack("<Q", 1 | 2 | 8))
            check(w.number(wire.GET_STATUS) == 3, "FEATURES_OK stayed")
            w.accept(offered & (0x03FFFFFF | good))
            w.tell(wire.SET_STATUS, struct.pack("<Q", 1 | 2 | 8))
            check(w.number(wire.GET_STATUS) == 11, "FEATURES_OK did not stay")
            w.close()
            w = wire.Wire(back.path)
            w.offer(PROTOCOL & ~wire.REPLY_ACK)
            w.accept(bad)
            try:
                w.number(wire.GET_FEATURES)
                raise Wrong(f"{what}: a driver without it was taken, silently")
            except wire.Refused:
                pass
            w.close()
        check("the driver does without features that this device was told to require" in back.said, back.said)


def drive_as_of_old():
    """Both ends are ours: verified I/O, moves included."""
    for way in ("direct", "window", "bounce"):
        with Back() as one, Back(guarded=True, image=one.image) as two:
            words = [VIADUCT, "drive", "--legacy", "--json", f"--dma={way}", "--check", "--mix=randrw", "--verify", "--ops=2000",
                     f"--move-to={two.path}", "--move-every=100", one.path, "load"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=wire.PATIENCE, check=False)
            check(done.returncode == 0, done.stderr)
            told = json.loads(done.stdout)
            check(told["ok"] and told["moved"]["moves"] > 10, f"{told['moved']}")


def drive_is_told_what_does_not_go():
    with Back("--require=modern") as back:
        for words, said in ((["--legacy", back.path, "load"], "that this device was told to require"),
                            (["--legacy", "--dma=iommu-strict", back.path, "load"], "--legacy")):
            done = subprocess.run([VIADUCT, "drive", *words], capture_output=True, text=True, timeout=wire.PATIENCE, check=False)
            check(done.returncode and (said in done.stderr or "SET_FEATURES" in done.stderr), done.stderr)
    done = subprocess.run([BLK, "--require=old"], capture_output=True, text=True, timeout=wire.PATIENCE, check=False)
    check(done.returncode == 2 and "neither modern nor platform" in done.stderr, done.stderr)


TESTS = [little_endian, big_endian, one_after_the_other, stable_without_flush, through_the_guard, what_makes_no_sense,
         what_a_device_requires, drive_as_of_old, drive_is_told_what_does_not_go]


def main():
    bad = 0
    print(f"TAP version 14\n1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}", flush=True)
        except (Wrong, wire.Refused, OSError, ValueError, subprocess.SubprocessError) as why:
            print(f"# {why}\nnot ok {number} - {test.__name__}", flush=True)
            bad += 1
    return bad != 0


sys.exit(main())
