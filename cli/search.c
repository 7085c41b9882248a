/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * search: look through memory of which this process has a descriptor and nothing else, for what should not be there. It is what
 * `viaduct drive secure` attacks itself with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <viaduct/base.h>

#include "cli.h"
#include "search.h"

#define CHUNK ((size_t)1 << 20)
#define KEPT (VIA_SEARCH_NEEDLE - 1) /* bytes of a chunk that the next one begins with: a needle may lie across */
#define SCRIBBLE 0xa5

struct search {
    int fd;
    uint64_t size;
    struct via_search_orders orders;
    uint8_t *chunk;
    struct via_search_result result;
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "viaduct search: %s: %s\n", what, why);
    return 1;
}

static bool take_orders(struct via_search_orders *o)
{
    if (fread(o, sizeof(*o), 1, stdin) != 1 || fgetc(stdin) != EOF || o->scribble > 1)
        return false;
    for (unsigned i = 0; i < VIA_SEARCH_MEANT; i++)
        if (o->meant[i].start > o->meant[i].last || (i && o->meant[i].start <= o->meant[i - 1].last))
            return false;
    for (unsigned i = 0; i < VIA_SEARCH_NEEDLES * VIA_SEARCH_NEEDLE; i++)
        o->needle[i / VIA_SEARCH_NEEDLE][i % VIA_SEARCH_NEEDLE] ^= 0xff;
    return true;
}

/* How many bytes from `at` on are alike: meant, or not. */
static uint64_t alike(const struct search *s, uint64_t at, uint64_t end, bool *meant)
{
    *meant = false;
    for (unsigned i = 0; i < VIA_SEARCH_MEANT; i++) {
        uint64_t start = s->orders.meant[i].start, last = s->orders.meant[i].last;
        *meant = at >= start && at <= last;
        if (*meant)
            return via_min64(end - at, last - at + 1);
        if (start > at)
            return via_min64(end, start) - at;
    }
    return end - at;
}

/* The chunk's new bytes are len from byte `at` of the memory on; those before them were looked at but for needles that end here. */
static void look_at_chunk(struct search *s, uint64_t at, size_t len)
{
    const uint8_t *now = s->chunk + KEPT;
    size_t kept = at ? KEPT : 0;
    bool meant;
    for (unsigned i = 0; i < VIA_SEARCH_NEEDLES; i++) {
        const uint8_t *from = now - kept, *hit;
        while ((hit = memmem(from, (size_t)(now + len - from), s->orders.needle[i], VIA_SEARCH_NEEDLE)) != NULL) {
            s->result.found[i]++;
            from = hit + 1;
        }
    }
    for (uint64_t off = 0, n; off < len; off += n) {
        n = alike(s, at + off, at + len, &meant);
        for (uint64_t k = off; !meant && k < off + n; k++)
            s->result.seen += now[k] != 0;
    }
    memmove(s->chunk, now + len - KEPT, KEPT);
}

static int look(struct search *s)
{
    uint64_t at = 0;
    while (at < s->size) {
        size_t have = 0, want = (size_t)via_min64(CHUNK, s->size - at);
        while (have < want) {
            ssize_t n = pread(s->fd, s->chunk + KEPT + have, want - have, (off_t)(at + have));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return complain("reading", n ? strerror(errno) : "the memory ended early");
            have += (size_t)n;
        }
        look_at_chunk(s, at, have);
        at += have;
    }
    s->result.searched = at;
    return 0;
}

static int scribble(struct search *s)
{
    bool meant;
    memset(s->chunk, SCRIBBLE, CHUNK);
    for (uint64_t at = 0, n; at < s->size; at += n) {
        n = alike(s, at, via_min64(s->size, at + CHUNK), &meant);
        if (meant)
            continue;
        ssize_t done = pwrite(s->fd, s->chunk, n, (off_t)at);
        if (done <= 0)
            return complain("writing", strerror(errno));
        n = (uint64_t)done;
        s->result.scribbled += n;
    }
    return 0;
}

int via_cmd_search(int argc, char **argv)
{
    struct search s = {.fd = VIA_SEARCH_FD};
    struct stat st;
    (void)argv;
    if (argc != 1 || fstat(s.fd, &st) || st.st_size <= 0 || !take_orders(&s.orders)) {
        fputs("viaduct search: no memory, or orders that make no sense: this is a part of `viaduct drive secure`, and not for use\n",
              stderr);
        return 2;
    }
    s.size = (uint64_t)st.st_size;
    s.chunk = malloc(KEPT + CHUNK);
    if (!s.chunk)
        return complain("memory", strerror(errno));
    int r = look(&s);
    if (!r && s.orders.scribble)
        r = scribble(&s);
    free(s.chunk);
    if (!r && (fwrite(&s.result, sizeof(s.result), 1, stdout) != 1 || fflush(stdout)))
        r = complain("answering", strerror(errno));
    return r;
}
