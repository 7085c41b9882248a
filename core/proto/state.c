/* SPDX-License-Identifier: BSD-2-Clause */
/* A device's state as bytes: the form, its sum, and what a state may say. */
#include <string.h>

#include <viaduct/state.h>

#define MAGIC UINT64_C(0x1a74637564616976) /* "viaduct", and a byte that is in no text */

struct head {
    via_le64 magic;
    via_le32 version;
    via_le32 len; /* of all, this included */
    via_le32 sum; /* CRC-32C of all, with 0 here */
    via_le32 device;
    via_le64 offered;
    via_le64 features;
    via_le16 queues;
    via_le16 config_len;
    uint8_t status;
    uint8_t reserved[11];
};
_Static_assert(sizeof(struct head) == 56, "a state's head");

#define ENABLED 1u
struct queue {
    via_le16 num, flags, avail_idx, used_idx;
    via_le64 desc, avail, used;
};
_Static_assert(sizeof(struct queue) == 32, "a state's queue");

#define STATUS_KNOWN                                                                                                                       \
    (VIA_STATUS_ACKNOWLEDGE | VIA_STATUS_DRIVER | VIA_STATUS_DRIVER_OK | VIA_STATUS_FEATURES_OK | VIA_STATUS_NEEDS_RESET |                 \
     VIA_STATUS_FAILED)

static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t len)
{
    for (; len; len--) {
        sum ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
    }
    return sum;
}

static uint32_t sum_of(const struct head *h, const uint8_t *rest, size_t len)
{
    struct head zero = *h;
    zero.sum = via_le32_make(0);
    return ~sum_add(sum_add(UINT32_MAX, (const uint8_t *)&zero, sizeof(zero)), rest, len);
}

/* ------------------------------------------------------------------ what a state may say */

static int refuse(struct via_fault *why, const char *what, uint64_t got, uint64_t limit)
{
    return via_fault_set(why, -VIA_EINVAL, what, got, limit);
}

static int judge_area(uint64_t at, uint64_t align, uint64_t len, struct via_fault *why)
{
    if (at % align)
        return refuse(why, "a saved queue's area is misaligned", at, align);
    return len - 1 <= UINT64_MAX - at ? 0 : refuse(why, "a saved queue's area ends beyond all addresses", at, len);
}

static int judge_queue(const struct via_state_queue *q, struct via_fault *why)
{
    uint64_t num = q->num;
    if (!num)
        return q->enabled || q->avail_idx || q->used_idx || q->desc || q->avail || q->used
                   ? refuse(why, "a saved queue that was never set up has an index, an address or is enabled", q->avail_idx, 0)
                   : 0;
    if (!via_is_pow2(num) || num > VIA_RING_NUM_MAX)
        return refuse(why, "a saved queue's size is no power of two within the limit", num, VIA_RING_NUM_MAX);
    if (q->avail_idx != q->used_idx)
        return refuse(why, "a saved queue has requests in flight: it was not stopped before it was saved", q->avail_idx, q->used_idx);
    int r = judge_area(q->desc, 16, 16 * num, why);
    if (!r)
        r = judge_area(q->avail, 2, 6 + 2 * num, why);
    return r ? r : judge_area(q->used, 4, 6 + 8 * num, why);
}

static int judge_features(const struct via_state *s, struct via_fault *why)
{
    const uint64_t transports = VIA_BIT(VIA_F_PROTOCOL_FEATURES) | VIA_BIT(VIA_F_LOG_ALL);
    if (s->offered & transports)
        return refuse(why, "a saved device offers its guest bits that belong to the transport", s->offered, ~transports);
    if (s->features & ~s->offered)
        return refuse(why, "a saved device's driver accepted features that were not offered", s->features, s->offered);
    if (s->features & VIA_BIT(VIA_F_RING_PACKED))
        return refuse(why, "a saved device has packed rings, which this version of the form does not hold", s->features,
                      VIA_BIT(VIA_F_RING_PACKED));
    if (s->features & VIA_BIT(VIA_F_ACCESS_PLATFORM) && !(s->features & VIA_BIT(VIA_F_VERSION_1)))
        return refuse(why, "a saved device's driver accepted ACCESS_PLATFORM without VERSION_1", s->features, VIA_BIT(VIA_F_VERSION_1));
    return 0;
}

