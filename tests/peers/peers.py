# SPDX-License-Identifier: BSD-2-Clause
"""What the scenarios share: children that end with the scenario, a time limit, TAP. A scenario is a function of one Scenario;
it passes by returning and fails by an exception."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("VIADUCT_PEERS_CACHE", os.path.join(ROOT, "build", "peers"))


class Failure(Exception):
    """What a scenario found wrong."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


class Child:
    """A process with its output in a file."""

    def __init__(self, name, argv, log, pass_fds=()):
        self.name, self.log = name, log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=pass_fds)
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()

    def wait(self, seconds, what="end"):
        """Its exit status, which must come within so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("%s did not %s within %g s" % (self.name, what, seconds)) from None

    def stop(self, seconds=10):
        """SIGTERM, and a clean end."""
        expect(self.alive(), "%s ended by itself, with status %s" % (self.name, self.process.returncode))
        self.process.terminate()
        status = self.wait(seconds, "end after SIGTERM")
        expect(status == 0, "%s ended after SIGTERM with status %d" % (self.name, status))

    def maps(self, what):
        """Whether the process has memory mapped, or a descriptor open, whose name contains this."""
        with open("/proc/%d/maps" % self.pid, encoding="utf-8") as f:
            names = f.read().splitlines()
        fds = "/proc/%d/fd" % self.pid
        names += [os.readlink(os.path.join(fds, fd)) for fd in os.listdir(fds) if os.path.islink(os.path.join(fds, fd))]
        return any(what in name for name in names)


class Scenario:
    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="viaduct-peers-")
        self.children = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def program(self, name):
        """The path of one of our programs, or of a peer's."""
        ours = os.path.join(self.build, "cli", name)
        if name.startswith("viaduct"):
            expect(os.access(ours, os.X_OK), "%s is not there: was it built?" % ours)
            return ours
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        expect(path, "%s is not installed: sudo scripts/deps" % name)
        return path

    def start(self, name, argv, **more):
        """Starts a program as a child called `name`."""
        argv = [self.program(argv[0])] + list(argv[1:])
        child = Child(name, argv, self.path("%s.%d.log" % (name, len(self.children))), **more)
        self.children.append(child)
        return child

    def run(self, argv, seconds=60, status=0):
        """Runs a program to its end and returns what it printed."""
        child = self.start(os.path.basename(argv[0]), argv)
        got = child.wait(seconds)
        expect(got == status, "%s ended with status %d" % (" ".join(argv[:3]), got))
        return child.output()

    def until(self, condition, seconds, what, *children):
        """Waits for condition(); the children have to stay alive meanwhile."""
        end = time.monotonic() + seconds
        while not condition():
            for child in children:
                expect(child.alive(), "%s ended with status %s, before %s" % (child.name, child.process.poll(), what))
            expect(time.monotonic() < end, "%s: not within %g s" % (what, seconds))
            time.sleep(0.02)

    # ---- the back-ends and the guard

    def storage_daemon(self, image, socket, name="qsd", queues=1):
        child = self.start(name, [
            "qemu-storage-daemon",
            "--blockdev", "file,node-name=d0,filename=%s,cache.direct=off,aio=threads,discard=unmap" % image,
            "--export", "vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path=%s,writable=on,num-queues=%d" % (socket, queues)])
        self.until(lambda: os.path.exists(socket), 10, name + "'s socket", child)
        return child

    def viaduct_blk(self, image, socket, name="viaduct-blk", options=()):
        child = self.start(name, ["viaduct-blk", "--socket-path=" + socket, "--blk-file=" + image] + list(options))
        self.until(lambda: os.path.exists(socket), 10, name + "'s socket", child)
        return child

    def guard(self, *pairs, pool="64M"):
        """pairs: (front socket, back socket)"""
        argv = ["viaduct", "guard", "--pool-size=" + pool]
        for front, back in pairs:
            argv += ["--front=" + front, "--back=" + back]
        child = self.start("guard", argv)
        for front, _ in pairs:
            self.until(lambda path=front: os.path.exists(path), 10, "the guard's socket", child)
        return child

    def close(self):
        for child in self.children:
            child.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def stop_by_signal(number, _frame):
    raise Failure("it took too long" if number == signal.SIGALRM else "signal %d" % number)


def main(*scenarios):
    """Runs (function, seconds) pairs; the build directory is the program's argument."""
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release"))
    wanted = sys.argv[2:]
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_by_signal)
    scenarios = [(f, seconds) for f, seconds in scenarios if not wanted or f.__name__ in wanted]
    print("TAP version 13\n1..%d" % len(scenarios))
    failed = False
    for n, (function, seconds) in enumerate(scenarios, 1):
        name = "%d - %s" % (n, function.__name__.replace("_", " "))
        start = time.monotonic()
        s = Scenario(build)
        try:
            signal.alarm(seconds)
            function(s)
            signal.alarm(0)
            print("ok %s\n# %.1f s" % (name, time.monotonic() - start))
        except Exception as e:  # pylint: disable=broad-except
            signal.alarm(0)
            failed = True
            print("not ok " + name)
            why = str(e) if isinstance(e, Failure) else traceback.format_exc()
            print("# " + why.replace("\n", "\n# "))
            for child in s.children:
                print("# ---- %s (%s)" % (child.name, "alive" if child.alive() else "status %d" % child.process.returncode))
                print("".join("# %s\n" % line.rstrip() for line in child.output().splitlines()[-25:]), end="")
        finally:
            s.close()
            sys.stdout.flush()
    sys.exit(1 if failed else 0)
