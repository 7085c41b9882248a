#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct drive secure: a guest turns secure in the middle of verified I/O, and back. Nothing is lost, the back-end is told nothing, and
who has the memory's descriptor finds the guest's bytes before and after, but not meanwhile. TAP.

usage: secure_test.py VIADUCT VIADUCT-BLK
"""
import ctypes
import errno
import json
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from points import Wrong, check, run

VIADUCT, BLK = (os.path.abspath(p) for p in sys.argv[1:3])
SIZE = 6 << 20
PAGE = 4096
PATIENCE = 60
GET_VRING_BASE = 11
SCRIBBLED = b"\xa5" * PAGE  # what the attack of drive's own writes

WAYS = {
    "as it comes": ["--seconds=0.6"],
    "256 requests in flight": ["--depth=256", "--queue-size=256", "--ops=6000"],
    "several queues, polled": ["--queues=3", "--depth=7", "--poll", "--ops=3000", "--memory-size=24M"],
    "a tight pool": ["--pool-size=128K", "--depth=32", "--block-size=16K", "--ops=1500", "--memory-size=2M"],
    "large blocks": ["--block-size=256K", "--depth=4", "--ops=300", "--mix=randrw:20", "--pool-size=4M", "--memory-size=16M"],
    "one at a time, off a page's beginning": ["--depth=1", "--block-size=1536", "--ops=600", "--mix=rw"],
}

MISUSES = [
    (["--dma=direct", "s", "secure"], "leave out --dma"),
    (["--canary-out=c", "s", "secure"], "leave out --dma, --pool, --canary-out"),
    (["--pool=global", "s", "secure"], "leave out"),
    (["--probe=3", "s", "secure"], "leave out"),
    (["--dma=turn", "s", "load"], "--dma=turn: must be"),
    (["--memory-size=16M", "s", "load"], "belongs to the command secure"),
    (["--memory-size=16", "s", "secure"], "a size from 1M"),
    (["--mix=randread", "s", "secure"], "needs a --mix that writes"),
    (["s", "secure", "file"], "nothing may follow"),
]


class Rig:
    def __init__(self, folder):
        self.folder, self.serial = folder, 0
        self.image = os.path.join(folder, "disk.img")
        with open(self.image, "wb") as f:
            f.truncate(SIZE)

    def path(self, name):
        return os.path.join(self.folder, name)

    def back_end(self):
        self.serial += 1
        path = self.path(f"{self.serial}.sock")
        process = subprocess.Popen([BLK, f"--socket-path={path}", f"--blk-file={self.image}", "--num-queues=3"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(path):
            check(process.poll() is None and time.monotonic() < deadline, "viaduct-blk does not listen")
            time.sleep(0.01)
        return process, path

    def drive(self, *words, status=0):
        done = subprocess.run([VIADUCT, "drive", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        check(done.returncode == status, f"drive {' '.join(words)}: status {done.returncode}, wanted {status}: {done.stderr.decode()}")
        return done


def kill(process):
    process.kill()
    process.wait()


def judge(report):
    """What was to happen did: there, back, and an attack that finds what there is to find."""
    told = report["secure"]
    check(report["ok"] and report["misuses"] == 0 and told["lost"] == 0 and told["guest_bytes_damaged"] == 0, f"not in order: {report}")
    check(told["verified"] > 0 and report["speed"]["ops"] > 0, f"hardly any I/O: {report}")
    pages = (told["memory_bytes"] - told["lasting_bytes"]) // PAGE
    check(told["pages_secured"] == told["pages_opened"] == pages, f"not all of {pages} pages went there and back: {told}")
    check(told["conversions_failed"] == 0 and told["conversions"] >= 2 * pages // 64, f"odd conversions: {told}")
    check(told["pages_leased_at_switch"] > 0, f"no request was in flight: {told}")
    check(told["secure_switch_ms"] > 0 and told["open_switch_ms"] > 0 and told["pool_returned"], f"it did not turn: {told}")
    before, secure, after = told["phases"]
    for phase in told["phases"]:
        check(phase["requests"] > 0 and phase["bytes_searched"] == told["memory_bytes"], f"no I/O, or not all was searched: {phase}")
    check(before["secrets_found"] > 0 and before["later_secrets_found"] == 0 and before["guest_bytes_seen"] > pages, f"before: {before}")
    check(secure["secrets_found"] == secure["later_secrets_found"] == secure["guest_bytes_seen"] == 0, f"while secure: {secure}")
    check(secure["bytes_scribbled"] == pages * PAGE and not before["bytes_scribbled"], f"while secure: {secure}")
    check(after["secrets_found"] > 0 and after["later_secrets_found"] > 0 and after["guest_bytes_seen"] > pages, f"after: {after}")


def turns(rig, options):
    process, path = rig.back_end()
    try:
        report = json.loads(rig.drive(*options, "--check", "--json", path, "secure").stdout)
        judge(report)
        if "--depth=256" in options:
            check(report["secure"]["pages_leased_at_switch"] >= 128, f"hardly a request was in flight: {report['secure']}")
        if "--pool-size=128K" in options:
            check(report["speed"]["eagain"] > 0, "the pool was never full")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=PATIENCE)[1].decode()
        check(process.returncode == 0, f"viaduct-blk ended with {process.returncode}: {said}")
    finally:
        kill(process)


def text(rig):
    """What people are told."""
    process, path = rig.back_end()
    try:
        said = rig.drive("--ops=900", "--memory-size=32M", path, "secure").stdout.decode()
        for what in ("0 requests lost", r"secure: [1-9]\d* pages in", "leased by requests in flight; back: [1-9]",
                     r"memory open: [1-9]\d* secrets, [1-9]", "what it wrote arrived nowhere",
                     "memory secure: 0 secrets, 0 KiB of the guest's own", r"open again: [1-9]\d* secrets, [1-9]"):
            check(re.search(what, said), f"nothing like '{what}': {said}")
    finally:
        kill(process)


# ------------------------------------------------------------------ a witness between the two


class Witness:
    """Hands on what both sides say, notes what the front-end asks, and keeps a copy of the memory's descriptor to look at."""

    def __init__(self, rig, back, harm=None):
        self.asked, self.samples, self.fd, self.over, self.harm = [], [], None, False, harm
        self.listener = socket.socket(socket.AF_UNIX)
        rig.serial += 1
        self.path = rig.path(f"witness.{rig.serial}")
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.back = socket.socket(socket.AF_UNIX)
        self.back.connect(back)
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.forward, self.look)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def forward(self):
        front = self.listener.accept()[0]
        answers = threading.Thread(target=self.answers, args=(front,), daemon=True)
        answers.start()
        data = b""
        while True:
            more, fds, _, _ = socket.recv_fds(front, 65536, 8)
            if not more:
                break
            data += more
            if fds:
                socket.send_fds(self.back, [more], fds)
            else:
                self.back.sendall(more)
            while len(data) >= 12 and len(data) >= 12 + struct.unpack_from("<I", data, 8)[0]:
                self.asked.append((struct.unpack_from("<I", data)[0], time.monotonic()))
                data = data[12 + struct.unpack_from("<I", data, 8)[0]:]
            for fd in fds:
                if self.fd is None and os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:viaduct-driver"):
                    self.fd = fd
                else:
                    os.close(fd)
        self.over = True
        self.back.shutdown(socket.SHUT_WR)
        answers.join(PATIENCE)

    def answers(self, front):
        while more := self.back.recv(65536):
            front.sendall(more)

    def look(self):
        """Which pages hold anything that the attack did not write there."""
        while not self.over:
            if self.fd is None:
                time.sleep(0.001)
                continue
            if self.harm:
                os.pwrite(self.fd, bytes(16), self.harm)  # which is nothing where memory is private
            data = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
            pages = [data[at:at + PAGE] for at in range(0, len(data), PAGE)]
            self.samples.append([i for i, page in enumerate(pages) if page.count(0) < PAGE and page != SCRIBBLED])


