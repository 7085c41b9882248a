#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What `make install` puts somewhere is enough to build and run a program elsewhere: headers, libraries, pkg-config files.
# usage: install.sh BUILD-DIRECTORY
set -eu
build=$1
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
echo 'TAP version 14'
echo '1..3'
meson install -C "$build" --no-rebuild --destdir "$place/root" >"$place/log" 2>&1 || sed 's/^/# /' "$place/log"

cat >"$place/user.c" <<'C'
#include <viaduct/dma.h>
#include <viaduct/driver.h>
#include <viaduct/vhost.h>

int main(void)
{
    struct via_split_layout layout;
    struct via_err err;
    return via_split_layout(&layout, 128, 4) || via_sock_connect("/nonexistent/socket", 0, &err) >= 0;
}
C
pc=$(find "$place/root" -name viaduct.pc)
point() { # number, name, command
    n=$1 name=$2
    shift 2
    if "$@" >"$place/log" 2>&1; then echo "ok $n - $name"; else
        sed 's/^/# /' "$place/log"
        echo "not ok $n - $name"
    fi
}
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$place/root pkg-config --cflags --libs --static viaduct) || flags=
# shellcheck disable=SC2086
point 1 'a program builds against what was installed' cc -Wall -Wextra -Werror -o "$place/user" "$place/user.c" $flags
point 2 'and runs' "$place/user"
point 3 'the manual pages are there' sh -c "find '$place/root' -name 'viaduct*.1*' | grep -c . | grep -qx 2"
