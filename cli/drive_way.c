/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the names of the ways to memory. */
#include "drive_parts.h"

const char *via_drive_dma_name(enum via_drive_dma how)
{
    static const char *const names[VIA_DRIVE_DMAS] = {
        [VIA_DRIVE_DIRECT] = "direct",           [VIA_DRIVE_WINDOW] = "window",
        [VIA_DRIVE_BOUNCE] = "bounce",           [VIA_DRIVE_BOUNCE_IOMMU] = "bounce-iommu",
        [VIA_DRIVE_DEVICE] = "device",           [VIA_DRIVE_TURN] = "turn",
        [VIA_DRIVE_IDENTITY] = "identity",       [VIA_DRIVE_IOMMU_STRICT] = "iommu-strict",
        [VIA_DRIVE_IOMMU_LAZY] = "iommu-lazy",   [VIA_DRIVE_HYBRID_STRICT] = "hybrid-strict",
        [VIA_DRIVE_HYBRID_LAZY] = "hybrid-lazy",
    };
    return names[how];
}
