/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proto: vhost-user (docs/interop/vhost-user.rst of QEMU): the messages, and both sessions as state machines that do
 * no I/O. Who owns a socket feeds received messages in, does what the session tells it to do, and sends what it gets back.
 *
 * A message's descriptors travel beside it as plain numbers. Feeding a message in hands them over to the session's
 * action; what the action does not take, the caller closes (via_vu_msg.fd, set to -1 where taken).
 */
#ifndef VIADUCT_PROTO_H
#define VIADUCT_PROTO_H

#include <viaduct/spec.h>

enum via_vu_request {
    VIA_VU_GET_FEATURES = 1,
    VIA_VU_SET_FEATURES = 2,
    VIA_VU_SET_OWNER = 3,
    VIA_VU_RESET_OWNER = 4,
    VIA_VU_SET_MEM_TABLE = 5,
    VIA_VU_SET_LOG_BASE = 6,
    VIA_VU_SET_LOG_FD = 7,
    VIA_VU_SET_VRING_NUM = 8,
    VIA_VU_SET_VRING_ADDR = 9,
    VIA_VU_SET_VRING_BASE = 10,
    VIA_VU_GET_VRING_BASE = 11,
    VIA_VU_SET_VRING_KICK = 12,
    VIA_VU_SET_VRING_CALL = 13,
    VIA_VU_SET_VRING_ERR = 14,
    VIA_VU_GET_PROTOCOL_FEATURES = 15,
    VIA_VU_SET_PROTOCOL_FEATURES = 16,
    VIA_VU_GET_QUEUE_NUM = 17,
    VIA_VU_SET_VRING_ENABLE = 18,
    VIA_VU_SET_BACKEND_REQ_FD = 21,
    VIA_VU_IOTLB_MSG = 22,
    VIA_VU_SET_VRING_ENDIAN = 23,
    VIA_VU_GET_CONFIG = 24,
    VIA_VU_SET_CONFIG = 25,
    VIA_VU_RESET_DEVICE = 34,
    VIA_VU_GET_MAX_MEM_SLOTS = 36,
    VIA_VU_ADD_MEM_REG = 37,
    VIA_VU_REM_MEM_REG = 38,
    VIA_VU_SET_STATUS = 39,
    VIA_VU_GET_STATUS = 40,
    VIA_VU_GET_SHMEM_CONFIG = 44,
};
enum via_vu_back_request { VIA_VU_BACK_IOTLB_MSG = 1, VIA_VU_BACK_CONFIG_CHANGE = 2, VIA_VU_BACK_SHMEM_MAP = 9 };
enum via_vu_iotlb_type { VIA_VU_IOTLB_MISS = 1, VIA_VU_IOTLB_UPDATE = 2, VIA_VU_IOTLB_INVALIDATE = 3, VIA_VU_IOTLB_ACCESS_FAIL = 4 };

enum via_vu_protocol_feature {
    VIA_VU_PF_MQ = 0,
    VIA_VU_PF_LOG_SHMFD = 1,
    VIA_VU_PF_REPLY_ACK = 3,
    VIA_VU_PF_BACKEND_REQ = 5,
    VIA_VU_PF_CROSS_ENDIAN = 6,
    VIA_VU_PF_CONFIG = 9,
    VIA_VU_PF_RESET_DEVICE = 13,
    VIA_VU_PF_CONFIGURE_MEM_SLOTS = 15,
    VIA_VU_PF_STATUS = 16,
    VIA_VU_PF_SHMEM = 22,
};

#define VIA_VU_VERSION 1u
#define VIA_VU_FLAG_REPLY 4u
#define VIA_VU_FLAG_NEED_REPLY 8u
#define VIA_VU_HDR 12u         /* bytes of header: request, flags, size */
#define VIA_VU_CONFIG_MAX 256u /* bytes of config space in a message */
#define VIA_VU_PAYLOAD_MAX 272u
#define VIA_VU_FDS_MAX 8u
#define VIA_VU_TABLE_REGIONS 8u /* regions in SET_MEM_TABLE */
#define VIA_VU_SLOTS_MAX 509u
#define VIA_VU_NOFD 0x100u /* in the ring-descriptor messages' u64: no descriptor comes along */

struct via_vu_msg {
    uint32_t request, flags, size; /* native; the codec swaps nothing: vhost-user is native-endian on one machine */
    alignas(8) uint8_t payload[VIA_VU_PAYLOAD_MAX];
    int fd[VIA_VU_FDS_MAX];
    unsigned nfd;
};

