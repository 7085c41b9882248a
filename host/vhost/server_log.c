/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_log: the dirty log of a front-end that moves its guest away. Buffers are marked by the pumps; here is where the log lies, when it
 * is written, and the marks for the used rings.
 *
 * A used ring is logged where SET_VRING_ADDR says; translated, it is where its translations lead to, as it is in the kernel's vhost.
 */
#include <inttypes.h>
#include <unistd.h>

#include "server_parts.h"

#define HEADER 4u  /* bytes of flags and index before a used ring's elements */
#define ELEMENT 8u /* bytes */
#define EVENT 2u   /* bytes of the event behind them */

static bool log_there(const struct via_server *s) { return s->log.dirty.log; }

/* ------------------------------------------------------------------ large enough? */

static int too_small(const struct via_server *s, uint64_t last, struct via_err *err)
{
    return via_err_set(err, -VIA_ERANGE,
                       "the front-end's dirty log of %" PRIu64 " bytes is too small: guest-physical address 0x%" PRIx64 " needs %" PRIu64
                       " (a bit for each page of %u bytes); SET_LOG_BASE has to bring a larger one first",
                       s->log.dirty.len, last, via_dirty_bytes(last), VIA_DIRTY_PAGE);
}

/* Where a used ring is logged by address: its last byte is in *last. */
static bool ring_logged_at(const struct via_server_ring *r, uint64_t *last)
{
    const struct via_back_ring *b = &r->server->back.ring[r->index];
    return b->log && b->num && !r->server->iotlb.on && via_add64(b->log_addr, via_split_used_bytes(b->num) - 1, last);
}

int via_server_log_ring(struct via_server_ring *r, struct via_err *err)
{
    const struct via_server *s = r->server;
    const struct via_back_ring *b = &s->back.ring[r->index];
    uint64_t last;
    if (!log_there(s) || !b->log || s->iotlb.on)
        return 0;
    if (!ring_logged_at(r, &last))
        return via_err_set(err, -VIA_ERANGE, "ring %u: the log address of its used ring, 0x%" PRIx64 ", wraps around", r->index,
                           b->log_addr);
    if (via_dirty_bytes(last) <= s->log.dirty.len)
        return 0;
    struct via_err why;
    int result = too_small(s, last, &why);
    return via_err_set(err, result, "ring %u, used ring: %.230s", r->index, why.text);
}

int via_server_log_region(const struct via_server *s, uint64_t gpa, uint64_t len, struct via_err *err)
{
    if (!s->log.all || !log_there(s) || via_dirty_bytes(gpa + (len - 1)) <= s->log.dirty.len)
        return 0;
    return too_small(s, gpa + (len - 1), err);
}

static int fits(struct via_server *s, struct via_err *err)
{
    int result = 0;
    if (log_there(s) && via_dirty_need(&s->map) > s->log.dirty.len) {
        const struct via_region *r = &s->map.region[s->map.n - 1];
        return too_small(s, r->gpa + (r->len - 1), err);
    }
    for (unsigned i = 0; i < s->cfg.queues && result == 0; i++)
        if (s->ring[i].running)
            result = via_server_log_ring(&s->ring[i], err);
    return result;
}

/* ------------------------------------------------------------------ used rings */

/* len bytes from `off` on of a used ring, which may lie in several pieces. */
static void mark_pieces(struct via_server_ring *r, size_t off, size_t len)
{
    struct via_dirty *d = &r->server->log.dirty;
    const struct via_server_area *a = &r->area[2];
    struct via_span whole = {(char *)r->pump.dq.cfg.used + off, len}, cut;
    if (a->n == 0 || r->pump.dq.cfg.used != a->join.ptr) {
        via_dirty_spans(d, &whole, 1);
        return;
    }
    for (unsigned i = 0; i < a->n && len; i++) {
        if (off >= a->piece[i].len) {
            off -= a->piece[i].len;
            continue;
        }
        cut = (struct via_span){(char *)a->piece[i].ptr + off, (size_t)via_min64(len, a->piece[i].len - off)};
        via_dirty_spans(d, &cut, 1);
        len -= cut.len;
        off = 0;
    }
}

