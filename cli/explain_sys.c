/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: reading a system that may be a copy which somebody sent: nothing outside it, no end of it, no waiting for it. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explain_sys.h"

/* In the root, by links that stay there. A kernel before 5.6 and some sandboxes don't do that; the running system doesn't need it. */
static int open_in(const struct via_sys *s, const char *path, unsigned flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, s->root, path, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM) && s->live)
        fd = openat(s->root, path, (int)flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static const char *loss(const char *tells) { return tells ? tells : "a detail that not every system has"; }

void via_sys_note(struct via_sys *s, const char *path, const char *tells, const char *fmt, ...)
{
    struct via_sys_note *n = &s->note[s->notes];
    va_list args;
    for (unsigned i = 0; i < s->notes; i++)
        if (!strcmp(s->note[i].path, path))
            return;
    if (s->notes == VIA_SYS_NOTES) {
        s->unnoted++;
        return;
    }
    s->notes++;
    snprintf(n->path, sizeof(n->path), "%s", path);
    n->tells = tells;
    va_start(args, fmt);
    vsnprintf(n->why, sizeof(n->why), fmt, args);
    va_end(args);
}

static void note_errno(struct via_sys *s, const char *path, const char *tells, int error)
{
    if (error == EACCES || error == EPERM)
        via_sys_note(s, path, tells, "%s", s->live ? "needs root" : "may not be read: see its permissions");
    else
        via_sys_note(s, path, tells, "%s", error == ENOENT ? "is not there" : strerror(error));
}

int via_sys_open(struct via_sys *s, const char *root, const char *record, struct via_err *err)
{
    memset(s, 0, sizeof(*s));
    s->live = !root;
    s->record = -1;
    s->root = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->root < 0)
        return via_err_set(err, -VIA_EIO, "--root: can't open the directory '%s': %s", root ? root : "/", strerror(errno));
    int fd = open_in(s, ".", O_PATH);
    if (fd < 0) {
        close(s->root);
        return via_err_set(err, fd, "--root needs openat2, of Linux 5.6 or newer, to keep links inside '%s': %s", root, strerror(-fd));
    }
    close(fd);
    if (record)
        s->record = via_record_open(record, err);
    if (record && s->record < 0) {
        close(s->root);
        return s->record;
    }
    return 0;
}

void via_sys_close(struct via_sys *s)
{
    close(s->root);
    if (s->record >= 0)
        close(s->record);
}

/* A descriptor of a regular file. It is looked at before it is opened, since opening a device or a FIFO does things. */
static int open_file(struct via_sys *s, const char *path, const char *tells)
{
    struct stat st;
    int fd = open_in(s, path, O_PATH);
    for (int looked = 0; fd >= 0; looked++) {
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
            close(fd);
            via_sys_note(s, path, loss(tells), "is no regular file");
            return -VIA_EINVAL;
        }
        if (looked)
            return fd;
        close(fd);
        fd = open_in(s, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    }
    if (tells || (fd != -ENOENT && fd != -ENOTDIR))
        note_errno(s, path, loss(tells), -fd);
    return fd;
}

int via_sys_read(struct via_sys *s, const char *path, char *buf, size_t size, via_sys_keep *keep, const char *tells)
{
    size_t len = 0;
    ssize_t got = 1;
    int fd = open_file(s, path, tells);
    if (fd < 0)
        return fd;
    while (got > 0 && len < size - 1) {
        got = read(fd, buf + len, size - 1 - len);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            len += (size_t)got;
    }
    int error = got < 0 ? errno : 0;
    char more;
    bool longer = !error && len == size - 1 && read(fd, &more, 1) == 1;
    close(fd);
    if (error) {
        note_errno(s, path, loss(tells), error);
        return -error;
    }
    buf[len] = 0;
    if (longer && !keep)
        via_sys_note(s, path, loss(tells), "is longer than %zu bytes: the rest was not looked at", size - 1);
    if (keep) {
        if (strlen(buf) < len && tells)
            via_sys_note(s, path, tells, "holds a NUL byte: what follows was not looked at");
        keep(buf);
        len = strlen(buf);
    }
    via_record_file(s, path, buf, len);
    return (int)len;
}

static int path_of(struct via_sys *s, char *path, const char *tells, const char *fmt, va_list args)
{
    if (vsnprintf(path, VIA_SYS_PATH, fmt, args) < VIA_SYS_PATH)
        return 0;
    via_sys_note(s, path, loss(tells), "its name is too long");
    return -VIA_ERANGE;
}

/* Others' bytes go on to a terminal, and into JSON. */
static bool is_line(const char *text)
{
    while (isprint((unsigned char)*text))
        text++;
    return !*text;
}

