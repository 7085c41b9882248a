/* SPDX-License-Identifier: BSD-2-Clause */
/* check: misuse of a mapping, found and named. A table of what is mapped, by the mapping's address (open addressing, linear probing). */
#include <viaduct/dma.h>

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t mix_bytes(uint64_t h, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v;
        __builtin_memcpy(&v, p, sizeof(v));
        h = mix(h, v);
    }
    for (; len; p++, len--)
        h = mix(h, *p);
    return h;
}

static uint64_t sum_of_bytes(const struct via_span *buf, unsigned out)
{
    uint64_t h = out;
    for (unsigned i = 0; i < out; i++)
        h = mix_bytes(h, buf[i].ptr, buf[i].len);
    return h;
}

/* The segments, and which bytes they stand for. */
static uint64_t sum_of_lists(const struct via_mapping *m)
{
    uint64_t h = mix(m->n_out, m->n_in);
    for (unsigned i = 0; i < (unsigned)m->n_out + m->n_in; i++)
        h = mix(mix(h, m->seg[i].addr.v), m->seg[i].len);
    for (unsigned i = 0; i < (unsigned)m->buf_out + m->buf_in; i++)
        h = mix(mix(h, (uintptr_t)m->buf[i].ptr), m->buf[i].len);
    return h;
}

static void found(struct via_check *c, enum via_misuse what, const struct via_mapping *m)
{
    c->found++;
    if (c->report)
        c->report(c, what, m);
}

static unsigned home_of(const struct via_check *c, const struct via_mapping *m) { return (unsigned)(mix(0, (uintptr_t)m) % c->n); }

/* Where m is, or where it belongs; NULL: not there, and no room. */
static struct via_check_entry *entry_of(struct via_check *c, const struct via_mapping *m)
{
    unsigned at = home_of(c, m);
    for (unsigned i = 0; i < c->n; i++, at = at + 1 == c->n ? 0 : at + 1)
        if (!c->entry[at].m || c->entry[at].m == m)
            return &c->entry[at];
    return NULL;
}

static struct via_check_entry *live_entry(struct via_check *c, const struct via_mapping *m)
{
    struct via_check_entry *e = entry_of(c, m);
    return e && e->m ? e : NULL;
}

/* Close the gap: what was probed past it moves back into it. */
static void forget(struct via_check *c, struct via_check_entry *e)
{
    unsigned gap = (unsigned)(e - c->entry), at = gap;
    for (unsigned i = 1; i < c->n; i++) {
        at = at + 1 == c->n ? 0 : at + 1;
        if (!c->entry[at].m)
            break;
        unsigned home = home_of(c, c->entry[at].m);
        if ((at + c->n - home) % c->n >= (at + c->n - gap) % c->n) {
            c->entry[gap] = c->entry[at];
            gap = at;
        }
    }
    c->entry[gap].m = NULL;
    c->live--;
}

static bool meet(const struct via_span *a, const struct via_span *b)
{
    uintptr_t p = (uintptr_t)a->ptr, q = (uintptr_t)b->ptr;
    return p <= q ? q - p < a->len : p - q < b->len;
}

/* Does a buffer that the device writes lie over another one, in [a] x [b]? Writable ones begin at a_out and b_out. */
static bool lists_meet(const struct via_span *a, unsigned a_out, unsigned a_n, const struct via_span *b, unsigned b_out, unsigned b_n)
{
    for (unsigned i = 0; i < a_n; i++)
        for (unsigned k = i < a_out ? b_out : 0; k < b_n; k++)
            if (!(a == b && i == k) && meet(&a[i], &b[k]))
                return true;
    return false;
}

static void judge_overlap(struct via_check *c, const struct via_span *buf, unsigned out, unsigned in, const struct via_mapping *m)
{
    bool bad = lists_meet(buf, out, out + in, buf, out, out + in);
    for (unsigned i = 0; i < c->n && !bad; i++) {
        const struct via_check_entry *e = &c->entry[i];
        bad = e->m && e->m != m && lists_meet(buf, out, out + in, e->buf, e->out, (unsigned)e->out + e->in);
    }
    if (bad)
        found(c, VIA_MISUSE_OVERLAP, m);
}

static void judge_written(struct via_check *c, const struct via_mapping *m, uint32_t written)
{
    if (written > via_spans_len(m->buf + m->buf_out, m->buf_in))
        found(c, VIA_MISUSE_WRITTEN, m);
}

static void judge_cpu(struct via_check *c, const struct via_check_entry *e)
{
    if (e->owner == VIA_OWNER_DEVICE && e->sum != sum_of_bytes(e->buf, e->out))
        found(c, VIA_MISUSE_CPU_WROTE, e->m);
}

static bool is_changed(const struct via_check_entry *e, const struct via_mapping *m)
{
    return m->buf != e->buf || m->buf_out != e->out || m->buf_in != e->in || e->segs != sum_of_lists(m);
}

