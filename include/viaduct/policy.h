/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy: which parts a device's path is made of, and why, in the room dma. A pure function from facts to a plan of switches that do not
 * depend on one another. VIRTIO_F_ACCESS_PLATFORM (virtio v1.4 6.1, bit 33) is one fact among them; it says that the platform's rules apply
 * to this device's accesses, not which they are.
 */
#ifndef VIADUCT_POLICY_H
#define VIADUCT_POLICY_H

#include <viaduct/spec.h>

enum via_protector {
    VIA_PROTECTOR_NOBODY, /* the device may read all of the guest's memory */
    VIA_PROTECTOR_HOST,   /* memory is private, and the host knows; a device of its may still not offer ACCESS_PLATFORM */
    VIA_PROTECTOR_GUEST,  /* memory is private by the guest's own choice; the host need not know */
};

enum via_order {
    VIA_ORDER_CPU,    /* the device sees memory as another processor does */
    VIA_ORDER_WEAK,   /* it needs the platform's barriers */
    VIA_ORDER_POSTED, /* its and our writes may be underway when a notification overtakes them, too */
};

enum via_override { /* the administrator's word */
                    VIA_OVERRIDE_NONE,
                    VIA_OVERRIDE_DIRECT, /* nothing may be bounced: refuse where it would have to be */
                    VIA_OVERRIDE_BOUNCE, /* always bounce */
};

enum via_means {                           /* what the platform can do: bits */
                 VIA_MEANS_POOL = 1,       /* memory for a pool, within the device's mask, which is shared or can be */
                 VIA_MEANS_OWN_POOL = 2,   /* beside VIA_MEANS_POOL: it can be one for this device alone */
                 VIA_MEANS_SHARE = 4,      /* pages can be shared */
                 VIA_MEANS_ENCRYPT = 8,    /* the address bit is known */
                 VIA_MEANS_TRANSLATE = 16, /* the IOMMU can be programmed */
                 VIA_MEANS_CACHE = 32,     /* caches can be cleaned and invalidated */
                 VIA_MEANS_BARRIERS = 64,
                 VIA_MEANS_FLUSH = 128, /* posted writes can be flushed */
};
#define VIA_MEANS_ALL 255u

struct via_facts {
    uint64_t offered, accepted; /* virtio feature bits */
    bool legacy;                /* the legacy interface (2.2.3): VERSION_1 was not accepted, nor any other bit above 31 */
    bool translated;            /* an IOMMU stands between the device and memory, and translates */
    bool restricted;            /* the device reaches only a part of memory, whatever its addresses say */
    bool encrypted;             /* an address bit tells shared from private memory */
    bool incoherent;            /* devices of this platform do not see the processors' caches */
    enum via_order order;       /* of the platform's devices; one without ORDER_PLATFORM promises VIA_ORDER_CPU */
    uint64_t mask;              /* the last address that the device can name */
    uint64_t memory_last;       /* the last physical address that buffers may have, with the address bit where there is one */
    enum via_protector protector;
    bool isolate; /* the device is not to see more than its own requests' memory: bytes, or pages where VIA_SWITCH_STRICT has to do */
    enum via_override override;
    unsigned means; /* enum via_means */
};

enum via_switch {
    VIA_SWITCH_TRANSLATE, /* addresses are the IOMMU's */
    VIA_SWITCH_BOUNCE,    /* data goes through a pool */
    VIA_SWITCH_ENCRYPT,   /* the address bit is set or cleared */
    VIA_SWITCH_SHARE,     /* rings and pool are to be shared before the device sees them */
    VIA_SWITCH_CACHE,     /* caches are cleaned before and invalidated after the device's turn */
    VIA_SWITCH_BARRIERS,  /* the ring uses the platform's barriers instead of the processors' */
    VIA_SWITCH_FLUSH,     /* posted writes are flushed before a notification */
    VIA_SWITCH_OWN_POOL,  /* the pool belongs to this device alone */
    VIA_SWITCH_STRICT,    /* a request's pages are mapped as long as it lasts; off: they may be so for longer, or for good */
    VIA_SWITCHES,
};
const char *via_switch_name(enum via_switch); /* "translate", "own pool" */

