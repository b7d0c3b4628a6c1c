/*
 * What the parts of the aggregate (aggregate.c, aggregate_line.c, aggregate_merge.c) know of each other, and nobody else.
 * Memory: one piece, given by the caller of agg_open; each pointer below points into it.
 */
#ifndef AGGREGATE_INNER_H
#define AGGREGATE_INNER_H

#include <string.h>

#include "aggregate.h"

#define AGG_NONE UINT32_MAX
#define AGG_FEW 8u /* buckets that an entry has before it gets a whole histogram */
#define AGG_TEXT_BLOCK 128u

/* The slowest calls of an entry. */
typedef struct agg_slowest {
  uint32_t count;
  uint32_t least; /* the fastest of them, where count is full */
} agg_slowest;

typedef struct agg_full_entry {
  agg_entry entry; /* first */
  uint64_t few_counts[AGG_FEW];
  uint16_t few_buckets[AGG_FEW];
  uint32_t few; /* how many; AGG_FEW + 1: the whole histogram counts */
  agg_slowest slowest;
  uint32_t text;       /* first block, AGG_NONE: no text */
  uint32_t text_bytes;
} agg_full_entry;

typedef struct agg_other {
  agg_entry entry;
  agg_slowest slowest;
  agg_sample samples[AGG_SAMPLES_MAX];
  uint64_t counts[HIST_BUCKETS];
} agg_other;

typedef struct agg_slot {
  uint32_t hash;
  uint32_t entry; /* AGG_NONE: free */
} agg_slot;

/* weight: the entry's when it was last looked at; it has only grown since. */
typedef struct agg_heap_node {
  uint64_t weight;
  uint32_t entry;
} agg_heap_node;

typedef struct agg_name_record {
  uint8_t bytes;
  char text[AGG_NAME_BYTES];
} agg_name_record;

struct agg {
  agg_options options;
  agg_counts counts;

  agg_full_entry *entries;
  uint64_t *histograms; /* HIST_BUCKETS for each entry, touched when `few` are too few */
  agg_sample *samples;
  uint32_t count;
  agg_slot *slots; /* open addressing, a power of two, at most half full */
  uint32_t slot_mask;
  agg_heap_node *heap; /* of all entries, the least weight first; four children each, in one line of the cache */
  agg_other others[2]; /* nested ones in the second */

  uint64_t missed_weight, missed_calls, missed_us; /* bounds for what is not there */
  uint64_t call_weight; /* of one call: the mean time so far, so that half of all weight is calls */
  uint64_t weighed_us, weighed_calls;

  agg_name_record *names;
  uint32_t name_count;
  uint32_t *name_slots; /* numbers of names, 0: free */
  uint32_t name_mask;

  uint8_t *blocks;       /* of AGG_TEXT_BLOCK bytes */
  uint32_t *block_next;  /* apart, so that to free a text is not to touch it */
  uint32_t free_block;

  agg_state *states; /* one more than options.states: the others */
  uint32_t state_count;

  agg_span *spans;
  uint16_t *span_order; /* of span i at i & (spans - 1): its place in spans; UINT16_MAX: nothing happened */
  uint16_t *span_free;  /* places not in use */
  uint32_t span_free_count;
  int64_t span_us, span_first, span_last; /* first and last are numbers of spans: time / span_us, rounded down */
  int has_spans;
};

static inline uint64_t agg_plus(uint64_t a, uint64_t b) { return hist_plus(a, b); }

static inline uint64_t agg_most(uint64_t a, uint64_t b) { return a > b ? a : b; }

void agg_values_clear(agg_values *v);
/* One call. */
void agg_values_add(agg_values *v, const agg_row *row);
void agg_values_merge(agg_values *v, const agg_values *more);

/* aggregate.c */
void agg_add_bucket(agg *a, uint32_t entry, uint32_t bucket, uint64_t count);
void agg_add_sample(agg_sample *samples, agg_slowest *slowest, uint32_t most, const agg_sample *sample);
/* An empty entry of that weight, whose missed_* are the bounds; takes the place that agg_drop_least left, or a new one. */
uint32_t agg_make(agg *a, uint64_t key, uint32_t flags, uint32_t database, uint32_t username, uint32_t hash,
                  uint64_t weight);
/* The entry of least weight. */
uint32_t agg_least(agg *a);
/* Gives the least entry to "others" and frees its place, which agg_make must take next. */
void agg_drop_least(agg *a);
uint32_t agg_hash(uint64_t key, uint32_t flags, uint32_t database, uint32_t username);
uint32_t agg_find_hashed(const agg *a, uint32_t hash, uint64_t key, uint32_t flags, uint32_t database, uint32_t username);
/* AGG_NONE: no such name. */
uint32_t agg_find_name(const agg *a, const void *name, size_t n);
agg_state *agg_state_of(agg *a, const char *state, int *fresh);

/* aggregate_line.c */
void agg_line_reset(agg *a);
void agg_line_add(agg *a, const agg_row *row);
void agg_line_merge(agg *into, const agg *from);

#endif
