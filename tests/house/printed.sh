#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A document that a program prints is what it prints. usage: printed.sh PROGRAM DOCUMENT
set -u
program=$1
document=$2
tmp=$(mktemp "${TMPDIR:-/tmp}/viaduct-printed.XXXXXX") || exit 1
trap 'rm -f "$tmp"' EXIT
trap 'exit 1' INT TERM
echo 'TAP version 14'
echo '1..1'
if "$program" >"$tmp" && [ -s "$tmp" ] && diff -u "$document" "$tmp" >"$tmp.diff"; then
    echo "ok 1 - $document"
    status=0
else
    sed 's/^/# /' "$tmp.diff"
    echo "# if this is what was meant: $program >$document"
    echo "not ok 1 - $document"
    status=1
fi
rm -f "$tmp.diff"
exit $status
