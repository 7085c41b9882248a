/* SPDX-License-Identifier: BSD-2-Clause */
/* memory: our own, behind a memfd. Its pages are reachable for whom the descriptor is given to, and for nobody else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <viaduct/host.h>

int via_memory_create(struct via_memory *m, const char *name, size_t len, struct via_err *err)
{
    *m = (struct via_memory){.fd = -1};
    if (len == 0 || len > PTRDIFF_MAX)
        return via_err_set(err, -EINVAL, "memory of %zu bytes can't be made", len);
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return via_err_set(err, -errno, "can't make memory (memfd): %s", strerror(errno));
    int r = 0;
    void *ptr = MAP_FAILED;
    /* Who gets the descriptor can neither take pages away under us nor seal it in turn. */
    if (ftruncate(fd, (off_t)len) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        r = via_err_set(err, -errno, "can't set up memory of %zu bytes: %s", len, strerror(errno));
    else if ((ptr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        r = via_err_set(err, -errno, "can't map memory of %zu bytes: %s", len, strerror(errno));
    if (r < 0) {
        close(fd);
        return r;
    }
    *m = (struct via_memory){.fd = fd, .ptr = ptr, .len = len};
    return 0;
}

void via_memory_destroy(struct via_memory *m)
{
    if (m->ptr)
        munmap(m->ptr, m->len);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct via_memory){.fd = -1};
}