const char *via_vu_name(uint32_t request);      /* "SET_MEM_TABLE"; "unknown request" */
const char *via_vu_back_name(uint32_t request); /* of a back-end's own request: "BACKEND_IOTLB_MSG"; "unknown request" */

/*
 * Header first: take 12 received bytes apart. 0, or -VIA_EPROTO with *fault set (wrong version, size beyond
 * VIA_VU_PAYLOAD_MAX). The payload's m->size bytes then go into m->payload.
 */
VIA_MUST_USE int via_vu_decode_header(struct via_vu_msg *m, const uint8_t bytes[VIA_VU_HDR], struct via_fault *fault);
void via_vu_encode_header(const struct via_vu_msg *m, uint8_t bytes[VIA_VU_HDR]);

struct via_vu_region { /* as SET_MEM_TABLE and ADD_MEM_REG carry it */
    uint64_t gpa, size, uva, mmap_offset;
};

#define VIA_VU_SHMEM_REGIONS 33u /* shared memory regions that a message of ours can tell of */
#define VIA_VU_SHMEM_RW 1u       /* flags: to be written, too */

struct via_vu_shmem { /* as BACKEND_SHMEM_MAP carries it: memory of the back-end's, to be mapped in a shared memory region (virtio
                         v1.4 2.10) */
    uint8_t id, padding[7];
    uint64_t fd_offset, offset, len; /* in the file; in the region */
    uint64_t flags;
};

struct via_vu_iotlb {         /* as IOTLB_MSG and BACK_IOTLB_MSG carry it, without the padding at its end */
    uint64_t iova, size, uva; /* MISS, ACCESS_FAIL: size and uva are 0 */
    uint8_t perm;             /* enum via_perm */
    uint8_t type;             /* enum via_vu_iotlb_type */
};

/* ------------------------------------------------------------------ back-end session */

#define VIA_BACK_QUEUES_MAX 64u

struct via_back_cfg {
    uint64_t features; /* virtio feature bits offered; VIA_F_PROTOCOL_FEATURES is added by the session */
    uint64_t needs; /* of these, what a driver can't do without: SET_FEATURES fails, and FEATURES_OK doesn't stay, where one is missing */
    uint64_t protocol; /* protocol feature bits offered, of those in via_vu_protocol_feature */
    uint16_t queues;   /* at most VIA_BACK_QUEUES_MAX */
    uint16_t num_max;  /* largest queue size taken */
    uint16_t slots;    /* memory slots, at most 509 */
    uint64_t shmem;    /* bytes of shared memory region 0, the only one; 0: none. Not 0 where SHMEM is offered */
};

struct via_back_ring {
    uint16_t num; /* 0: not set yet */
    uint16_t base;
    bool has_addr, has_base, has_kick, enabled;
    bool big;                   /* SET_VRING_ENDIAN: a legacy driver's words are big-endian; with VERSION_1 no ring starts so */
    bool started;               /* the owner runs it: between VIA_BACK_RING_START and VIA_BACK_RING_STOP */
    uint64_t desc, avail, used; /* user addresses of the front-end; I/O virtual addresses with ACCESS_PLATFORM */
    bool log;                   /* what is written into the used ring is to be logged */
    uint64_t log_addr;          /* from this guest-physical address on; of no use where addresses are translated */
};

/*
 * What the socket's owner is to do with what it fed in. It answers each with exactly one via_back_done.
 *
 * Memory may be changed while rings run. The owner then lets them rest until the new memory is in place, finds their areas again by
 * their user addresses (via_back_ring), and lets those whose areas are gone wait for memory that holds them.
 */
