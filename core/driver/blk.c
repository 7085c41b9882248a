/* SPDX-License-Identifier: BSD-2-Clause */
/* The block driver (virtio v1.4 5.2): one queue of it. */
#include <viaduct/driver.h>

/* Header, range and status go with each request's data. */
#define EXTRA_SPANS 3u

/* What the status byte holds before the device writes it: no value of 5.2.6, so a device that forgets it is found out. */
#define STATUS_UNWRITTEN 0xff

struct via_blk_slot {
    struct via_blk_slot *next; /* free list */
    void *token;
    struct via_blk_wire *wire;
    struct via_span *buf; /* data_max + EXTRA_SPANS of them */
    struct via_mapping map;
    uint32_t data_in; /* bytes of data that the device is to write */
};

size_t via_blk_driver_bytes(unsigned depth, unsigned data_max, unsigned seg_max)
{
    return depth *
           (sizeof(struct via_blk_slot) + ((size_t)data_max + EXTRA_SPANS) * sizeof(struct via_span) + seg_max * sizeof(struct via_seg));
}

static void slot_free(struct via_blk_driver *d, struct via_blk_slot *s)
{
    s->next = d->free;
    d->free = s;
}

int via_blk_driver_init(struct via_blk_driver *d, struct via_vq *vq, struct via_dma *dma, uint64_t features, unsigned depth,
                        unsigned data_max, unsigned seg_max, struct via_blk_wire *wire, void *storage)
{
    if (!depth || data_max > UINT16_MAX - EXTRA_SPANS || !seg_max || seg_max > UINT16_MAX)
        return -VIA_EINVAL;
    *d = (struct via_blk_driver){
        .vq = vq, .dma = dma, .wire = wire, .slot = storage, .depth = depth, .data_max = data_max, .features = features};
    d->read_only = features & VIA_BIT(VIA_BLK_F_RO);
    unsigned spans = data_max + EXTRA_SPANS;
    struct via_span *buf = (struct via_span *)(void *)(d->slot + depth);
    struct via_seg *seg = (struct via_seg *)(void *)(buf + (size_t)depth * spans);
    for (unsigned i = depth; i-- > 0;) {
        d->slot[i] = (struct via_blk_slot){.wire = &wire[i], .buf = buf + (size_t)i * spans};
        d->slot[i].map.seg = seg + (size_t)i * seg_max;
        d->slot[i].map.cap = (uint16_t)seg_max;
        slot_free(d, &d->slot[i]);
    }
    return 0;
}

/* ------------------------------------------------------------------ submit */

static bool accepted(const struct via_blk_driver *d, enum via_feature bit) { return d->features & VIA_BIT(bit); }

/* Is this a request that the device offers and 5.2.6.1 allows? `len`: bytes of data. */
static int judge(const struct via_blk_driver *d, const struct via_blk_cmd *c, uint64_t len)
{
    bool writes = c->type == VIA_BLK_T_OUT || c->type == VIA_BLK_T_DISCARD || c->type == VIA_BLK_T_WRITE_ZEROES;
    if (writes && d->read_only)
        return -VIA_EROFS;
    bool ok;
    switch (c->type) {
    case VIA_BLK_T_IN:
    case VIA_BLK_T_OUT:
        /* A descriptor chain totals less than 4 GiB, header and status included. */
        ok = len && len % VIA_BLK_SECTOR == 0 && len <= UINT32_MAX - sizeof(struct via_blk_wire);
        break;
    case VIA_BLK_T_GET_ID:
        ok = len == VIA_BLK_ID_BYTES;
        break;
    case VIA_BLK_T_FLUSH:
        ok = !len && accepted(d, VIA_BLK_F_FLUSH);
        break;
    case VIA_BLK_T_DISCARD:
        ok = !len && c->num_sectors && accepted(d, VIA_BLK_F_DISCARD);
        break;
    case VIA_BLK_T_WRITE_ZEROES:
        ok = !len && c->num_sectors && accepted(d, VIA_BLK_F_WRITE_ZEROES);
        break;
    default:
        ok = false;
    }
    return ok ? 0 : -VIA_EINVAL;
}

