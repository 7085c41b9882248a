/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain: a system's /sys, /proc and kernel log, live or as a copied tree. No path leads out of the tree, whatever links it holds; what is
 * no regular file is not opened; reads are bounded. What could not be read is noted, with what it would have told.
 */
#ifndef VIADUCT_CLI_EXPLAIN_SYS_H
#define VIADUCT_CLI_EXPLAIN_SYS_H

#include <viaduct/host.h>

#define VIA_SYS_PATH 512 /* bytes of a path or of a name; longer ones are refused */
#define VIA_SYS_NOTES 64
#define VIA_SYS_NAMES 4096 /* entries of a directory that are looked at */
#define VIA_SYS_TEXT 65536 /* bytes of a file that are looked at */

struct via_sys_note {
    char path[VIA_SYS_PATH];
    char why[96];
    const char *tells; /* static text: what stays unknown */
};

struct via_sys {
    int root;   /* directory */
    int record; /* directory that gets a copy of all that is read; -1: none */
    bool live;  /* the running system, not a copy of one */
    struct via_sys_note note[VIA_SYS_NOTES];
    unsigned notes, unnoted; /* kept, and not kept for want of room */
    struct via_err err;      /* the first thing that could not be recorded */
};

/* Paths have no slash at their beginning. NULL for root: the running system; for record: nothing is copied. */
VIA_MUST_USE int via_sys_open(struct via_sys *, const char *root, const char *record, struct via_err *err);
void via_sys_close(struct via_sys *);
void via_sys_note(struct via_sys *, const char *path, const char *tells, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/*
 * Up to size - 1 bytes of a file, and a NUL. `keep` (or NULL) leaves in the text what may be looked at and recorded. tells: what the file
 * would tell, for the note; NULL: its absence is no news. Returns the length or -VIA_E*.
 */
typedef void via_sys_keep(char *text);
VIA_MUST_USE int via_sys_read(struct via_sys *, const char *path, char *buf, size_t size, via_sys_keep *keep, const char *tells);
VIA_MUST_USE int via_sys_word(struct via_sys *, char *buf, size_t size, const char *tells, const char *fmt, ...)
    __attribute__((format(printf, 5, 6))); /* one line, printable, without its end */
VIA_MUST_USE int via_sys_number(struct via_sys *, uint64_t *v, int base, const char *tells, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Where a link leads, as a path from the root; it need not be there. */
VIA_MUST_USE int via_sys_link(struct via_sys *, const char *path, char *to);
/* Sorted names that begin with this, in an array to be freed together with each name. Returns their number or -VIA_E*. */
VIA_MUST_USE int via_sys_list(struct via_sys *, const char *path, const char *begin, char ***names, const char *tells);
void via_sys_list_free(char **names, int n);
bool via_sys_has(struct via_sys *, const char *path);

/* The part of a path behind its last slash; the part before it, "" when there is none. */
const char *via_sys_base(const char *path);
void via_sys_parent(char *path);

/* ---- explain_record.c: copies into the recorded tree */
VIA_MUST_USE int via_record_open(const char *dir, struct via_err *err); /* makes it, or takes an empty one; a descriptor */
void via_record_file(struct via_sys *, const char *path, const char *data, size_t len);
void via_record_link(struct via_sys *, const char *path, const char *to);
void via_record_dir(struct via_sys *, const char *path);

/* ---- explain_log.c */
/* What the kernel said of virtio, IOMMUs, bounce pools and protection, a line each. */
VIA_MUST_USE int via_sys_log(struct via_sys *, char *buf, size_t size);

#endif
