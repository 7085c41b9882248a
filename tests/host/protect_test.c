/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One suite for every platform that protects a guest's memory: what the owner sees, what whoever has the shared backing's descriptor sees,
 * and what is counted, after each conversion, after each way for one to fail, and after ten thousand in any order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/private.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define PAGES 64u
#define SECRET UINT64_C(0x5ec2e75ec2e75ec2)
#define OPEN UINT64_C(0x09e409e409e409e4)

/* ------------------------------------------------------------------ system calls that fail when told to */

static unsigned fail_in; /* the so-many-th of the calls below fails; 0: none */

static bool fails(void) { return fail_in && !--fail_in; }

void *__real_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    errno = ENOMEM;
    return fails() ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

void *__real_mremap(void *, size_t, size_t, int, ...);
void *__wrap_mremap(void *, size_t, size_t, int, ...);
void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *at = va_arg(more, void *);
    va_end(more);
    errno = ENOMEM;
    return fails() ? MAP_FAILED : __real_mremap(old, old_len, len, flags, at);
}

int __real_fallocate64(int, int, off_t, off_t);
int __wrap_fallocate64(int, int, off_t, off_t);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
    errno = EIO;
    return fails() ? -1 : __real_fallocate64(fd, mode, off, len);
}

/* ------------------------------------------------------------------ platforms, and a model of what they do */

struct place {
    struct via_private m;
    uint8_t *other; /* a second mapping of the descriptor: all that others have */
    enum { OWN, SHARED, DOUBT } state[PAGES];
};

struct platform {
    const char *name;
    bool (*open)(struct place *, const struct via_private_cfg *);
};

static bool open_guest_only(struct place *p, const struct via_private_cfg *cfg)
{
    struct via_err err = {.text = ""};
    if (via_private_create(&p->m, cfg, &err) < 0)
        tap_note(err.text);
    return p->m.memory.ptr != NULL;
}

static const struct platform platforms[] = {
    {"guest-only", open_guest_only},
};

static bool place_open(struct place *p, const struct platform *platform, bool shared)
{
    const struct via_private_cfg cfg = {.name = "protect-test", .len = PAGES * PAGE, .shared = shared};
    CHECK_OR_FALSE(platform->open(p, &cfg));
    p->other = mmap(NULL, cfg.len, PROT_READ | PROT_WRITE, MAP_SHARED, p->m.memory.fd, 0);
    CHECK_OR_FALSE(p->other != MAP_FAILED);
    for (unsigned i = 0; i < PAGES; i++)
        p->state[i] = shared ? SHARED : OWN;
    return true;
}

static void place_close(struct place *p)
{
    munmap(p->other, PAGES * PAGE);
    via_private_destroy(&p->m);
}

static uint8_t *page_of(const struct place *p, size_t i) { return p->m.memory.ptr + i * PAGE; }

static void fill(const struct place *p, size_t i, uint64_t what)
{
    for (size_t k = 0; k < PAGE; k += sizeof(what))
        memcpy(page_of(p, i) + k, &(uint64_t){what + i}, sizeof(what));
}

/* Every word of a page is this. */
static bool holds(const uint8_t *page, uint64_t what)
{
    uint64_t first;
    memcpy(&first, page, sizeof(first));
    return first == what && !memcmp(page, page + sizeof(first), PAGE - sizeof(first));
}

static void fill_all(const struct place *p)
{
    for (size_t i = 0; i < PAGES; i++)
        if (p->state[i] != DOUBT)
            fill(p, i, p->state[i] == OWN ? SECRET : OPEN);
}

static int convert(struct place *p, size_t page, size_t n, bool share)
{
    return share ? via_protect_share(&p->m.protect, page_of(p, page), n * PAGE)
                 : via_protect_unshare(&p->m.protect, page_of(p, page), n * PAGE);
}

/* The model says what is counted, and nothing of a page that is not shared is in the backing. */
static bool agrees(const struct place *p)
{
    size_t pieces = 1;
    for (size_t i = 0; i < PAGES; i++) {
        CHECK_OR_FALSE(via_protect_is_shared(&p->m.protect, page_of(p, i), PAGE) == (p->state[i] == SHARED));
        CHECK_OR_FALSE(via_protect_is_private(&p->m.protect, page_of(p, i), PAGE) == (p->state[i] == OWN));
        if (p->state[i] == OWN)
            CHECK_OR_FALSE(holds(p->other + i * PAGE, 0));
        pieces += i && (p->state[i] == OWN) != (p->state[i - 1] == OWN);
    }
    CHECK_OR_FALSE(p->m.pieces == pieces || fail_in || memchr(p->state, DOUBT, sizeof(p->state)));
    return true;
}