static void note_unjudged_end(struct via_check *c)
{
    if (c->unjudged)
        c->unjudged--;
}

static int check_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_check *c = via_container_of(dma, struct via_check, dma);
    struct via_check_entry *e = c->on ? live_entry(c, m) : NULL;
    if (e) { /* its storage is used again without an unmap */
        found(c, VIA_MISUSE_LEAK, m);
        forget(c, e);
    }
    int r = via_dma_map(dma->next, buf, out, in, m);
    if (r < 0)
        return r;
    if (!c->on) {
        c->unjudged++;
        return r;
    }
    judge_overlap(c, buf, out, in, m);
    e = entry_of(c, m);
    if (!e) {
        c->unjudged++;
        found(c, VIA_MISUSE_UNTRACKED, m);
        return r;
    }
    c->live++;
    *e = (struct via_check_entry){m, buf, (uint16_t)out, (uint16_t)in, VIA_OWNER_DEVICE, sum_of_bytes(buf, out), sum_of_lists(m)};
    return r;
}

static void check_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct via_check *c = via_container_of(dma, struct via_check, dma);
    struct via_check_entry *e = c->live ? live_entry(c, m) : NULL;
    if (!c->on) {
        if (e)
            forget(c, e);
        else
            note_unjudged_end(c);
    } else if (e) {
        bool changed = is_changed(e, m);
        if (changed) {
            found(c, VIA_MISUSE_CHANGED, m);
        } else {
            judge_cpu(c, e);
            judge_written(c, m, written);
        }
        forget(c, e);
        if (changed)
            return;
    } else if (c->unjudged) {
        note_unjudged_end(c);
    } else {
        found(c, VIA_MISUSE_DOUBLE_UNMAP, m);
        return;
    }
    via_dma_unmap(dma->next, m, written);
}

static int check_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    struct via_check *c = via_container_of(dma, struct via_check, dma);
    struct via_check_entry *e = c->live ? live_entry(c, m) : NULL;
    if (!c->on) {
        if (e) { /* who owns it is no longer known */
            forget(c, e);
            c->unjudged++;
        }
        return via_dma_sync(dma->next, m, to, written);
    }
    if (!e && !c->unjudged) {
        found(c, VIA_MISUSE_DOUBLE_UNMAP, m);
        return -VIA_EINVAL;
    }
    if (e && is_changed(e, m)) {
        found(c, VIA_MISUSE_CHANGED, m);
        return -VIA_EINVAL;
    }
    if (e && (e->owner == to || (to == VIA_OWNER_DEVICE && written)))
        found(c, VIA_MISUSE_DIRECTION, m);
    if (e && to == VIA_OWNER_CPU) {
        judge_cpu(c, e);
        judge_written(c, m, written);
    }
    int r = via_dma_sync(dma->next, m, to, written);
    if (e && r >= 0) {
        e->owner = to;
        e->sum = sum_of_bytes(e->buf, e->out);
    }
    return r;
}

static const struct via_dma_ops check_ops = {"check", check_map, check_unmap, check_sync};

int via_check_init(struct via_check *c, struct via_dma *next, struct via_check_entry *entry, unsigned n,
                   void (*report)(struct via_check *, enum via_misuse, const struct via_mapping *))
{
    if (!n || !next)
        return -VIA_EINVAL;
    for (unsigned i = 0; i < n; i++)
        entry[i] = (struct via_check_entry){0};
    *c = (struct via_check){.dma = {&check_ops, next}, .on = true, .entry = entry, .n = n, .report = report};
    return 0;
}

uint64_t via_check_finish(struct via_check *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->entry[i].m) {
            found(c, VIA_MISUSE_LEAK, c->entry[i].m);
            c->entry[i].m = NULL;
        }
    c->live = 0;
    return c->found;
}

const char *via_misuse_name(enum via_misuse what)
{
    switch (what) {
    case VIA_MISUSE_LEAK:
        return "a mapping was never unmapped";
    case VIA_MISUSE_DOUBLE_UNMAP:
        return "an unmap or sync of what is not mapped: never, or no longer";
    case VIA_MISUSE_CHANGED:
        return "a mapping's segments or buffers were changed while it was mapped";
    case VIA_MISUSE_OVERLAP:
        return "a buffer that the device writes is mapped a second time";
    case VIA_MISUSE_WRITTEN:
        return "more bytes were reported written than the device was given";
    case VIA_MISUSE_CPU_WROTE:
        return "a readable buffer changed while it was the device's: a sync is missing";
    case VIA_MISUSE_DIRECTION:
        return "a sync to the side that owns the mapping already, or with bytes written to the device";
    case VIA_MISUSE_UNTRACKED:
        return "more mappings at once than the table of the check holds";
    }
    return "no such misuse";
}
