/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what its parts share. Facts are read once; path, plan and findings follow from them; text and JSON only show. */
#ifndef VIADUCT_CLI_EXPLAIN_PARTS_H
#define VIADUCT_CLI_EXPLAIN_PARTS_H

#include <viaduct/policy.h>

#include "explain_sys.h"

#define VIA_WORD 128
#define VIA_DEVICES 256
#define VIA_POOLS 16
#define VIA_SLOT 2048u /* bytes of a slot of Linux's pool */

enum via_tell { VIA_TELL_UNKNOWN, VIA_TELL_NO, VIA_TELL_YES };

struct via_count {
    bool known;
    uint64_t n;
};

struct via_pool_facts { /* Linux's swiotlb: the default pool first, then those of single devices */
    char name[VIA_WORD];
    struct via_count slots, used, high_water;
};

struct via_machine {
    char release[VIA_WORD], arch[VIA_WORD];
    unsigned version; /* major * 1000 + minor; 0: unknown */
    char words[4097]; /* those of the kernel's command line that matter */
    char cpu[VIA_WORD], flags[VIA_WORD];
    enum via_tell guest; /* whether it is a virtual machine */
    bool xen;
    enum via_tell protected;
    char protection[VIA_WORD]; /* by what: "SEV-SNP" */
    char protection_why[2 * VIA_WORD];
    bool refuses; /* this kernel takes no device without ACCESS_PLATFORM here */
    bool forced, disabled;
    bool was_full; /* the kernel said that a pool was */
    struct via_pool_facts pool[VIA_POOLS];
    unsigned pools;
    struct via_count ram; /* the last physical address that is memory */
    char iommus[2 * VIA_WORD];
    bool unbatched; /* the kernel said that its IOMMU allows no lazy mode */
    char log[32768];
};

enum via_mode { /* the IOMMU before a device */
                VIA_MODE_NONE,
                VIA_MODE_IDENTITY,
                VIA_MODE_LAZY,
                VIA_MODE_STRICT,
                VIA_MODE_TRANSLATED, /* one of the last two */
                VIA_MODE_BLOCKED,
                VIA_MODE_UNKNOWN,
};

enum via_bounces { VIA_BOUNCES_NEVER, VIA_BOUNCES_HIGH, VIA_BOUNCES_ALWAYS, VIA_BOUNCES_UNKNOWN };

enum via_addresses { /* what stands on the ring */
                     VIA_ADDRESSES_NONE,
                     VIA_ADDRESSES_PHYSICAL,
                     VIA_ADDRESSES_BUS, /* physical ones, by the DMA API's rules */
                     VIA_ADDRESSES_IOVA,
                     VIA_ADDRESSES_XEN,
                     VIA_ADDRESSES_UNKNOWN,
};

struct via_path {
    enum via_addresses addresses;
    enum via_bounces bounces;
    const char *name; /* in one word */
    char why[3 * VIA_WORD];
};

struct via_vdev {
    char name[VIA_WORD], driver[VIA_WORD], bus[VIA_WORD], parent[VIA_WORD];
    char dir[VIA_SYS_PATH], parent_dir[VIA_SYS_PATH]; /* parent_dir "": unknown */
    struct via_count type, status, mask;              /* mask: the last address, not bits */
    bool features_known;
    uint64_t features[2];
    char group[VIA_WORD], group_type[VIA_WORD], iommu[VIA_WORD]; /* "": none */
    enum via_mode mode;
    enum via_tell ats, ats_on; /* the device announces an IOTLB of its own; Linux turned it on */
    char own_pool[VIA_WORD];
    struct via_path path;
    bool planned;
    int decided; /* what via_policy_decide said */
    struct via_plan plan;
};

enum via_severity { VIA_SEVERITY_NOTICE, VIA_SEVERITY_WARNING, VIA_SEVERITY_CRITICAL };

struct via_finding {
    const char *id;
    enum via_severity severity;
    uint8_t device[VIA_DEVICES / 8]; /* which of the devices; none: the system */
    char what[2 * VIA_WORD], why[4 * VIA_WORD], change[4 * VIA_WORD];
};
#define VIA_FINDINGS 64 /* more than there are rules and pools */

struct via_explain {
    struct via_sys sys;
    struct via_machine machine;
    struct via_vdev *device;
    unsigned devices;
    struct via_finding finding[VIA_FINDINGS];
    unsigned findings;
};

static inline bool via_vdev_has(const struct via_vdev *d, unsigned bit) { return d->features[bit / 64] >> bit % 64 & 1; }
static inline bool via_vdev_driven(const struct via_vdev *d) { return d->driver[0] && d->features_known; }
static inline bool via_mode_translates(enum via_mode m) { return m == VIA_MODE_LAZY || m == VIA_MODE_STRICT || m == VIA_MODE_TRANSLATED; }

/* ---- explain_features.c */
#define VIA_BIT_TEXT 16
const char *via_type_name(unsigned type); /* NULL: not known */
const char *via_bit_text(unsigned type, unsigned bit, char buf[VIA_BIT_TEXT]);

/* ---- reading: explain_machine.c, _protect.c, _pool.c, _device.c, _place.c */
void via_machine_read(struct via_sys *, struct via_machine *);
bool via_machine_word(const struct via_machine *, const char *word);  /* is it on the command line? */
bool via_machine_flag(const struct via_machine *, const char *flag);  /* of the processor */
bool via_machine_said(const struct via_machine *, const char *words); /* in the kernel's log */
void via_protect_read(struct via_sys *, struct via_machine *);
void via_pool_read(struct via_sys *, struct via_machine *);
VIA_MUST_USE int via_devices_read(struct via_explain *);
void via_place_read(struct via_sys *, const struct via_machine *, struct via_vdev *);
void via_restricted_read(struct via_sys *, struct via_vdev *);

/* ---- concluding: explain_path.c, _plan.c, _findings.c */
void via_path_find(const struct via_machine *, struct via_vdev *);
void via_plan_find(const struct via_machine *, struct via_vdev *);
void via_findings_find(struct via_explain *);
const char *via_mode_name(enum via_mode);
const char *via_addresses_name(enum via_addresses);
const char *via_bounces_name(enum via_bounces);
const char *via_severity_name(enum via_severity);

/* ---- showing: explain_text.c, _json.c */
void via_explain_text(const struct via_explain *);
VIA_MUST_USE int via_explain_json(const struct via_explain *, const char *file, struct via_err *err);

#endif
