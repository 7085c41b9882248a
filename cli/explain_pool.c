/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: Linux's bounce pools: how large, how full now and at most. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain_parts.h"

#define DIR "sys/kernel/debug/swiotlb"

static struct via_count count(struct via_sys *s, const char *dir, const char *file, const char *tells)
{
    struct via_count c = {false, 0};
    c.known = via_sys_number(s, &c.n, 10, tells, "%s/%s", dir, file) == 0;
    if (c.known && c.n > UINT32_MAX) {
        via_sys_note(s, dir, "how large and full a bounce pool is", "%s says %" PRIu64 ", which no pool can hold", file, c.n);
        c.known = false;
    }
    return c;
}

/* Linux makes no files for a pool that it does not have. */
static void read_one(struct via_sys *s, struct via_pool_facts *p, const char *dir)
{
    char path[VIA_SYS_PATH];
    snprintf(path, sizeof(path), "%.400s/io_tlb_nslabs", dir);
    if (!via_sys_has(s, path)) {
        p->slots = (struct via_count){true, 0};
        return;
    }
    p->slots = count(s, dir, "io_tlb_nslabs", "how large the bounce pool is");
    p->used = count(s, dir, "io_tlb_used", "how full the bounce pool is");
    p->high_water = count(s, dir, "io_tlb_used_hiwater", NULL); /* since Linux 6.4 */
}

/* "mapped [mem A-B] (64MB)" */
static void read_size(struct via_machine *m)
{
    const char *said = strstr(m->log, "software IO TLB: mapped");
    char *end;
    said = said ? strchr(said, '(') : NULL;
    uint64_t megabytes = said ? strtoull(said + 1, &end, 10) : 0;
    if (megabytes && megabytes <= UINT32_MAX && !strncmp(end, "MB)", 3))
        m->pool[0].slots = (struct via_count){true, (megabytes << 20) / VIA_SLOT};
}

static void read_others(struct via_sys *s, struct via_machine *m)
{
    char **name;
    int n = via_sys_list(s, DIR, "", &name, NULL);
    for (int i = 0; i < n; i++) {
        char dir[VIA_SYS_PATH];
        struct via_pool_facts *p = &m->pool[m->pools];
        if (!strncmp(name[i], "io_tlb_", 7))
            continue;
        if (m->pools == VIA_POOLS || strlen(name[i]) >= sizeof(p->name)) {
            via_sys_note(s, DIR, "how full some pools are", "holds more than can be shown");
            break;
        }
        snprintf(dir, sizeof(dir), DIR "/%.200s", name[i]);
        snprintf(p->name, sizeof(p->name), "%s", name[i]);
        read_one(s, p, dir);
        m->pools++;
    }
    if (n >= 0)
        via_sys_list_free(name, n);
}

void via_pool_read(struct via_sys *s, struct via_machine *m)
{
    m->forced = via_machine_word(m, "swiotlb=force") || (strstr(m->words, "swiotlb=") && via_machine_word(m, "force"));
    m->disabled = via_machine_word(m, "swiotlb=noforce") || (strstr(m->words, "swiotlb=") && via_machine_word(m, "noforce"));
    m->was_full = via_machine_said(m, "swiotlb buffer is full");
    snprintf(m->pool[0].name, sizeof(m->pool[0].name), "default");
    m->pools = 1;
    if (via_sys_has(s, DIR)) {
        read_one(s, &m->pool[0], DIR);
        read_others(s, m);
    } else {
        via_sys_note(s, DIR, "how full the bounce pool is and was", "%s",
                     s->live ? "needs root, and debugfs: mount -t debugfs debugfs /sys/kernel/debug" : "is not there");
    }
    if (!m->pool[0].slots.known)
        read_size(m);
}
