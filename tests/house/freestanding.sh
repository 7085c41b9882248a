#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# core/ stands alone: linked together it leaves nothing undefined but four functions that every platform has, and holds no
# data that can be written. usage: freestanding.sh SOURCE-ROOT
set -u
root=${1:-$(dirname "$0")/../..}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/viaduct-freestanding.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
n=0
failed=0

point() { # STATUS NAME: what was wrong is in $tmp/why
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$tmp/why"
        failed=1
    fi
}

alone() { # CC FLAG SOURCE...
    cc=$1
    flag=$2
    shift 2
    rm -rf "$tmp/o"
    mkdir "$tmp/o"
    for source; do
        object=$tmp/o/$(ls "$tmp/o" | wc -l).o
        "$cc" -std=gnu17 -O2 $flag -ffreestanding -fno-pic -fno-stack-protector -I"$root/include" -c "$source" -o "$object" 2>"$tmp/why" ||
            return 1
    done
    ld -r -o "$tmp/core.o" "$tmp"/o/*.o 2>"$tmp/why" || return 1
    nm -u "$tmp/core.o" | awk '{print $2}' | grep -vxE 'memcpy|memmove|memset|memcmp' | sed 's/^/undefined: /' >"$tmp/why"
    nm "$tmp/core.o" | awk '$2 ~ /^[BbCDdGgSs]$/ {print "can be written: " $3}' >>"$tmp/why"
    [ ! -s "$tmp/why" ]
}

echo 'TAP version 13'
sources=$(find "$root/core" -name '*.c' | sort)
for cc in gcc clang; do
    for flag in -DNDEBUG -DVIA_CHECKED; do
        # shellcheck disable=SC2086
        alone $cc $flag $sources
        point $? "core with $cc $flag"
    done
done

complains() { # WHAT PATTERN: the source on stdin is found wanting for what the pattern says
    cat >"$tmp/bad.c"
    alone gcc -DNDEBUG "$tmp/bad.c"
    grep -q "$2" "$tmp/why"
    point $? "complains about $1"
}
complains 'a call out of core' 'undefined: printf' <<'C'
int printf(const char *, ...);
int f(void);
int f(void) { return printf("hello"); }
C
complains 'a global that can be written' 'can be written: calls' <<'C'
int f(void);
int f(void) { static int calls; return ++calls; }
C
complains 'an operation that needs a run-time library' 'undefined: __divti3' <<'C'
__int128 f(__int128 a, __int128 b);
__int128 f(__int128 a, __int128 b) { return a / b; }
C
echo "1..$n"
exit $failed
