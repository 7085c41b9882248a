/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host: what Linux gives. Results are negative errno values (VIA_E* are the same numbers); functions that
 * people will see fail take a via_err and fill it with a sentence: what was wrong, with which name, and what to do.
 */
#ifndef VIADUCT_HOST_H
#define VIADUCT_HOST_H

#include <sys/types.h>

#include <viaduct/base.h>
#include <viaduct/device.h>
#include <viaduct/proto.h>

struct via_err {
    char text[320];
};
/* Write a sentence; returns `result`, so that `return via_err_set(err, -VIA_EINVAL, "...", ...)` reads well. err may be NULL. */
int via_err_set(struct via_err *err, int result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A core fault as a sentence: "what (got 0x.., limit 0x..)". */
int via_err_fault(struct via_err *err, int result, const char *who, const struct via_fault *fault);

/* ------------------------------------------------------------------ Unix sockets that carry vhost-user messages */

/*
 * Listen at path (at most 107 bytes). A socket file that nobody listens on any more is replaced; one that somebody does is -EADDRINUSE.
 * Returns a non-blocking, close-on-exec descriptor.
 */
VIA_MUST_USE int via_sock_listen(const char *path, struct via_err *err);
VIA_MUST_USE int via_sock_connect(const char *path, int timeout_ms, struct via_err *err); /* waits for a listener to appear */
VIA_MUST_USE int via_sock_accept(int listener, struct via_err *err);

/* Receives from a non-blocking socket, a piece at a time. */
struct via_sock_rx {
    unsigned have; /* bytes of the message in hand */
    uint8_t hdr[VIA_VU_HDR];
    struct via_vu_msg msg;
};
void via_sock_rx_init(struct via_sock_rx *);
void via_sock_rx_close(struct via_sock_rx *); /* closes descriptors of an unfinished message */
/*
 * 1: rx->msg is whole and its descriptors are the caller's (close-on-exec). 0: not yet. -VIA_ENODEV: the peer closed in order. -VIA_EPROTO:
 * more than 8 descriptors, truncated control data, a bad header, or a close in the middle of a message. Nothing leaks.
 */
VIA_MUST_USE int via_sock_recv(int fd, struct via_sock_rx *rx, struct via_err *err);
/* Waits at most timeout_ms for a whole message: -VIA_ETIMEDOUT. */
VIA_MUST_USE int via_sock_recv_wait(int fd, struct via_sock_rx *rx, int timeout_ms, struct via_err *err);
/* Sends a whole message; descriptors stay the caller's. Waits at most timeout_ms for room. Never raises SIGPIPE. */
VIA_MUST_USE int via_sock_send(int fd, const struct via_vu_msg *m, int timeout_ms, struct via_err *err);
void via_vu_close_fds(struct via_vu_msg *m); /* those not -1 */

/* ------------------------------------------------------------------ memory */

/* Memory of our own, behind a memfd (sealed against shrinking): shared with whom the descriptor is given to, private else. */
struct via_memory {
    int fd;
    uint8_t *ptr;
    size_t len;
};
VIA_MUST_USE int via_memory_create(struct via_memory *, const char *name, size_t len, struct via_err *err);
void via_memory_destroy(struct via_memory *);

/*
 * A peer's region: map len bytes from offset of its descriptor (offset need not be page-aligned). Refused: neither memory (memfd, tmpfs,
 * hugetlbfs) nor a file on a disk, beyond the file's end, not writable. A peer that shrinks the file later does not kill us: the pages turn
 * into zeroes of our own and `dead` is set.
 */
struct via_mapped {
    uint8_t *ptr; /* the byte at offset */
    size_t len;
    void *map; /* what to unmap */
    size_t map_len;
    size_t page; /* bytes in a page of it (hugetlbfs: large) */
    _Atomic bool dead;
    struct via_mapped *next; /* the SIGBUS handler's list: an open object must not move */
};
VIA_MUST_USE int via_mapped_open(struct via_mapped *, int fd, uint64_t offset, uint64_t len, struct via_err *err);
/*
 * One mapping of n pieces of open ones, in their order: a second one of the same memory. All but the last have to end, all but the first to
 * begin, with a page. A piece's own mapping may be closed first.
 */
VIA_MUST_USE int via_mapped_join(struct via_mapped *, const struct via_span *piece, unsigned n, struct via_err *err);
void via_mapped_close(struct via_mapped *);

/* ------------------------------------------------------------------ event loop: one thread's */

struct via_watch {
    int fd;
    void (*ready)(struct via_watch *, uint32_t events); /* EPOLLIN ... */
};
struct via_poller {                    /* asked for work before the loop sleeps, and while it polls */
    bool (*poll)(struct via_poller *); /* true: did something */
    bool (*arm)(struct via_poller *);  /* about to sleep: ask to be notified; true: there is work after all */
    struct via_poller *next;
};
#define VIA_LOOP_DUE 64u
struct via_loop {
    int epoll;
    bool stop;
    bool stirred; /* set it where something came up, even inside a poller, that who calls via_loop_once is to look at before it sleeps */
    struct via_poller *pollers;
    uint32_t poll_max_ns, poll_ns; /* adaptive polling: how long at most, and now; 0: never */
    uint64_t sleeps, polls, poll_hits;
    unsigned busy;                       /* rounds in a row that pollers found work in */
    struct via_poller *cursor;           /* the next to ask */
    struct via_watch *due[VIA_LOOP_DUE]; /* reported, not called yet; NULL: removed meanwhile */
};
VIA_MUST_USE int via_loop_init(struct via_loop *, uint32_t poll_max_ns, struct via_err *err);
void via_loop_close(struct via_loop *);
VIA_MUST_USE int via_loop_add(struct via_loop *, struct via_watch *, uint32_t events);
/* Before its fd is closed (the peer holds a copy that would keep epoll going). Safe inside a callback, its own included: no stale call
 * follows. */
void via_loop_remove(struct via_loop *, struct via_watch *);
void via_loop_add_poller(struct via_loop *, struct via_poller *);
void via_loop_remove_poller(struct via_loop *, struct via_poller *);
/* One round: poll, perhaps sleep up to timeout_ms (-1: for ever), call what is ready. */
VIA_MUST_USE int via_loop_once(struct via_loop *, int timeout_ms);
/* Rounds until loop->stop. */
VIA_MUST_USE int via_loop_run(struct via_loop *);

int via_event_create(void);    /* an eventfd, non-blocking, close-on-exec */
void via_event_signal(int fd); /* never blocks; a peer's descriptor may be anything */
void via_event_clear(int fd);

/* ------------------------------------------------------------------ files as block stores */

struct via_file_cfg {
    const char *path;
    bool read_only;
    bool direct;       /* O_DIRECT; what is not aligned as the disk wants it still goes by the page cache */
    unsigned depth;    /* requests at once */
    uint32_t blk_size; /* bytes, a power of two from 512 on; 0: 512. The image's length has to be a multiple of it. */
};
/* host/file.c: io_uring; what lies in memory anyway (tmpfs) is done at once, in place. One thread opens, uses and closes a file. */
struct via_file;
VIA_MUST_USE int via_file_open(struct via_file **, const struct via_file_cfg *, struct via_err *err);
struct via_blk_store *via_file_store(struct via_file *);
/*
 * capacity, blk_size, physical_size, opt_io, discard, write_zeroes, read_only, id: what follows from the configuration and the image's
 * length alone, and is the same on any file system, disk and kernel. id: the file's name.
 */
void via_file_limits(const struct via_file *, struct via_blk_limits *);
int via_file_fd(const struct via_file *); /* becomes readable when completions are due (registered eventfd) */
/*
 * Hand queued requests to the kernel: once a batch. Reap right after it: what ended at once (cached reads) is there, and the
 * descriptor does not tell of it.
 */
void via_file_submit(struct via_file *);
bool via_file_due(const struct via_file *); /* there is something to reap: no system call, for pollers */
unsigned via_file_reap(struct via_file *);  /* call done for what ended; their number */
void via_file_close(struct via_file *);     /* nothing may be in flight */

#endif
