#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct-blk from outside: arguments, images and sockets it refuses and why, signals, one front-end after the other. TAP."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BLK = os.path.abspath(sys.argv[1])
GET_FEATURES = 1
VERSION_1 = 1 << 32
ORDER_PLATFORM = 1 << 36
RO = 1 << 5
NOBODY = 65534


class Failed(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Failed(what)


def run(*args, user=None):
    """Exit status, stdout and stderr of a run that ends by itself."""
    done = subprocess.run([BLK, *args], capture_output=True, text=True, timeout=10, user=user, group=user,
                          extra_groups=[] if user else None)
    return done.returncode, done.stdout, done.stderr


def refuses(status, *words, args, user=None):
    code, _, err = run(*args, user=user)
    check(code == status, f"status {code}, not {status}: {err}")
    for word in words:
        check(word in err, f"does not say '{word}': {err}")
    if status == 1:
        check(err.startswith("viaduct-blk: ") and err.count("\n") == 1, f"not one sentence: {err}")


def image(name="disk", size=1 << 20, mode=0o644):
    with open(name, "wb") as f:
        f.truncate(size)
    os.chmod(name, mode)
    return "--blk-file=" + name


class Served:
    """A running viaduct-blk."""

    def __init__(self, *args, path="sock", **more):
        self.path = path
        self.proc = subprocess.Popen([BLK, *args], stderr=subprocess.PIPE, text=True, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.communicate()

    def connect(self):
        for _ in range(500):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            try:
                s.connect(self.path)
                return s
            except OSError:
                s.close()
                check(self.proc.poll() is None, "it ended")
                time.sleep(0.01)
        raise Failed("nobody listens")

    def end(self, sig=None):
        if sig:
            self.proc.send_signal(sig)
        _, err = self.proc.communicate(timeout=5)
        return self.proc.returncode, err


def features(s):
    s.sendall(struct.pack("<III", GET_FEATURES, 1, 0))
    answer = s.recv(20)
    check(len(answer) == 20, "no answer to GET_FEATURES")
    return struct.unpack("<IIIQ", answer)[3]


def tells_its_capabilities():
    code, out, _ = run("--print-capabilities", "--socket-path=x")
    told = json.loads(out)
    check(code == 0 and told["type"] == "block", out)
    check(set(told["features"]) == {"read-only", "blk-file"}, out)
    check(run("--help")[0] == 0 and run("--version")[1].startswith("viaduct-blk "), "help or version")


def usage_errors_are_status_2():
    disk = image()
    refuses(2, "--socket-path or --fd", args=[disk])
    refuses(2, "--socket-path or --fd", args=[disk, "--socket-path=s", "--fd=3"])
    refuses(2, "--blk-file", args=["--socket-path=s"])
    refuses(2, "--help", args=["--nonsense"])
    refuses(2, "'12x'", args=["--socket-path=s", disk, "--num-queues=12x"])
    refuses(2, "from 1 to 64", args=["--socket-path=s", disk, "--num-queues=65"])
    refuses(2, "power of two", args=["--socket-path=s", disk, "--queue-size=100"])
    refuses(2, "--seg-max", args=["--socket-path=s", disk, "--queue-size=64"])
    refuses(2, "power of two", args=["--socket-path=s", disk, "--block-size=1000"])
    refuses(2, "from 512 to 65536", args=["--socket-path=s", disk, "--block-size=131072"])
    refuses(2, "--physical-block-size", args=["--socket-path=s", disk, "--block-size=4096", "--physical-block-size=2048"])
    refuses(2, "--opt-io-size", args=["--socket-path=s", disk, "--block-size=4096", "--opt-io-size=6144"])
    refuses(2, "at most 20 bytes", args=["--socket-path=s", disk, "--serial=" + 21 * "x"])
    refuses(2, "not understood", args=["--socket-path=s", disk, "more"])


def images_it_can_not_serve():
    socket_path = "--socket-path=sock"
    refuses(1, "nowhere", args=[socket_path, "--blk-file=nowhere"])
    refuses(1, "odd", "512", args=[socket_path, image("odd", 1000)])
    refuses(1, "empty", args=[socket_path, image("empty", 0)])
    os.mkdir("directory")
    refuses(1, "directory", args=[socket_path, "--blk-file=directory"])
    user = NOBODY if os.getuid() == 0 else None
    os.chmod(".", 0o777)
    refuses(1, "secret", args=[socket_path, image("secret", mode=0)], user=user)
    refuses(1, "frozen", "read-only", args=[socket_path, image("frozen", mode=0o444)], user=user)
    check(not os.path.exists("sock"), "a socket without a disk")


def sockets_it_can_not_listen_at():
    disk = image()
    refuses(1, "107", args=["--socket-path=" + "x" * 120, disk])
    refuses(1, "nowhere/sock", "directory", args=["--socket-path=nowhere/sock", disk])
    open("file", "w").close()
    refuses(1, "is not a socket", args=["--socket-path=file", disk])
    refuses(1, "descriptor 99", args=["--fd=99", disk])
    with Served("--socket-path=sock", disk) as first:
        first.connect().close()
        refuses(1, "in use", args=["--socket-path=sock", disk])
        check(features(first.connect()) & VERSION_1, "the first one suffered")


def stale_sockets_are_replaced():
    old = socket.socket(socket.AF_UNIX)
    old.bind("sock")
    old.close()
    with Served("--socket-path=sock", image()) as blk:
        check(features(blk.connect()) & VERSION_1, "features")


def signals_end_it_in_order():
    for sig in signal.SIGTERM, signal.SIGINT:
        for connected in False, True:
            with Served("--socket-path=sock", image()) as blk:
                s = blk.connect()
                features(s)
                if not connected:
                    s.close()
                    time.sleep(0.05)
                code, err = blk.end(sig)
                check((code, err) == (0, ""), f"status {code}: {err}")
                check(not os.path.exists("sock"), "the socket is left")


def an_inherited_front_end():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with Served(f"--fd={theirs.fileno()}", "--read-only", image(mode=0o444), pass_fds=[theirs.fileno()]) as blk:
        theirs.close()
        check(features(ours) & RO, "read-only is not told")
        ours.close()
        code, err = blk.end()
        check((code, err) == (0, ""), f"status {code}: {err}")


def the_platforms_order_is_offered_when_asked_for():
    for option in [], ["--order-platform"]:
        with Served("--socket-path=sock", image(), *option) as blk:
            check(bool(features(blk.connect()) & ORDER_PLATFORM) == bool(option), f"with {option}")
            blk.end(signal.SIGTERM)


def one_front_end_after_the_other():
    with Served("--socket-path=sock", image()) as blk:
        for _ in range(3):
            s = blk.connect()
            check(features(s) & VERSION_1, "features")
            waiting = blk.connect()
            waiting.sendall(struct.pack("<III", GET_FEATURES, 1, 0))
            waiting.settimeout(0.05)
            try:
                check(not waiting.recv(20), "two at once")
                raise Failed("the second one was sent away")
            except socket.timeout:
                waiting.settimeout(5)
            s.close()
            check(len(waiting.recv(20)) == 20, "the second one's turn never came")
            waiting.close()


def a_bad_front_end_is_told_of():
    with Served("--socket-path=sock", image()) as blk:
        s = blk.connect()
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        try:
            check(s.recv(1) == b"", "not closed")
        except ConnectionResetError:
            pass  # closed, with bytes left that nobody read
        check(features(blk.connect()) & VERSION_1, "the next one suffered")
        code, err = blk.end(signal.SIGTERM)
        check(code == 0 and err.startswith("viaduct-blk: the peer's message"), err)


TESTS = [tells_its_capabilities, usage_errors_are_status_2, images_it_can_not_serve, sockets_it_can_not_listen_at,
         stale_sockets_are_replaced, signals_end_it_in_order, an_inherited_front_end,
         the_platforms_order_is_offered_when_asked_for, one_front_end_after_the_other,
         a_bad_front_end_is_told_of]


def main():
    print("TAP version 14")
    print(f"1..{len(TESTS)}")
    bad = 0
    for number, test in enumerate(TESTS, 1):
        with tempfile.TemporaryDirectory() as place:
            os.chdir(place)
            try:
                test()
                print(f"ok {number} - {test.__name__}")
            except (Failed, OSError, subprocess.TimeoutExpired) as why:
                print(f"# {why}\nnot ok {number} - {test.__name__}")
                bad += 1
            os.chdir("/")
        sys.stdout.flush()
    return bad != 0


sys.exit(main())
