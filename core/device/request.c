/* SPDX-License-Identifier: BSD-2-Clause */
/* One request of the pump's: given back, broken, translated. */
#include "pump_parts.h"

void via_req_release(struct via_req *r)
{
    r->state = VIA_REQ_FREE;
    r->next = r->pump->free;
    r->pump->free = r;
}

int via_req_break(struct via_req *r, const char *what, uint64_t got, uint64_t limit)
{
    struct via_pump *p = r->pump;
    via_dq_refuse(&p->dq, what, got, limit);
    via_req_release(r);
    return via_fault_set(&p->fault, -VIA_EPROTO, what, got, limit);
}

int via_req_translate(struct via_req *r)
{
    struct via_pump *p = r->pump;
    const struct via_chain *c = &r->chain;
    int out = via_xlate_map(p->xlate, c->seg, c->n_out, VIA_PERM_R, r->span, p->span_cap);
    if (out < 0)
        return out;
    int in = via_xlate_map(p->xlate, c->seg + c->n_out, c->n_in, VIA_PERM_W, r->span + out, p->span_cap - (unsigned)out);
    if (in < 0)
        return in;
    r->n_out = (uint16_t)out;
    r->n_in = (uint16_t)in;
    r->stale = false;
    return 0;
}
