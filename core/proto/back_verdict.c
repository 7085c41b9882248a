/* SPDX-License-Identifier: BSD-2-Clause */
/* What a handler of the back-end session ends with: the session breaks, the request fails, or descriptors change hands. */
#include "back_parts.h"

int via_back_break(struct via_back *b, const char *what, uint64_t got, uint64_t limit)
{
    b->broken = true;
    return via_fault_set(&b->fault, -VIA_EPROTO, what, got, limit);
}

int via_back_refuse(struct via_back *b, int result, const char *what, uint64_t got, uint64_t limit)
{
    b->preset = via_fault_set(&b->preset_fault, result, what, got, limit);
    return 0;
}

void via_back_take_fds(struct via_back *b, struct via_vu_msg *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        b->act.fd[i] = m->fd[i];
        m->fd[i] = -1;
    }
}
