/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: for programs. The man page lists the fields. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "explain_parts.h"

static void put(struct json_object *o, const char *name, struct json_object *value) { json_object_object_add(o, name, value); }

/* "" is null. */
static void put_text(struct json_object *o, const char *name, const char *text)
{
    put(o, name, text && *text ? json_object_new_string(text) : NULL);
}

static void put_count(struct json_object *o, const char *name, struct via_count c)
{
    put(o, name, c.known ? json_object_new_uint64(c.n) : NULL);
}

static void put_tell(struct json_object *o, const char *name, enum via_tell t)
{
    put(o, name, t == VIA_TELL_UNKNOWN ? NULL : json_object_new_boolean(t == VIA_TELL_YES));
}

static void put_bool(struct json_object *o, const char *name, bool v) { put(o, name, json_object_new_boolean(v)); }

static struct json_object *pool_json(const struct via_pool_facts *p)
{
    struct json_object *o = json_object_new_object();
    put_text(o, "name", p->name);
    put_count(o, "slots", p->slots);
    put(o, "slot_bytes", json_object_new_uint64(VIA_SLOT));
    put_count(o, "used", p->used);
    put_count(o, "high_water", p->high_water);
    return o;
}

static struct json_object *system_json(const struct via_machine *m)
{
    struct json_object *o = json_object_new_object(), *pools = json_object_new_array();
    put_text(o, "kernel", m->release);
    put_text(o, "arch", m->arch);
    put_tell(o, "guest", m->guest);
    put_bool(o, "xen", m->xen);
    put_tell(o, "protected", m->protected);
    put_text(o, "protection", m->protection);
    put_text(o, "protection_why", m->protection_why);
    put_text(o, "command_line", m->words);
    put_text(o, "iommus", m->iommus);
    put_count(o, "memory_last", m->ram);
    put_bool(o, "swiotlb_force", m->forced);
    put_bool(o, "swiotlb_noforce", m->disabled);
    for (unsigned i = 0; i < m->pools; i++)
        json_object_array_add(pools, pool_json(&m->pool[i]));
    put(o, "pools", pools);
    return o;
}

static struct json_object *path_json(const struct via_vdev *d)
{
    struct json_object *o = json_object_new_object();
    put_text(o, "name", d->path.name);
    put_text(o, "addresses", via_addresses_name(d->path.addresses));
    put_text(o, "bounces", via_bounces_name(d->path.bounces));
    put_text(o, "why", d->path.why);
    return o;
}

static struct json_object *iommu_json(const struct via_vdev *d)
{
    struct json_object *o = json_object_new_object();
    put_text(o, "mode", via_mode_name(d->mode));
    put_text(o, "group", d->group);
    put_text(o, "type", d->group_type);
    put_text(o, "unit", d->iommu);
    put_tell(o, "ats", d->ats);
    put_tell(o, "ats_enabled", d->ats_on);
    return o;
}

static struct json_object *plan_json(const struct via_vdev *d)
{
    struct json_object *o = json_object_new_object(), *on = json_object_new_object();
    for (unsigned s = 0; !d->decided && s < VIA_SWITCHES; s++)
        if (via_plan_has(&d->plan, s))
            put_text(on, via_switch_name(s), via_reason_text(d->plan.why[s]));
    put(o, "on", on);
    put_text(o, "refused", d->decided ? via_reason_text(d->plan.refused) : NULL);
    return o;
}

static struct json_object *features_json(const struct via_vdev *d)
{
    struct json_object *list = json_object_new_array();
    char text[VIA_BIT_TEXT];
    unsigned type = d->type.known && d->type.n < 256 ? (unsigned)d->type.n : 0;
    for (unsigned bit = 0; bit < 128; bit++)
        if (via_vdev_has(d, bit))
            json_object_array_add(list, json_object_new_string(via_bit_text(type, bit, text)));
    return list;
}

static struct json_object *device_json(const struct via_vdev *d)
{
    struct json_object *o = json_object_new_object();
    put_text(o, "name", d->name);
    put_count(o, "type", d->type);
    put_text(o, "kind", d->type.known && d->type.n < 256 ? via_type_name((unsigned)d->type.n) : NULL);
    put_text(o, "driver", d->driver);
    put_text(o, "bus", d->bus);
    put_text(o, "parent", d->parent);
    put_count(o, "status", d->status);
    put(o, "features", d->features_known ? features_json(d) : NULL);
    put_count(o, "dma_mask", d->mask);
    put(o, "iommu", iommu_json(d));
    put_text(o, "own_pool", d->own_pool);
    put(o, "path", path_json(d));
    put(o, "policy", d->planned ? plan_json(d) : NULL);
    return o;
}

static struct json_object *finding_json(const struct via_explain *x, const struct via_finding *f)
{
    struct json_object *o = json_object_new_object(), *names = json_object_new_array();
    put_text(o, "id", f->id);
    put_text(o, "severity", via_severity_name(f->severity));
    for (unsigned i = 0; i < x->devices; i++)
        if (f->device[i / 8] >> i % 8 & 1)
            json_object_array_add(names, json_object_new_string(x->device[i].name));
    put(o, "devices", names);
    put_text(o, "what", f->what);
    put_text(o, "why", f->why);
    put_text(o, "change", f->change);
    return o;
}

static struct json_object *note_json(const struct via_sys_note *n)
{
    struct json_object *o = json_object_new_object();
    char path[VIA_SYS_PATH + 1];
    snprintf(path, sizeof(path), "/%s", n->path);
    put_text(o, "file", path);
    put_text(o, "why", n->why);
    put_text(o, "tells", n->tells);
    return o;
}

static int write_out(const char *text, const char *file, struct via_err *err)
{
    FILE *to = strcmp(file, "-") == 0 ? stdout : fopen(file, "we");
    bool good = to && fprintf(to, "%s\n", text) >= 0 && fflush(to) == 0;
    int error = errno;
    if (to && to != stdout)
        good = fclose(to) == 0 && good;
    return good ? 0 : via_err_set(err, -VIA_EIO, "can't write '%s': %s", file, strerror(error));
}

int via_explain_json(const struct via_explain *x, const char *file, struct via_err *err)
{
    struct json_object *o = json_object_new_object(), *devices = json_object_new_array(), *findings = json_object_new_array(),
                       *notes = json_object_new_array();
    for (unsigned i = 0; i < x->devices; i++)
        json_object_array_add(devices, device_json(&x->device[i]));
    for (unsigned i = 0; i < x->findings; i++)
        json_object_array_add(findings, finding_json(x, &x->finding[i]));
    for (unsigned i = 0; i < x->sys.notes; i++)
        json_object_array_add(notes, note_json(&x->sys.note[i]));
    put(o, "system", system_json(&x->machine));
    put(o, "devices", devices);
    put(o, "findings", findings);
    put(o, "not_read", notes);
    put(o, "not_read_more", json_object_new_uint64(x->sys.unnoted));
    int r = write_out(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE), file, err);
    json_object_put(o);
    return r;
}
