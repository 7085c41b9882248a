#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The example is a disk, and ends with its front-end. usage: example.sh RAM_DISK VIADUCT
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo 'TAP version 14'
echo '1..3'
ram_disk=$1 viaduct=$2

disk() { # its one front-end's command; "$folder/socket" is where it is
    "$ram_disk" "$folder/socket" &
    status=0
    timeout 60 "$viaduct" drive "$@" >"$folder/said" 2>&1 || status=$?
    wait $! || status=$?
    return $status
}
point() { # number, name, whether it went well
    if [ "$3" = 0 ]; then echo "ok $1 - $2"; else
        sed 's/^/# /' "$folder/said"
        echo "not ok $1 - $2"
    fi
}
head -c 67108864 /dev/zero >"$folder/zeroes"
cp "$folder/zeroes" "$folder/other"
printf x | dd of="$folder/other" bs=1 seek=50000000 conv=notrunc 2>/dev/null

went=0
disk --dma=bounce "$folder/socket" verify "$folder/zeroes" || went=$?
point 1 'a new disk holds zeroes' $went
went=1
disk --dma=bounce "$folder/socket" verify "$folder/other" || went=0
point 2 'and nothing else' $went
went=0
disk --dma=direct --queues=2 --mix=randrw --verify --seconds=2 "$folder/socket" load || went=$?
point 3 'what is written comes back, on two queues' $went
