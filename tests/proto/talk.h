/* SPDX-License-Identifier: BSD-2-Clause */
/* A conversation with a back-end session: messages made by hand, an owner that does what it is told, descriptors counted. */
#ifndef VIADUCT_TESTS_PROTO_TALK_H
#define VIADUCT_TESTS_PROTO_TALK_H

#include <string.h>

#include <viaduct/proto.h>

#define PF(name) VIA_BIT(VIA_VU_PF_##name)
#define ALL_PROTOCOL                                                                                                                       \
    (PF(MQ) | PF(LOG_SHMFD) | PF(REPLY_ACK) | PF(BACKEND_REQ) | PF(CONFIG) | PF(RESET_DEVICE) | PF(CONFIGURE_MEM_SLOTS) | PF(STATUS))
#define BIT30 VIA_BIT(VIA_F_PROTOCOL_FEATURES)
#define VERSION_1 VIA_BIT(VIA_F_VERSION_1)
#define EVENT_IDX VIA_BIT(VIA_F_EVENT_IDX)
#define PLATFORM VIA_BIT(VIA_F_ACCESS_PLATFORM)
#define LOG_ALL VIA_BIT(VIA_F_LOG_ALL)
#define OFFERED (VERSION_1 | EVENT_IDX | PLATFORM | LOG_ALL)
#define BROKEN (-1) /* instead of an action: the session refused the message */
#define FIRST_FD 100

struct talk {
    struct via_back b;
    const struct via_back_action *act;
    struct via_vu_msg reply;
    int result;     /* what the owner will say */
    uint64_t value; /* likewise */
    int did;        /* the last message's action, or BROKEN */
    bool replied;
    bool lost_fd; /* ever */
};

/* 2 queues of up to 256, 32 slots. */
bool talk_init(struct talk *);
/* Owner, all features, all protocol features (but `without`): a front-end of today that is ready to set rings up. */
bool talk_ready(struct talk *, uint64_t without);
/* Then ACCESS_PLATFORM on top. */
bool talk_translated(struct talk *, uint64_t without);
/* Feed one message, do its action, take the reply. The action, or BROKEN. */
int talk_feed(struct talk *, struct via_vu_msg *m);
/* An IOTLB_MSG: what via_back_iotlb says of it; the reply that is due unless that breaks the session. */
int talk_iotlb(struct talk *, struct via_vu_msg m, struct via_vu_iotlb *iotlb);
uint64_t talk_reply_u64(const struct talk *);
bool talk_fault_has(const struct via_fault *, const char *words);
/* Size, addresses, base, kick of ring i, as today's front-ends send them. */
bool talk_start_ring(struct talk *, unsigned i, unsigned base);

struct via_vu_msg msg_raw(uint32_t request, const void *payload, uint32_t size, unsigned nfd);
struct via_vu_msg msg_plain(uint32_t request);
struct via_vu_msg msg_u64(uint32_t request, uint64_t v);
struct via_vu_msg msg_state(uint32_t request, uint32_t index, uint32_t num);
struct via_vu_msg msg_addr(uint32_t index, uint32_t flags, uint64_t desc, uint64_t avail, uint64_t used);
struct via_vu_msg msg_fd(uint32_t request, uint64_t v, unsigned nfd);
struct via_vu_msg msg_table(uint32_t n, unsigned nfd, const struct via_vu_region *r);
struct via_vu_msg msg_region(uint32_t request, struct via_vu_region r, unsigned nfd);
struct via_vu_msg msg_config(uint32_t request, uint32_t offset, uint32_t len, uint32_t flags, uint32_t room);
/* IOTLB_MSG, or with VIA_VU_BACK_IOTLB_MSG the back-end's */
struct via_vu_msg msg_iotlb(uint32_t request, unsigned type, uint64_t iova, uint64_t size, uint64_t uva, unsigned perm);
struct via_vu_msg msg_ask(struct via_vu_msg m); /* with NEED_REPLY */

static inline int talk(struct talk *t, struct via_vu_msg m) { return talk_feed(t, &m); }

/* Not a byte has changed, padding included. */
static inline bool talk_untouched(const void *a, const void *b, size_t len) { return memcmp(a, b, len) == 0; }

/* A message made wrong: of another size, or with a descriptor. */
static inline struct via_vu_msg talk_sized(struct via_vu_msg m, uint32_t size)
{
    m.size = size;
    return m;
}

static inline struct via_vu_msg talk_with_fd(struct via_vu_msg m)
{
    m.nfd = 1;
    return m;
}

#endif
