/* SPDX-License-Identifier: BSD-2-Clause */
/* The ordered index of the IOTLB and of the virtual IOMMU: every node but the root at least half full, and the keys of inner nodes exact.
 */
#include <string.h>

#include "tree.h"

#define LEAST 7u  /* keys in a node other than the root */
#define LEVELS 13 /* enough for 2^32 items, LEAST to a node */

struct step {
    struct via_tree_node *node;
    unsigned at; /* inner node: which child was taken; leaf: which key is at or below the one looked for */
};

size_t via_tree_nodes(uint32_t items) { return (size_t)items / (LEAST - 1) + LEVELS; }

/*
 * How many of a node's keys are at or below `key`. All are compared, used or not: a sum without branches takes less time than
 * guessing wrong where to stop. UINT64_MAX counts the unused ones too, hence the limit.
 */
static inline unsigned rank(const struct via_tree_node *node, uint64_t key)
{
    unsigned n = 0;
    for (unsigned i = 0; i < VIA_TREE_FAN; i++)
        n += node->key[i] <= key;
    return n < node->n ? n : node->n;
}

static uint32_t node_new(struct via_tree *t)
{
    struct via_tree_pool *pool = t->pool;
    uint32_t k = pool->free;
    if (k != VIA_TREE_NONE)
        pool->free = t->node[k].next;
    else
        k = pool->fresh++;
    struct via_tree_node *node = &t->node[k];
    memset(node->key, 0xff, sizeof(node->key));
    node->n = 0;
    node->next = VIA_TREE_NONE;
    return k;
}

static void node_free(struct via_tree *t, uint32_t k)
{
    t->node[k].next = t->pool->free;
    t->pool->free = k;
}

void via_tree_pool_init(struct via_tree_pool *pool, struct via_tree_node *storage)
{
    *pool = (struct via_tree_pool){.node = storage, .free = VIA_TREE_NONE};
}

void via_tree_init(struct via_tree *t, struct via_tree_pool *pool)
{
    *t = (struct via_tree){.node = pool->node, .pool = pool};
    t->root = node_new(t);
}

void via_tree_end(struct via_tree *t)
{
    VIA_ASSERT(!t->height && !t->node[t->root].n);
    node_free(t, t->root);
}

uint32_t via_tree_floor(const struct via_tree *t, uint64_t key)
{
    const struct via_tree_node *node = &t->node[t->root];
    unsigned n = rank(node, key);
    for (unsigned level = t->height; level; level--) {
        node = &t->node[node->item[n - (n != 0)]];
        n = rank(node, key);
    }
    return n ? node->item[n - 1] : VIA_TREE_NONE;
}

uint32_t via_tree_above(const struct via_tree *t, uint64_t key)
{
    const struct via_tree_node *node = &t->node[t->root];
    unsigned n = rank(node, key);
    for (unsigned level = t->height; level; level--) {
        node = &t->node[node->item[n - (n != 0)]];
        n = rank(node, key);
    }
    if (n < node->n)
        return node->item[n];
    return node->next != VIA_TREE_NONE ? t->node[node->next].item[0] : VIA_TREE_NONE;
}

/* The way from the root to the leaf that holds the greatest key at or below `key`, or is to hold it. path[height] is the leaf. */
static unsigned descend(struct via_tree *t, uint64_t key, struct step *path)
{
    struct via_tree_node *node = &t->node[t->root];
    for (unsigned level = 0;; level++) {
        unsigned n = rank(node, key);
        path[level] = (struct step){node, n - (n != 0)};
        if (level == t->height)
            return n;
        node = &t->node[node->item[path[level].at]];
    }
}

/* A node's first key changed: those above it say the same again. */
static void refresh(struct step *path, unsigned level)
{
    for (; level; level--) {
        struct step *up = &path[level - 1];
        up->node->key[up->at] = path[level].node->key[0];
        if (up->at)
            return;
    }
}

static void put(struct via_tree_node *node, unsigned at, uint64_t key, uint32_t item)
{
    memmove(&node->key[at + 1], &node->key[at], (node->n - at) * sizeof(key));
    memmove(&node->item[at + 1], &node->item[at], (node->n - at) * sizeof(item));
    node->key[at] = key;
    node->item[at] = item;
    node->n++;
}

