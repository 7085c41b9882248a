/* SPDX-License-Identifier: BSD-2-Clause */
/* server_action: what the session asks its owner to do. */
#include <unistd.h>

#include "server_parts.h"

/* Rings whose requests must all have ended before the action can be done. */
static bool concerns(const struct via_back_action *act, unsigned index)
{
    switch (act->what) {
    case VIA_BACK_RING_STOP:
        return act->index == index;
    case VIA_BACK_MEM_TABLE:
    case VIA_BACK_MEM_REMOVE:
    case VIA_BACK_RESET:
        return true;
    case VIA_BACK_STATUS:
        return act->value == 0;
    default:
        return false;
    }
}

static bool memory_goes(const struct via_back_action *act) { return act->what == VIA_BACK_MEM_TABLE || act->what == VIA_BACK_MEM_REMOVE; }

/* What only waits for translations needs no memory yet, and can be put back, or fails, when its ring is to end. */
static bool ring_busy(struct via_server *s, struct via_server_ring *r, const struct via_back_action *act)
{
    if (!s->iotlb.on)
        return via_pump_inflight(&r->pump);
    if (memory_goes(act))
        return via_pump_revoke(&r->pump, (via_iova){0}, (via_iova){UINT64_MAX});
    if (act->what == VIA_BACK_RING_STOP)
        (void)via_pump_withdraw(&r->pump, r->broken);
    else
        via_server_fence_abandon(s);
    return via_pump_inflight(&r->pump);
}

bool via_server_must_wait(struct via_server *s, const struct via_back_action *act)
{
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running && concerns(act, i) && ring_busy(s, &s->ring[i], act))
            return true;
    return false;
}

static int memory_replace(struct via_server *s, const struct via_back_action *act, struct via_err *err)
{
    int result = 0;
    via_server_memory_clear(s);
    for (unsigned i = 0; i < act->n && result == 0; i++)
        result = via_server_region_add(s, &act->region[i], act->fd[i], err);
    return result;
}

static int memory_change(struct via_server *s, const struct via_back_action *act, struct via_err *err)
{
    int result;
    for (unsigned i = 0; i < s->cfg.queues; i++)
        via_server_ring_flush(&s->ring[i]);
    if (s->own_used)
        result = via_err_set(err, -VIA_EINVAL, "the front-end shares memory, though it accepted to use the back-end's");
    else if (act->what == VIA_BACK_MEM_TABLE)
        result = memory_replace(s, act, err);
    else if (act->what == VIA_BACK_MEM_ADD)
        result = via_server_region_add(s, &act->region[0], act->fd[0], err);
    else
        result = via_server_region_remove(s, &act->region[0], err);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        via_server_ring_moved(&s->ring[i]);
    for (unsigned i = 0; i < act->n; i++)
        if (act->fd[i] >= 0)
            close(act->fd[i]);
    return result;
}

static int config_access(struct via_server *s, const struct via_back_action *act, struct via_err *err)
{
    int result = -VIA_ENOTSUP;
    if (act->what == VIA_BACK_CONFIG_GET)
        result = s->ops->config_get(s, act->offset, act->config, act->len);
    else if (s->ops->config_set)
        result = s->ops->config_set(s, act->offset, act->config, act->len);
    if (result < 0)
        return via_err_set(err, result, "the device's config space can't be %s (offset %u, %u bytes)",
                           act->what == VIA_BACK_CONFIG_GET ? "read there" : "written there", act->offset, act->len);
    return 0;
}

static int notifier_change(struct via_server *s, const struct via_back_action *act, struct via_err *err)
{
    bool call = act->what == VIA_BACK_RING_CALL;
    struct via_server_ring *r = &s->ring[act->index];
    via_server_fd_put(call ? &r->call : &r->err, act->fd[0]);
    return via_server_fd_check(act->fd[0], call ? "call" : "error", act->index, err);
}

