#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every source names its licence at its top and stays within 600 lines of at most 140 columns."""
import house

LICENCE = "SPDX-License-Identifier: BSD-2-Clause"
LINES, COLUMNS = 600, 140
NAMES = ("Makefile", "meson.build", "meson_options.txt")


def is_source(root, path):
    name = path.rsplit("/", 1)[-1]
    if name.endswith(house.SOURCE) or name in NAMES:
        return True
    if "." in name:
        return False
    with open("%s/%s" % (root, path), "rb") as f:
        return f.read(2) == b"#!"


def check(root):
    complaints = []
    for path in house.tree(root):
        if not is_source(root, path):
            continue
        lines = house.read(root, path).split("\n")
        if not any(LICENCE in line for line in lines[:2]):
            complaints.append("%s: its first lines lack '%s'" % (path, LICENCE))
        if len(lines) - 1 > LINES:
            complaints.append("%s: %d lines, more than %d: split it" % (path, len(lines) - 1, LINES))
        for n, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                complaints.append("%s:%d: %d columns, more than %d" % (path, n, len(line), COLUMNS))
            if line != line.rstrip():
                complaints.append("%s:%d: blanks at its end" % (path, n))
        if lines[-1]:
            complaints.append("%s: its last line has no end" % path)
    return complaints


TOP = "/* %s */\n" % LICENCE
BAD = {
    "a source without a licence": {"core/x.c": "int x;\n"},
    "a licence far below the top": {"core/x.c": "\n\n" + TOP},
    "a script without a licence": {"scripts/x": "#!/bin/sh\ntrue\n"},
    "a file that is too long": {"core/x.c": TOP + "\n" * LINES},
    "a line that is too long": {"core/x.c": TOP + "x" * (COLUMNS + 1) + "\n"},
    "a blank at a line's end": {"core/x.c": TOP + "int x; \n"},
    "a last line without an end": {"core/x.c": TOP + "int x;"},
}

if __name__ == "__main__":
    house.main(check, {"a file just short enough": {"core/x.c": TOP + "\n" * (LINES - 1), "README": "text"}}, BAD)
