/* SPDX-License-Identifier: BSD-2-Clause */
/* May a saved device go on here? Everything that its guest would find changed. */
#include <viaduct/state.h>

struct list {
    struct via_state_difference *out;
    unsigned room, n;
};

static void differ(struct list *l, enum via_state_kind kind, unsigned at, uint64_t there, uint64_t here)
{
    if (l->n < l->room)
        l->out[l->n] = (struct via_state_difference){kind, at, there, here};
    l->n++;
}

unsigned via_state_compare(const struct via_state *s, const struct via_state_host *h, struct via_state_difference *out, unsigned n)
{
    struct list l = {out, n, 0};
    if (s->device != h->device)
        differ(&l, VIA_STATE_DEVICE, 0, s->device, h->device);
    if (s->offered & ~h->offered)
        differ(&l, VIA_STATE_LACKS, 0, s->offered & ~h->offered, h->offered);
    if (h->offered & ~s->offered)
        differ(&l, VIA_STATE_ADDS, 0, s->offered, h->offered & ~s->offered);
    if (s->queues != h->queues)
        differ(&l, VIA_STATE_QUEUES, 0, s->queues, h->queues);
    if (s->config_len != h->config_len)
        differ(&l, VIA_STATE_SPACE, 0, s->config_len, h->config_len);
    for (unsigned i = 0; i < s->config_len && i < h->config_len; i++)
        if (s->config[i] != h->config[i])
            differ(&l, VIA_STATE_CONFIG, i, s->config[i], h->config[i]);
    for (unsigned i = 0; i < s->queues; i++)
        if (s->queue[i].num > h->num_max)
            differ(&l, VIA_STATE_NUM, i, s->queue[i].num, h->num_max);
    return l.n;
}

const char *via_state_kind_text(enum via_state_kind kind)
{
    static const char *const text[] = {
        [VIA_STATE_DEVICE] = "it is another type of device",
        [VIA_STATE_LACKS] = "features that the guest was offered are not offered here",
        [VIA_STATE_ADDS] = "features are offered here that the guest was not offered",
        [VIA_STATE_QUEUES] = "the number of queues is another",
        [VIA_STATE_SPACE] = "configuration space has another length",
        [VIA_STATE_CONFIG] = "a byte of configuration space is another",
        [VIA_STATE_NUM] = "a queue is larger than what is taken here",
    };
    return text[kind];
}