/* Lay the request out: the wire part is written, s->buf lists readable spans, then writable ones. */
static void lay_out(struct via_blk_slot *s, const struct via_blk_cmd *c, uint32_t len, unsigned *out, unsigned *in)
{
    struct via_blk_wire *w = s->wire;
    struct via_span *b = s->buf;
    bool ranged = c->type == VIA_BLK_T_DISCARD || c->type == VIA_BLK_T_WRITE_ZEROES;
    bool fetches = c->type == VIA_BLK_T_IN || c->type == VIA_BLK_T_GET_ID;
    bool addressed = c->type == VIA_BLK_T_IN || c->type == VIA_BLK_T_OUT;
    w->hdr = (struct via_blk_hdr){.type = via_le32_make(c->type), .sector = via_le64_make(addressed ? c->sector : 0)};
    w->status = STATUS_UNWRITTEN;
    *b++ = (struct via_span){&w->hdr, sizeof(w->hdr)};
    if (ranged) {
        uint32_t flags = c->type == VIA_BLK_T_WRITE_ZEROES && c->unmap ? VIA_BLK_WRITE_ZEROES_F_UNMAP : 0;
        w->range = (struct via_blk_range){via_le64_make(c->sector), via_le32_make(c->num_sectors), via_le32_make(flags)};
        *b++ = (struct via_span){&w->range, sizeof(w->range)};
    }
    for (unsigned i = 0; i < c->n; i++)
        *b++ = c->data[i];
    *b++ = (struct via_span){&w->status, 1};
    *in = 1 + (fetches ? c->n : 0);
    *out = (unsigned)(b - s->buf) - *in;
    s->data_in = fetches ? len : 0;
    s->token = c->token;
}

int via_blk_driver_submit(struct via_blk_driver *d, const struct via_blk_cmd *c)
{
    if (c->n > d->data_max)
        return -VIA_E2BIG;
    uint64_t len = 0;
    for (unsigned i = 0; i < c->n; i++)
        if (!via_add64(len, c->data[i].len, &len))
            return -VIA_EINVAL;
    int rc = judge(d, c, len);
    if (rc < 0)
        return rc;
    struct via_blk_slot *s = d->free;
    if (!s || !d->vq->free_count) /* known before anything is copied for nothing */
        return -VIA_EAGAIN;
    unsigned out, in;
    lay_out(s, c, (uint32_t)len, &out, &in);
    rc = via_dma_map(d->dma, s->buf, out, in, &s->map);
    if (rc < 0)
        return rc;
    rc = via_vq_add(d->vq, s->map.seg, s->map.n_out, s->map.n_in, s);
    if (rc < 0) {
        via_dma_unmap(d->dma, &s->map, 0);
        return rc;
    }
    d->free = s->next;
    return 0;
}

/* ------------------------------------------------------------------ reap */

/* The status byte has been fetched: what does the answer mean? */
static int judge_answer(struct via_blk_driver *d, const struct via_blk_slot *s, uint32_t written)
{
    uint8_t status;
    via_shm_read(&status, &s->wire->status, 1);
    uint64_t whole = (uint64_t)s->data_in + 1;
    switch (status) {
    case VIA_BLK_S_OK:
        if (written < whole)
            return via_fault_set(&d->fault, -VIA_EPROTO, "the device reports success, but fewer bytes written than data and status have",
                                 written, whole);
        return 0;
    case VIA_BLK_S_IOERR:
        return -VIA_EIO;
    case VIA_BLK_S_UNSUPP:
        return -VIA_ENOTSUP;
    case STATUS_UNWRITTEN:
        return via_fault_set(&d->fault, -VIA_EPROTO, "the device used a request without writing its status", written, whole);
    default:
        return via_fault_set(&d->fault, -VIA_EPROTO, "the device wrote a status that does not exist", status, VIA_BLK_S_UNSUPP);
    }
}

static void slot_end(struct via_blk_driver *d, struct via_blk_slot *s, uint32_t written, struct via_blk_done *out)
{
    via_dma_unmap(d->dma, &s->map, written);
    *out = (struct via_blk_done){.token = s->token};
    slot_free(d, s);
}

int via_blk_driver_reap(struct via_blk_driver *d, struct via_blk_done *out)
{
    struct via_used_chain used;
    int rc = via_vq_reap(d->vq, &used);
    if (rc < 0)
        return via_fault_set(&d->fault, rc, d->vq->fault.what, d->vq->fault.got, d->vq->fault.limit);
    if (rc == 0)
        return 0;
    struct via_blk_slot *s = used.token;
    if (!accepted(d, VIA_F_VERSION_1)) /* the status tells it all */
        used.written = s->data_in + 1;
    slot_end(d, s, used.written, out);
    out->result = judge_answer(d, s, used.written);
    out->written = out->result == 0 ? s->data_in : 0;
    return 1;
}

int via_blk_driver_abandon(struct via_blk_driver *d, struct via_blk_done *out)
{
    struct via_blk_slot *s = via_vq_detach(d->vq);
    if (!s)
        return 0;
    slot_end(d, s, 0, out);
    out->result = -VIA_ENODEV;
    return 1;
}
