/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the back-end session share. A handler judges b->msg, a private copy, and fills b->act; descriptors are taken from
 * `m`, last, when nothing can be refused any more. 0, or via_back_break's result.
 */
#ifndef VIADUCT_PROTO_BACK_PARTS_H
#define VIADUCT_PROTO_BACK_PARTS_H

#include "message.h"

/* back_verdict.c */
/* The front-end broke the rules: the session ends here. */
int via_back_break(struct via_back *b, const char *what, uint64_t got, uint64_t limit);
/* Only this request fails. */
int via_back_refuse(struct via_back *b, int result, const char *what, uint64_t got, uint64_t limit);
void via_back_take_fds(struct via_back *b, struct via_vu_msg *m, unsigned n);

static inline uint64_t via_back_u64(const struct via_back *b)
{
    uint64_t v;
    __builtin_memcpy(&v, b->msg.payload, sizeof(v));
    return v;
}

/* back_ring.c */
int via_back_ring_num(struct via_back *b);
int via_back_ring_addr(struct via_back *b);
int via_back_ring_base(struct via_back *b);
int via_back_ring_endian(struct via_back *b);
int via_back_ring_stop(struct via_back *b);
int via_back_ring_kick(struct via_back *b, struct via_vu_msg *m);
int via_back_ring_event(struct via_back *b, struct via_vu_msg *m, enum via_back_do what);
int via_back_ring_enable(struct via_back *b);
bool via_back_running(const struct via_back *b);

/* back_memory.c */
int via_back_mem_table(struct via_back *b, struct via_vu_msg *m);
int via_back_mem_add(struct via_back *b, struct via_vu_msg *m);
int via_back_mem_remove(struct via_back *b);
int via_back_log_base(struct via_back *b, struct via_vu_msg *m);

/* back_device.c */
int via_back_features(struct via_back *b);
int via_back_protocol(struct via_back *b);
int via_back_status(struct via_back *b);
int via_back_config(struct via_back *b, enum via_back_do what);
void via_back_reset(struct via_back *b);

#endif