enum via_back_do {
    VIA_BACK_NOTHING,    /* answer with done(0) */
    VIA_BACK_FEATURES,   /* `value`: accepted features, a subset of cfg.features. May have enabled rings: see ring[i].enabled */
    VIA_BACK_MEM_TABLE,  /* replace all memory by region[0..n), fd[i] each; stop using the old at done */
    VIA_BACK_MEM_ADD,    /* region[0], fd[0] */
    VIA_BACK_MEM_REMOVE, /* region[0]: gpa, size and uva name it; -VIA_ENOENT: there is none */
    /*
     * Ring `index` has size, addresses, base, kick: run it when ring[index].enabled. `value` 1: fd[0] is its kick (-1: none, poll).
     * `value` 0: the one that VIA_BACK_RING_KICK brought earlier is.
     */
    VIA_BACK_RING_START,
    VIA_BACK_RING_KICK,   /* ring `index`: fd[0] (-1: none, poll) instead of the kick before; the ring is running, or not complete yet */
    VIA_BACK_RING_ENABLE, /* ring `index`: `value` 1 or 0, only while started */
    VIA_BACK_RING_STOP,   /* drain ring `index`, close its kick: done only when nothing is in flight, its base as value */
    VIA_BACK_RING_CALL,   /* ring `index`: fd[0], -1: none */
    VIA_BACK_RING_ERR,    /* ring `index`: fd[0], -1: none */
    VIA_BACK_CONFIG_GET,  /* config offset, len: put the bytes at `config` */
    VIA_BACK_CONFIG_SET,  /* config offset, len, bytes at `config`; `value` 1: for live migration (read-only fields too), 0: the driver */
    VIA_BACK_STATUS,      /* `value`: the new device status; 0 is a reset: do as for VIA_BACK_RESET */
    /*
     * Stop all started rings as RING_STOP does, and put where each stands into ring[i].base before done: QEMU 7.2 resets first and asks
     * GET_VRING_BASE afterwards. Then as before SET_FEATURES, but for memory and the CALL and ERR descriptors (some
     * front-ends send these once in a connection's life).
     */
    VIA_BACK_RESET,
    VIA_BACK_REQ_FD, /* fd[0]: a socket for the back-end's own requests */
    /*
     * The dirty log. LOG_ALL may come and go while rings run: it is the one feature bit that may, by LOG_ALL; where other bits change, too,
     * FEATURES brings it. It may come before there is a log.
     */
    VIA_BACK_LOG_BASE, /* fd[0] is the log, region[0].size bytes of it from region[0].mmap_offset on, instead of the one before */
    VIA_BACK_LOG_FD,   /* fd[0]: an eventfd that wants to hear of marks */
    VIA_BACK_LOG_ALL,  /* `value` 1 or 0: mark what requests write */
    VIA_BACK_RING_LOG, /* ring `index`, which is running: its log or log_addr has changed */
};

struct via_back_action {
    enum via_back_do what;
    unsigned index; /* ring */
    uint64_t value;
    unsigned n; /* regions */
    struct via_vu_region region[VIA_VU_TABLE_REGIONS];
    int fd[VIA_VU_FDS_MAX]; /* taken over from the message; the owner's to keep or close */
    uint32_t offset, len;
    uint8_t *config; /* inside the session, valid until done */
};

struct via_back {
    struct via_back_cfg cfg;
    struct via_fault fault;   /* of the last message, or of what broke the session */
    bool owned, broken, busy; /* busy: an action is out, done has not come */
    bool offered;             /* GET_FEATURES was answered: the front-end knows of VIA_F_PROTOCOL_FEATURES */
    bool features_set;
    uint64_t features, protocol; /* accepted */
    uint8_t status;
    unsigned slots_used;
    struct via_back_ring ring[VIA_BACK_QUEUES_MAX];
    struct via_vu_msg msg; /* the one in hand */
    bool ack;              /* it is to be acknowledged, if it has no answer of its own */
    int preset;            /* the session's own verdict on it, which done can't better */
    struct via_fault preset_fault;
    struct via_back_action act;
};

/* -VIA_EINVAL: a limit of cfg is 0, no power of two (num_max) or too large, or a protocol feature is offered that is not known here. */
VIA_MUST_USE int via_back_init(struct via_back *, const struct via_back_cfg *);

/*
 * One message came. 0: *act tells what to do. -VIA_EPROTO: it breaks the protocol (order, size, descriptors, values); fault names it, the
 * session is broken and the connection is to be closed. A request that is merely not known gets, where it asked for one, an error
 * reply (VIA_BACK_NOTHING with a preset result), and the session lives on. Descriptors left in m->fd are the caller's to close.
 * Must not be called while an action is out.
 */
VIA_MUST_USE int via_back_feed(struct via_back *, struct via_vu_msg *m, const struct via_back_action **act);

/*
 * The action was done with `result` (0 or -VIA_E*) and, where it asks for one, `value`. True: send *reply (no descriptors). A failure is
 * told by the reply; where the front-end did not negotiate or ask for one, nothing can be told, and the session is broken: look at
 * b->broken. Nothing is to be sent either when an IOTLB_MSG broke the session while the action was out.
 */