/* Front-ends tell nothing of what is unmapped while no ring runs: nothing known then may be believed later. */
static void ring_stop(struct via_server *s, struct via_server_ring *r)
{
    bool others = false;
    via_server_ring_stop(r);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        others |= s->ring[i].running;
    if (!others)
        via_server_iotlb_empty(s);
}

/*
 * A front-end that accepts ACCESS_PLATFORM, but can't be asked anything, passed a flag on that it does not act on: its addresses are what
 * they are without it.
 */
static int features_change(struct via_server *s, uint64_t accepted, struct via_err *err)
{
    bool translates = (accepted & VIA_BIT(VIA_F_ACCESS_PLATFORM)) && (s->back.protocol & VIA_BIT(VIA_VU_PF_BACKEND_REQ));
    via_server_iotlb_close(s);
    if (s->ops->features)
        s->ops->features(s, accepted & ~VIA_BIT(VIA_F_LOG_ALL));
    int result = via_server_own_choose(s, accepted, err);
    if (!result && translates)
        result = via_server_iotlb_open(s, err);
    return result < 0 ? result : via_server_log_all(s, accepted & VIA_BIT(VIA_F_LOG_ALL), err);
}

void via_server_rings_stop(struct via_server *s)
{
    for (unsigned i = 0; i < s->cfg.queues; i++) {
        via_server_ring_flush(&s->ring[i]);
        s->back.ring[i].base = via_server_ring_base(&s->ring[i]); /* asked for after a reset, too */
        ring_stop(s, &s->ring[i]);
    }
}

static int device_reset(struct via_server *s, struct via_err *err)
{
    via_server_rings_stop(s);
    return via_server_log_all(s, false, err);
}

static int req_channel(struct via_server *s, int fd, struct via_err *err)
{
    int result = via_server_ask_open(s, fd, err);
    return result < 0 ? result : via_server_own_tell(s, err);
}

int via_server_perform(struct via_server *s, const struct via_back_action *act, uint64_t *value, struct via_err *err)
{
    struct via_server_ring *r = &s->ring[act->index];
    switch (act->what) {
    case VIA_BACK_NOTHING:
    case VIA_BACK_RING_ENABLE: /* the session's flag is what a ring looks at */
        return 0;
    case VIA_BACK_FEATURES:
        return features_change(s, act->value, err);
    case VIA_BACK_MEM_TABLE:
    case VIA_BACK_MEM_ADD:
    case VIA_BACK_MEM_REMOVE:
        return memory_change(s, act, err);
    case VIA_BACK_RING_START:
        if (act->value)
            via_server_ring_kick_put(r, act->fd[0]);
        return via_server_ring_start(r, err);
    case VIA_BACK_RING_KICK:
        via_server_ring_kick_put(r, act->fd[0]);
        return r->running ? via_server_ring_watch(r, err) : 0;
    case VIA_BACK_RING_STOP:
        via_server_ring_flush(r);
        *value = via_server_ring_base(r);
        ring_stop(s, r);
        return 0;
    case VIA_BACK_RING_CALL:
    case VIA_BACK_RING_ERR:
        return notifier_change(s, act, err);
    case VIA_BACK_CONFIG_GET:
    case VIA_BACK_CONFIG_SET:
        return config_access(s, act, err);
    case VIA_BACK_STATUS:
        return act->value == 0 ? device_reset(s, err) : 0;
    case VIA_BACK_RESET:
        return device_reset(s, err);
    case VIA_BACK_REQ_FD:
        return req_channel(s, act->fd[0], err);
    case VIA_BACK_LOG_BASE:
        return via_server_log_base(s, act, err);
    case VIA_BACK_LOG_FD:
        return via_server_log_event(s, act->fd[0], err);
    case VIA_BACK_LOG_ALL:
        return via_server_log_all(s, act->value, err);
    case VIA_BACK_RING_LOG:
        return via_server_log_ring(r, err);
    }
    __builtin_unreachable();
}