def unaware(rig):
    """A witness on the connection: nothing is said between start and stop, and its copy of the descriptor is of no use meanwhile."""
    process, back = rig.back_end()
    try:
        witness = Witness(rig, back)
        witness.start()
        report = json.loads(rig.drive("--seconds=3", "--check", "--memory-size=6M", "--pool-size=1M", "--json",
                                      f"--backend-pid={process.pid}", witness.path, "secure").stdout)
        judge(report)
        for thread in witness.threads:
            thread.join(PATIENCE)
        first_stop = [request for request, _ in witness.asked].index(GET_VRING_BASE)
        quiet = witness.asked[first_stop][1] - witness.asked[first_stop - 1][1]
        check(quiet > 2.5, f"the back-end was told something while rings ran: {witness.asked}")
        told = report["secure"]
        kept, own = told["lasting_bytes"] // PAGE, (told["memory_bytes"] - told["lasting_bytes"]) // PAGE
        seen = [sum(page >= kept for page in sample) for sample in witness.samples]
        check(own / 2 < max(seen), f"the witness never saw the guest's memory: at most {max(seen)} of {own} pages")
        check(min(seen[seen.index(max(seen)):]) == 0, f"the witness always saw some of it: at least {min(seen)} of {own} pages")
        check(seen[-1] > own / 2, f"at the end memory was open, but the witness saw {seen[-1]} of {own} pages")
    finally:
        kill(process)


