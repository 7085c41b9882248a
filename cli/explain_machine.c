/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what all devices of a system have in common: kernel, command line, processor, memory. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain_parts.h"

/* Only what is used here leaves these files: a command line can hold secrets, and a processor tells of its owner. */
static const char *const words[] = {"swiotlb=", "iommu=", "iommu.", "intel_iommu=", "amd_iommu=", "mem_encrypt=", "pci=noats"};
static const char *const flags[] = {"hypervisor", "tdx_guest"}; /* those of SEV tell nothing: see explain_protect.c */

static bool word_counts(const char *word)
{
    for (size_t i = 0; i < via_array_len(words); i++)
        if (!strncmp(word, words[i], strlen(words[i])))
            return true;
    return false;
}

static bool flag_counts(const char *flag)
{
    for (size_t i = 0; i < via_array_len(flags); i++)
        if (!strcmp(flag, flags[i]))
            return true;
    return false;
}

static void keep_some(char *text, bool (*counts)(const char *))
{
    char *to = text, *save = NULL;
    for (char *word = strtok_r(text, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save)) {
        size_t n = strlen(word);
        if (!counts(word))
            continue;
        if (to > text)
            *to++ = ' ';
        for (size_t i = 0; i < n; i++) /* others' bytes go on to a terminal */
            *to++ = isprint((unsigned char)word[i]) ? word[i] : '?';
    }
    *to = 0;
}

static void keep_words(char *text) { keep_some(text, word_counts); }

/* The first processor's kind, and of its flags those that count. */
static void keep_cpu(char *text)
{
    static const char *const kinds[] = {"vendor_id", "CPU implementer", "cpu\t"};
    char vendor[VIA_WORD] = "", some[4096] = "", *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        const char *value = strchr(line, ':');
        if (value && !some[0] && !strncmp(line, "flags", 5))
            snprintf(some, sizeof(some), "%s", value + 1);
        for (size_t i = 0; value && !vendor[0] && i < via_array_len(kinds); i++)
            if (!strncmp(line, kinds[i], strlen(kinds[i])))
                snprintf(vendor, sizeof(vendor), "%s", line);
    }
    keep_some(some, flag_counts);
    for (char *c = vendor; *c; c++)
        if (!isprint((unsigned char)*c) && *c != '\t')
            *c = '?';
    snprintf(text, sizeof(vendor) + sizeof(some), "%s\nflags\t\t: %s\n", vendor, some);
}

/* "START-LAST : System RAM", not what lies inside. */
static void keep_memory(char *text)
{
    char *to = text;
    for (char *line = text, *next; *line; line = next) {
        size_t n = strcspn(line, "\n");
        bool last = !line[n];
        next = line + n + !last;
        line[n] = 0; /* a line at a time, else a long text is searched as often as it has lines */
        bool ram = isxdigit((unsigned char)*line) && strstr(line, "System RAM");
        line[n] = last ? 0 : '\n';
        if (ram) {
            memmove(to, line, (size_t)(next - line));
            to += next - line;
        }
    }
    *to = 0;
}

static void read_release(struct via_sys *s, struct via_machine *m)
{
    char *end;
    if (via_sys_word(s, m->release, sizeof(m->release), "the kernel's version", "proc/sys/kernel/osrelease") < 0)
        m->release[0] = 0;
    unsigned long major = strtoul(m->release, &end, 10);
    if (major && major < 1000 && *end == '.')
        m->version = (unsigned)(major * 1000 + strtoul(end + 1, NULL, 10) % 1000);
    if (via_sys_word(s, m->arch, sizeof(m->arch), NULL, "proc/sys/kernel/arch") < 0)
        m->arch[0] = 0;
}

static void read_cpu(struct via_sys *s, struct via_machine *m)
{
    static char text[VIA_SYS_TEXT];
    if (via_sys_read(s, "proc/cpuinfo", text, sizeof(text), keep_cpu, "the processor's kind") < 0)
        return;
    char *colon = strchr(text, ':'), *end = strchr(text, '\n'), *list = end ? strchr(end, ':') : NULL;
    if (colon && end && colon < end)
        snprintf(m->cpu, sizeof(m->cpu), "%.*s", (int)(end - colon - 1) - (colon[1] == ' '), colon + 1 + (colon[1] == ' '));
    if (list) {
        list[strcspn(list, "\n")] = 0;
        snprintf(m->flags, sizeof(m->flags), "%s", list + 1);
    }
    if (m->arch[0])
        return;
    bool x86 = !strcmp(m->cpu, "GenuineIntel") || !strcmp(m->cpu, "AuthenticAMD") || !strcmp(m->cpu, "HygonGenuine");
    const char *arch = x86 ? "x86_64" : !strcmp(m->cpu, "IBM/S390") ? "s390x" : !strncmp(m->cpu, "POWER", 5) ? "ppc64le" : "";
    snprintf(m->arch, sizeof(m->arch), "%s", !strncmp(text, "CPU impl", 8) ? "aarch64" : arch);
}

