/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TAP 14 producer small enough for bare metal: the one thing it needs is tap_write. A test program lists functions
 * in TAP_MAIN; each is one test point, and fails at its first failed CHECK.
 */
#ifndef VIADUCT_TAP_H
#define VIADUCT_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tap_test {
    const char *name;
    void (*run)(void);
};

void tap_write(const char *text, size_t len); /* the platform's: tap_host.c on Linux */
void tap_fail(const char *file, int line, const char *what);
void tap_fail_eq(const char *file, int line, const char *what, int64_t got, int64_t want);
void tap_skip(const char *why); /* this test can't run here, and nothing that could be installed would change that */
void tap_note(const char *text);
bool tap_failed(void);                              /* has the running test failed? */
int tap_run(const struct tap_test *test, size_t n); /* 0: all passed */

#define CHECK(cond)                                                                                                                        \
    do {                                                                                                                                   \
        if (!(cond)) {                                                                                                                     \
            tap_fail(__FILE__, __LINE__, #cond);                                                                                           \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
#define CHECK_EQ(got, want)                                                                                                                \
    do {                                                                                                                                   \
        int64_t got_ = (int64_t)(got), want_ = (int64_t)(want);                                                                            \
        if (got_ != want_) {                                                                                                               \
            tap_fail_eq(__FILE__, __LINE__, #got " == " #want, got_, want_);                                                               \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
/* For helper functions of a test that return false on failure. */
#define CHECK_OR_FALSE(cond)                                                                                                               \
    do {                                                                                                                                   \
        if (!(cond)) {                                                                                                                     \
            tap_fail(__FILE__, __LINE__, #cond);                                                                                           \
            return false;                                                                                                                  \
        }                                                                                                                                  \
    } while (0)

#define TAP_MAIN(...)                                                                                                                      \
    int main(void)                                                                                                                         \
    {                                                                                                                                      \
        static const struct tap_test tests[] = {__VA_ARGS__};                                                                              \
        return tap_run(tests, sizeof(tests) / sizeof(tests[0]));                                                                           \
    }
#define TEST(fn)                                                                                                                           \
    {                                                                                                                                      \
#fn, fn                                                                                                                            \
    }

#endif
