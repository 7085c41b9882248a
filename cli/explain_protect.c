/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what keeps a guest's memory from its host, as far as files tell. */
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

static bool set(struct via_machine *m, const char *name, const char *why)
{
    m->protected = VIA_TELL_YES;
    m->guest = VIA_TELL_YES; /* no host is protected from itself */
    snprintf(m->protection, sizeof(m->protection), "%s", name);
    snprintf(m->protection_why, sizeof(m->protection_why), "%s", why);
    return true;
}

static void set_not(struct via_machine *m, enum via_tell tell, const char *why)
{
    m->protected = tell;
    snprintf(m->protection_why, sizeof(m->protection_why), "%s", why);
}

static bool one(struct via_sys *s, const char *path)
{
    uint64_t v;
    return via_sys_number(s, &v, 10, NULL, "%s", path) == 0 && v == 1;
}

static bool by_log(struct via_machine *m)
{
    const char *said = strstr(m->log, "Memory Encryption Features active:");
    if (said) {
        char line[VIA_WORD];
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(said, "\n"), said);
        const char *name = strstr(line, "TDX")       ? "TDX"
                           : strstr(line, "SEV-SNP") ? "SEV-SNP"
                           : strstr(line, "SEV-ES")  ? "SEV-ES"
                           : strstr(line, "SEV")     ? "SEV"
                                                     : NULL;
        if (name)
            return set(m, name, "the kernel said so at boot");
    }
    if (via_machine_said(m, "Secure Encrypted Virtualization (SEV) active"))
        return set(m, "SEV", "the kernel said so at boot");
    return via_machine_said(m, "RME: Using RSI") && set(m, "CCA", "the kernel said so at boot");
}

static bool by_files(struct via_sys *s, struct via_machine *m)
{
    if (via_machine_flag(m, "tdx_guest"))
        return set(m, "TDX", "the processor has the flag tdx_guest");
    if (via_sys_has(s, "sys/class/misc/tdx_guest"))
        return set(m, "TDX", "the device tdx_guest is there");
    if (via_sys_has(s, "sys/class/misc/sev-guest") || via_sys_has(s, "sys/devices/system/cpu/sev/vmpl"))
        return set(m, "SEV-SNP", "the means of a SEV-SNP guest to ask for reports are there");
    if (one(s, "sys/firmware/uv/prot_virt_guest"))
        return set(m, "PV", "/sys/firmware/uv/prot_virt_guest is 1");
    if (one(s, "sys/devices/system/cpu/svm"))
        return set(m, "SVM", "/sys/devices/system/cpu/svm is 1");
    return via_sys_has(s, "sys/devices/platform/arm-cca-dev") && set(m, "CCA", "the device arm-cca-dev is there");
}

/* The flags of SEV say what a host can do, and Linux hides them in most guests; so they decide nothing by themselves. */
static void not_x86(struct via_machine *m)
{
    const char *number = strchr(m->log, ',');
    bool whole = number && !strncmp(number, ",0,", 3); /* the log's first record is still there */
    if (m->guest == VIA_TELL_NO)
        set_not(m, VIA_TELL_NO, "it is no guest");
    else if (!strcmp(m->cpu, "GenuineIntel"))
        set_not(m, VIA_TELL_NO, "the processor lacks the flag tdx_guest");
    else if (whole)
        set_not(m, VIA_TELL_NO, "the kernel's log, from its beginning, names no memory encryption");
    else
        set_not(m, VIA_TELL_UNKNOWN, "only the kernel's log would tell of SEV, and its beginning can't be read");
}

void via_protect_read(struct via_sys *s, struct via_machine *m)
{
    if (by_files(s, m) || by_log(m)) {
        bool x86 = !strncmp(m->protection, "SEV", 3);
        /* 5.10 asked it of s390, 6.0 of SEV */
        m->refuses = (x86 && m->version >= 6000) || (!strcmp(m->protection, "PV") && m->version >= 5010);
    } else if (!strcmp(m->arch, "x86_64")) {
        not_x86(m);
    } else if (!strncmp(m->arch, "s390", 4) && via_sys_has(s, "sys/firmware/uv")) {
        set_not(m, VIA_TELL_NO, "/sys/firmware/uv names no protected guest");
    } else if (!strncmp(m->arch, "ppc", 3)) {
        set_not(m, VIA_TELL_NO, "/sys/devices/system/cpu/svm is not 1");
    } else {
        set_not(m, VIA_TELL_UNKNOWN,
                !strcmp(m->arch, "aarch64") ? "Linux shows no file that tells of pKVM or CCA" : "no file tells for this kind of machine");
    }
}
