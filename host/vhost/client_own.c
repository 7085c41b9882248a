/* SPDX-License-Identifier: BSD-2-Clause */
/* client_own: asks for the memory that belongs to the back-end, and waits until it is there. */
#include <inttypes.h>
#include <poll.h>

#include "../clock.h"
#include "client_parts.h"

#define TIMEOUT_MS 5000

/* Until the message has come. */
static int wait_for_it(struct via_client *c, struct via_err *err)
{
    int64_t end = via_clock_ms() + (c->timeout_ms ? c->timeout_ms : TIMEOUT_MS), left;
    while (!c->region->got) {
        struct pollfd p = {.fd = c->req_fd, .events = POLLIN};
        if ((left = end - via_clock_ms()) <= 0)
            return via_err_set(err, -VIA_ETIMEDOUT, "the back-end did not bring its memory in time");
        (void)poll(&p, 1, (int)left);
        int result = via_client_back_req(c, err);
        if (result < 0)
            return result;
        if (c->req_gone)
            return via_err_set(err, -VIA_EPROTO, "the back-end closed its channel instead of bringing its memory");
    }
    return 0;
}

int via_client_region_wait(struct via_client *c, struct via_err *err)
{
    struct via_vu_msg m;
    if (!c->region || c->req_fd < 0 || !(c->front.protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end has no memory of its own to offer (it lacks the protocol feature SHMEM)");
    via_front_get(&c->front, &m, VIA_VU_GET_SHMEM_CONFIG);
    int result = via_client_ask(c, &m, err);
    uint64_t size = result == 0 && c->front.value ? c->front.shmem[0] : 0;
    if (result == 0)
        result = wait_for_it(c, err);
    if (result < 0)
        return result;
    if (c->region->refused.text[0])
        return via_err_set(err, -VIA_EPROTO, "%.300s", c->region->refused.text);
    if (c->region->mapped.len != size)
        return via_err_set(err, -VIA_EPROTO, "the back-end tells of 0x%" PRIx64 " bytes of its memory, and brings 0x%zx", size,
                           c->region->mapped.len);
    return 0;
}
