#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Rooms depend on one another in one direction. Public headers belong to the room they are named after, or that HEADERS says."""
import os
import re

import house

ALLOWED = {"base": set(), "spec": {"base"}}
for room in ("dma", "ring", "xlate", "proto"):
    ALLOWED[room] = {"base", "spec"}
ALLOWED["driver"] = {"base", "spec", "dma", "ring", "proto"}
ALLOWED["device"] = {"base", "spec", "ring", "xlate", "proto"}
CORE = set(ALLOWED)
# public headers of a part of a room
HEADERS = {
    "port": "base",
    "iommu_device": "device",
    "grow": "dma", "iommu": "dma", "policy": "dma", "protect": "dma", "turn": "dma",
    "iommu_driver": "driver",
    "private": "host",
    "state": "proto",
    "domain": "vhost",
}
ALLOWED["host"] = CORE
ALLOWED["vhost"] = CORE | {"host"}
ALLOWED["guest"] = CORE
ALLOWED["guard"] = CORE | {"host", "vhost"}
ALLOWED["cli"] = CORE | {"host", "vhost", "guard"}
FREESTANDING = {"limits.h", "stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdnoreturn.h", "string.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    """The room that a path lies in; None: tests, benchmarks, examples, which may look at everything."""
    part = path.split("/")
    if part[:2] == ["include", "viaduct"]:
        return HEADERS.get(part[2][:-2], part[2][:-2])
    if part[0] == "core":
        return part[1]
    if part[:2] == ["host", "vhost"]:
        return "vhost"
    return part[0] if part[0] in ALLOWED else None


def target_of(path, bracket, name):
    """The path that an include names, None for a system header."""
    if name.startswith("viaduct/"):
        return "include/" + name
    return None if bracket == "<" else os.path.normpath(os.path.join(os.path.dirname(path), name))


def check(root):
    complaints = []
    for path in house.tree(root):
        room = room_of(path)
        if room is None or not path.endswith((".c", ".h", ".S")):
            continue
        if room not in ALLOWED:
            complaints.append("%s: '%s' is no room that tests/house/layers.py knows: say there what it may include" % (path, room))
            continue
        for bracket, name in INCLUDE.findall(house.read(root, path)):
            target = target_of(path, bracket, name)
            if target is None:
                if room in CORE and name not in FREESTANDING:
                    complaints.append("%s includes <%s>: core is freestanding" % (path, name))
            elif not os.path.isfile(os.path.join(root, target)):
                complaints.append('%s includes "%s", which is not there' % (path, name))
            elif room_of(target) != room and room_of(target) not in ALLOWED[room]:
                complaints.append("%s includes %s: %s must not depend on %s" % (path, target, room, room_of(target)))
    return complaints


BASE = {"include/viaduct/base.h": "#include <stddef.h>\n", "include/viaduct/dma.h": "", "include/viaduct/host.h": ""}
GOOD = {
    "dependencies downwards": dict(BASE, **{
        "core/dma/bounce.c": '#include <string.h>\n#include <viaduct/dma.h>\n#include "pool.h"\n',
        "core/dma/pool.h": "#include <viaduct/base.h>\n",
        "host/vhost/server.c": "#include <sys/socket.h>\n#include <viaduct/host.h>\n",
        "tests/dma/bounce_test.c": '#include <stdio.h>\n#include "../../core/dma/pool.h"\n',
    }),
}
BAD = {
    "ring on dma": dict(BASE, **{"core/ring/split.c": "#include <viaduct/dma.h>\n"}),
    "ring on dma by a relative path": dict(BASE, **{"core/ring/split.c": '#include "../dma/pool.h"\n', "core/dma/pool.h": ""}),
    "a public header that looks upwards": dict(BASE, **{"include/viaduct/ring.h": "#include <viaduct/host.h>\n"}),
    "core on the host": dict(BASE, **{"core/device/blk.c": "  #  include <viaduct/host.h>\n"}),
    "core on stdio": dict(BASE, **{"core/base/x.c": "#include <stdio.h>\n"}),
    "a header that is not there": dict(BASE, **{"cli/x.c": '#include "gone.h"\n'}),
    "a room nobody declared": {"core/attic/x.c": ""},
}

if __name__ == "__main__":
    house.main(check, GOOD, BAD)
