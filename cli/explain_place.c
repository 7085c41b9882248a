/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: where a device sits: its parent on a bus, the IOMMU before it, its own IOTLB. */
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

#define PCI_CONFIG 4096u
#define PCI_EXTENDED 0x100u
#define PCI_CAP_ATS 0x0fu
#define PCI_ATS_CONTROL 6u
#define PCI_ATS_ENABLE 0x8000u

/* The name of what a link in the parent's directory leads to, "" when there is none. */
static void link_name(struct via_sys *s, const struct via_vdev *d, const char *link, char *name)
{
    char path[VIA_SYS_PATH + 32], to[VIA_SYS_PATH];
    name[0] = 0;
    if (snprintf(path, sizeof(path), "%s/%s", d->parent_dir, link) < VIA_SYS_PATH && via_sys_link(s, path, to) == 0)
        snprintf(name, VIA_WORD, "%.*s", VIA_WORD - 1, via_sys_base(to));
}

/* Before 5.15 a type DMA could be lazy, too, and before 5.11 there was none. */
static enum via_mode mode_of(const struct via_machine *m, const char *type)
{
    bool said_strict = via_machine_word(m, "iommu.strict=1") || via_machine_word(m, "intel_iommu=strict") || via_machine_word(m, "strict");
    if (!strcmp(type, "DMA-FQ"))
        return VIA_MODE_LAZY;
    if (!strcmp(type, "DMA"))
        return !m->version || (m->version < 5015 && !said_strict) ? VIA_MODE_TRANSLATED : VIA_MODE_STRICT;
    if (!strcmp(type, "identity"))
        return VIA_MODE_IDENTITY;
    return !strcmp(type, "blocked") ? VIA_MODE_BLOCKED : VIA_MODE_UNKNOWN;
}

static void read_iommu(struct via_sys *s, const struct via_machine *m, struct via_vdev *d)
{
    link_name(s, d, "iommu_group", d->group);
    link_name(s, d, "iommu", d->iommu);
    if (!d->group[0])
        return;
    if (via_sys_word(s, d->group_type, sizeof(d->group_type), "the IOMMU's mode", "sys/kernel/iommu_groups/%s/type", d->group) < 0)
        d->group_type[0] = 0;
    d->mode = mode_of(m, d->group_type);
}

static unsigned le16(const char *p) { return (uint8_t)p[0] | (unsigned)(uint8_t)p[1] << 8; }

/* The chain of extended capabilities: only root sees more of a configuration space than its first 64 bytes. */
static void read_ats(struct via_sys *s, struct via_vdev *d)
{
    static char config[PCI_CONFIG + 1];
    char path[VIA_SYS_PATH + 32];
    snprintf(path, sizeof(path), "%s/config", d->parent_dir);
    if (strlen(path) >= VIA_SYS_PATH)
        return;
    int len = via_sys_read(s, path, config, sizeof(config), NULL, "whether the device has an IOTLB of its own (ATS)");
    if (len < 0)
        return;
    if (len < (int)PCI_EXTENDED + 4) {
        if (len <= 64)
            via_sys_note(s, path, "whether the device has an IOTLB of its own (ATS)", "%s",
                         s->live ? "needs root beyond its first 64 bytes" : "was copied without root: only its first 64 bytes are there");
        d->ats = d->ats_on = len > 64 ? VIA_TELL_NO : VIA_TELL_UNKNOWN;
        return;
    }
    d->ats = d->ats_on = VIA_TELL_NO;
    unsigned at = PCI_EXTENDED;
    for (unsigned hops = 0; at >= PCI_EXTENDED && at + 8 <= (unsigned)len && hops < PCI_CONFIG / 8; hops++) {
        if (le16(config + at) == PCI_CAP_ATS) {
            d->ats = VIA_TELL_YES;
            d->ats_on = le16(config + at + PCI_ATS_CONTROL) & PCI_ATS_ENABLE ? VIA_TELL_YES : VIA_TELL_NO;
            return;
        }
        at = le16(config + at + 2) >> 4;
    }
}

static void read_mask(struct via_sys *s, struct via_vdev *d)
{
    uint64_t bits;
    if (strcmp(d->bus, "pci") != 0) /* others show none */
        return;
    if (via_sys_number(s, &bits, 10, "how far the device's addresses reach", "%s/dma_mask_bits", d->parent_dir) < 0)
        return;
    if (bits < 1 || bits > 64) {
        via_sys_note(s, d->parent_dir, "how far the device's addresses reach", "its dma_mask_bits are %llu, not 1 to 64",
                     (unsigned long long)bits);
        return;
    }
    d->mask = (struct via_count){true, bits == 64 ? UINT64_MAX : VIA_BIT(bits) - 1};
}

void via_place_read(struct via_sys *s, const struct via_machine *m, struct via_vdev *d)
{
    d->mode = VIA_MODE_UNKNOWN;
    snprintf(d->parent_dir, sizeof(d->parent_dir), "%s", d->dir);
    via_sys_parent(d->parent_dir);
    if (!strcmp(d->parent_dir, "sys/bus/virtio/devices") || !d->parent_dir[0]) {
        via_sys_note(s, d->dir, "what the device sits behind", "is no link, as it is in /sys: copy the tree with its links");
        d->parent_dir[0] = 0;
        return;
    }
    if (!via_sys_has(s, d->dir)) {
        via_sys_note(s, d->dir, "all of a device", "is not there");
        d->parent_dir[0] = 0;
        return;
    }
    d->mode = VIA_MODE_NONE;
    snprintf(d->parent, sizeof(d->parent), "%.*s", VIA_WORD - 1, via_sys_base(d->parent_dir));
    link_name(s, d, "subsystem", d->bus);
    read_iommu(s, m, d);
    read_mask(s, d);
    if (!strcmp(d->bus, "pci") && d->group[0])
        read_ats(s, d);
    via_restricted_read(s, d);
}
