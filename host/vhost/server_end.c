/* SPDX-License-Identifier: BSD-2-Clause */
/* server_end: what goes wrong with a connection is told, and perhaps ends it. */
#include <stdio.h>

#include "server_parts.h"

#define WARNINGS_MAX 16u /* a connection: what it says must not fill anybody's disk */

void via_server_warn(struct via_server *s, const struct via_err *what)
{
    struct via_err last;
    if (s->warnings >= WARNINGS_MAX)
        return;
    if (++s->warnings == WARNINGS_MAX) {
        (void)via_err_set(&last, 0, "%.230s (and no more warnings about this connection)", what->text);
        what = &last;
    }
    if (s->ops->warn)
        s->ops->warn(s, what);
    else
        fprintf(stderr, "vhost-user: %s\n", what->text);
}

void via_server_pause(struct via_server *s)
{
    if (s->watch.fd >= 0)
        via_loop_remove(s->loop, &s->watch);
    s->watch.fd = -1;
}

static void end_with(struct via_server *s, const struct via_err *why)
{
    if (!s->open || s->ending)
        return;
    s->why = *why;
    s->ending = true;
    s->loop->stirred = true; /* requests may be with somebody who has to be told to let go of them */
    s->iotlb.fencing = false;
    via_server_pause(s);
}

void via_server_fail(struct via_server *s, const struct via_err *err) { end_with(s, err); }
void via_server_end(struct via_server *s) { end_with(s, &(struct via_err){.text = ""}); }
