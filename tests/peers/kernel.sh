#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Debian's cloud kernel, unpacked but not installed, for guests. Prints its directory, CACHE/kernel-VERSION, in which are boot/
# and lib/; downloads it first when it isn't there. Needs no root. usage: kernel.sh CACHE
set -eu
cache=$1
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
for found in "$cache"/kernel-*/ready; do
    [ -e "$found" ] && dirname "$found" && exit 0
done

work=$(mktemp -d "$cache/unpack.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"

package_of() { # APT-OPTIONS...: what linux-image-cloud-amd64 depends on now
    apt-cache "$@" depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

download() { # APT-OPTIONS...
    package=$(package_of "$@")
    [ -n "$package" ] && apt-get "$@" -q download "$package" >log 2>&1
}

# The machine's own package lists may be missing or too old; then lists of our own.
if ! download; then
    mkdir -p lists/partial archives/partial
    set -- -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o "Dir::Cache::Archives=$work/archives" -o APT::Sandbox::User=
    apt-get "$@" -q update >log 2>&1 || true
    if ! download "$@"; then
        echo "kernel.sh: Debian's kernel (linux-image-cloud-amd64) can't be downloaded; is the network there?" >&2
        cat log >&2
        exit 1
    fi
fi
dpkg -x linux-image-*.deb kernel
touch kernel/ready
version=$(basename kernel/boot/vmlinuz-*)
to=$cache/kernel-${version#vmlinuz-}
mv -T kernel "$to" 2>/dev/null || [ -e "$to/ready" ]
echo "$to"