VIA_MUST_USE bool via_back_done(struct via_back *, int result, uint64_t value, struct via_vu_msg *reply);

/*
 * IOTLB_MSG is the one request that is served while an action is out (one that waits for requests in flight, which wait for a
 * translation): it goes here, never into via_back_feed. 0: *iotlb is a sane UPDATE or INVALIDATE, its size at least 1, not wrapping, rights
 * known. (It may end with the last byte of all addresses: last = iova + (size - 1). What an INVALIDATE says of user address and rights is
 * not looked at, and 0 in *iotlb: QEMU leaves them as its stack had them.) -VIA_EINVAL: it is not (empty, wrapping, without rights or with
 * unknown ones, of a type that a front-end does not send). -VIA_ENOTSUP: ACCESS_PLATFORM was not accepted. After any of these the message
 * is answered by via_back_iotlb_reply, and the session lives on. -VIA_EPROTO: broken (size, descriptors, an answer's flag). b->fault names
 * what was wrong.
 */
VIA_MUST_USE int via_back_iotlb(struct via_back *, const struct via_vu_msg *m, struct via_vu_iotlb *iotlb);
/* The answer that each IOTLB_MSG gets, asked for or not: 0, or what went wrong. */
void via_back_iotlb_reply(const struct via_back *, int result, struct via_vu_msg *reply);

/* Messages for REQ_FD's socket. Config space changed; `what` (MISS or ACCESS_FAIL) at an address, with the rights that are needed. answer:
 * ask for one; only where REPLY_ACK was accepted. */
void via_back_config_changed(const struct via_back *, struct via_vu_msg *m);
void via_back_iotlb_event(const struct via_back *, struct via_vu_msg *m, enum via_vu_iotlb_type what, via_iova addr, unsigned perm,
                          bool answer);
/* SHMEM was accepted: map fd, of cfg.shmem bytes, as all of region 0. It asks for no answer. The descriptor stays the caller's. */
void via_back_shmem_map(const struct via_back *, struct via_vu_msg *m, int fd);
/* A message came on REQ_FD's socket: an answer to the oldest request there that asked for one. 0: *value. -VIA_EPROTO: not an answer to an
 * event of the session's; broken. Whether one is due is the owner's to know. */
VIA_MUST_USE int via_back_feed_answer(struct via_back *, const struct via_vu_msg *m, uint64_t *value);
bool via_back_big(const struct via_back *); /* some ring was said to be big-endian; all that run are, then */
static inline bool via_back_translated(const struct via_back *b) { return b->features & VIA_BIT(VIA_F_ACCESS_PLATFORM); }

/* ------------------------------------------------------------------ front-end session */

struct via_front {
    struct via_fault fault;
    uint64_t offered, features;          /* virtio features: the back-end's, the accepted ones */
    uint64_t protocol_offered, protocol; /* likewise protocol features */
    uint16_t queues_max;
    uint32_t await; /* request whose answer is due, 0: none */
    bool await_ack; /* the answer is a REPLY_ACK */
    bool broken;
    unsigned iotlb_due;                 /* IOTLB_MSGs whose answers are due */
    uint32_t await_index;               /* ring that GET_VRING_BASE asked for */
    uint32_t config_offset, config_len; /* asked for */
    uint64_t value;                     /* of the last answer */
    uint8_t config[VIA_VU_CONFIG_MAX];
    uint64_t shmem[VIA_VU_SHMEM_REGIONS]; /* bytes of each shared memory region; GET_SHMEM_CONFIG's value says how many are told of */
};

void via_front_init(struct via_front *);

/*
 * Compose a request. After each, via_front_awaits says whether an answer is due before the next may be composed.
 * The setters ask for REPLY_ACK where it was negotiated; without it they are answered by nothing (the older form), and
 * SET_MEM_TABLE etc. is followed by a GET_FEATURES round trip by whoever needs to know that it took effect.
 */