/* Why a switch is on or off, or why there is no plan. Each belongs to one switch and one position of it, or is a refusal; 0: none. */
enum via_reason {
    VIA_WHY_TRANSLATE = 1,
    VIA_WHY_NO_IOMMU,
    VIA_WHY_PHYSICAL_LEGACY, /* off, though there is an IOMMU */
    VIA_WHY_PHYSICAL_UNOFFERED,
    VIA_WHY_PHYSICAL_DECLINED,

    VIA_WHY_BOUNCE_HOST, /* the first one that holds */
    VIA_WHY_BOUNCE_GUEST,
    VIA_WHY_BOUNCE_RESTRICTED,
    VIA_WHY_BOUNCE_NARROW,
    VIA_WHY_BOUNCE_ISOLATE,
    VIA_WHY_BOUNCE_OVERRIDE,
    VIA_WHY_NO_BOUNCE,
    VIA_WHY_NO_BOUNCE_STRICT,

    VIA_WHY_ENCRYPT_SHARED,
    VIA_WHY_ENCRYPT_ALL,
    VIA_WHY_NO_ENCRYPT,

    VIA_WHY_SHARE_HOST,
    VIA_WHY_SHARE_GUEST,
    VIA_WHY_NO_SHARE,

    VIA_WHY_CACHE,
    VIA_WHY_COHERENT,
    VIA_WHY_COHERENT_PROMISED, /* no ACCESS_PLATFORM */

    VIA_WHY_BARRIERS,
    VIA_WHY_ORDER_UNOFFERED,
    VIA_WHY_ORDER_DECLINED,

    VIA_WHY_FLUSH,
    VIA_WHY_NOT_POSTED,
    VIA_WHY_NOT_POSTED_PROMISED, /* no ORDER_PLATFORM */

    VIA_WHY_OWN_POOL,
    VIA_WHY_ANY_POOL,
    VIA_WHY_NO_POOL,

    VIA_WHY_STRICT_OVERRIDE,
    VIA_WHY_STRICT_POOLLESS,
    VIA_WHY_NOT_STRICT,
    VIA_WHY_NOTHING_MAPPED,

    VIA_WHY_BAD_VALUE, /* -VIA_EINVAL from here on */
    VIA_WHY_BAD_ACCEPTED,
    VIA_WHY_BAD_LEGACY,
    VIA_WHY_BAD_MODERN,
    VIA_WHY_BAD_MASK,
    VIA_WHY_BAD_MEMORY,
    VIA_WHY_DIRECT_PROTECTED,
    VIA_WHY_DIRECT_RESTRICTED,
    VIA_WHY_DIRECT_NARROW,
    VIA_WHY_DIRECT_ISOLATE,
    VIA_WHY_UNKNOWN_BITS,    /* -VIA_ENOTSUP */
    VIA_WHY_LACKS_TRANSLATE, /* -VIA_ENODEV from here on */
    VIA_WHY_LACKS_POOL,
    VIA_WHY_LACKS_OWN_POOL,
    VIA_WHY_LACKS_SHARE,
    VIA_WHY_LACKS_ENCRYPT,
    VIA_WHY_LACKS_CACHE,
    VIA_WHY_LACKS_BARRIERS,
    VIA_WHY_LACKS_FLUSH,
    VIA_REASONS,
};
/* A sentence without full stop; of a refusal, it says what to do, too. NULL: there is no such reason. */
const char *via_reason_text(unsigned reason);

struct via_plan {
    unsigned on;               /* 1 << enum via_switch */
    uint8_t why[VIA_SWITCHES]; /* enum via_reason for each switch, on or off */
    uint8_t refused;           /* enum via_reason; 0: there is a plan */
    unsigned missing;          /* enum via_means: what would have made one, when a means was what was missing */
};

/*
 * 0: *plan holds the switches and their reasons. Otherwise no switch is on and plan->refused says why not: -VIA_EINVAL: facts that
 * contradict one another, or a mask that names no memory. -VIA_ENOTSUP: feature bits were accepted that are not known here. -VIA_ENODEV:
 * the platform lacks what the path needs; plan->missing says what. What a platform can do needn't be done: a plan has no switch on that
 * nothing asks for.
 */
VIA_MUST_USE int via_policy_decide(const struct via_facts *, struct via_plan *plan);
static inline bool via_plan_has(const struct via_plan *p, enum via_switch s) { return p->on >> s & 1; }

#endif