static void take(struct via_tree_node *node, unsigned at)
{
    node->n--;
    memmove(&node->key[at], &node->key[at + 1], (node->n - at) * sizeof(node->key[0]));
    memmove(&node->item[at], &node->item[at + 1], (node->n - at) * sizeof(node->item[0]));
    node->key[node->n] = UINT64_MAX;
}

/* Append what `from` holds, from `first` on, to `to`. */
static void pour(struct via_tree_node *to, struct via_tree_node *from, unsigned first)
{
    unsigned n = from->n - first;
    memcpy(&to->key[to->n], &from->key[first], n * sizeof(to->key[0]));
    memcpy(&to->item[to->n], &from->item[first], n * sizeof(to->item[0]));
    memset(&from->key[first], 0xff, n * sizeof(from->key[0]));
    to->n += n;
    from->n = first;
}

/* The upper half of a full node goes to a new one. */
static uint32_t split(struct via_tree *t, struct via_tree_node *node)
{
    uint32_t k = node_new(t);
    struct via_tree_node *right = &t->node[k];
    pour(right, node, VIA_TREE_FAN / 2 + 1);
    right->next = node->next;
    node->next = k;
    return k;
}

static void grow(struct via_tree *t, uint64_t key, uint32_t right)
{
    uint32_t left = t->root;
    t->root = node_new(t);
    t->height++;
    VIA_ASSERT(t->height < LEVELS);
    put(&t->node[t->root], 0, t->node[left].key[0], left);
    put(&t->node[t->root], 1, key, right);
}

void via_tree_insert(struct via_tree *t, uint64_t key, uint32_t item)
{
    struct step path[LEVELS];
    unsigned at = descend(t, key, path);
    for (unsigned level = t->height;; level--) {
        struct via_tree_node *node = path[level].node;
        if (node->n < VIA_TREE_FAN) {
            put(node, at, key, item);
            refresh(path, level);
            return;
        }
        uint32_t k = split(t, node);
        if (at <= node->n)
            put(node, at, key, item);
        else
            put(&t->node[k], at - node->n, key, item);
        refresh(path, level);
        key = t->node[k].key[0];
        item = k;
        if (level == 0) {
            grow(t, key, k);
            return;
        }
        at = path[level - 1].at + 1;
    }
}

/* A node has too few: it joins a neighbour under the same parent, or gets one from it. True: they joined, the parent has one child less. */
static bool refill(struct via_tree *t, const struct step *up)
{
    struct via_tree_node *parent = up->node;
    unsigned l = up->at - (up->at != 0);
    uint32_t k = parent->item[l + 1];
    struct via_tree_node *left = &t->node[parent->item[l]], *right = &t->node[k];
    bool join = left->n + right->n <= VIA_TREE_FAN;
    if (join) {
        pour(left, right, 0);
        left->next = right->next;
        take(parent, l + 1);
        node_free(t, k);
    } else if (left->n < right->n) {
        put(left, left->n, right->key[0], right->item[0]);
        take(right, 0);
    } else {
        put(right, 0, left->key[left->n - 1], left->item[left->n - 1]);
        take(left, left->n - 1);
    }
    parent->key[l] = left->key[0];
    if (!join)
        parent->key[l + 1] = right->key[0];
    return join;
}

void via_tree_remove(struct via_tree *t, uint64_t key)
{
    struct step path[LEVELS];
    unsigned level = t->height;
    descend(t, key, path);
    VIA_ASSERT(path[level].node->n && path[level].node->key[path[level].at] == key);
    take(path[level].node, path[level].at);
    while (level && path[level].node->n < LEAST && refill(t, &path[level - 1]))
        level--;
    refresh(path, level);
    struct via_tree_node *root = &t->node[t->root];
    if (t->height && root->n == 1) {
        uint32_t was = t->root;
        t->root = root->item[0];
        t->height--;
        node_free(t, was);
    }
}

void via_tree_rekey(struct via_tree *t, uint64_t key, uint64_t to)
{
    struct step path[LEVELS];
    descend(t, key, path);
    const struct step *leaf = &path[t->height];
    VIA_ASSERT(leaf->node->n && leaf->node->key[leaf->at] == key);
    leaf->node->key[leaf->at] = to;
    refresh(path, t->height);
}
