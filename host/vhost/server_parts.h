/* SPDX-License-Identifier: BSD-2-Clause */
/* server: what the files of the back-end end tell each other; no part of the interface. */
#ifndef VIADUCT_HOST_VHOST_SERVER_PARTS_H
#define VIADUCT_HOST_VHOST_SERVER_PARTS_H

#include <viaduct/vhost.h>

/* End the connection because of err. Ends at the loop's next round at the earliest: safe to call from anywhere. */
void via_server_fail(struct via_server *, const struct via_err *err);
void via_server_warn(struct via_server *, const struct via_err *what);
/* Read nothing more from the front-end. */
void via_server_pause(struct via_server *);

/* Close *fd and put the new one there. */
void via_server_fd_put(int *fd, int with);
/* Kick, call and error descriptors: only an eventfd or a pipe, which no peer can make us wait on. -1 is fine too. */
VIA_MUST_USE int via_server_fd_check(int fd, const char *what, unsigned index, struct via_err *err);

/* ------------------------------------------------------------------ translations */

/* ACCESS_PLATFORM was accepted: an empty IOTLB, where there is none yet. */
VIA_MUST_USE int via_server_iotlb_open(struct via_server *, struct via_err *err);
void via_server_iotlb_close(struct via_server *);
/* No ring runs, or all memory has changed: what is known is void. */
void via_server_iotlb_empty(struct via_server *);
/* Whatever is asked for, or is to be asked for, is refused. */
void via_server_iotlb_refuse(struct via_server *);
/* A translation that the front-end sent; all of it, or none. */
VIA_MUST_USE int via_server_iotlb_update(struct via_server *, const struct via_vu_iotlb *, struct via_err *err);

/* ------------------------------------------------------------------ questions */

/* What to call when an answer has come, and now and then while some are due. */
void via_server_ask_init(struct via_server *, void (*answer)(struct via_watch *, uint32_t), void (*tick)(struct via_watch *, uint32_t));
/* fd becomes the server's in any case. */
VIA_MUST_USE int via_server_ask_open(struct via_server *, int fd, struct via_err *err);
void via_server_ask_close(struct via_server *);
/* There is a channel for questions. */
bool via_server_ask_able(const struct via_server *);
/* Ask for the pages that are missed, as far as the channel takes it. */
void via_server_ask(struct via_server *);
/* Send something that asks for no answer. */
void via_server_ask_tell(struct via_server *, const struct via_vu_msg *);
/* Tell of an access that was refused. */
void via_server_ask_fail(struct via_server *, via_iova addr, unsigned perm);
/* True: an answer is in hand. Once all is known that the front-end sent before it, judge it. */
bool via_server_ask_take(struct via_server *);
void via_server_ask_judge(struct via_server *);
/* Time has passed. True: a question has been out for more than so long. */
bool via_server_ask_tick(struct via_server *, uint64_t limit_ms);

/* ------------------------------------------------------------------ memory */

VIA_MUST_USE int via_server_region_add(struct via_server *, const struct via_vu_region *, int fd, struct via_err *err);
VIA_MUST_USE int via_server_region_remove(struct via_server *, const struct via_vu_region *, struct via_err *err);
void via_server_memory_clear(struct via_server *);
/* The front-end shrank a file under its memory. */
bool via_server_memory_dead(const struct via_server *);

/* ------------------------------------------------------------------ the dirty log */

