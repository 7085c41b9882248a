/* SPDX-License-Identifier: BSD-2-Clause */
/* Images that can't be disks, each with its sentence, and what those that can say of themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

#define KIB 1024

static char dir[64], path[128];
static struct via_err err;

static bool image(const char *name, off_t len)
{
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && ftruncate(fd, len) == 0;
    close(fd);
    return ok;
}

/* Refused with this result and these words, the path among them, and nothing stays open. */
static bool refused(struct via_file_cfg cfg, int result, const char *words)
{
    struct via_file *f = NULL;
    int before = scratch_open_fds();
    cfg.depth = cfg.depth ? cfg.depth : 8;
    int r = via_file_open(&f, &cfg, &err);
    CHECK_OR_FALSE(r == result);
    CHECK_OR_FALSE(strstr(err.text, words) && strstr(err.text, cfg.path));
    CHECK_OR_FALSE(scratch_open_fds() == before);
    return true;
}

static bool limits_of(struct via_file_cfg cfg, struct via_blk_limits *l)
{
    struct via_file *f = NULL;
    int before = scratch_open_fds();
    cfg.depth = 8;
    memset(l, 0, sizeof(*l));
    if (via_file_open(&f, &cfg, &err) < 0) {
        tap_note(err.text);
        return false;
    }
    via_file_limits(f, l);
    via_file_close(f);
    return scratch_open_fds() == before;
}

static void what_is_no_disk(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "%s/missing", dir);
    CHECK(refused((struct via_file_cfg){.path = path}, -ENOENT, "there is no image"));
    CHECK(refused((struct via_file_cfg){.path = dir}, -EISDIR, "is a directory"));
    CHECK(refused((struct via_file_cfg){.path = dir, .read_only = true}, -EISDIR, "is a directory"));
    snprintf(path, sizeof(path), "%s/fifo", dir);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(refused((struct via_file_cfg){.path = path}, -EINVAL, "neither a file nor a block device"));
    CHECK(refused((struct via_file_cfg){.path = path, .read_only = true}, -EINVAL, "neither a file nor a block device"));
    CHECK(refused((struct via_file_cfg){.path = "/dev/null"}, -EINVAL, "neither a file nor a block device"));
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", dir);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(refused((struct via_file_cfg){.path = a.sun_path}, -ENXIO, "can't open image"));
    close(s);
}

static void sizes(void)
{
    CHECK(image("empty", 0));
    CHECK(refused((struct via_file_cfg){.path = path}, -EINVAL, "is empty"));
    CHECK(image("odd", 1000));
    CHECK(refused((struct via_file_cfg){.path = path, .read_only = true}, -EINVAL, "1000 bytes, 488 more than a multiple of 512"));
    CHECK(image("small", 512));
    struct via_blk_limits l;
    CHECK(limits_of((struct via_file_cfg){.path = path}, &l));
    CHECK_EQ(l.capacity, 512);
    CHECK(image("large", INT64_C(3) << 40));
    CHECK(limits_of((struct via_file_cfg){.path = path}, &l));
    CHECK_EQ(l.capacity, INT64_C(3) << 40);
}

static void rights(void)
{
    CHECK(image("rights", 64 * KIB));
    CHECK(chmod(dir, 0755) == 0 && chmod(path, 0444) == 0 && seteuid(65534) == 0);
    bool no_write = refused((struct via_file_cfg){.path = path}, -EACCES, "can be read but not written");
    struct via_blk_limits l;
    bool reads = limits_of((struct via_file_cfg){.path = path, .read_only = true}, &l);
    CHECK(seteuid(0) == 0 && chmod(path, 0) == 0 && seteuid(65534) == 0);
    bool no_read = refused((struct via_file_cfg){.path = path, .read_only = true}, -EACCES, "not readable");
    CHECK(seteuid(0) == 0);
    CHECK(no_write && reads && no_read);
    CHECK(l.read_only && !l.discard && !l.write_zeroes);
}

static void direct_io(void)
{
    CHECK(refused((struct via_file_cfg){.path = "/sys/kernel/uevent_seqnum", .direct = true, .read_only = true}, -EINVAL, "O_DIRECT"));
    struct via_blk_limits l;
    CHECK(image("direct", 64 * KIB));
    CHECK(limits_of((struct via_file_cfg){.path = path, .direct = true}, &l));
    CHECK(l.blk_size == 512 && l.physical_size == 4096);
}

