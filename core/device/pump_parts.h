/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the pump share. */
#ifndef VIA_DEVICE_PUMP_PARTS_H
#define VIA_DEVICE_PUMP_PARTS_H

#include <viaduct/device.h>

enum via_req_state {
    VIA_REQ_FREE,
    VIA_REQ_NEW,     /* popped, on its way to the device */
    VIA_REQ_WAITING, /* for translations; in the list of these */
    VIA_REQ_PARKED,  /* the device said: not now */
    VIA_REQ_TAKEN,   /* the device has it */
    VIA_REQ_STALLED, /* so it has, and it waits for translations: in the list */
    VIA_REQ_DONE,    /* completed, the ring is away: in the list of these */
};

/* What became of a request. Failures are the queue's: it is broken, and the request is gone. */
enum via_req_fate { VIA_FATE_STOP = 0, VIA_FATE_TAKEN = 1, VIA_FATE_WAITS = 2 };

/* request.c */
void via_req_release(struct via_req *);
/* Break the queue over a request: it is in flight no longer, and the driver never sees it used. -VIA_EPROTO. */
int via_req_break(struct via_req *, const char *what, uint64_t got, uint64_t limit);
/* Segments to spans. 0, or as via_xlate_map. */
VIA_MUST_USE int via_req_translate(struct via_req *);

/* wait.c */
/* It lacks a translation of out readable and in writable segments: it waits, or is refused. */
VIA_MUST_USE int via_req_lacks(struct via_req *, const struct via_seg *, unsigned out, unsigned in);
/* It may not have its memory: the device answers it with an error, or the queue breaks. */
VIA_MUST_USE int via_req_refuse(struct via_req *, const char *what, uint64_t got, uint64_t limit);
/* It was refused its memory, and waits for the end of it alone: whether the device can answer it now. */
VIA_MUST_USE int via_req_farewell(struct via_req *);
void via_req_unlink(struct via_req *); /* out of the list of those that wait */
/* What the device holds has waited to be translated anew; it is in no list. */
void via_req_resume(struct via_req *);

#endif