/* A log came, instead of the one before. Its descriptor is closed in any case. */
VIA_MUST_USE int via_server_log_base(struct via_server *, const struct via_back_action *, struct via_err *err);
VIA_MUST_USE int via_server_log_event(struct via_server *, int fd, struct via_err *err); /* fd becomes the server's */
void via_server_log_close(struct via_server *);
/* What requests write is to be marked from here on, or no more. */
VIA_MUST_USE int via_server_log_all(struct via_server *, bool on, struct via_err *err);
/* The log has room for this region, or none is needed. */
VIA_MUST_USE int via_server_log_region(const struct via_server *, uint64_t gpa, uint64_t len, struct via_err *err);
/* It has for where the used ring is logged. */
VIA_MUST_USE int via_server_log_ring(struct via_server_ring *, struct via_err *err);
VIA_MUST_USE int via_server_log_start(struct via_server_ring *, struct via_err *err);
/* Elements from used index `from` on up to what is published, and that index, were written. */
void via_server_log_used(struct via_server_ring *, uint16_t from);
/* The driver was asked for kicks, or the areas were taken up. */
void via_server_log_armed(struct via_server_ring *);
/* The front-end shrank the file under it. */
bool via_server_log_dead(const struct via_server *);

/* ------------------------------------------------------------------ memory of its own */

VIA_MUST_USE int via_server_own_open(struct via_server *, struct via_err *err);
/* There is a channel to tell the front-end by. */
VIA_MUST_USE int via_server_own_tell(struct via_server *, struct via_err *err);
/* Features were accepted, those or others: the map is what they say. */
VIA_MUST_USE int via_server_own_choose(struct via_server *, uint64_t accepted, struct via_err *err);

/* ------------------------------------------------------------------ rings */

/* Another kick descriptor instead of the one before; the ring's from here on. */
void via_server_ring_kick_put(struct via_server_ring *, int fd);
/* Wait for kicks: by the descriptor, or, without one, by polling. */
VIA_MUST_USE int via_server_ring_watch(struct via_server_ring *, struct via_err *err);
/* After a failure the connection has to end: closing it undoes what was begun. */
VIA_MUST_USE int via_server_ring_start(struct via_server_ring *, struct via_err *err);
void via_server_ring_stop(struct via_server_ring *); /* nothing may be in flight */
/* Show the driver what was completed since. */
void via_server_ring_flush(struct via_server_ring *);
/* Where the areas are, into cfg. -VIA_EAGAIN: their translations are not all known, and were asked for: cfg has NULLs. */
VIA_MUST_USE int via_server_area_find(struct via_server_ring *, struct via_dq_cfg *cfg, struct via_err *err);
void via_server_area_drop(struct via_server_ring *);
/* The front-end shrank a file under them. */
bool via_server_area_dead(const struct via_server_ring *);
/* Memory, or translations, have changed: find the areas again, or wait for what leads to them. */
void via_server_ring_moved(struct via_server_ring *);
/* Take nothing new, but let what waits go on, or fail. */
void via_server_ring_finish(struct via_server_ring *);
/* Where the session goes on after a stop. */
static inline uint16_t via_server_ring_base(const struct via_server_ring *r)
{
    return r->running ? via_dq_base(&r->pump.dq) : r->server->back.ring[r->index].base;
}

/* ------------------------------------------------------------------ the fence */

/* An IOTLB_MSG. False: read no more for now. */
bool via_server_fence_message(struct via_server *, const struct via_vu_msg *);
/* The invalidation in hand can be answered: then release does. */
bool via_server_fence_clear(struct via_server *);
void via_server_fence_release(struct via_server *);
/* Translations came or were refused: rings and requests that waited go on, and ask for what they still lack. */
void via_server_fence_settle(struct via_server *);
/* No translation will come: whatever waits for one fails. */
void via_server_fence_give_up(struct via_server *);
/* None has come for so long: the rings that wait are broken, and the same. */
void via_server_fence_overdue(struct via_server *, uint64_t limit_ms);
/* Nobody wants the answers either: so does what could not be shown yet. */
void via_server_fence_abandon(struct via_server *);

/* ------------------------------------------------------------------ actions */

/* Requests in flight have to end before the action can be done. */
bool via_server_must_wait(struct via_server *, const struct via_back_action *act);
VIA_MUST_USE int via_server_perform(struct via_server *, const struct via_back_action *act, uint64_t *value, struct via_err *err);
void via_server_rings_stop(struct via_server *); /* nothing may be in flight */

#endif
