/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: the devices on Linux's virtio bus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain_parts.h"

#define BUS "sys/bus/virtio/devices"

static struct via_count hex(struct via_sys *s, const struct via_vdev *d, const char *file, const char *tells)
{
    struct via_count c = {false, 0};
    c.known = via_sys_number(s, &c.n, 16, tells, "%s/%s", d->dir, file) == 0;
    return c;
}

/* A character a bit, bit 0 first. 64 of them in older kernels, 128 in newer ones. */
static void read_features(struct via_sys *s, struct via_vdev *d)
{
    static const char tells[] = "which features were accepted, and so the path that data takes";
    char text[1024];
    int len = via_sys_word(s, text, sizeof(text), tells, "%s/features", d->dir);
    if (len < 0)
        return;
    if (len < 64 || (size_t)len != strspn(text, "01")) {
        via_sys_note(s, d->dir, tells, "its features are no string of 64 or more characters 0 and 1");
        return;
    }
    for (int i = 0; i < len; i++)
        if (text[i] == '1' && i < 128)
            d->features[i / 64] |= VIA_BIT(i % 64);
        else if (text[i] == '1')
            via_sys_note(s, d->dir, "some feature bits", "its features go beyond bit 127");
    d->features_known = true;
}

static void read_driver(struct via_sys *s, struct via_vdev *d)
{
    char path[VIA_SYS_PATH + 32], to[VIA_SYS_PATH];
    snprintf(path, sizeof(path), "%s/driver", d->dir);
    if (strlen(path) < VIA_SYS_PATH && via_sys_link(s, path, to) == 0)
        snprintf(d->driver, sizeof(d->driver), "%.*s", VIA_WORD - 1, via_sys_base(to));
}

static void read_device(struct via_explain *x, struct via_vdev *d, const char *name)
{
    struct via_sys *s = &x->sys;
    char path[VIA_SYS_PATH];
    snprintf(d->name, sizeof(d->name), "%s", name);
    snprintf(path, sizeof(path), BUS "/%s", name);
    if (via_sys_link(s, path, d->dir) < 0)
        snprintf(d->dir, sizeof(d->dir), "%s", path);
    d->type = hex(s, d, "device", "what kind of device it is");
    d->status = hex(s, d, "status", "how far driver and device have come");
    read_features(s, d);
    read_driver(s, d);
    via_place_read(s, &x->machine, d);
}

int via_devices_read(struct via_explain *x)
{
    char **name;
    int n = via_sys_list(&x->sys, BUS, "", &name, "which devices there are");
    if (n < 0)
        return n == -VIA_ENOENT ? 0 : n;
    x->device = calloc(VIA_DEVICES, sizeof(*x->device));
    for (int i = 0; x->device && i < n; i++) {
        if (x->devices == VIA_DEVICES || strlen(name[i]) >= VIA_WORD) {
            via_sys_note(&x->sys, BUS, "some devices", "holds more devices than %d, or one with a name that is too long", VIA_DEVICES);
            break;
        }
        read_device(x, &x->device[x->devices++], name[i]);
    }
    via_sys_list_free(name, n);
    return x->device ? 0 : -VIA_ENOMEM;
}
