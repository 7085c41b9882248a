/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back-end session's translations: updates and invalidations in, misses out. Nothing here touches the message in hand: an action may
 * be out that waits for requests in flight, and these may wait for a translation.
 */
#include <string.h>

#include "back_parts.h"

static int refuse(struct via_back *b, int result, const char *what, uint64_t got, uint64_t limit)
{
    return via_fault_set(&b->fault, result, what, got, limit);
}

int via_back_iotlb(struct via_back *b, const struct via_vu_msg *m, struct via_vu_iotlb *iotlb)
{
    const struct via_vu_kind *kind = via_vu_kind_of(VIA_VU_IOTLB_MSG);
    VIA_ASSERT(m->request == VIA_VU_IOTLB_MSG);
    if (b->broken)
        return -VIA_EPROTO;
    b->fault = (struct via_fault){0};
    if (m->flags & VIA_VU_FLAG_REPLY)
        return via_back_break(b, "an answer came where only requests are due", m->request, 0);
    if (m->size < kind->min || m->size > kind->max)
        return via_back_break(b, kind->bad_size, m->size, m->size < kind->min ? kind->min : kind->max);
    if (m->nfd)
        return via_back_break(b, kind->bad_fds, m->nfd, 0);
    if (!via_back_translated(b))
        return refuse(b, -VIA_ENOTSUP, "IOTLB_MSG: without ACCESS_PLATFORM there are no translations", b->features,
                      VIA_BIT(VIA_F_ACCESS_PLATFORM));

    via_vu_iotlb_get(m, iotlb);
    if (iotlb->type != VIA_VU_IOTLB_UPDATE && iotlb->type != VIA_VU_IOTLB_INVALIDATE)
        return refuse(b, -VIA_EINVAL, "IOTLB_MSG: neither an update nor an invalidation", iotlb->type, VIA_VU_IOTLB_INVALIDATE);
    if (iotlb->size == 0)
        return refuse(b, -VIA_EINVAL, "IOTLB_MSG: the range is empty", iotlb->iova, 0);
    /* A range may end with the last byte of all: its end is then 2^64, which is no number here. */
    if (iotlb->size - 1 > UINT64_MAX - iotlb->iova)
        return refuse(b, -VIA_EINVAL, "IOTLB_MSG: the range wraps around the end of I/O virtual addresses", iotlb->iova, iotlb->size);
    if (iotlb->type == VIA_VU_IOTLB_INVALIDATE) {
        iotlb->uva = 0;
        iotlb->perm = 0;
        return 0;
    }
    if (iotlb->size - 1 > UINT64_MAX - iotlb->uva)
        return refuse(b, -VIA_EINVAL, "IOTLB_MSG: the range wraps around the end of user addresses", iotlb->uva, iotlb->size);
    if (!via_vu_perm_known(iotlb->perm))
        return refuse(b, -VIA_EINVAL, "IOTLB_MSG: the update gives no rights, or unknown ones", iotlb->perm, VIA_VU_PERM_ALL);
    return 0;
}

void via_back_iotlb_reply(const struct via_back *b, int result, struct via_vu_msg *reply)
{
    (void)b;
    VIA_ASSERT(result <= 0);
    via_vu_reply_u64(reply, VIA_VU_IOTLB_MSG, (uint64_t) - (int64_t)result);
}

void via_back_iotlb_event(const struct via_back *b, struct via_vu_msg *m, enum via_vu_iotlb_type what, via_iova addr, unsigned perm,
                          bool answer)
{
    VIA_ASSERT(b->protocol & VIA_BIT(VIA_VU_PF_BACKEND_REQ));
    VIA_ASSERT(what == VIA_VU_IOTLB_MISS || what == VIA_VU_IOTLB_ACCESS_FAIL);
    VIA_ASSERT(via_vu_perm_known(perm) && (!answer || (b->protocol & VIA_BIT(VIA_VU_PF_REPLY_ACK))));
    const struct via_vu_iotlb iotlb = {.iova = addr.v, .perm = (uint8_t)perm, .type = (uint8_t)what};
    (void)b;
    memset(m, 0, sizeof(*m));
    m->request = VIA_VU_BACK_IOTLB_MSG;
    m->flags = VIA_VU_VERSION | (answer ? VIA_VU_FLAG_NEED_REPLY : 0);
    via_vu_iotlb_put(m, &iotlb);
}

int via_back_feed_answer(struct via_back *b, const struct via_vu_msg *m, uint64_t *value)
{
    if (b->broken)
        return -VIA_EPROTO;
    b->fault = (struct via_fault){0};
    if (!(m->flags & VIA_VU_FLAG_REPLY))
        return via_back_break(b, "what came on the back-end's request channel is not marked as an answer", m->flags, VIA_VU_FLAG_REPLY);
    if (m->request != VIA_VU_BACK_IOTLB_MSG)
        return via_back_break(b, "an answer on the back-end's request channel is about a request that asks for none", m->request,
                              VIA_VU_BACK_IOTLB_MSG);
    if (m->size != sizeof(*value))
        return via_back_break(b, "an answer on the back-end's request channel has the wrong size", m->size, sizeof(*value));
    if (m->nfd)
        return via_back_break(b, "file descriptors came along with an answer that has none", m->nfd, 0);
    memcpy(value, m->payload, sizeof(*value));
    return 0;
}
