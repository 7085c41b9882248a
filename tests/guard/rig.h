/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig: a guest, a guard and a back-end in one process, one thread each. The back-end's device answers each request by a rule that the
 * test can make hostile.
 */
#ifndef RIG_H
#define RIG_H

#include <pthread.h>

#include <guard.h>
#include <viaduct/vhost.h>

#define RIG_NUM 64u
#define RIG_QUEUES 2u
#define RIG_GUEST_BYTES (16u << 20)

enum rig_lie {
    RIG_HONEST,
    RIG_WRONG_ID,
    RIG_ID_TWICE,
    RIG_TOO_LONG, /* a used length beyond the writable bytes */
    RIG_INDEX_JUMPS,
    RIG_UNDER_WRITES, /* scribbles over all of its memory's pool part it was given, reports 3 bytes */
    RIG_DIES,         /* closes its connection with requests in flight */
    RIG_SILENT,       /* never answers, or when rig_release says so */
    RIG_LATE,         /* answers when it has several, the last one first */
};

struct rig_back { /* a back-end on a thread of its own */
    char path[64];
    _Atomic enum rig_lie lie;
    struct via_loop loop;
    struct via_watch listener, stopper;
    struct via_server server;
    struct via_device device;
    struct via_req *held[RIG_NUM]; /* what is never to be answered */
    unsigned n_held;
    struct via_poller poller; /* lets go of them when the connection ends */
    struct via_watch order;   /* from the test: release, drop */
    _Atomic bool release, drop;
    bool connected;
    pthread_t thread;
    /* what it was given */
    unsigned regions;
    uint64_t region_bytes;
    _Atomic unsigned seen;
};

struct rig_guest { /* a front-end with memory and rings of its own */
    struct via_memory memory;
    struct via_client client;
    struct via_phys_range range;
    struct via_direct direct;
    struct {
        struct via_vq vq;
        struct via_vq_slot slot[RIG_NUM];
        int kick, call;
    } ring[RIG_QUEUES];
    uint8_t *data; /* what is free of the memory behind the rings */
};

struct rig {
    char front[64];
    struct rig_back back;
    struct via_guard *guard;
    pthread_t guard_thread;
    struct rig_guest guest;
};

extern uint32_t rig_poll_ns;                                  /* how long the next guard polls; 0: not at all */
bool rig_open(struct rig *, enum rig_lie, size_t pool_bytes); /* all but the guest's connection */
void rig_close(struct rig *);
void rig_release(struct rig *); /* the back-end answers all that it has held, the last one first, and is honest from now on */
void rig_drop(struct rig *);    /* it closes its connection with all that it holds; it listens for another */
bool rig_guest_open(struct rig *);
void rig_guest_close(struct rig *);
bool rig_ring_start(struct rig_guest *, unsigned index, uint16_t base);

/* What an honest device answers: byte i of the writable part. */
uint8_t rig_answer(const uint8_t *out, size_t out_len, size_t i);

/* Put one request on a ring: one readable and one writable buffer (either may be empty). */
bool rig_submit(struct rig_guest *, unsigned index, struct via_span out, struct via_span in, void *token);
/* Wait for one answer. 1: got it. 0: nothing came within timeout_ms. Negative: the connection was closed. */
int rig_wait(struct rig_guest *, unsigned index, struct via_used_chain *used, int timeout_ms);

#endif
