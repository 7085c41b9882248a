#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# The guest's only process. It works on /dev/vda as via.mode on the kernel's command line says and tells the host on the console,
# in lines that begin with VIADUCT: `ok STEP`, `fail STEP`, `is NAME VALUE`, and at last `done`.
/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1

say() { echo "VIADUCT $*"; }
leave() {
    trouble
    say done
    usleep 200000 # the console drains
    poweroff -f
}
step() { # NAME COMMAND...
    name=$1
    shift
    if "$@" >/tmp/out 2>&1; then
        say "ok $name"
    else
        say "fail $name"
        tail -n 5 /tmp/out
        umount /mnt 2>/dev/null
        leave
    fi
}

modules() { # a kernel that has all built in has none
    for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
        [ ! -e "/modules/$m.ko" ] || insmod "/modules/$m.ko" || return 1
    done
}
disk() {
    for _ in $(seq 100); do
        [ -b /dev/vda ] && return 0
        usleep 100000
    done
    return 1
}
raw() { # odd multiples of a sector, past the page cache
    say "is raw $(dd if=/dev/vda iflag=direct bs=66048 count=200 2>/dev/null | sha256sum | cut -d' ' -f1)"
    last=$(($(blockdev --getsz /dev/vda) - 7))
    say "is end $(dd if=/dev/vda iflag=direct bs=512 skip=$last count=7 2>/dev/null | sha256sum | cut -d' ' -f1)"
}
bounced() { # the most of the kernel's bounce pool that was in use while the disk was read
    most=0
    used=/sys/kernel/debug/swiotlb/io_tlb_used
    [ -e $used ] || used=/dev/null
    dd if=/dev/vda of=/dev/null iflag=direct bs=1M count=48 2>/dev/null &
    while kill -0 $! 2>/dev/null; do
        now=
        read -r now <$used
        [ "${now:-0}" -le "$most" ] || most=$now
    done
    echo "$most"
}
platform() { # how the disk's memory is reached, in the kernel's own words
    mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
    device=$(readlink -f /sys/block/vda/device)
    say "is modern $(cut -c 33 "$device/features")"   # VIRTIO_F_VERSION_1
    say "is platform $(cut -c 34 "$device/features")" # VIRTIO_F_ACCESS_PLATFORM
    say "is domain $(cat "$device/../iommu_group/type" 2>/dev/null)"
    say "is iommu $(ls /sys/class/iommu 2>/dev/null | tr '\n' ' ')"
    say "is bounced $(bounced)"
    dmesg | grep -i -e iommu -e dmar -e 'software IO TLB' | sed -e 's/^\[[^]]*\] *//' -e 's/^/VIADUCT is log /'
}
trouble() { # what no healthy disk makes the kernel say
    dmesg | grep -e 'DMAR:.*[Ff]ault' -e 'I/O error' -e 'EXT4-fs error' -e 'EXT4-fs warning' -e 'JBD2.*rror' -e 'swiotlb buffer is full' \
        -e 'iommu.* fault' -e 'WARNING:' -e 'BUG:' -e 'Call Trace' -e 'Oops' | sed -e 's/^\[[^]]*\] *//' -e 's/^/VIADUCT is trouble /'
}
check_tree() { # all of it, or only a part where the rest would show no more and take most of the time
    grep -e "$1" /mnt/tree.sha256 >/tmp/list && cd /mnt/tree && sha256sum -c -s /tmp/list && cd /
}
write_odd() {
    mkdir /mnt/written || return 1
    for size in 0 1 511 512 513 4095 4096 4097 65535 65537 1048577 3000001; do
        head -c $size /dev/urandom >/tmp/data
        dd if=/tmp/data of=/mnt/written/odd-$size bs=1M conv=fsync || return 1
    done
}
write_direct() {
    head -c 8388608 /dev/urandom >/tmp/data
    for size in 512 5120 65536 1048576; do
        count=$((size < 65536 ? 400 : 8))
        dd if=/tmp/data of=/mnt/written/direct-$size bs=$size count=$count oflag=direct || return 1
        dd if=/mnt/written/direct-$size bs=$size iflag=direct of=/tmp/back || return 1
        head -c $((size * count)) /tmp/data | cmp - /tmp/back || return 1
    done
    rm -f /tmp/data /tmp/back
}
write_many() { # several writers at once, and files that go again
    for job in 1 2 3 4; do
        (cp -r /mnt/tree/include "/mnt/written/copy-$job" && find "/mnt/written/copy-$job" -name '*a*.h' -exec rm -f {} +; sync) &
        jobs="$jobs $!"
    done
    for job in $jobs; do wait "$job" || return 1; done
}
list() { cd /mnt/written && find . -type f -print0 | xargs -0 sha256sum >../written.sha256 && sync && cd /; }
mount_disk() { mount -t ext4 /dev/vda /mnt; }
reread() { cd /mnt/written && sha256sum -c -s ../written.sha256 && cd /; }

