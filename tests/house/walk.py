#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/walk.md and others speak of `file:function`: each file is there, and defines that function."""
import os
import re

import house

DOCUMENT = "docs/walk.md"
OTHERS = ("docs/translation.md",)  # where they are there
STEP = re.compile(r"`([\w./-]+\.[chS]):(\w+)(?:\(\))?`")
NOT_NAMES = {"if", "for", "while", "switch", "return", "sizeof"}


def defined(text):
    """Names of the functions that a C file defines: a name and parentheses at top level, then a brace."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', '""', text)
    heads = re.findall(r"^(?!#)[A-Za-z_][\w \t*()\[\],]*?\b(\w+)\s*\((?:[^;{}])*\)\s*\{", text, flags=re.M)
    return set(heads) - NOT_NAMES


def check(root):
    path = os.path.join(root, DOCUMENT)
    if not os.path.isfile(path):
        return [DOCUMENT + " is not there"]
    complaints = []
    for document in (DOCUMENT,) + tuple(d for d in OTHERS if os.path.isfile(os.path.join(root, d))):
        steps = STEP.findall(house.read(root, document))
        if not steps:
            complaints.append(document + " names no `file:function`")
        for file, function in steps:
            if not os.path.isfile(os.path.join(root, file)):
                complaints.append("%s names %s, which is not there" % (document, file))
            elif function not in defined(house.read(root, file)):
                complaints.append("%s names %s, which %s does not define" % (document, function, file))
    return complaints


CODE = """/* SPDX */
static inline int helper(const char *a,
                         int b)
{
    if (a) {
        call_only(b);
    }
    return 0;
}

struct via_x *via_x_make(void)
{
    return (void *)0;
}
int via_declared(void);
"""
GOOD = {"names that exist": {"core/x.c": CODE, DOCUMENT: "`core/x.c:helper`, then `core/x.c:via_x_make()`.\n"}}
BAD = {
    "a file that is not there": {"core/x.c": CODE, DOCUMENT: "`core/y.c:helper`\n"},
    "a function that is not there": {"core/x.c": CODE, DOCUMENT: "`core/x.c:helper`, `core/x.c:via_gone`\n"},
    "a function that is only declared": {"core/x.c": CODE, DOCUMENT: "`core/x.c:via_declared`\n"},
    "a function that is only called": {"core/x.c": CODE, DOCUMENT: "`core/x.c:call_only`\n"},
    "another document's function that is not there": {
        "core/x.c": CODE, DOCUMENT: "`core/x.c:helper`\n", OTHERS[0]: "`core/x.c:via_gone`\n"},
    "a document that names nothing": {DOCUMENT: "words\n"},
    "a document that is not there": {"core/x.c": CODE},
}

if __name__ == "__main__":
    house.main(check, GOOD, BAD)
