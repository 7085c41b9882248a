/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One suite for every platform that protects a guest's memory: what the owner sees, what whoever has the shared backing's descriptor sees,
 * what a device reaches and what is counted, after each conversion, and after ten thousand in any order.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protect_rig.h"

/* ------------------------------------------------------------------ conversions */

static bool follows(struct place *p)
{
    static const struct {
        size_t page, n;
        bool share;
    } step[] = {{3, 1, true},  {0, 1, true},    {PAGES - 1, 1, true}, {2, 7, true},   {0, PAGES, true},      {0, PAGES, true},
                {5, 2, false}, {10, 20, false}, {0, 1, false},        {4, 30, false}, {PAGES - 1, 1, false}, {0, PAGES, false}};
    for (unsigned k = 0; k < via_array_len(step); k++) {
        CHECK_OR_FALSE(convert(p, step[k].page, step[k].n, step[k].share) == 0);
        becomes(p, step[k].page, step[k].n, step[k].share);
        CHECK_OR_FALSE(agrees(p) && kept(p));
    }
    return true;
}

static bool is_seen(const struct platform *platform, bool shared)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, shared) && agrees(&p));
    fill_all(&p);
    CHECK_OR_FALSE(kept(&p) && follows(&p));
    place_close(&p);
    return true;
}

static void what_is_shared_is_seen_and_nothing_else(void) { on_each(is_seen); }

/* Mappings that the kernel has of the view. */
static size_t mappings(const struct place *p)
{
    char line[512];
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof(line), f)) {
        uintptr_t at = strtoul(line, NULL, 16);
        n += at - (uintptr_t)p->m.memory.ptr < PAGES * PAGE;
    }
    if (f)
        (void)fclose(f);
    return n;
}

static bool in_any_order(const struct platform *platform, bool shared)
{
    struct place p;
    unsigned seed = 7;
    CHECK_OR_FALSE(place_open(&p, platform, shared));
    fill_all(&p);
    for (unsigned i = 0; i < 10000; i++) {
        size_t page = (size_t)rand_r(&seed) % PAGES, n = 1 + (size_t)rand_r(&seed) % (i % 3 ? 4 : PAGES);
        bool share = rand_r(&seed) & 1;
        n = via_min64(n, PAGES - page);
        CHECK_OR_FALSE(convert(&p, page, n, share) == 0);
        becomes(&p, page, n, share);
        if (i % 16 == 0)
            CHECK_OR_FALSE(agrees(&p) && kept(&p));
    }
    CHECK_OR_FALSE(agrees(&p) && kept(&p));
    CHECK_OR_FALSE(mappings(&p) == p.m.pieces);
    place_close(&p);
    return true;
}

/* Content that was private does not come back with the page, nor does its memory stay behind. */
static bool is_wiped(const struct platform *platform, bool shared)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, shared));
    for (size_t i = 0; i < PAGES; i++) {
        fill(&p, i, OPEN);
        CHECK_OR_FALSE(convert(&p, i, 1, !shared) == 0 && holds(page_of(&p, i), 0));
        fill(&p, i, OPEN);
        CHECK_OR_FALSE(convert(&p, i, 1, shared) == 0 && holds(page_of(&p, i), 0));
    }
    place_close(&p);
    return true;
}

static void what_a_page_held_is_wiped(void) { on_each(is_wiped); }

static bool is_carried(const struct platform *platform, bool shared)
{
    struct place p;
    static uint8_t scratch[3 * PAGE + 1];
    const struct via_span span = {scratch, sizeof(scratch)}, small = {scratch, PAGE - 1};
    CHECK_OR_FALSE(place_open(&p, platform, shared));
    for (size_t i = 0; i < PAGES; i++)
        fill(&p, i, OPEN);
    CHECK_OR_FALSE(via_protect_share_keep(&p.m.protect, page_of(&p, 0), PAGES * PAGE, small) == -VIA_EINVAL);
    CHECK_OR_FALSE(via_protect_share_keep(&p.m.protect, page_of(&p, 5), 40 * PAGE, span) == 0);
    CHECK_OR_FALSE(via_protect_unshare_keep(&p.m.protect, page_of(&p, 20), 44 * PAGE, span) == 0);
    for (size_t i = 0; i < PAGES; i++) {
        p.state[i] = i >= 20 ? OWN : i >= 5 || shared ? SHARED : OWN;
        CHECK_OR_FALSE(holds(page_of(&p, i), OPEN + i));
        CHECK_OR_FALSE(holds(p.other + i * PAGE, p.state[i] == SHARED ? OPEN + i : 0));
    }
    CHECK_OR_FALSE(agrees(&p));
    for (size_t i = 0; i < sizeof(scratch); i++)
        CHECK_OR_FALSE(!scratch[i]);
    place_close(&p);
    return true;
}

static void content_can_be_carried_over(void) { on_each(is_carried); }

static void ten_thousand_in_any_order(void) { on_each(in_any_order); }

/* ------------------------------------------------------------------ another process, which has the descriptor and nothing else */

