/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile: a back-end that serves its disk and meanwhile looks, by every means that it has, for canaries in memory which is
 * none of its business. It knows the canaries only inverted, so that its own memory never matches.
 */
#ifndef VIADUCT_TESTS_HOSTILE_H
#define VIADUCT_TESTS_HOSTILE_H

#include <viaduct/vhost.h>

#define CANARY 32u
#define FILES_MAX 64u

enum mean {
    MEAN_REGIONS,   /* what it was given: all of it, free slots and old content too */
    MEAN_FILES,     /* the whole file behind each descriptor, not the announced part alone */
    MEAN_REMAP,     /* mappings grown and moved over the file without a descriptor */
    MEAN_BEYOND,    /* behind the end of the files */
    MEAN_ADDRESSES, /* device addresses outside of the regions */
    MEAN_PROC_MEM,  /* /proc/PID/mem of the peer and of whoever looks like its kin */
    MEAN_VM_READV,  /* process_vm_readv */
    MEAN_PROC_FD,   /* /proc/PID/fd/N */
    MEAN_PIDFD,     /* pidfd_getfd */
    MEAN_PTRACE,
    MEAN_SCRIBBLE, /* bytes around a buffer overwritten */
    MEAN_SHORT,    /* a whole buffer written, and nothing of it reported */
    MEANS,
};

struct trial {
    uint64_t tried, worked; /* worked: it got something, whatever that was */
    uint64_t bytes;         /* scanned */
    bool found[2];          /* a canary: the driver's own, the other device's */
};

struct stolen { /* a memory file that it got a descriptor of */
    int fd;
    dev_t dev;
    ino_t ino;
};

struct hostile {
    const char *canary_path;
    bool armed;      /* the canaries are known */
    bool overwrites; /* the driver's, where it finds them */
    uint8_t inverted[2][CANARY];
    struct trial trial[MEANS];
    struct stolen file[FILES_MAX];
    unsigned files;
    uint64_t cursor; /* where the next slice of the regions' scan begins */
};

extern struct hostile hostile;

bool hostile_arm(void); /* read the canaries; false: not there (yet) */
void hostile_scan(enum mean, const void *mem, size_t len);

/* hostile_memory.c */
void hostile_keep(int fd); /* a descriptor came by: keep a copy if memory is behind it */
void hostile_slice(const struct via_memmap *, size_t len);
void hostile_memory(const struct via_server *); /* everything that memory and descriptors give */

/* hostile_peer.c: other processes; sock is the connection to the peer */
void hostile_peers(int sock, const struct via_memmap *);

/* hostile_lies.c: a device that answers wrongly, around the right one */
struct liar {
    struct via_device device;
    struct via_device *honest;
    struct via_server *server;
    const char *lie; /* NULL: only small reads are lied about, and only to plant bytes */
    unsigned after;  /* requests that are answered rightly first */
    unsigned served, shorts;
    uint16_t last; /* head of the request before */
};
bool liar_knows(const char *lie);
void liar_init(struct liar *, struct via_device *honest, struct via_server *, const char *what, unsigned after);

#endif
