# SPDX-License-Identifier: BSD-2-Clause
"""What lies between a guest's disk and the guest's memory: nothing, or an IOMMU in one of its modes."""
import collections

from peers import expect

# machine: QEMU's options; properties: of the disk; words: for the kernel's command line; domain: what the kernel calls the disk's
# domain; says: what stands in its log; small: whether it is the small kernel, not Debian's; firmware: whether it is the firmware that
# loads it, from the disk; trace: events that QEMU notes
Bus = collections.namedtuple("Bus", "machine properties words domain says small firmware trace",
                             defaults=((), "", "", "", (), False, False, ()))

PLAIN = Bus()
PLATFORM = ",iommu_platform=on,disable-legacy=on"
LEGACY = Bus(properties=",disable-modern=on,disable-legacy=off")
# The firmware leaves a disk alone that it is not to boot from.
MACHINE = ("-boot", "strict=on", "-device", "pcie-root-port,id=rp1,chassis=1,slot=1")
# Linux uses a device's IOTLB only where it finds ATS, and it looks for ATS only behind a root port.
VTD = Bus(machine=("-device", "intel-iommu,intremap=off,device-iotlb=on") + MACHINE, properties=PLATFORM + ",ats=on,bus=rp1")
PASS_THROUGH = VTD._replace(words="intel_iommu=on iommu=pt", domain="identity",
                            says=("DMAR: IOMMU enabled", "Default domain type: Passthrough"))
LAZY = VTD._replace(words="intel_iommu=on", domain="DMA-FQ",
                    says=("DMAR: IOMMU enabled", "Default domain type: Translated", "invalidation policy: lazy mode"))
STRICT = VTD._replace(words="intel_iommu=on iommu.strict=1", domain="DMA",
                      says=("DMAR: IOMMU enabled", "Default domain type: Translated", "invalidation policy: strict mode"))
# Where an IOMMU translates, this kernel bounces for no device; so the IOMMU is there, and off.
BOUNCE = VTD._replace(words="intel_iommu=off swiotlb=force", says=("DMAR: IOMMU disabled",))
VIRTIO = Bus(machine=("-device", "virtio-iommu-pci") + MACHINE, properties=PLATFORM + ",bus=rp1", small=True, domain="DMA",
             says=("Default domain type: Translated", "virtio_iommu virtio0: "))


def check_bus(guest, bus):
    """The guest found what the bus claims to be, and nothing wrong with it."""
    platform = "1" if PLATFORM in bus.properties else "0"
    expect(guest.value("platform") == platform, "the disk's ACCESS_PLATFORM is %s" % guest.value("platform"))
    modern = "0" if bus == LEGACY else "1"
    expect(guest.value("modern") == modern, "the disk's VERSION_1 is %s" % guest.value("modern"))
    expect(guest.value("domain") == bus.domain, "the disk's domain is '%s', not '%s'" % (guest.value("domain"), bus.domain))
    expect(bool(guest.value("iommu")) == bool(bus.domain), "the guest uses the IOMMUs '%s'" % guest.value("iommu"))
    for sentence in bus.says:
        expect(any(sentence in line for line in guest.values("log")), "the guest's kernel does not say '%s'" % sentence)
    bounced, forced = int(guest.value("bounced") or 0), "swiotlb=force" in bus.words
    expect((bounced > 0) == forced, "the guest had %d slots of its bounce pool in use" % bounced)
    trouble = guest.values("trouble")
    if bus.firmware: # see firmware.py
        trouble = [line for line in trouble if "DRHD: handling fault" not in line and "[DMA Read" not in line]
    expect(not trouble, "the guest's kernel complains: " + "; ".join(trouble[:3]))
