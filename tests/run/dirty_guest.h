/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty_guest: a guest with a disk, served by a viaduct-blk of its own, behind a guard or not. Its memory lies in four regions, two of them
 * neighbours, or scattered page by page where addresses are translated; its requests lie anywhere in it.
 */
#ifndef VIADUCT_TESTS_DIRTY_GUEST_H
#define VIADUCT_TESTS_DIRTY_GUEST_H

#include <sys/types.h>

#include <tap.h>
#include <viaduct/vhost.h>

#define GUEST_PAGE VIA_DIRTY_PAGE
#define GUEST_PAGES 512u
#define GUEST_BYTES ((size_t)GUEST_PAGES * GUEST_PAGE)
#define GUEST_QUEUES 2u
#define GUEST_NUM 64u
#define GUEST_DEPTH 12u /* requests in flight in a queue */
#define GUEST_SEGS 6u
#define GUEST_DISK (8u << 20)
#define GUEST_LOG 65536u /* bytes: more than memory needs */

struct guest_way {
    const char *name;
    bool guarded, translated, on_disk, indirect;
};

struct guest_request { /* one that is out */
    bool busy;
    uint32_t type;
    unsigned n_data; /* data segments, then the status */
    uint64_t at;     /* bytes into the disk */
    uint32_t len;
    struct via_span span[GUEST_SEGS + 1];
};

struct guest_queue {
    unsigned page; /* its first one; two more pages have the used ring, across their border */
    struct via_vq vq;
    struct via_vq_slot slot[GUEST_NUM];
    uint16_t base;
    int kick, call;
    struct guest_request request[GUEST_DEPTH];
};

struct guest {
    const struct guest_way *way;
    struct via_memory memory, log;
    uint8_t *view;              /* pages in the order of the device's addresses */
    unsigned at[GUEST_PAGES];   /* page of memory of a page of the view */
    uint64_t addr[GUEST_PAGES]; /* the device's address of a page of the view */
    struct via_client client;
    struct guest_queue queue[GUEST_QUEUES];
    char dir[64], image[96], back[96], front[96];
    pid_t blk, guard;
    uint8_t *disk;                   /* what the first half holds, for good */
    uint8_t busy[GUEST_BYTES / 256]; /* cells of data memory */
    bool wrote[GUEST_PAGES];         /* pages of memory that the guest itself has written */
    bool may[GUEST_PAGES];           /* pages of memory that the device may write */
    unsigned seed;
    unsigned reads, writes, failures; /* that ended */
};

bool guest_open(struct guest *, const struct guest_way *);
void guest_close(struct guest *);
bool guest_start(struct guest *, bool log); /* all queues; with log, used rings are logged */
bool guest_stop(struct guest *);            /* when nothing is in flight */
/* Make requests up to the depth; the device sees them by guest_publish. */
bool guest_fill(struct guest *);
void guest_publish(struct guest *);
/* What has ended, judged; false: it is wrong. */
bool guest_reap(struct guest *);
/* Until nothing is in flight, 20 s at most. */
bool guest_drain(struct guest *);
/* Where a page of memory is guest-physical, in pages. */
uint64_t guest_physical(unsigned page);
/* A page of memory that holds descriptors, tables or the available ring: the guest's alone to write. */
bool guest_owns(const struct guest *, unsigned page);

#endif