/* What was written is found where it was written: by others exactly what is shared. */
static bool kept(const struct place *p)
{
    for (size_t i = 0; i < PAGES; i++) {
        if (p->state[i] == DOUBT)
            continue;
        CHECK_OR_FALSE(holds(page_of(p, i), (p->state[i] == OWN ? SECRET : OPEN) + i));
        CHECK_OR_FALSE(holds(p->other + i * PAGE, p->state[i] == OWN ? 0 : OPEN + i));
    }
    return true;
}

/* ------------------------------------------------------------------ tests, each on every platform */

/* Twice: on memory that is private at first, and on memory that is shared. */
static void on_each(bool (*test)(const struct platform *, bool shared))
{
    for (unsigned k = 0; k < 2 * via_array_len(platforms); k++)
        if (!test(&platforms[k / 2], k % 2)) {
            tap_note(platforms[k / 2].name);
            return;
        }
}

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

static bool follows(struct place *p)
{
    static const struct {
        size_t page, n;
        bool share;
    } step[] = {{3, 1, true},  {0, 1, true},    {PAGES - 1, 1, true}, {2, 7, true},   {0, PAGES, true},      {0, PAGES, true},
                {5, 2, false}, {10, 20, false}, {0, 1, false},        {4, 30, false}, {PAGES - 1, 1, false}, {0, PAGES, false}};
    for (unsigned k = 0; k < via_array_len(step); k++) {
        CHECK_OR_FALSE(convert(p, step[k].page, step[k].n, step[k].share) == 0);
        for (size_t i = step[k].page; i < step[k].page + step[k].n; i++)
            p->state[i] = step[k].share ? SHARED : OWN;
        CHECK_OR_FALSE(agrees(p));
        fill_all(p);
        CHECK_OR_FALSE(kept(p));
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
        for (size_t at = page; at < page + n; at++) {
            p.state[at] = share ? SHARED : OWN;
            fill(&p, at, share ? OPEN : SECRET);
        }
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

/* ------------------------------------------------------------------ failures */

/* Every third page has the other state already: so there is a run of two, then one that is left alone, and so on. */
static bool stripe(struct place *p, bool share)
{
    for (size_t i = 0; i < PAGES; i += 3) {
        CHECK_OR_FALSE(convert(p, i, 1, share) == 0);
        p->state[i] = share ? SHARED : OWN;
    }
    fill_all(p);
    return true;
}

/*
 * One call of the system fails, each in turn. What came before is converted, one page is in doubt, and what comes behind is as it was, what
 * it holds included. false: so many calls there were not.
 */
static bool fail_once(const struct platform *platform, unsigned call, bool share, bool *failed)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, !share) && stripe(&p, share));
    fail_in = call;
    int r = convert(&p, 0, PAGES, share);
    fail_in = 0;
    *failed = r < 0;
    size_t doubt = 0;
    while (doubt < PAGES && r < 0 &&
           (via_protect_is_shared(&p.m.protect, page_of(&p, doubt), 1) || via_protect_is_private(&p.m.protect, page_of(&p, doubt), 1)))
        doubt++;
    CHECK_OR_FALSE(r == 0 || (doubt < PAGES && doubt % 3 == 1 && p.m.why.text[0]));
    for (size_t i = 0; i < (r < 0 ? doubt : PAGES); i++) {
        p.state[i] = share ? SHARED : OWN;
        fill(&p, i, share ? OPEN : SECRET);
    }
    if (r < 0) {
        p.state[doubt] = DOUBT;
        if (!share && doubt + 1 < PAGES) /* this run's content is lost, its state is not */
            fill(&p, doubt + 1, p.state[doubt + 1] == OWN ? SECRET : OPEN);
    }
    CHECK_OR_FALSE(agrees(&p) && kept(&p));
    CHECK_OR_FALSE(p.m.protect.stats.failed == (r < 0));
    for (unsigned way = 0; way < 2 && r < 0; way++) { /* tried again, whichever way: without a doubt then */
        CHECK_OR_FALSE(convert(&p, doubt, 1, way == share) == 0);
        p.state[doubt] = way == share ? SHARED : OWN;
        fill(&p, doubt, way == share ? OPEN : SECRET);
        CHECK_OR_FALSE(agrees(&p) && kept(&p));
    }
    place_close(&p);
    return true;
}

static bool fails_anywhere(const struct platform *platform, bool share)
{
    bool failed = true;
    unsigned call = 0;
    while (failed)
        CHECK_OR_FALSE(fail_once(platform, ++call, share, &failed));
    CHECK_OR_FALSE(call > PAGES / 3);
    return true;
}

static void a_failure_at_any_call_leaves_no_page_wrong(void) { on_each(fails_anywhere); }

