#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""scripts/test counts: a program that crashes, hangs or says nothing is a failure, whatever it printed before."""
import importlib.machinery
import importlib.util
import os
import sys

import house

CASES = (  # what it is, meson's result, the program's output, (passed, failed, skipped)
    ("two that pass", "OK", "TAP version 13\n1..2\nok 1 - a\nok 2 - b\n", (2, 0, 0)),
    ("one of two that fails", "FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n# ok, a comment\n", (1, 1, 0)),
    ("one that can't run", "OK", "1..2\nok 1 - a\nok 2 - b # SKIP no such machine\n", (1, 0, 1)),
    ("what is still to be done", "OK", "1..1\nnot ok 1 - a # TODO later\n", (1, 0, 0)),
    ("a crash after a pass", "ERROR", "1..2\nok 1 - a\n", (1, 1, 0)),
    ("a hang", "TIMEOUT", "", (0, 1, 0)),
    ("silence where TAP is due", "SKIP", "", (0, 1, 0)),
    ("a program without TAP", "OK", "all is well\n", (1, 0, 0)),
    ("a program without TAP that fails", "FAIL", "all is not well\n", (0, 1, 0)),
)


def runner():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("runner", os.path.join(house.ROOT, "scripts", "test"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    loader.exec_module(module)
    return module


def main():
    points = runner().points
    failed = False
    print("TAP version 13\n1..%d" % len(CASES))
    for n, (what, result, output, wanted) in enumerate(CASES, 1):
        got = points({"result": result, "stdout": output})[:3]
        failed |= got != wanted
        print("%s %d - %s" % ("ok" if got == wanted else "not ok", n, what))
        if got != wanted:
            print("# got %s, not %s" % (got, wanted))
    sys.exit(1 if failed else 0)


main()
