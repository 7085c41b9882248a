# SPDX-License-Identifier: BSD-2-Clause
"""What tests of whole programs share: a check that says what was wrong, and points that are run one by one."""
import os
import subprocess
import tempfile


class Wrong(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


def run(points, rig_of, prefix):
    """Each of the points (name, test) with one rig, rig_of(folder); TAP. The exit status."""
    os.umask(0o022)
    tests, bad = list(points), 0
    print(f"TAP version 14\n1..{len(tests)}")
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        rig = rig_of(folder)
        for n, (name, test) in enumerate(tests, 1):
            try:
                test(rig)
                print(f"ok {n} - {name}", flush=True)
            except (Wrong, OSError, ValueError, subprocess.SubprocessError) as problem:
                bad += 1
                print("".join(f"# {line}\n" for line in str(problem).splitlines()) + f"not ok {n} - {name}", flush=True)
    return 1 if bad else 0