static void what_cannot_be_made_is_refused(void)
{
    struct via_private m;
    struct via_err err;
    CHECK_EQ(via_private_create(&m, &(struct via_private_cfg){.name = "none", .len = 0}, &err), -VIA_EINVAL);
    CHECK(strstr(err.text, "0 bytes is not whole pages of 4096"));
    CHECK_EQ(via_private_create(&m, &(struct via_private_cfg){.name = "odd", .len = PAGE + 1}, &err), -VIA_EINVAL);
    CHECK(strstr(err.text, "4097 bytes"));
    for (fail_in = 1; fail_in < 4;) {
        unsigned call = fail_in;
        int r = via_private_create(&m, &(struct via_private_cfg){.name = "failing", .len = PAGE}, &err);
        CHECK_EQ(r, -VIA_ENOMEM);
        CHECK(err.text[0] && !m.memory.ptr && m.memory.fd == -1);
        fail_in = call + 1;
    }
    fail_in = 0;
}

/* ------------------------------------------------------------------ limits */

static void pieces_are_limited(void)
{
    struct via_private m;
    struct via_err err;
    const struct via_private_cfg cfg = {.name = "pieces", .len = PAGES * PAGE, .pieces = 5};
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    uint8_t *mem = m.memory.ptr;
    CHECK_EQ(via_protect_share(&m.protect, mem + 10 * PAGE, PAGE), 0);
    CHECK_EQ(via_protect_share(&m.protect, mem + 20 * PAGE, PAGE), 0);
    CHECK_EQ(m.pieces, 5);
    CHECK_EQ(via_protect_share(&m.protect, mem + 30 * PAGE, PAGE), -VIA_ENOSPC);
    CHECK(strstr(m.why.text, "7 pieces") && strstr(m.why.text, "vm.max_map_count"));
    CHECK_EQ(via_protect_share(&m.protect, mem + 11 * PAGE, 9 * PAGE), 0);
    CHECK_EQ(m.pieces, 3);
    CHECK_EQ(via_protect_unshare(&m.protect, mem + 30 * PAGE, PAGE), 0);
    CHECK(via_protect_is_private(&m.protect, mem + 30 * PAGE, PAGE));
    CHECK_EQ(via_protect_share(&m.protect, mem + 30 * PAGE, PAGE), 0);
    CHECK_EQ(m.pieces, 5);
    via_private_destroy(&m);
}

/* Not by us, but by the kernel, and before our own limit. What was converted stays so, and it goes on when others gave mappings back. */
static void the_kernel_may_be_the_first_to_refuse(void)
{
    struct via_private m;
    struct via_err err;
    char text[32] = "";
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    size_t limit = f && fgets(text, sizeof(text), f) ? strtoul(text, NULL, 10) : 0;
    if (f)
        (void)fclose(f);
    if (!limit || limit > 200000) {
        tap_skip("vm.max_map_count is too large to be reached in a test");
        return;
    }
    const struct via_private_cfg cfg = {.name = "mappings", .len = 2 * limit * PAGE, .pieces = SIZE_MAX};
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    uint8_t *mem = m.memory.ptr, *others = mmap(NULL, 16 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t k = 0; k < 16; k += 2)
        CHECK_EQ(mprotect(others + k * PAGE, PAGE, PROT_NONE), 0);
    size_t i = 0;
    int r = 0;
    while (i < limit && (r = via_protect_share(&m.protect, mem + 2 * i * PAGE, PAGE)) == 0)
        memset(mem + 2 * i++ * PAGE, 1, 1);
    CHECK_EQ(r, -VIA_ENOMEM);
    CHECK(strstr(m.why.text, "vm.max_map_count"));
    CHECK(i > limit / 4 && m.pieces > limit / 2);
    for (size_t k = 0; k < i; k++)
        CHECK(via_protect_is_shared(&m.protect, mem + 2 * k * PAGE, PAGE) && mem[2 * k * PAGE] == 1);
    CHECK_EQ(mem[2 * i * PAGE] + mem[(2 * i + 1) * PAGE], 0); /* in doubt, and private: both are still there */
    CHECK_EQ(munmap(others, 16 * PAGE), 0);
    CHECK_EQ(via_protect_share(&m.protect, mem + 2 * i * PAGE, PAGE), 0);
    CHECK_EQ(via_protect_unshare(&m.protect, mem, 64 * PAGE), 0);
    via_private_destroy(&m);
}

TAP_MAIN(TEST(what_is_shared_is_seen_and_nothing_else), TEST(what_a_page_held_is_wiped), TEST(content_can_be_carried_over),
         TEST(ten_thousand_in_any_order), TEST(another_process_finds_no_secret), TEST(a_failure_at_any_call_leaves_no_page_wrong),
         TEST(what_cannot_be_made_is_refused), TEST(pieces_are_limited), TEST(the_kernel_may_be_the_first_to_refuse))