static int word_at(struct via_sys *s, char *buf, size_t size, const char *tells, const char *path)
{
    int len = via_sys_read(s, path, buf, size, NULL, tells);
    if (len < 0)
        return len;
    while (len > 0 && (buf[len - 1] == '\n' || buf[len - 1] == 0))
        buf[--len] = 0;
    if (strlen(buf) == (size_t)len && is_line(buf))
        return len;
    via_sys_note(s, path, loss(tells), "is no line of text");
    return -VIA_EINVAL;
}

int via_sys_word(struct via_sys *s, char *buf, size_t size, const char *tells, const char *fmt, ...)
{
    char path[VIA_SYS_PATH];
    va_list args;
    va_start(args, fmt);
    int r = path_of(s, path, tells, fmt, args);
    va_end(args);
    return r < 0 ? r : word_at(s, buf, size, tells, path);
}

int via_sys_number(struct via_sys *s, uint64_t *v, int base, const char *tells, const char *fmt, ...)
{
    char path[VIA_SYS_PATH], buf[64], *end;
    va_list args;
    va_start(args, fmt);
    int r = path_of(s, path, tells, fmt, args);
    va_end(args);
    r = r < 0 ? r : word_at(s, buf, sizeof(buf), tells, path);
    if (r < 0)
        return r;
    errno = 0;
    *v = strtoull(buf, &end, base);
    if (!isxdigit((unsigned char)buf[0]) || *end || errno) {
        via_sys_note(s, path, loss(tells), "holds '%.40s', which is no number", buf);
        return -VIA_EINVAL;
    }
    return 0;
}

/* dir and a relative way from it, or an absolute way; 0 when it is a path. */
static int walk(char *to, const char *dir, const char *way)
{
    size_t len = *way == '/' ? 0 : strlen(dir);
    memmove(to, dir, len);
    to[len] = 0;
    while (*way) {
        size_t n = strcspn(way, "/");
        if (n == 2 && way[0] == '.' && way[1] == '.') {
            via_sys_parent(to);
        } else if (n && !(n == 1 && *way == '.')) {
            len = strlen(to);
            if (len + n + 2 > VIA_SYS_PATH)
                return -VIA_ERANGE;
            snprintf(to + len, VIA_SYS_PATH - len, "%s%.*s", len ? "/" : "", (int)n, way);
        }
        way += n;
        way += *way == '/';
    }
    return 0;
}

int via_sys_link(struct via_sys *s, const char *path, char *to)
{
    char way[VIA_SYS_PATH], dir[VIA_SYS_PATH];
    int fd = open_in(s, path, O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return fd;
    ssize_t n = readlinkat(fd, "", way, sizeof(way));
    int r = n < 0 ? -VIA_EINVAL : 0;
    close(fd);
    if (n < 0)
        return r;
    way[n < (ssize_t)sizeof(way) ? n : 0] = 0;
    if (!way[0] || !is_line(way)) {
        via_sys_note(s, path, "where a link leads", "leads too far, or to no name");
        return -VIA_ERANGE;
    }
    snprintf(dir, sizeof(dir), "%s", path);
    via_sys_parent(dir);
    via_record_link(s, path, way);
    r = walk(to, dir, way);
    if (r < 0)
        via_sys_note(s, path, "where a link leads", "leads too far");
    return r;
}

static int by_name(const void *a, const void *b) { return strverscmp(*(char *const *)a, *(char *const *)b); }

int via_sys_list(struct via_sys *s, const char *path, const char *begin, char ***names, const char *tells)
{
    struct dirent *entry;
    int n = 0, fd = open_in(s, path, O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    *names = NULL;
    if (!dir) {
        int error = fd < 0 ? -fd : errno;
        if (tells || error != ENOENT)
            note_errno(s, path, loss(tells), error);
        if (fd >= 0)
            close(fd);
        return -error;
    }
    char **list = calloc(VIA_SYS_NAMES, sizeof(*list));
    while (list && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, begin, strlen(begin)) != 0)
            continue;
        if (n == VIA_SYS_NAMES) {
            via_sys_note(s, path, loss(tells), "has more than %d entries: the others were not looked at", VIA_SYS_NAMES);
            break;
        }
        if (!is_line(entry->d_name)) {
            via_sys_note(s, path, loss(tells), "has an entry with a name that can't be shown");
            continue;
        }
        list[n] = strdup(entry->d_name);
        if (!list[n])
            break;
        n++;
    }
    closedir(dir);
    if (!list)
        return -VIA_ENOMEM;
    qsort(list, (size_t)n, sizeof(*list), by_name);
    via_record_dir(s, path);
    *names = list;
    return n;
}

void via_sys_list_free(char **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

bool via_sys_has(struct via_sys *s, const char *path)
{
    struct stat st;
    int fd = open_in(s, path, O_PATH);
    bool there = fd >= 0 && fstat(fd, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        via_record_dir(s, path);
    else if (there)
        via_record_file(s, path, "", 0);
    if (fd >= 0)
        close(fd);
    return there;
}

const char *via_sys_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void via_sys_parent(char *path)
{
    char *slash = strrchr(path, '/');
    *(slash ? slash : path) = 0;
}
