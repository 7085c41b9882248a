/* SPDX-License-Identifier: BSD-2-Clause */
/* policy: its switches and reasons, for people. */
#include <viaduct/policy.h>

const char *via_switch_name(enum via_switch s)
{
    static const char *const name[VIA_SWITCHES] = {
        [VIA_SWITCH_TRANSLATE] = "translate", [VIA_SWITCH_BOUNCE] = "bounce",     [VIA_SWITCH_ENCRYPT] = "encrypt",
        [VIA_SWITCH_SHARE] = "share",         [VIA_SWITCH_CACHE] = "cache",       [VIA_SWITCH_BARRIERS] = "barriers",
        [VIA_SWITCH_FLUSH] = "flush",         [VIA_SWITCH_OWN_POOL] = "own pool", [VIA_SWITCH_STRICT] = "strict",
    };
    return name[s];
}

static const char *const text[VIA_REASONS] = {
    [VIA_WHY_TRANSLATE] = "ACCESS_PLATFORM was accepted, and an IOMMU translates: the device reaches what is mapped for it",
    [VIA_WHY_NO_IOMMU] = "nothing translates the device's addresses: they are physical ones",
    [VIA_WHY_PHYSICAL_LEGACY] = "the legacy interface has no ACCESS_PLATFORM: addresses are physical ones, though an IOMMU is there",
    [VIA_WHY_PHYSICAL_UNOFFERED] = "ACCESS_PLATFORM is not offered: the device passes by the IOMMU and takes physical addresses",
    [VIA_WHY_PHYSICAL_DECLINED] =
        "ACCESS_PLATFORM was offered, but not accepted: addresses are physical ones, and the device may refuse to work with them",

    [VIA_WHY_BOUNCE_HOST] =
        "memory is protected, as its host knows: data goes through pages that are shared, and no other address to the device",
    [VIA_WHY_BOUNCE_GUEST] =
        "the guest protects its memory by itself: data goes through pages that are shared, and no other address to the device",
    [VIA_WHY_BOUNCE_RESTRICTED] = "the device reaches only a part of memory: data goes through a pool there",
    [VIA_WHY_BOUNCE_NARROW] =
        "the device can't name all of memory, and nothing translates: data goes through a pool at addresses that it can",
    [VIA_WHY_BOUNCE_ISOLATE] = "isolation was asked for: the device is given a pool, and sees no bytes but those that were copied there",
    [VIA_WHY_BOUNCE_OVERRIDE] = "the administrator wants data to be bounced",
    [VIA_WHY_NO_BOUNCE] = "the device can be given the addresses of all buffers",
    [VIA_WHY_NO_BOUNCE_STRICT] = "isolation is left to the IOMMU, which maps the buffers themselves",

    [VIA_WHY_ENCRYPT_SHARED] = "an address bit tells shared from private memory: addresses for the device say shared",
    [VIA_WHY_ENCRYPT_ALL] = "an address bit is a part of this platform's physical addresses: those for the device have it, too",
    [VIA_WHY_NO_ENCRYPT] = "no address bit tells of encryption",

    [VIA_WHY_SHARE_HOST] = "memory is private: the host is asked to share rings and pool",
    [VIA_WHY_SHARE_GUEST] = "memory is private, which the host need not know: the guest itself shares rings and pool",
    [VIA_WHY_NO_SHARE] = "nothing protects memory from the device, so nothing has to be shared",

    [VIA_WHY_CACHE] = "ACCESS_PLATFORM was accepted, and devices do not see the caches here",
    [VIA_WHY_COHERENT] = "the device sees the caches",
    [VIA_WHY_COHERENT_PROMISED] =
        "without ACCESS_PLATFORM the device sees memory as the driver does, and an invalidated cache could lose its bytes",

    [VIA_WHY_BARRIERS] = "ORDER_PLATFORM was accepted: memory accesses are ordered as for the platform's devices",
    [VIA_WHY_ORDER_UNOFFERED] = "ORDER_PLATFORM is not offered: the device orders its accesses as another processor does",
    [VIA_WHY_ORDER_DECLINED] =
        "ORDER_PLATFORM was offered, but not accepted: the device has to do with the processors' barriers, more slowly or not at all",

    [VIA_WHY_FLUSH] = "ORDER_PLATFORM was accepted, and a notification may overtake writes here",
    [VIA_WHY_NOT_POSTED] = "no notification overtakes writes",
    [VIA_WHY_NOT_POSTED_PROMISED] = "without ORDER_PLATFORM the device is another processor, whose notifications overtake nothing",

    [VIA_WHY_OWN_POOL] = "isolation was asked for: nobody else's data is in the pool",
    [VIA_WHY_ANY_POOL] = "no isolation was asked for: the pool may be one that other devices use, too",
    [VIA_WHY_NO_POOL] = "nothing is bounced, so no pool is needed",

    [VIA_WHY_STRICT_OVERRIDE] =
        "isolation was asked for and bouncing is forbidden: pages are mapped while a request lasts, and seen as a whole",
    [VIA_WHY_STRICT_POOLLESS] =
        "isolation was asked for and there is no pool for this device alone: pages are mapped while a request lasts, and seen as a whole",
    [VIA_WHY_NOT_STRICT] = "mappings may last: no isolation was asked for, or a pool gives it",
    [VIA_WHY_NOTHING_MAPPED] = "nothing translates, so no mapping begins or ends",

    [VIA_WHY_BAD_VALUE] = "an order, protector, override or means has a value that means nothing: use one that has a name",
    [VIA_WHY_BAD_ACCEPTED] = "feature bits were accepted that were not offered: negotiate anew, and accept none but offered ones",
    [VIA_WHY_BAD_LEGACY] =
        "the legacy interface has no feature bits above 31, but some were accepted: accept none, or use the modern interface",
    [VIA_WHY_BAD_MODERN] = "VERSION_1 was not accepted, so this is the legacy interface: accept it, or say legacy",
    [VIA_WHY_BAD_MASK] = "the device's mask does not even cover a page: correct the mask, it is the last address and not a number of bits",
    [VIA_WHY_BAD_MEMORY] = "memory ends before its first page does: correct the last physical address",
    [VIA_WHY_DIRECT_PROTECTED] = "bouncing is forbidden, but memory is protected and the device reaches shared pages alone: allow bouncing",
    [VIA_WHY_DIRECT_RESTRICTED] =
        "bouncing is forbidden, but the device reaches only a part of memory: allow bouncing, or lift the restriction",
    [VIA_WHY_DIRECT_NARROW] = "bouncing is forbidden, but the device can't name all of memory: allow it, or put an IOMMU before the device",
    [VIA_WHY_DIRECT_ISOLATE] =
        "bouncing is forbidden, but isolation was asked for and nothing translates: allow it, or put an IOMMU before the device",
    [VIA_WHY_UNKNOWN_BITS] = "feature bits were accepted that viaduct does not know: accept none of 25, 31 and 44 to 49",
    [VIA_WHY_LACKS_TRANSLATE] = "the device's addresses are translated, but the IOMMU can't be programmed: allow that, or set it to pass",
    [VIA_WHY_LACKS_POOL] = "data has to be bounced, but there is no pool: reserve memory that the device can address",
    [VIA_WHY_LACKS_OWN_POOL] = "isolation was asked for, but there is no pool for this device alone: reserve one, or don't isolate it",
    [VIA_WHY_LACKS_SHARE] = "memory is protected, but pages can't be shared: give the guest a way to share pages",
    [VIA_WHY_LACKS_ENCRYPT] = "an address bit tells shared from private memory, but not which: tell the bit",
    [VIA_WHY_LACKS_CACHE] =
        "the device does not see the caches, but they can't be cleaned: run where they can, or make the device coherent",
    [VIA_WHY_LACKS_BARRIERS] = "ORDER_PLATFORM was accepted, but there are no barriers for devices: provide them, or don't accept it",
    [VIA_WHY_LACKS_FLUSH] =
        "notifications may overtake writes, but those can't be flushed: provide a flush, or don't accept ORDER_PLATFORM",
};

const char *via_reason_text(unsigned reason) { return reason < VIA_REASONS ? text[reason] : NULL; }
