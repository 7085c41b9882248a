/* SPDX-License-Identifier: BSD-2-Clause */
/* An ordered index of 64-bit keys in wide nodes (a B+ tree), over lent storage. Its items are numbers that mean something to the caller. */
#ifndef VIADUCT_XLATE_TREE_H
#define VIADUCT_XLATE_TREE_H

#include <viaduct/xlate.h>

#define VIA_TREE_FAN 15u
#define VIA_TREE_NONE UINT32_MAX

struct via_tree_node {          /* three cache lines: keys in two, items in the third */
    uint64_t key[VIA_TREE_FAN]; /* ascending; unused ones are UINT64_MAX. In an inner node: the first key below each item. */
    uint32_t n;
    uint32_t next; /* leaf: the leaf to the right; free node: the next free one */
    uint32_t item[VIA_TREE_FAN];
    uint32_t unused;
};

/* Nodes that `items` keys in one tree can need at most; each further tree in the same pool takes one more. */
size_t via_tree_nodes(uint32_t items);
/* All nodes are free again, whatever trees there were. The pool stays where it is for as long as there are trees in it. */
void via_tree_pool_init(struct via_tree_pool *, struct via_tree_node *storage);
void via_tree_init(struct via_tree *, struct via_tree_pool *);
/* Give the last node of an empty tree back to the pool; the tree is gone. */
void via_tree_end(struct via_tree *);
/* The item with the greatest key at or below `key`, and the one with the least key above it; VIA_TREE_NONE: there is none. */
uint32_t via_tree_floor(const struct via_tree *, uint64_t key);
uint32_t via_tree_above(const struct via_tree *, uint64_t key);
/* The key must not be there (insert), or must be there (remove, rekey). rekey keeps the order: it passes no other key. */
void via_tree_insert(struct via_tree *, uint64_t key, uint32_t item);
void via_tree_remove(struct via_tree *, uint64_t key);
void via_tree_rekey(struct via_tree *, uint64_t key, uint64_t to);

#endif
