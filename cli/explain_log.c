/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: the kernel's log, as far as it speaks of what is explained here. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explain_sys.h"

#define LOG "dev/kmsg"
#define TELLS "what the kernel said at boot of protection, pool and IOMMU"
#define RECORDS 65536 /* that are looked at; a log that grows as fast as it is read has no end */

static const char *const wanted[] = {
    "Memory Encryption Features active",
    "software IO TLB",
    "swiotlb buffer is full",
    "must provide VIRTIO_F_",
    "batching disallowed",
    "RME: Using RSI",
    "Secure Encrypted Virtualization (SEV) active",
    "Linux version",
};

/*
 * How many bytes of a record "LEVEL,NUMBER,TIME,FLAGS;TEXT" are of use, 0: none. The kernel's own have facility 0; a program that writes to
 * the log can't have that. Of record 0, which says who built the kernel, no more is kept than that it is there.
 */
static size_t useful(const char *record)
{
    char *end;
    unsigned long level = strtoul(record, &end, 10);
    const char *text = strchr(end, ';');
    if (!isdigit((unsigned char)*record) || *end != ',' || level > 7 || !text)
        return 0;
    if (!strncmp(end, ",0,", 3))
        return (size_t)(text + 1 - record);
    for (size_t i = 0; i < via_array_len(wanted); i++)
        if (strstr(text, wanted[i]))
            return strlen(record);
    return 0;
}

static void keep(char *text)
{
    char *to = text;
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        bool last = !*next;
        *next = 0;
        size_t n = useful(line);
        if (n) {
            memmove(to, line, n);
            to += n;
            if (!last)
                *to++ = '\n';
        }
        next += !last;
    }
    *to = 0;
}

/* Each read gives a record; one that was overwritten meanwhile gives EPIPE. */
static int read_live(int fd, char *buf, size_t size)
{
    char record[8192];
    size_t len = 0;
    for (unsigned i = 0; i < RECORDS; i++) {
        ssize_t n = read(fd, record, sizeof(record) - 1);
        if (n < 0 && (errno == EPIPE || errno == EINTR || errno == EINVAL))
            continue;
        if (n <= 0)
            break;
        record[n] = 0;
        record[strcspn(record, "\n")] = 0; /* what follows are properties */
        size_t more = useful(record);
        if (!more || len + more + 2 > size)
            continue;
        memcpy(buf + len, record, more);
        len += more;
        buf[len++] = '\n';
    }
    buf[len] = 0;
    return (int)len;
}

int via_sys_log(struct via_sys *s, char *buf, size_t size)
{
    buf[0] = 0;
    if (!s->live)
        return via_sys_read(s, LOG, buf, size, keep, TELLS);
    int fd = open("/" LOG, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        via_sys_note(s, LOG, TELLS, "%s", error == EACCES || error == EPERM ? "needs root" : strerror(error));
        return -error;
    }
    int len = read_live(fd, buf, size);
    close(fd);
    via_record_file(s, LOG, buf, (size_t)len);
    return len;
}
