/* SPDX-License-Identifier: BSD-2-Clause */
#include "tap.h"

static bool failed;
static const char *skipped;

static void put(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    tap_write(s, n);
}

static void put_int(int64_t v)
{
    char buf[24], *p = buf + sizeof(buf);
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    *--p = 0;
    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0)
        *--p = '-';
    put(p);
}

void tap_note(const char *text)
{
    put("# ");
    put(text);
    put("\n");
}

void tap_fail(const char *file, int line, const char *what)
{
    failed = true;
    put("# ");
    put(file);
    put(":");
    put_int(line);
    put(": ");
    put(what);
    put("\n");
}

void tap_fail_eq(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    tap_fail(file, line, what);
    put("#   got ");
    put_int(got);
    put(", want ");
    put_int(want);
    put("\n");
}

void tap_skip(const char *why) { skipped = why; }

bool tap_failed(void) { return failed; }

int tap_run(const struct tap_test *test, size_t n)
{
    int bad = 0;
    put("TAP version 14\n1..");
    put_int((int64_t)n);
    put("\n");
    for (size_t i = 0; i < n; i++) {
        failed = false;
        skipped = NULL;
        test[i].run();
        bad += failed;
        put(failed ? "not ok " : "ok ");
        put_int((int64_t)i + 1);
        put(" - ");
        put(test[i].name);
        if (skipped && !failed) {
            put(" # SKIP ");
            put(skipped);
        }
        put("\n");
    }
    return bad != 0;
}