/* 2.1.2, 3.1.1: one bit after the other; a legacy driver knows no FEATURES_OK, and may use its queues before DRIVER_OK. */
static int judge_status(const struct via_state *s, struct via_fault *why)
{
    uint8_t st = s->status;
    bool modern = s->features & VIA_BIT(VIA_F_VERSION_1);
    if (st & ~STATUS_KNOWN)
        return refuse(why, "a saved device's status has bits that do not exist", st, STATUS_KNOWN);
    if ((st & (VIA_STATUS_DRIVER | VIA_STATUS_FEATURES_OK | VIA_STATUS_DRIVER_OK) && !(st & VIA_STATUS_ACKNOWLEDGE)) ||
        (st & (VIA_STATUS_FEATURES_OK | VIA_STATUS_DRIVER_OK) && !(st & VIA_STATUS_DRIVER)) ||
        (modern && st & VIA_STATUS_DRIVER_OK && !(st & VIA_STATUS_FEATURES_OK)))
        return refuse(why, "a saved device's status has a bit without those that come before it", st, STATUS_KNOWN);
    if (s->features && !(st & VIA_STATUS_DRIVER))
        return refuse(why, "a saved device has features accepted before there was a driver", s->features, st);
    return 0;
}

static int judge(const struct via_state *s, struct via_fault *why)
{
    if (s->queues > VIA_STATE_QUEUES_MAX)
        return refuse(why, "a saved device has too many queues", s->queues, VIA_STATE_QUEUES_MAX);
    if (s->config_len > VIA_STATE_CONFIG_MAX)
        return refuse(why, "a saved device has too much configuration space", s->config_len, VIA_STATE_CONFIG_MAX);
    int r = judge_features(s, why);
    if (!r)
        r = judge_status(s, why);
    for (unsigned i = 0; !r && i < s->queues; i++) {
        r = judge_queue(&s->queue[i], why);
        if (!r && s->queue[i].num && !(s->status & VIA_STATUS_DRIVER))
            r = refuse(why, "a saved device has queues set up before there was a driver", i, s->status);
    }
    return r;
}

/* ------------------------------------------------------------------ the form */

static size_t bytes_of(const struct via_state *s) { return sizeof(struct head) + s->queues * sizeof(struct queue) + s->config_len; }

int via_state_encode(const struct via_state *s, void *bytes, size_t room, struct via_fault *why)
{
    int r = judge(s, why);
    if (r)
        return r;
    size_t len = bytes_of(s);
    if (room < len)
        return via_fault_set(why, -VIA_ENOSPC, "a device's state needs more room", room, len);
    struct head h = {
        .magic = via_le64_make(MAGIC),
        .version = via_le32_make(VIA_STATE_VERSION),
        .len = via_le32_make((uint32_t)len),
        .device = via_le32_make(s->device),
        .offered = via_le64_make(s->offered),
        .features = via_le64_make(s->features),
        .queues = via_le16_make(s->queues),
        .config_len = via_le16_make(s->config_len),
        .status = s->status,
    };
    uint8_t *rest = (uint8_t *)bytes + sizeof(h), *at = rest;
    for (unsigned i = 0; i < s->queues; i++, at += sizeof(struct queue)) {
        const struct via_state_queue *q = &s->queue[i];
        const struct queue w = {
            .num = via_le16_make(q->num),
            .flags = via_le16_make(q->enabled ? ENABLED : 0),
            .avail_idx = via_le16_make(q->avail_idx),
            .used_idx = via_le16_make(q->used_idx),
            .desc = via_le64_make(q->desc),
            .avail = via_le64_make(q->avail),
            .used = via_le64_make(q->used),
        };
        memcpy(at, &w, sizeof(w));
    }
    memcpy(at, s->config, s->config_len);
    h.sum = via_le32_make(sum_of(&h, rest, len - sizeof(h)));
    memcpy(bytes, &h, sizeof(h));
    return (int)len;
}

