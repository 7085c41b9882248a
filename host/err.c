/* SPDX-License-Identifier: BSD-2-Clause */
/* err: sentences for people, and what host takes for granted about core's numbers. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>

#include <viaduct/host.h>

#define SAME(name) _Static_assert(VIA_##name == name, "VIA_" #name " is Linux's " #name)
SAME(EPERM);
SAME(ENOENT);
SAME(EIO);
SAME(E2BIG);
SAME(EBADF);
SAME(EAGAIN);
SAME(ENOMEM);
SAME(EFAULT);
SAME(EBUSY);
SAME(EEXIST);
SAME(ENODEV);
SAME(EINVAL);
SAME(ENOSPC);
SAME(EROFS);
SAME(ERANGE);
SAME(EPROTO);
SAME(EOVERFLOW);
SAME(ENOTSUP);
SAME(ETIMEDOUT);

/* Lists of spans go to the kernel as they are. */
_Static_assert(sizeof(struct via_span) == sizeof(struct iovec), "a span is as large as an iovec");
_Static_assert(offsetof(struct via_span, ptr) == offsetof(struct iovec, iov_base), "a span starts as an iovec does");
_Static_assert(offsetof(struct via_span, len) == offsetof(struct iovec, iov_len), "a span ends as an iovec does");

int via_err_set(struct via_err *err, int result, const char *fmt, ...)
{
    if (!err)
        return result;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return result;
}

int via_err_fault(struct via_err *err, int result, const char *who, const struct via_fault *fault)
{
    const char *what = fault->what ? fault->what : "failed";
    if (!fault->got && !fault->limit)
        return via_err_set(err, result, "%s: %s", who, what);
    return via_err_set(err, result, "%s: %s (got 0x%" PRIx64 ", limit 0x%" PRIx64 ")", who, what, fault->got, fault->limit);
}
