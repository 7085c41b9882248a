/* SPDX-License-Identifier: BSD-2-Clause */
/* Bulk access to memory that a peer can write. */
#include <string.h>

#include <viaduct/base.h>

void via_shm_read(void *dst, const void *shared, size_t len) { memcpy(dst, shared, len); }

void via_shm_write(void *shared, const void *src, size_t len) { memcpy(shared, src, len); }

void via_shm_zero(void *shared, size_t len) { memset(shared, 0, len); }
