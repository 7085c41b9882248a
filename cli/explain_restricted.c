/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: a pool of a device's own, that a device tree gives it: memory-region leads to a node "restricted-dma-pool". */
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

#define RESERVED "sys/firmware/devicetree/base/reserved-memory"
#define REGIONS 16
#define BRIDGES 16

static unsigned be32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (unsigned)b[0] << 24 | (unsigned)b[1] << 16 | (unsigned)b[2] << 8 | b[3];
}

/* The phandles of a node's memory-region; -1: it has none. */
static int regions_of(struct via_sys *s, const char *node, unsigned *phandle)
{
    char path[VIA_SYS_PATH + 32], cells[4 * REGIONS + 1];
    snprintf(path, sizeof(path), "%s/memory-region", node);
    int len = strlen(path) < VIA_SYS_PATH ? via_sys_read(s, path, cells, sizeof(cells), NULL, NULL) : -1;
    for (int i = 0; i < len / 4; i++)
        phandle[i] = be32(cells + 4 * (size_t)i);
    return len < 4 ? -1 : len / 4;
}

static bool is_pool(struct via_sys *s, const char *name, const unsigned *phandle, int n)
{
    char path[VIA_SYS_PATH], text[VIA_WORD] = "";
    snprintf(path, sizeof(path), RESERVED "/%.200s/phandle", name);
    int len = via_sys_read(s, path, text, sizeof(text), NULL, NULL);
    bool ours = false;
    for (int i = 0; len == 4 && i < n; i++)
        ours = ours || be32(text) == phandle[i];
    if (!ours)
        return false;
    snprintf(path, sizeof(path), RESERVED "/%.200s/compatible", name);
    len = via_sys_read(s, path, text, sizeof(text), NULL, NULL);
    for (int at = 0; at < len; at += (int)strlen(text + at) + 1)
        if (!strcmp(text + at, "restricted-dma-pool"))
            return true;
    return false;
}

static void find_pool(struct via_sys *s, struct via_vdev *d, const unsigned *phandle, int n)
{
    char **name;
    int names = via_sys_list(s, RESERVED, "", &name, NULL);
    for (int i = 0; i < names && !d->own_pool[0]; i++)
        if (is_pool(s, name[i], phandle, n))
            snprintf(d->own_pool, sizeof(d->own_pool), "%.*s", VIA_WORD - 1, name[i]);
    if (names >= 0)
        via_sys_list_free(name, names);
}

/* The node that counts is the device's own, or that of the bridge which it sits behind. */
void via_restricted_read(struct via_sys *s, struct via_vdev *d)
{
    char dir[VIA_SYS_PATH], path[VIA_SYS_PATH + 32], node[VIA_SYS_PATH];
    unsigned phandle[REGIONS];
    snprintf(dir, sizeof(dir), "%s", d->parent_dir);
    for (unsigned i = 0; i < BRIDGES && strchr(dir, '/'); i++, via_sys_parent(dir)) {
        snprintf(path, sizeof(path), "%s/of_node", dir);
        if (strlen(path) >= VIA_SYS_PATH || via_sys_link(s, path, node) < 0)
            continue;
        int n = regions_of(s, node, phandle);
        if (n < 0)
            continue;
        find_pool(s, d, phandle, n);
        return;
    }
}
