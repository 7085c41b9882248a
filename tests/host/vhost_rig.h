/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_rig: a server with a toy device on a thread of its own, and a front-end with memory and a ring to try it with. */
#ifndef VIADUCT_TESTS_VHOST_RIG_H
#define VIADUCT_TESTS_VHOST_RIG_H

#include <pthread.h>

#include <tap.h>
#include <viaduct/vhost.h>

#include "scratch.h"

#define RIG_NUM 16u /* descriptors in a ring */
#define RIG_QUEUES 2u
#define RIG_CONFIG 32u /* bytes of config space: byte i is i */
#define RIG_FEATURES (VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX))
#define RIG_PROTOCOL                                                                                                                       \
    (VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) | VIA_BIT(VIA_VU_PF_CONFIG) |                   \
     VIA_BIT(VIA_VU_PF_RESET_DEVICE) | VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS) | VIA_BIT(VIA_VU_PF_STATUS))

struct rig {
    struct via_loop loop;
    struct via_watch wake;
    struct via_server server;
    struct via_device device;
    pthread_t thread;
    _Atomic int next;    /* a connection to serve, -1 */
    _Atomic bool stop;   /* leave the thread */
    _Atomic bool tell;   /* tell of a config change */
    _Atomic bool leave;  /* end the connection in order */
    _Atomic bool hold;   /* keep requests instead of answering them */
    _Atomic bool refuse; /* have no room for requests */
    struct via_req *held[RIG_QUEUES * RIG_NUM];
    _Atomic unsigned n_held;
    _Atomic uint64_t features; /* offered beside RIG_FEATURES; to be set before a connection */
    _Atomic uint64_t own_size; /* likewise: of memory of the back-end's own, 0: none */
    _Atomic uint32_t iotlb_entries, miss_limit_ms;
    _Atomic unsigned opened, closed, warned, stopped; /* so far */
    pthread_mutex_t lock;
    struct via_err why, warning; /* the last ones, under lock */
};

bool rig_open(struct rig *);
void rig_close(struct rig *);
void rig_wake(struct rig *);   /* the device looks at hold, refuse, tell and next again */
int rig_connect(struct rig *); /* the front-end's end of a new connection */
/* Within 5 s: the connection ended, and the reason has this text in it. */
bool rig_ended(struct rig *, const char *text);
bool rig_warned(struct rig *, const char *text);
bool rig_until(const _Atomic unsigned *count, unsigned value);

struct front {
    struct via_client client;
    struct via_memory memory;
    uint64_t gpa;
    struct via_vq vq;
    struct via_vq_slot slot[RIG_NUM];
    int kick, call;
};
#define FRONT_BYTES (1u << 20)
#define FRONT_DATA (1u << 16) /* data from here on, the ring before */

bool front_open(struct front *, struct rig *, uint64_t protocol); /* up to negotiated features */
void front_close(struct front *);
struct via_vu_region front_region(const struct front *);
bool front_share(struct front *);
bool front_start(struct front *, unsigned index, int kick); /* kick -1: polled */
bool front_submit(struct front *, unsigned tag);            /* one request, kicked */
bool front_done(struct front *, unsigned n);                /* n answers come within 5 s, and are right */
bool front_nothing(struct front *);                         /* no answer comes within 50 ms */
bool front_live(struct rig *);                              /* a whole life, for: the next connection works */

/* A message made by hand. */
bool raw_send(int fd, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfd);

#endif
