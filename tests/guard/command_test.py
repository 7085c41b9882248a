#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct guard from outside: what it says and how it ends when something is wrong.

usage: command_test.py VIADUCT
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

VIADUCT = sys.argv[1]
results = []


def point(name, good, detail=""):
    results.append(good)
    if not good:
        print("# " + detail.replace("\n", "\n# "))
    print(f"{'ok' if good else 'not ok'} {len(results)} - {name}", flush=True)


def refused(name, status, words, *arguments):
    done = subprocess.run([VIADUCT, "guard", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    good = done.returncode == status and words in done.stderr and done.stderr.startswith("viaduct guard: ")
    point(name, good, f"status {done.returncode}: {done.stderr}")


def started(*arguments):
    process = subprocess.Popen([VIADUCT, "guard", *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 10
    fronts = [a.split("=", 1)[1] for a in arguments if a.startswith("--front=")]
    while not all(map(os.path.exists, fronts)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def main():
    print("TAP version 14\n1..10", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        front, back, other = (os.path.join(folder, name) for name in ("front", "back", "other"))
        refused("a front without a back", 2, "needs a --back", f"--front={front}")
        refused("no pair at all", 2, "needs a --back")
        refused("a pool that is no number", 2, "'lots'", f"--front={front}", f"--back={back}", "--pool-size=lots")
        refused("a pool too small", 1, "take a multiple of 4096", f"--front={front}", f"--back={back}", "--pool-size=4096")
        refused("too many queues", 2, "from 0 to 64", f"--front={front}", f"--back={back}", "--queues=65")
        refused("a path too long", 1, "use a shorter one", f"--front={folder}/{'x' * 200}", f"--back={back}")

        first = started(f"--front={front}", f"--back={back}", f"--front={other}", f"--back={back}")
        refused("a socket that is taken", 1, front, f"--front={front}", f"--back={back}")
        first.send_signal(signal.SIGTERM)
        status = first.wait(timeout=10)
        gone = not os.path.exists(front) and not os.path.exists(other)
        point("SIGTERM ends it, its sockets are gone", status == 0 and gone, f"status {status}")
    secrecy()
    sys.exit(0 if all(results) else 1)


def unprivileged(work):
    """Do `work` in a process of the user nobody (or of ours, where we are not root); its exit status is what work returns."""
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os._exit(work())
        except BaseException as problem:
            print(f"# {problem}", flush=True)
            os._exit(99)
    return pid


def yama():
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as f:
            return int(f.read())
    except FileNotFoundError:
        return 0


def can_read(pid):
    """Whether a process of the same user reads its memory."""

    def work():
        try:
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
            return 1
        except PermissionError:
            return 0

    return os.waitstatus_to_exitcode(os.waitpid(unprivileged(work), 0)[1])


def is_program(pid, name):
    """Whether it has become that program: what it was forked from is another matter."""
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().split(b"\0")[0] == name


def secrecy():
    """A guard of an ordinary user, and for comparison a program that does nothing about it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        front = os.path.join(folder, "front")
        program, plain = (os.open(path, os.O_RDONLY) for path in (VIADUCT, "/bin/sleep"))
        guard = unprivileged(lambda: os.execve(program, ["viaduct", "guard", f"--front={front}", f"--back={folder}/back"], os.environ))
        sleep = unprivileged(lambda: os.execve(plain, ["sleep", "20"], os.environ))
        deadline = time.monotonic() + 10
        while not (os.path.exists(front) and is_program(sleep, b"sleep")) and time.monotonic() < deadline:
            time.sleep(0.01)
        if yama():
            results.append(True)
            print(f"ok {len(results)} - a program can read another's memory # SKIP this kernel's Yama forbids it to all", flush=True)
        else:
            point("a program of the same user can read another's memory", can_read(sleep) == 1)
        point("but not a guard's", os.path.exists(front) and can_read(guard) == 0)
        for pid in (guard, sleep):
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


main()