def harmed(rig):
    """What changes while memory is open is noticed: so it means something that nothing did when it was secure."""
    process, back = rig.back_end()
    try:
        witness = Witness(rig, back, harm=600 * PAGE + 5)  # behind buffers, before what is written later
        witness.start()
        said = rig.drive("--seconds=2", "--memory-size=6M", "--pool-size=1M", witness.path, "secure", status=1).stderr.decode()
        check(re.search(r"\b1?\d bytes of the guest's memory changed under it", said), said)
    finally:
        kill(process)


# ------------------------------------------------------------------ what goes wrong


def running(path, *options):
    """A run that is in the middle of its I/O: it has shown how far it is."""
    process = subprocess.Popen([VIADUCT, "drive", "--seconds=60", "--progress", *options, path, "secure"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    check(process.stderr.read(1), "it ended early")
    return process


def killed(rig):
    """A back-end that dies meanwhile is an error, and nothing is claimed."""
    back, path = rig.back_end()
    process = running(path, "--json")
    try:
        kill(back)
        out, said = process.communicate(timeout=PATIENCE)
        check(process.returncode == 1 and "went away" in said.decode(), f"status {process.returncode}: {said.decode()}")
        check(json.loads(out)["ok"] is False, "the report says that all is well")
    finally:
        kill(process)
        kill(back)


def frozen(rig):
    """A back-end that answers no more leaves its pages shared: an error within the time limit, not a claim."""
    back, path = rig.back_end()
    process = running(path, "--timeout=1")
    try:
        back.send_signal(signal.SIGSTOP)
        said = process.communicate(timeout=PATIENCE)[1].decode()
        check(process.returncode == 1 and re.search("without an answer|holds requests", said), f"status {process.returncode}: {said}")
    finally:
        kill(process)
        kill(back)


def without_fallocate():
    """From here on the kernel answers this call with EIO (seccomp): no page of a memfd can be given back."""
    number = {"x86_64": 285, "aarch64": 47}[platform.machine()]
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.EIO), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    order = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(order), 0, 0):  # NO_NEW_PRIVS, SECCOMP: FILTER
        raise OSError(ctypes.get_errno(), "no seccomp")