static void a_size_limit_does_not_kill_us(void)
{
    struct rlimit old, low;
    CHECK(image("limit", 64 * KIB));
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    low = (struct rlimit){32 * KIB, old.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
    bool ok = refused((struct via_file_cfg){.path = path}, -EFBIG, "ulimit -f");
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(ok);
}

static void depths(void)
{
    CHECK(image("depth", 64 * KIB));
    struct via_file *f;
    CHECK_EQ(via_file_open(&f, &(struct via_file_cfg){.path = path, .depth = 0}, &err), -EINVAL);
    CHECK_EQ(via_file_open(&f, &(struct via_file_cfg){.path = path, .depth = 5000}, &err), -EINVAL);
    CHECK(strstr(err.text, "not 5000") != NULL);
}

static void limits_tell_what_it_can(void)
{
    struct via_blk_limits l;
    CHECK(image("twenty-bytes-and-more.img", 64 * KIB));
    CHECK(limits_of((struct via_file_cfg){.path = path}, &l));
    CHECK(memcmp(l.id, "twenty-bytes-and-mor", 20) == 0);
    CHECK(l.blk_size == 512 && l.physical_size == 4096 && l.opt_io == 0);
    CHECK(!l.read_only && l.write_zeroes && l.discard);
    CHECK(image("short", 64 * KIB));
    CHECK(limits_of((struct via_file_cfg){.path = path}, &l));
    CHECK(strcmp(l.id, "short") == 0);
}

static void blocks_as_asked_for(void)
{
    struct via_blk_limits l;
    CHECK(image("blocks", 68 * KIB));
    CHECK(limits_of((struct via_file_cfg){.path = path, .blk_size = 4096}, &l));
    CHECK(l.blk_size == 4096 && l.physical_size == 4096);
    CHECK(refused((struct via_file_cfg){.path = path, .blk_size = 8192}, -EINVAL, "4096 more than a multiple of 8192"));
    CHECK(refused((struct via_file_cfg){.path = path, .blk_size = 256}, -EINVAL, "a power of two from 512 on"));
    CHECK(refused((struct via_file_cfg){.path = path, .blk_size = 1536}, -EINVAL, "a power of two from 512 on"));
}

/* A loop device over `fd`; its number, or -1. */
static int loop_device(int fd, bool read_only, int *node, char name[32])
{
    int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int n = ctl >= 0 ? ioctl(ctl, LOOP_CTL_GET_FREE) : -1;
    close(ctl);
    snprintf(name, 32, "/dev/loop%d", n);
    *node = n >= 0 ? open(name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC) : -1;
    struct loop_config c = {.fd = (uint32_t)fd,
                            .info.lo_flags = (uint32_t)LO_FLAGS_AUTOCLEAR | (read_only ? (uint32_t)LO_FLAGS_READ_ONLY : 0)};
    return *node >= 0 && ioctl(*node, LOOP_CONFIGURE, &c) == 0 ? n : -1;
}

static void block_devices(void)
{
    for (int ro = 0; ro < 2; ro++) {
        int node;
        char name[32];
        struct via_blk_limits l;
        CHECK(image("backing", 256 * KIB));
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (loop_device(fd, ro, &node, name) < 0) {
            close(fd);
            tap_skip("this machine gives no loop devices");
            return;
        }
        close(fd);
        CHECK(limits_of((struct via_file_cfg){.path = name, .read_only = ro}, &l));
        CHECK_EQ(l.capacity, 256 * KIB);
        CHECK_EQ(l.read_only, ro);
        CHECK(strncmp(l.id, "loop", 4) == 0);
        CHECK(!ro || refused((struct via_file_cfg){.path = name}, -EACCES, "can be read but not written"));
        close(node);
    }
}

int main(void)
{
    static const struct tap_test tests[] = {
        TEST(what_is_no_disk),
        TEST(sizes),
        TEST(rights),
        TEST(direct_io),
        TEST(a_size_limit_does_not_kill_us),
        TEST(depths),
        TEST(limits_tell_what_it_can),
        TEST(blocks_as_asked_for),
        TEST(block_devices),
    };
    signal(SIGXFSZ, SIG_DFL);
    if (!scratch_make(".", dir))
        return 2;
    int r = tap_run(tests, via_array_len(tests));
    scratch_remove(dir);
    return r;
}
