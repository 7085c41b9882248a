#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a guest sees of a disk follows from its configuration and from nothing else: not from the host's disks, file systems and limits, not
from how memory is shared, not from a guard before it. One configuration, all of these hosts, compared byte by byte. TAP.

usage: sameness_test.py VIADUCT VIADUCT-BLK
"""
import ctypes
import errno
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

import wire

VIADUCT, BLK = (os.path.abspath(p) for p in sys.argv[1:3])
SIZE = 1 << 20
NOBODY = 65534
PROTOCOL = wire.MQ | wire.REPLY_ACK | wire.BACKEND_REQ | wire.CONFIG | wire.MEM_SLOTS | wire.STATUS

CONFIGURATIONS = {
    "as it comes": [],
    "large blocks, a few queues, no discard": ["--block-size=4096", "--physical-block-size=16384", "--opt-io-size=65536", "--num-queues=3",
                                               "--seg-max=30", "--queue-size=256", "--no-discard"],
    "read-only": ["--read-only"],
    "the platform's order": ["--order-platform"],
}


class Wrong(Exception):
    pass


class Skip(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


# ---------------------------------------------------------------------- places where an image can be


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Place:
    """A directory, device or mount that is gone afterwards."""

    def __init__(self):
        self.undo = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for words in reversed(self.undo):
            subprocess.run(words, capture_output=True, check=False)

    def folder(self, parent):
        made = tempfile.mkdtemp(dir=parent)
        os.chmod(made, 0o777)
        self.undo.append(["rm", "-rf", made])
        return made

    def file(self, parent, name="disk", size=SIZE):
        path = os.path.join(self.folder(parent), name)
        with open(path, "wb") as f:
            f.truncate(size)
        os.chmod(path, 0o666)
        return path

    def device(self, block, size=SIZE):
        if not os.path.exists("/dev/loop-control") or os.getuid():
            raise Skip("there are no loop devices for this user")
        path = command("losetup", "--find", "--show", "--sector-size", str(block), self.file(".", size=size))
        self.undo.append(["losetup", "--detach", path])
        return path

    def mount(self, *words):
        if os.getuid():
            raise Skip("this user may not mount")
        at = self.folder(".")
        command("mount", *words, at)
        self.undo.append(["umount", "--lazy", at])
        return at


def a_file_on_disk(place):
    return place.file("."), []


def a_file_in_memory(place):
    if not os.path.isdir("/dev/shm"):
        raise Skip("there is no /dev/shm")
    return place.file("/dev/shm"), []


def huge_pages_preferred(place):
    return place.file(place.mount("-t", "tmpfs", "-o", "huge=always", "tmpfs")), []


def holes_can_not_be_punched(place):
    return place.file(place.mount("-t", "ramfs", "ramfs")), []


def small_file_system_blocks(place):
    disk = place.file(".", size=8 << 20)
    command("mkfs.ext4", "-q", "-F", "-b", "1024", disk)
    return place.file(place.mount("-o", "loop", disk)), []


def direct(place):
    return place.file("."), ["--direct"]


def a_device(place):
    return place.device(512), []


def a_device_of_large_blocks(place):
    return place.device(4096), []


def direct_to_a_device(place):
    return place.device(512), ["--direct"]


def direct_to_a_device_of_large_blocks(place):
    return place.device(4096), ["--direct"]


def another_name(place):
    return place.file(".", "an-image-of-another-name.raw"), []


def never_polls(place):
    return place.file("."), ["--poll-us=0"]


PLACES = [a_file_on_disk, a_file_in_memory, huge_pages_preferred, holes_can_not_be_punched, small_file_system_blocks, direct, a_device,
          a_device_of_large_blocks, direct_to_a_device, direct_to_a_device_of_large_blocks, another_name, never_polls]

# ---------------------------------------------------------------------- processes


def few_resources():
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def no_io_uring():
    """Its three calls fail as a kernel without them has it: a filter of the process's own."""
    code = [(0x20, 0, 0, 0), (0x35, 0, 2, 425), (0x35, 1, 0, 428), (0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    program = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        os._exit(77)


class Served:
    """A program that listens, until the end of the block."""

    def __init__(self, words, **more):
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        **more)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            _, said = self.process.communicate(timeout=wire.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        if kind is None:
            check(self.process.returncode == 0, f"it ended with {self.process.returncode}: {said}")


def back_end(folder, image, options, **more):
    return Served([BLK, f"--socket-path={folder}/back", f"--blk-file={image}", "--serial=the same", *options], **more)


def guard(folder):
    return Served([VIADUCT, "guard", f"--front={folder}/front", f"--back={folder}/back"])


# ---------------------------------------------------------------------- what a guest sees


def requests(disk, features):
    """Answers that could betray the host: statuses, lengths, bytes; of requests as small as can be, of hints, and of nonsense."""
    pattern = bytes(range(256)) * 6
    yield disk.request(wire.GET_ID, room=20)
    yield disk.request(wire.OUT, 3, pattern)
    yield disk.request(wire.IN, 2, room=2048)
    yield disk.request(wire.T_FLUSH)
    for kind, bit in ((wire.T_DISCARD, wire.DISCARD), (wire.T_ZEROES, wire.WRITE_ZEROES)):
        if features & bit or kind == wire.T_DISCARD:
            yield disk.ranges(kind, 4, 1)
            yield disk.ranges(kind, 9, 30)
            yield disk.ranges(kind, 1 << 40, 1)
    # What was discarded may read as anything: it is written again before it is looked at.
    yield disk.request(wire.OUT, 4, pattern[:512])
    yield disk.request(wire.OUT, 8, pattern * 8)
    if features & wire.WRITE_ZEROES:
        yield disk.ranges(wire.T_ZEROES, 9, 5)
    yield disk.request(wire.IN, 0, room=32 * 512)
    yield disk.request(wire.IN, SIZE // 512, room=512)
    yield disk.request(77, room=64)


def seen(path, regions=1, slots=False, translated=False, physical=0, leave=0):
    """All of it, in bytes and numbers. `leave`: features that this guest does not take."""
    w = wire.Wire(path, regions, slots, physical)
    try:
        offered = w.offer(PROTOCOL)
        features = offered & ~leave & ~wire.PROTOCOL_FEATURES & ~(0 if translated else wire.ACCESS_PLATFORM) & ~(1 << 29)
        if translated:
            w.translate()
        w.accept(features)
        view = {"features": f"{offered:#x}", "queues": w.number(wire.GET_QUEUE_NUM), "config": w.config(256).hex()}
        w.tell(wire.SET_STATUS, struct.pack("<Q", 1 | 2 | 8))
        view["status"] = w.number(wire.GET_STATUS)
        w.share()
        if translated:
            w.translations()
        disk = wire.Disk(w, translated=translated)
        view["answers"] = [(s, bytes(data).hex(), n) for s, data, n in requests(disk, features)]
        view["base"] = disk.stop()
        return view
    finally:
        w.close()


def differences(one, other):
    return ", ".join(f"{name}: {one[name]} here, {other[name]} there" for name in one if one[name] != other[name])[:2000]


def same(what, one, other):
    check(one == other, f"{what}: {differences(one, other)}")


class Standard:
    """One host's view of each configuration: that of a plain file."""
    view = {}

    @classmethod
    def of(cls, name):
        if name not in cls.view:
            with Place() as place, back_end(place.folder("."), place.file("."), CONFIGURATIONS[name]) as back:
                cls.view[name] = seen(f"{os.path.dirname(back.process.args[1].split('=')[1])}/back")
        return cls.view[name]


# ---------------------------------------------------------------------- tests


def configurations_differ():
    """Else a comparison that sees nothing would do, too."""
    views = [Standard.of(name) for name in CONFIGURATIONS]
    for i, one in enumerate(views):
        for other in views[:i]:
            check(one["features"] != other["features"] or one["config"] != other["config"], "two configurations look the same")
    plain = views[0]
    check(plain["status"] == 11 and plain["base"] == len(plain["answers"]) and plain["answers"][0][1] == b"the same".ljust(20, b"\0").hex(),
          f"no disk at all: {plain}")
    check([a[0] for a in plain["answers"]] == [0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 2], f"other answers: {plain['answers']}")


def at(make):
    """This place, in each configuration; then with a guard before it."""
    def run():
        for name, options in CONFIGURATIONS.items():
            with Place() as place:
                folder = place.folder(".")
                image, more = make(place)
                with back_end(folder, image, options + more):
                    same(name, seen(f"{folder}/back"), Standard.of(name))
                    with guard(folder):
                        same(f"{name}, guarded", seen(f"{folder}/front"), Standard.of(name))
    run.__name__ = make.__name__
    return run


def another_user_with_few_resources():
    if os.getuid():
        raise Skip("this user can't become another one")
    with Place() as place:
        folder = place.folder("/tmp")  # the build directory need not be open to all
        with back_end(folder, place.file("/tmp"), [], user=NOBODY, group=NOBODY, extra_groups=[], preexec_fn=few_resources):
            same("nobody", seen(f"{folder}/back"), Standard.of("as it comes"))


def memory_and_translation():
    """In one piece or several, anywhere, asked for or not."""
    ways = [{"regions": 4}, {"regions": 8}, {"regions": 16, "slots": True}, {"translated": True}, {"translated": True, "regions": 4},
            {"physical": 0xFFFF00000000}]
    for name, options in CONFIGURATIONS.items():
        with Place() as place:
            folder = place.folder(".")
            with back_end(folder, place.file("."), options), guard(folder):
                for end in "back", "front":
                    for way in ways:
                        same(f"{name}, {end}, {way}", seen(f"{folder}/{end}", **way), Standard.of(name))


def without_io_uring_there_is_no_disk():
    """Nothing takes its place: a clear refusal, and not another disk."""
    with Place() as place:
        words = [BLK, f"--socket-path={place.folder('.')}/s", f"--blk-file={place.file('.')}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=wire.PATIENCE, preexec_fn=no_io_uring, check=False)
        if done.returncode == 77:
            raise Skip("this process may have no filter")
        check(done.returncode == 1 and "io_uring" in done.stderr, f"{done.returncode}: {done.stderr}")


TESTS = [configurations_differ, *(at(make) for make in PLACES), another_user_with_few_resources, memory_and_translation,
         without_io_uring_there_is_no_disk]


def main():
    bad = 0
    print(f"TAP version 14\n1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}", flush=True)
        except Skip as why:
            print(f"ok {number} - {test.__name__} # SKIP {why}", flush=True)
        except (Wrong, wire.Refused, OSError, subprocess.SubprocessError) as why:
            print(f"# {why}\nnot ok {number} - {test.__name__}", flush=True)
            bad += 1
    return bad != 0


if __name__ == "__main__":
    where = tempfile.mkdtemp(dir=".")
    os.chmod(where, 0o755)
    os.chdir(where)
    try:
        status = main()
    finally:
        os.chdir("..")
        shutil.rmtree(where, ignore_errors=True)
    sys.exit(status)