static void mark_used(struct via_server_ring *r, size_t off, size_t len)
{
    struct via_server *s = r->server;
    const struct via_back_ring *b = &s->back.ring[r->index];
    if (!log_there(s) || !b->log)
        return;
    if (s->iotlb.on)
        mark_pieces(r, off, len);
    else
        via_dirty_mark(&s->log.dirty, (via_gpa){b->log_addr + off}, len);
}

void via_server_log_used(struct via_server_ring *r, uint16_t from)
{
    const struct via_dq *dq = &r->pump.dq;
    unsigned num = dq->cfg.num, first = from & (num - 1), n = (uint16_t)(dq->published - from);
    if (!log_there(r->server) || n == 0)
        return;
    unsigned straight = (unsigned)via_min64(n, num - first);
    mark_used(r, HEADER + (size_t)ELEMENT * first, (size_t)ELEMENT * straight);
    mark_used(r, HEADER, (size_t)ELEMENT * (n - straight));
    mark_used(r, 0, HEADER);
    if (r->server->log.event >= 0)
        via_event_signal(r->server->log.event);
}

void via_server_log_armed(struct via_server_ring *r)
{
    const struct via_dq_cfg *cfg = &r->pump.dq.cfg;
    if (!log_there(r->server))
        return;
    mark_used(r, 0, HEADER);
    if (cfg->event_idx)
        mark_used(r, HEADER + (size_t)ELEMENT * cfg->num, EVENT);
}

/* ------------------------------------------------------------------ on and off */

static void pumps_follow(struct via_server *s)
{
    for (unsigned i = 0; i < s->cfg.queues; i++)
        s->ring[i].pump.dirty = s->log.all && log_there(s) ? &s->log.dirty : NULL;
}

int via_server_log_start(struct via_server_ring *r, struct via_err *err)
{
    int result = via_server_log_ring(r, err);
    if (result < 0)
        return result;
    pumps_follow(r->server);
    if (!r->lost)
        via_server_log_armed(r);
    return 0;
}

int via_server_log_all(struct via_server *s, bool on, struct via_err *err)
{
    s->log.all = on;
    pumps_follow(s);
    return on ? fits(s, err) : 0;
}

/* LOG_ALL was there before the log: what was written in between is anywhere. */
static void catch_up(struct via_server *s)
{
    for (unsigned i = 0; i < s->cfg.queues; i++) {
        struct via_server_ring *r = &s->ring[i];
        if (!r->running)
            continue;
        if (s->log.all)
            via_dirty_all(&s->log.dirty);
        if (!r->lost)
            mark_used(r, 0, via_split_used_bytes(r->pump.dq.cfg.num));
    }
}

int via_server_log_base(struct via_server *s, const struct via_back_action *act, struct via_err *err)
{
    const struct via_vu_region *l = &act->region[0];
    struct via_err why = {.text = ""};
    bool late = !log_there(s);
    via_mapped_close(&s->log.mapped);
    int result = via_mapped_open(&s->log.mapped, act->fd[0], l->mmap_offset, l->size, &why);
    close(act->fd[0]);
    via_dirty_init(&s->log.dirty, &s->map, result < 0 ? NULL : s->log.mapped.ptr, l->size);
    pumps_follow(s);
    if (result < 0)
        return via_err_set(err, result, "the front-end's dirty log: %.230s", why.text);
    result = fits(s, err);
    if (result == 0 && late)
        catch_up(s);
    return result;
}

int via_server_log_event(struct via_server *s, int fd, struct via_err *err)
{
    via_server_fd_put(&s->log.event, fd);
    return via_server_fd_check(fd, "log", 0, err);
}

bool via_server_log_dead(const struct via_server *s)
{
    return log_there(s) && atomic_load_explicit(&s->log.mapped.dead, memory_order_relaxed);
}

void via_server_log_close(struct via_server *s)
{
    via_mapped_close(&s->log.mapped);
    s->log.dirty.log = NULL;
    via_server_fd_put(&s->log.event, -1);
}
