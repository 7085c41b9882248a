/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state: what has to travel beside a guest's memory for its device to go on somewhere else, in the room proto: a device's transport state,
 * as bytes of a fixed form.
 *
 * The bytes carry a sum that finds what went wrong on the way; it is no seal, and whoever writes a state can make it right. So a state is
 * judged as a peer's word is: it is within bounds and doesn't contradict itself, or nothing of it is taken. What it says of the guest
 * (which addresses, what it accepted) the guest could have said itself.
 *
 * A device is saved when its queues are stopped and none of its requests is in flight. What was made available and not taken lies in the
 * guest's memory, and the next device takes it. Data that a disk has cached are not part of it: both ends have the same disk.
 */
#ifndef VIADUCT_STATE_H
#define VIADUCT_STATE_H

#include <viaduct/spec.h>

#define VIA_STATE_VERSION 1u
#define VIA_STATE_CONFIG_MAX 256u /* bytes; as in vhost-user */
#define VIA_STATE_QUEUES_MAX 64u

struct via_state_queue {
    uint16_t num; /* descriptors; 0: the driver has not set it up, and all else is 0 */
    bool enabled;
    uint16_t avail_idx;         /* next to take */
    uint16_t used_idx;          /* next to give back: the same, as nothing is in flight */
    uint64_t desc, avail, used; /* as the driver gave them: the device's addresses */
};

struct via_state {
    uint32_t device;   /* the device type's number (virtio v1.4 5) */
    uint64_t offered;  /* features as the guest saw them: transports' own bits (PROTOCOL_FEATURES, LOG_ALL) are not among them */
    uint64_t features; /* accepted */
    uint8_t status;    /* enum via_status */
    uint16_t config_len;
    uint8_t config[VIA_STATE_CONFIG_MAX]; /* configuration space as the guest sees it */
    uint16_t queues;                      /* that the device has */
    struct via_state_queue queue[VIA_STATE_QUEUES_MAX];
};

#define VIA_STATE_BYTES_MAX (56u + VIA_STATE_CONFIG_MAX + 32u * VIA_STATE_QUEUES_MAX)

/*
 * Into `room` bytes; how many it took, at most VIA_STATE_BYTES_MAX. -VIA_EINVAL: no device can be in that state, *why says what is wrong (a
 * request in flight, say). -VIA_ENOSPC: more room is needed.
 */
VIA_MUST_USE int via_state_encode(const struct via_state *, void *bytes, size_t room, struct via_fault *why);
/*
 * All of the len bytes are one state, or it is refused, *why says why and *out is as it was. -VIA_ENOTSUP: another version's. -VIA_EINVAL:
 * not a state, not whole, damaged, more than one, or of a device that can't be.
 */
VIA_MUST_USE int via_state_decode(struct via_state *out, const void *bytes, size_t len, struct via_fault *why);

/* ------------------------------------------------------------------ may it go on here? */

struct via_state_host { /* what a place offers: all but num_max are what the guest sees */
    uint32_t device;
    uint64_t offered;
    const uint8_t *config;
    uint16_t config_len, queues;
    uint16_t num_max; /* descriptors in a queue */
};

enum via_state_kind {
    VIA_STATE_DEVICE, /* another device type */
    VIA_STATE_LACKS,  /* feature bits that were offered there, not here */
    VIA_STATE_ADDS,   /* feature bits that are offered here, not there */
    VIA_STATE_QUEUES, /* the number of queues */
    VIA_STATE_SPACE,  /* the length of configuration space */
    VIA_STATE_CONFIG, /* a byte of configuration space; at: its offset */
    VIA_STATE_NUM,    /* a queue is larger than what is served here; at: its number */
};
struct via_state_difference {
    enum via_state_kind kind;
    unsigned at;
    uint64_t there, here; /* what the state has, and what this place has or takes */
};
/*
 * Everything in which this place differs from where the state was saved: the first n go into out, the number of all of them is returned. 0:
 * the guest won't see that it moved.
 */
unsigned via_state_compare(const struct via_state *, const struct via_state_host *, struct via_state_difference *out, unsigned n);
const char *via_state_kind_text(enum via_state_kind); /* what differs, without full stop */

#endif