def refused(rig):
    """A system that makes no page private is an error that says why, and all pages count as shared."""
    back, path = rig.back_end()
    try:
        done = subprocess.run([VIADUCT, "drive", "--seconds=0.3", "--timeout=1", "--json", path, "secure"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE, check=False, preexec_fn=without_fallocate)
        said, told = done.stderr.decode(), json.loads(done.stdout)
        check(done.returncode == 1 and re.search(r"[1-9]\d* pages did not become private: .*Input/output error", said), f"{said}")
        check(not told["ok"] and told["secure"]["pages_secured"] == 0 < told["secure"]["conversions_failed"], f"odd: {told['secure']}")
    finally:
        kill(back)


def too_small(rig):
    """Memory that has no room for rings, pool and buffers is refused, and what it takes is said."""
    process, path = rig.back_end()
    try:
        said = rig.drive("--memory-size=2M", path, "secure", status=1).stderr.decode()
        check("lower --pool-size" in said, said)
    finally:
        kill(process)


def usage(rig):
    """Wrong words are refused with status 2, and the error says which."""
    for words, what in MISUSES:
        said = rig.drive(*words, status=2).stderr.decode()
        check(what in said, f"{words}: {said}")


# ------------------------------------------------------------------ the attack's program


def search(memory, orders, status=0):
    fd = os.memfd_create("memory")
    try:
        os.write(fd, memory)
        os.dup2(fd, 3, inheritable=True)
        done = subprocess.run([VIADUCT, "search"], input=orders, capture_output=True, timeout=PATIENCE, check=False, pass_fds=(3,))
        check(done.returncode == status, f"status {done.returncode}: {done.stderr.decode()}")
        return struct.unpack("<5Q", done.stdout) if not status else done.stderr.decode(), os.pread(fd, len(memory), 0)
    finally:
        os.close(fd)


def searches(_):
    """The attack's own program finds each needle once, wherever it lies, sees what is not meant, and writes nowhere else."""
    needles = bytes(range(1, 33)), bytes(range(100, 132))
    inverted = bytes(byte ^ 0xFF for needle in needles for byte in needle)
    memory = bytearray((2 << 20) + 100)
    for at in (0, 77, (1 << 20) - 32, (1 << 20) - 5 + 40, (2 << 20) + 68):
        memory[at:at + 32] = needles[0]
    memory[(2 << 20) - 16:(2 << 20) + 16] = needles[1]
    orders = struct.pack("<64s5Q", inverted, 5000, 5000, 5001, 5001, 0)
    out, after = search(memory, orders)
    check(out == (len(memory), 5, 1, 6 * 32, 0) and after == memory, f"{out}")
    out, after = search(memory, struct.pack("<64s5Q", inverted, 64, 4095, 2 << 20, (2 << 20) + 67, 1))
    check(out == (len(memory), 5, 1, 4 * 32 + 16, len(memory) - 4032 - 68), f"{out}")
    wanted = bytearray(b"\xa5" * len(memory))
    wanted[64:4096], wanted[2 << 20:(2 << 20) + 68] = memory[64:4096], memory[2 << 20:(2 << 20) + 68]
    check(after == wanted, "it wrote elsewhere, or not everywhere")
    for wrong in (orders[1:], orders + b"x", struct.pack("<64s5Q", inverted, 5, 4, 10, 11, 0),
                  struct.pack("<64s5Q", inverted, 4, 5, 5, 6, 0), struct.pack("<64s5Q", inverted, 4, 5, 6, 7, 2)):
        said, after = search(memory, wrong, status=2)
        check("make no sense" in said and after == memory, said)


def points():
    for way, options in WAYS.items():
        yield f"there and back: {way}", lambda rig, options=options: turns(rig, options)
    for test in (text, unaware, harmed, killed, frozen, refused, too_small, usage, searches):
        yield test.__doc__, test


sys.exit(run(points(), Rig, "viaduct-secure-"))