/* GET_FEATURES, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS, GET_STATUS, GET_SHMEM_CONFIG */
void via_front_get(struct via_front *, struct via_vu_msg *, enum via_vu_request what);
/* SET_FEATURES, SET_PROTOCOL_FEATURES, SET_STATUS */
void via_front_set_u64(struct via_front *, struct via_vu_msg *, enum via_vu_request what, uint64_t value);
/* SET_OWNER, RESET_OWNER, RESET_DEVICE */
void via_front_plain(struct via_front *, struct via_vu_msg *, enum via_vu_request what);
/* n at most VIA_VU_TABLE_REGIONS */
void via_front_mem_table(struct via_front *, struct via_vu_msg *, const struct via_vu_region *, const int *fd, unsigned n);
void via_front_mem_reg(struct via_front *, struct via_vu_msg *, bool add, const struct via_vu_region *, int fd); /* fd: where added */
/* SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE, GET_VRING_BASE (num 0) */
void via_front_ring_state(struct via_front *, struct via_vu_msg *, enum via_vu_request what, unsigned index, uint32_t num);
void via_front_ring_addr(struct via_front *, struct via_vu_msg *, unsigned index, uint64_t desc, uint64_t avail, uint64_t used);
/* The same, for a ring that may be running: what is written into its used ring is logged from guest-physical address `log` on. */
void via_front_ring_log(struct via_front *, struct via_vu_msg *, unsigned index, uint64_t desc, uint64_t avail, uint64_t used,
                        uint64_t log);
/* len bytes of a dirty log, from offset in fd on. What is answered says nothing. */
void via_front_log_base(struct via_front *, struct via_vu_msg *, uint64_t offset, uint64_t len, int fd);
void via_front_log_fd(struct via_front *, struct via_vu_msg *, int fd);
/* SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR; fd -1: none */
void via_front_ring_fd(struct via_front *, struct via_vu_msg *, enum via_vu_request what, unsigned index, int fd);
/* len: 1 to VIA_VU_CONFIG_MAX */
void via_front_config_get(struct via_front *, struct via_vu_msg *, uint32_t offset, uint32_t len);
void via_front_config_set(struct via_front *, struct via_vu_msg *, uint32_t offset, const uint8_t *bytes, uint32_t len);
void via_front_back_req_fd(struct via_front *, struct via_vu_msg *, int fd);

/*
 * At any time, while another answer is due, too: UPDATE or INVALIDATE, as sane as via_back_iotlb wants it, ACCESS_PLATFORM accepted. Its
 * answer is one more (iotlb_due); it is asked for in any case, since some back-ends send it only then.
 */
void via_front_iotlb(struct via_front *, struct via_vu_msg *, const struct via_vu_iotlb *);

static inline bool via_front_awaits(const struct via_front *f) { return f->await != 0; }

/*
 * An answer came: to the request that awaits one, or to the oldest IOTLB_MSG (then iotlb_due is one less than before, and f->value as it
 * was): answers to these bear no name, a back-end gives them in order. 0: f->value (f->config) holds it. -VIA_EIO: the back-end says that
 * the request failed. -VIA_EPROTO: not an answer that was due; broken. f->fault names either.
 */
VIA_MUST_USE int via_front_feed(struct via_front *, const struct via_vu_msg *m);

enum via_front_event { VIA_FRONT_UNKNOWN, VIA_FRONT_CONFIG_CHANGE, VIA_FRONT_MISS, VIA_FRONT_ACCESS_FAIL, VIA_FRONT_SHMEM_MAP };
/*
 * A message on the back-end's request channel: an enum via_front_event, -VIA_EPROTO (an answer, wrong size, descriptors; broken). MISS and
 * ACCESS_FAIL fill *iotlb, size and uva are 0 in it. UNKNOWN: another request, a type that a back-end does not send, no rights or unknown
 * ones, or ACCESS_PLATFORM was not accepted; the session lives on. Whether it is done (0) or refused (a negative VIA_E*) is told by
 * via_front_back_done: true: send *reply. A MISS is done when the UPDATE that answers it was sent (VIA_FRONT_UNKNOWN: refused whatever is
 * passed). SHMEM_MAP, where it was accepted: via_vu_shmem_get has the rest, m->fd[0] is the memory; nothing of what it says is judged yet.
 */
VIA_MUST_USE int via_front_feed_back_req(struct via_front *, const struct via_vu_msg *m, struct via_vu_iotlb *iotlb);
void via_vu_shmem_get(const struct via_vu_msg *m, struct via_vu_shmem *out);
VIA_MUST_USE bool via_front_back_done(const struct via_front *, const struct via_vu_msg *m, int result, struct via_vu_msg *reply);

#endif