verify() { # PART of the tree
    step raw-read raw
    grep '^VIADUCT' /tmp/out
    step mount mount_disk
    step tree check_tree "$1"
    step write-odd write_odd
    step write-direct write_direct
    step write-many write_many
    step list list
    step unmount umount /mnt
    step mount-again mount_disk
    step reread reread
    if [ "$(cat /sys/block/vda/queue/discard_max_bytes)" != 0 ]; then step trim fstrim /mnt; fi
    step reread-trimmed reread
    step unmount-again umount /mnt
}

flush() { # new pages behind old addresses, round after round; memory that was a buffer before keeps what it holds now
    canary=
    for round in $(seq 8); do
        head -c 2097152 /dev/urandom >/tmp/data
        sum=$(sha256sum </tmp/data)
        for size in 4096 131072; do
            dd if=/tmp/data of=/mnt/flush-$size bs=$size oflag=direct || return 1
        done
        sync
        echo 3 >/proc/sys/vm/drop_caches
        for size in 4096 131072; do
            [ "$(dd if=/mnt/flush-$size bs=$size iflag=direct | sha256sum)" = "$sum" ] || return 1
            [ "$(sha256sum </mnt/flush-$size)" = "$sum" ] || return 1
        done
        [ -z "$canary" ] || [ "$(sha256sum </tmp/canary)" = "$canary" ] || return 1
        mv /tmp/data /tmp/canary
        canary=$sum
    done
    check_tree /include/
}
explain() { # NAME: what viaduct explain says of this guest, a line of JSON at a time; and its copy of the system says the same
    rm -rf /tmp/copy
    viaduct explain --json=/tmp/live --record /tmp/copy && viaduct explain --root /tmp/copy --json=/tmp/copied || return 1
    sed '/"not_read":/,$d' /tmp/live >/tmp/a
    sed '/"not_read":/,$d' /tmp/copied | cmp /tmp/a - || return 1
    sed "s/^/VIADUCT is $1 /" /tmp/live >/dev/console
}
explain_all() {
    explain plain || return 1
    mount -t debugfs debugfs /sys/kernel/debug || return 1
    explain debug
}
now() { # in hundredths of a second
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}
timed() { # WAY DD-OPTION...: more and more, until it takes half a second or is all of the disk
    way=$1
    shift
    count=64
    whole=$(($(blockdev --getsz /dev/vda) / 2048))
    while :; do
        start=$(now)
        dd "$@" bs=1M count=$count || return 1
        took=$(($(now) - start))
        [ $took -lt 50 ] && [ $count -lt "$whole" ] || break
        count=$((count * 4 < whole ? count * 4 : whole))
    done
    say "is $way $count $took" >/dev/console
}
speed() { # one request of 1 MiB at a time, past the page cache, over a disk that holds nothing which matters
    for round in 0 1 2 3 4; do
        timed read if=/dev/vda of=/dev/null iflag=direct || return 1
        timed write if=/dev/zero of=/dev/vda oflag=direct || return 1
    done
}
load() { # reads and writes until somebody ends it
    step mount mount_disk
    mkdir -p /mnt/load
    (while dd if=/dev/vda of=/dev/null iflag=direct bs=1M 2>/dev/null; do :; done) &
    i=0
    while dd if=/dev/zero of=/mnt/load/file-$((i % 8)) bs=64k count=32 conv=fsync 2>/dev/null; do
        i=$((i + 1))
        say "is round $i"
    done
    say 'fail load'
}

step modules modules
step disk disk
say "is queues $(ls /sys/block/vda/mq | wc -l)"
say "is sectors $(blockdev --getsz /dev/vda)"
say "is serial $(cat /sys/block/vda/serial)"
case $(cat /proc/cmdline) in
*via.mode=explain*)
    step explain explain_all
    leave
    ;;
esac
platform
case $(cat /proc/cmdline) in
*via.mode=load*) load ;;
*via.mode=flush*)
    step mount mount_disk
    step flush flush
    step unmount umount /mnt
    ;;
*via.mode=speed*) step speed speed ;;
*via.mode=brief*) verify /include/ ;;
*) verify . ;;
esac
leave