bool via_machine_word(const struct via_machine *m, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = m->words; (at = strstr(at, word)); at += n)
        if ((at == m->words || at[-1] == ' ' || at[-1] == ',') && (!at[n] || at[n] == ' ' || at[n] == ','))
            return true;
    return false;
}

bool via_machine_flag(const struct via_machine *m, const char *flag) { return strstr(m->flags, flag) != NULL; }

bool via_machine_said(const struct via_machine *m, const char *said) { return strstr(m->log, said) != NULL; }

/* The last address of "START-LAST : System RAM" in all lines; 0 for those who may not see addresses. */
static uint64_t last_of(const char *text)
{
    uint64_t most = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char *dash, *end;
        uint64_t start = strtoull(line, &dash, 16), last = *dash == '-' ? strtoull(dash + 1, &end, 16) : 0;
        if (start <= last && last > most)
            most = last;
    }
    return most;
}

/* The highest block of memory that can be there, which may be more than is. */
static uint64_t last_block(struct via_sys *s, const char *tells)
{
    char **block, path[VIA_SYS_PATH];
    uint64_t size = 0, end = 0;
    int n = via_sys_list(s, "sys/devices/system/memory", "memory", &block, tells);
    if (n < 0)
        return 0;
    if (n && n < VIA_SYS_NAMES) {
        uint64_t index = strtoull(block[n - 1] + strlen("memory"), NULL, 10);
        snprintf(path, sizeof(path), "sys/devices/system/memory/%.200s", block[n - 1]);
        if (!via_sys_has(s, path) || via_sys_number(s, &size, 16, tells, "sys/devices/system/memory/block_size_bytes") < 0 ||
            !via_mul64(index + 1, size, &end))
            end = 0;
    }
    via_sys_list_free(block, n);
    return end ? end - 1 : 0;
}

static void read_memory(struct via_sys *s, struct via_machine *m)
{
    static const char tells[] = "how much memory there is, and so whether a device's mask covers it";
    static char text[1 << 20];
    if (via_sys_read(s, "proc/iomem", text, sizeof(text), keep_memory, tells) >= 0)
        m->ram.n = last_of(text);
    if (!m->ram.n)
        m->ram.n = last_block(s, tells);
    m->ram.known = m->ram.n;
}

static void read_iommus(struct via_sys *s, struct via_machine *m)
{
    char **name, path[VIA_SYS_PATH];
    int n = via_sys_list(s, "sys/class/iommu", "", &name, NULL);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(m->iommus);
        snprintf(path, sizeof(path), "sys/class/iommu/%.200s", name[i]);
        via_sys_has(s, path);
        snprintf(m->iommus + len, sizeof(m->iommus) - len, "%s%s", len ? " " : "", name[i]);
    }
    if (n >= 0)
        via_sys_list_free(name, n);
}

static void read_hypervisor(struct via_sys *s, struct via_machine *m)
{
    char type[VIA_WORD];
    m->xen = via_sys_word(s, type, sizeof(type), NULL, "sys/hypervisor/type") > 0 && !strcmp(type, "xen");
    if (m->xen || via_machine_flag(m, "hypervisor"))
        m->guest = VIA_TELL_YES;
    else if (m->flags[0] && !strcmp(m->arch, "x86_64"))
        m->guest = VIA_TELL_NO;
}

void via_machine_read(struct via_sys *s, struct via_machine *m)
{
    read_release(s, m);
    if (via_sys_read(s, "proc/cmdline", m->words, sizeof(m->words), keep_words, "what the kernel was told of IOMMU and bounce pool") < 0)
        m->words[0] = 0;
    read_cpu(s, m);
    read_hypervisor(s, m);
    read_iommus(s, m);
    read_memory(s, m);
    if (via_sys_log(s, m->log, sizeof(m->log)) < 0)
        m->log[0] = 0;
    m->unbatched = via_machine_said(m, "batching disallowed");
}