/* What says that these bytes are a whole state of this version, as they were written. */
static int judge_head(const struct head *h, const uint8_t *rest, size_t len, struct via_fault *why)
{
    uint32_t claimed = via_le32_value(h->len), version = via_le32_value(h->version), sum = via_le32_value(h->sum);
    size_t says = sizeof(*h) + via_le16_value(h->queues) * sizeof(struct queue) + via_le16_value(h->config_len);
    if (via_le64_value(h->magic) != MAGIC)
        return refuse(why, "this is no saved state of a device: it begins with something else", via_le64_value(h->magic), MAGIC);
    if (version != VIA_STATE_VERSION)
        return via_fault_set(why, -VIA_ENOTSUP, "a saved state has another version of the form than is known here", version,
                             VIA_STATE_VERSION);
    if (claimed > len)
        return refuse(why, "a saved state is truncated: it is shorter than it says", len, claimed);
    if (claimed < len)
        return refuse(why, "a saved state is followed by more bytes", len, claimed);
    uint32_t found = sum_of(h, rest, len - sizeof(*h));
    if (found != sum)
        return refuse(why, "a saved state is damaged: its sum is another", found, sum);
    return says == len ? 0 : refuse(why, "a saved state's length does not fit its queues and configuration space", len, says);
}

static int take_queue(struct via_state_queue *q, const uint8_t *at, struct via_fault *why)
{
    struct queue w;
    memcpy(&w, at, sizeof(w));
    uint16_t flags = via_le16_value(w.flags);
    *q = (struct via_state_queue){
        .num = via_le16_value(w.num),
        .enabled = flags & ENABLED,
        .avail_idx = via_le16_value(w.avail_idx),
        .used_idx = via_le16_value(w.used_idx),
        .desc = via_le64_value(w.desc),
        .avail = via_le64_value(w.avail),
        .used = via_le64_value(w.used),
    };
    return flags & ~ENABLED ? refuse(why, "a saved queue has flags that do not exist", flags, ENABLED) : 0;
}

int via_state_decode(struct via_state *out, const void *bytes, size_t len, struct via_fault *why)
{
    struct head h;
    struct via_state s = {0};
    const uint8_t *rest = (const uint8_t *)bytes + sizeof(h);
    if (len < sizeof(h))
        return refuse(why, "a saved state is truncated: not even its head is there", len, sizeof(h));
    memcpy(&h, bytes, sizeof(h));
    int r = judge_head(&h, rest, len, why);
    if (r)
        return r;
    for (unsigned i = 0; i < sizeof(h.reserved); i++)
        if (h.reserved[i])
            return refuse(why, "a saved state has something where this version has nothing", h.reserved[i], 0);
    s.device = via_le32_value(h.device);
    s.offered = via_le64_value(h.offered);
    s.features = via_le64_value(h.features);
    s.status = h.status;
    s.queues = via_le16_value(h.queues);
    s.config_len = via_le16_value(h.config_len);
    if (s.queues > VIA_STATE_QUEUES_MAX || s.config_len > VIA_STATE_CONFIG_MAX)
        return judge(&s, why);
    for (unsigned i = 0; !r && i < s.queues; i++)
        r = take_queue(&s.queue[i], rest + i * sizeof(struct queue), why);
    memcpy(s.config, rest + s.queues * sizeof(struct queue), s.config_len);
    if (!r)
        r = judge(&s, why);
    if (!r)
        *out = s;
    return r;
}