/* Takes a descriptor, says how many pages of it hold anything that was never to be shared. */
static void search(int channel)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    while (recvmsg(channel, &msg, 0) == 1) {
        int fd;
        unsigned found = 0;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
        const uint8_t *all = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
        for (size_t i = 0; i < PAGES; i++)
            found += all != MAP_FAILED && memmem(all + i * PAGE, PAGE, &(uint64_t){SECRET + i}, sizeof(uint64_t)) != NULL;
        if (write(channel, &found, sizeof(found)) != sizeof(found))
            break;
        msg.msg_controllen = sizeof(control);
    }
    _exit(0);
}

static bool searcher_finds(int channel, int fd, unsigned *found)
{
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec iov = {(char[]){0}, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(channel, &msg, 0) == 1 && read(channel, found, sizeof(*found)) == sizeof(*found);
}

static bool finds_no_secret(const struct platform *platform, bool shared)
{
    struct place p;
    int pair[2];
    unsigned found = 99;
    CHECK_OR_FALSE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t child = fork(); /* before there is any memory that it could inherit */
    if (child == 0) {
        close(pair[0]);
        search(pair[1]);
    }
    close(pair[1]);
    CHECK_OR_FALSE(place_open(&p, platform, shared) && convert(&p, 0, PAGES, true) == 0);
    for (size_t i = 0; i < PAGES; i++)
        fill(&p, i, SECRET); /* it is shared still: so it can be found */
    CHECK_OR_FALSE(searcher_finds(pair[0], p.m.memory.fd, &found) && found == PAGES);
    CHECK_OR_FALSE(convert(&p, 8, PAGES - 8, false) == 0);
    CHECK_OR_FALSE(searcher_finds(pair[0], p.m.memory.fd, &found) && found == 8);
    for (size_t i = 8; i < PAGES; i++)
        fill(&p, i, SECRET);
    CHECK_OR_FALSE(searcher_finds(pair[0], p.m.memory.fd, &found) && found == 8);
    CHECK_OR_FALSE(convert(&p, 0, 32, false) == 0 && convert(&p, 16, 8, true) == 0);
    CHECK_OR_FALSE(searcher_finds(pair[0], p.m.memory.fd, &found) && found == 0);
    close(pair[0]);
    CHECK_OR_FALSE(waitpid(child, NULL, 0) == child);
    place_close(&p);
    return true;
}

static void another_process_finds_no_secret(void) { on_each(finds_no_secret); }

/* ------------------------------------------------------------------ children, dumps, and the end */

/* In a child that was forked: is the page there? */
static bool child_has(const uint8_t *page)
{
    int status = 0;
    pid_t child = fork();
    unsigned char there;
    if (child == 0)
        _exit(mincore((void *)(uintptr_t)page, PAGE, &there) == 0);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status);
}

/* Whether the kernel has this flag on the mapping of a page: "dd" keeps it out of core dumps. */
static bool has_flag(const uint8_t *page, const char *flag)
{
    char line[512];
    bool inside = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    while (f && fgets(line, sizeof(line), f)) {
        char *dash;
        uintptr_t start = strtoul(line, &dash, 16);
        if (*dash == '-')
            inside = (uintptr_t)page >= start && (uintptr_t)page < strtoul(dash + 1, NULL, 16);
        found |= inside && !strncmp(line, "VmFlags:", 8) && strstr(line, flag);
    }
    if (f)
        (void)fclose(f);
    return found;
}

static bool is_kept_here(const struct platform *platform, bool shared)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, shared) && convert(&p, 0, PAGES, shared) == 0);
    CHECK_OR_FALSE(convert(&p, 4, 2, true) == 0 && convert(&p, 6, 2, false) == 0);
    CHECK_OR_FALSE(child_has(page_of(&p, 4)) && !child_has(page_of(&p, 6)) && !child_has(p.m.own + 6 * PAGE));
    CHECK_OR_FALSE(!has_flag(page_of(&p, 4), " dd") && has_flag(page_of(&p, 6), " dd") && has_flag(p.m.own + 6 * PAGE, " dd"));
    uint8_t *view = page_of(&p, 0), *own = p.m.own, *device = p.view.mapped.ptr;
    int fd = p.m.memory.fd;
    unsigned char there;
    place_close(&p);
    CHECK_OR_FALSE(mincore(view, PAGE, &there) < 0 && mincore(own, PAGE, &there) < 0);
    CHECK_OR_FALSE(mincore(device, PAGE, &there) < 0 && fcntl(fd, F_GETFD) < 0);
    return true;
}

static void no_child_no_dump_and_nothing_afterwards(void) { on_each(is_kept_here); }

TAP_MAIN(TEST(what_is_shared_is_seen_and_nothing_else), TEST(what_a_page_held_is_wiped), TEST(content_can_be_carried_over),
         TEST(ten_thousand_in_any_order), TEST(another_process_finds_no_secret), TEST(no_child_no_dump_and_nothing_afterwards))
