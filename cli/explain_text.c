/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

#define WIDTH 110u
#define LABEL 12
#define PLACE 36

/* Words of a text, wrapped, with every line but the first set in by this much. */
static void wrap(unsigned in, unsigned at, const char *text)
{
    for (bool first = true; *text; first = false) {
        unsigned n = (unsigned)strcspn(text, " ");
        if (!first && at + 1 + n > WIDTH) {
            printf("\n%*s", (int)in, "");
            at = in;
        } else if (!first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)n, text);
        at += n;
        text += n + strspn(text + n, " ");
    }
    puts("");
}

static void line(unsigned in, const char *label, const char *text)
{
    printf("%*s%-*s", (int)in, "", LABEL - (int)in, label);
    wrap(LABEL, LABEL, text);
}

static void show_guest(const struct via_machine *m)
{
    char text[8 * VIA_WORD];
    static const char *const guests[] = {"machine", "no guest", "guest"};
    snprintf(text, sizeof(text), "Linux %s, %s, %s%s", m->release[0] ? m->release : "?", m->arch[0] ? m->arch : "?", guests[m->guest],
             m->xen ? " of Xen" : "");
    line(0, "system", text);
    if (m->protected == VIA_TELL_YES)
        snprintf(text, sizeof(text), "its memory is private: %s (%s)", m->protection, m->protection_why);
    else
        snprintf(text, sizeof(text), "%s: %s", m->protected == VIA_TELL_NO ? "no host is kept from its memory" : "unknown",
                 m->protection_why);
    line(0, "protection", text);
    if (m->words[0])
        line(0, "told", m->words);
    line(0, "IOMMUs", m->iommus[0] ? m->iommus : "none that Linux uses");
}

static size_t put_count(char *text, size_t size, const char *before, struct via_count c, uint64_t of)
{
    if (!c.known)
        return 0;
    int n = snprintf(text, size, "%s%" PRIu64, before, c.n);
    if (of)
        n += snprintf(text + n, size - (size_t)n, " (%" PRIu64 " %%)", c.n * 100 / of);
    return (size_t)n;
}

static void show_pool(const struct via_machine *m, const struct via_pool_facts *p)
{
    char text[6 * VIA_WORD];
    size_t n = 0;
    uint64_t of = p->slots.known ? p->slots.n : 0;
    if (!p->slots.known)
        n += (size_t)snprintf(text, sizeof(text), "%s: size unknown", p->name);
    else if (!of)
        n += (size_t)snprintf(text, sizeof(text), "%s: none", p->name);
    else
        n += (size_t)snprintf(text, sizeof(text), "%s: %" PRIu64 " slots, %" PRIu64 " KiB", p->name, p->slots.n,
                              p->slots.n * VIA_SLOT / 1024);
    n += put_count(text + n, sizeof(text) - n, ", in use ", p->used, of);
    n += put_count(text + n, sizeof(text) - n, ", at most ", p->high_water, of);
    if (p == m->pool && m->disabled)
        snprintf(text + n, sizeof(text) - n, "; swiotlb=noforce: none is used");
    line(0, p == m->pool ? "pool" : "", text);
}

static void show_features(const struct via_vdev *d)
{
    char text[4096] = "", name[VIA_BIT_TEXT];
    size_t n = 0;
    for (unsigned bit = 0; bit < 128; bit++)
        if (via_vdev_has(d, bit))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? ", " : "",
                                  via_bit_text(d->type.known && d->type.n < 256 ? (unsigned)d->type.n : 0, bit, name));
    line(2, "features", !d->features_known ? "could not be read" : n ? text : "none");
}

static void show_plan(const struct via_vdev *d)
{
    char text[4096];
    size_t n = 0;
    if (!d->planned)
        return;
    if (d->decided < 0) {
        snprintf(text, sizeof(text), "refused: %s", via_reason_text(d->plan.refused));
        line(2, "policy", text);
        return;
    }
    for (unsigned s = 0; s < VIA_SWITCHES; s++)
        if (via_plan_has(&d->plan, s))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s (%s)", n ? ", " : "", via_switch_name(s),
                                  via_reason_text(d->plan.why[s]));
    line(2, "policy", n ? text : "direct: nothing asks for more");
}

static void show_device(const struct via_vdev *d)
{
    char text[6 * VIA_WORD], place[4 * VIA_WORD];
    const char *type = d->type.known && d->type.n < 256 ? via_type_name((unsigned)d->type.n) : NULL;
    snprintf(place, sizeof(place), "%s %s%s%s", d->bus[0] ? d->bus : "?", d->parent[0] ? d->parent : "?", d->group[0] ? ", group " : "",
             d->group);
    if (type)
        snprintf(text, sizeof(text), "%s", type);
    else
        snprintf(text, sizeof(text), d->type.known ? "type %" PRIu64 : "type unknown", d->type.n);
    printf("\n%-*s%-14s %-*s%s\n", LABEL, d->name, text, PLACE, place, d->driver[0] ? d->driver : "no driver");
    snprintf(text, sizeof(text), "%s: %s", d->path.name, d->path.why);
    line(2, "path", text);
    if (d->group[0]) {
        snprintf(text, sizeof(text), "%s%s%s%s", via_mode_name(d->mode), d->iommu[0] ? ", by " : "", d->iommu,
                 d->ats == VIA_TELL_YES ? d->ats_on == VIA_TELL_YES ? ", with ATS" : ", ATS off" : "");
        line(2, "IOMMU", text);
    }
    if (d->own_pool[0])
        line(2, "own pool", d->own_pool);
    show_plan(d);
    show_features(d);
}

static void show_finding(const struct via_explain *x, const struct via_finding *f)
{
    char names[1024] = "";
    size_t n = 0;
    for (unsigned i = 0; i < x->devices; i++)
        if (f->device[i / 8] >> i % 8 & 1 && n < sizeof(names))
            n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : " (", x->device[i].name);
    printf("\n%-*s", LABEL, via_severity_name(f->severity));
    char text[sizeof(names) + sizeof(f->what) + 2];
    snprintf(text, sizeof(text), "%s%s%s", f->what, names, n ? ")" : "");
    wrap(LABEL, LABEL, text);
    line(2, "why", f->why);
    line(2, "change", f->change);
}

void via_explain_text(const struct via_explain *x)
{
    show_guest(&x->machine);
    for (unsigned i = 0; i < x->machine.pools; i++)
        show_pool(&x->machine, &x->machine.pool[i]);
    if (!x->devices)
        puts("\nno virtio devices");
    for (unsigned i = 0; i < x->devices; i++)
        show_device(&x->device[i]);
    for (unsigned i = 0; i < x->findings; i++)
        show_finding(x, &x->finding[i]);
    if (!x->findings)
        puts("\nnothing found wrong");
    if (x->sys.notes)
        puts("\nnot read:");
    for (unsigned i = 0; i < x->sys.notes; i++) {
        const struct via_sys_note *n = &x->sys.note[i];
        char text[VIA_SYS_PATH + 4 * VIA_WORD];
        snprintf(text, sizeof(text), "/%s: %s. Lost: %s", n->path, n->why, n->tells);
        printf("  ");
        wrap(4, 2, text);
    }
    if (x->sys.unnoted)
        printf("  and %u more\n", x->sys.unnoted);
}
