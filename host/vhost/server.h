/* SPDX-License-Identifier: BSD-2-Clause */
/* server: what the files of the back-end end tell each other; no part of the interface. */
#ifndef VIADUCT_HOST_VHOST_SERVER_H
#define VIADUCT_HOST_VHOST_SERVER_H

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

/* ------------------------------------------------------------------ memory */

VIA_MUST_USE int via_server_region_add(struct via_server *, const struct via_vu_region *, int fd, struct via_err *err);
VIA_MUST_USE int via_server_region_remove(struct via_server *, const struct via_vu_region *, struct via_err *err);
void via_server_memory_clear(struct via_server *);
/* The front-end shrank a file under its memory. */
bool via_server_memory_dead(const struct via_server *);

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
/* Memory was replaced: find the areas again, or wait for memory that holds them. */
void via_server_ring_moved(struct via_server_ring *);
/* Where the session goes on after a stop. */
static inline uint16_t via_server_ring_base(const struct via_server_ring *r)
{
    return r->running ? via_dq_base(&r->pump.dq) : r->server->back.ring[r->index].base;
}

#endif
