/* SPDX-License-Identifier: BSD-2-Clause */
/* scratch: a directory that is gone afterwards, and a look at what this process has open. */
#ifndef VIADUCT_TESTS_SCRATCH_H
#define VIADUCT_TESTS_SCRATCH_H

#include <stdbool.h>

/* A fresh directory below `parent` ("." is the build directory: a disk), named in out. */
bool scratch_make(const char *parent, char out[64]);
void scratch_remove(const char *dir); /* with the files in it */
/* What must not grow: open descriptors, and mapped memory that lies behind one. */
int scratch_open_fds(void);
unsigned scratch_maps(void);

#endif
