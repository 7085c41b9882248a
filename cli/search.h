/* SPDX-License-Identifier: BSD-2-Clause */
/* search: what `viaduct search` is given and answers, as bytes: both ends are the same program. */
#ifndef VIADUCT_CLI_SEARCH_H
#define VIADUCT_CLI_SEARCH_H

#include <stdint.h>

#define VIA_SEARCH_FD 3 /* the memory's descriptor there */
#define VIA_SEARCH_NEEDLES 2u
#define VIA_SEARCH_NEEDLE 32u /* bytes of each */
#define VIA_SEARCH_MEANT 2u

struct via_search_orders {                                 /* on its standard input */
    uint8_t needle[VIA_SEARCH_NEEDLES][VIA_SEARCH_NEEDLE]; /* each byte inverted: no process holds them because it looks for them */
    struct {
        uint64_t start, last;  /* bytes of the memory, inclusive */
    } meant[VIA_SEARCH_MEANT]; /* that anybody may see; sorted */
    uint64_t scribble;         /* 1: when all was looked at, write to everything that is not meant */
};

struct via_search_result {              /* on its standard output */
    uint64_t searched;                  /* bytes */
    uint64_t found[VIA_SEARCH_NEEDLES]; /* times */
    uint64_t seen;                      /* bytes other than 0 that are not meant to be seen */
    uint64_t scribbled;                 /* bytes */
};

#endif
