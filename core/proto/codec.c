/* SPDX-License-Identifier: BSD-2-Clause */
/* The header that every message starts with. */
#include <string.h>

#include "message.h"

#define VERSION_MASK 3u

int via_vu_decode_header(struct via_vu_msg *m, const uint8_t bytes[VIA_VU_HDR], struct via_fault *fault)
{
    uint32_t word[3];
    memcpy(word, bytes, sizeof(word));
    m->request = word[0];
    m->flags = word[1];
    m->size = 0; /* until it is judged: nobody may take it for a length */
    if ((word[1] & VERSION_MASK) != VIA_VU_VERSION)
        return via_fault_set(fault, -VIA_EPROTO, "the message header has the wrong version: is the peer speaking vhost-user?",
                             word[1] & VERSION_MASK, VIA_VU_VERSION);
    if (word[2] > VIA_VU_PAYLOAD_MAX)
        return via_fault_set(fault, -VIA_EPROTO, "the message header claims a larger payload than any message has", word[2],
                             VIA_VU_PAYLOAD_MAX);
    m->size = word[2];
    return 0;
}

void via_vu_encode_header(const struct via_vu_msg *m, uint8_t bytes[VIA_VU_HDR])
{
    const uint32_t word[3] = {m->request, m->flags, m->size};
    memcpy(bytes, word, sizeof(word));
}
