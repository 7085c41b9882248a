#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A small kernel with a driver for virtio-iommu, which Debian's have not, made from the source in Debian's package. Prints its
# directory, CACHE/small-kernel-SUM, in which is boot/; builds it first when it isn't there: a few minutes. usage: small_kernel.sh CACHE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$1
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
source=/usr/src/linux-source-6.1.tar.xz
if [ ! -e "$source" ]; then
    echo "small_kernel.sh: $source is not there: sudo scripts/deps" >&2
    exit 1
fi
# Another source, another configuration or another recipe is another kernel.
sum=$({ cat "$here/viommu.config" "$0"; stat -L -c '%s' "$source"; } | sha256sum | cut -c 1-12)
to=$cache/small-kernel-$sum
exec 9>"$cache/small-kernel.lock"
flock 9 # whoever comes while it is built waits for it
if [ -e "$to/ready" ]; then
    echo "$to"
    exit 0
fi

work=$(mktemp -d "$cache/small.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"
mkdir source build result result/boot
make_kernel() {
    make -C source O="$work/build" -j"$(nproc)" "$@" </dev/null 9>&-
}
# Documentation, tests of user space and the sources of drivers that nobody asked for are most of the archive; the configuration
# needs their Kconfig files only.
unpack() {
    tar -xJf "$source" -C source --strip-components=1 --exclude='*/Documentation/*/*.rst' --exclude='*/tools/testing/*' \
        --exclude='*/drivers/gpu/drm/*.[ch]' --exclude='*/drivers/net/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
        --exclude='*/drivers/staging/*.[ch]' --exclude='*/sound/*.[ch]' --exclude='*/arch/*.dts*'
}
if ! { unpack && make_kernel tinyconfig && source/scripts/kconfig/merge_config.sh -m -O build build/.config "$here/viommu.config" &&
    make_kernel olddefconfig && make_kernel bzImage; } >log 2>&1; then
    echo "small_kernel.sh: the kernel can't be built:" >&2
    tail -n 30 log >&2
    exit 1
fi
cp build/arch/x86/boot/bzImage result/boot/vmlinuz-small
cp build/.config result/boot/config-small
touch result/ready
rm -rf "$cache"/small-kernel-[0-9a-f]*
mv -T result "$to" 2>/dev/null || [ -e "$to/ready" ]
echo "$to"
