/* SPDX-License-Identifier: BSD-2-Clause */
/* image: a disk image or block device, opened and judged. */
#ifndef VIADUCT_HOST_IMAGE_H
#define VIADUCT_HOST_IMAGE_H

#include <viaduct/host.h>

struct via_image {
    int fd;
    uint64_t capacity; /* bytes */
    uint32_t blk_size;
    uint32_t grain;     /* what the place punches and zeroes: multiples of this many bytes */
    uint32_t mem_align; /* direct: what buffers' addresses have to be multiples of; 0: not direct */
    uint32_t align;     /* direct: likewise offsets and lengths; what is not goes by cached_fd */
    int cached_fd;      /* -1: direct, and no request is so small; or not direct at all */
    bool in_memory;     /* its data lie in memory anyway: tmpfs and the like */
    bool read_only;
    char id[VIA_BLK_ID_BYTES];
};

VIA_MUST_USE int via_image_open(struct via_image *, const struct via_file_cfg *, struct via_err *err);
void via_image_close(struct via_image *);

#endif
