/*
 * Tests of the aggregate: built with ASan and UBSan and run by core.test.ts. A plain list of all statements without any
 * bound is the oracle.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../aggregate_inner.h"
#include "check.h"

static uint64_t state = 1;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)((state >> 33) % below);
}

static const agg_options usual = {.entries = 64, .names = 20, .text_bytes = 8000, .text_bytes_each = 300, .samples = 3,
                                  .spans = 16, .span_us = 1000000, .states = 4};

static agg *open_with(agg_options options) {
  size_t n = agg_bytes(&options);
  CHECK(n > 0);
  void *memory = aligned_alloc(64, n);
  CHECK(memory != NULL);
  memset(memory, 0xa5, n);
  return agg_open(memory, &options);
}

/* ---- the oracle ---- */

enum { KEYS = 1500 };

typedef struct seen {
  agg_values values;
  uint64_t counts[HIST_BUCKETS];
  uint64_t slowest;
} seen;

typedef struct oracle {
  seen keys[KEYS];
  agg_values all[2]; /* not nested, nested */
  uint64_t counts[2][HIST_BUCKETS];
} oracle;

static oracle *new_oracle(void) {
  oracle *o = calloc(1, sizeof *o);
  CHECK(o != NULL);
  for (int i = 0; i < KEYS; i++) agg_values_clear(&o->keys[i].values);
  agg_values_clear(&o->all[0]);
  agg_values_clear(&o->all[1]);
  return o;
}

/* Written apart from agg_values_add, one line for each figure. */
static void count_row(agg_values *v, const agg_row *row) {
  v->calls += 1;
  if (row->flags & AGG_ROW_TIMED) {
    v->timed += 1;
    v->exec_us += (uint64_t)row->exec_us;
    if ((uint64_t)row->exec_us < v->min_us) v->min_us = (uint64_t)row->exec_us;
    if ((uint64_t)row->exec_us > v->max_us) v->max_us = (uint64_t)row->exec_us;
  }
  if (row->flags & AGG_ROW_FAILED) v->errors += 1;
  if ((row->flags & (AGG_ROW_FAILED | AGG_ROW_CANCELLED)) == (AGG_ROW_FAILED | AGG_ROW_CANCELLED)) v->cancelled += 1;
  if (row->end_us != AGG_NO_TIME && row->end_us < v->first_us) v->first_us = row->end_us;
  if (row->end_us != AGG_NO_TIME && row->end_us > v->last_us) v->last_us = row->end_us;
  for (int i = 0; i < AGG_SUM_COUNT; i++) {
    if (!(row->known >> i & 1)) continue;
    v->known |= 1ull << i;
    v->sums[i] += (uint64_t)row->sums[i];
    if (i == AGG_SUM_plan_us) v->planned += 1;
  }
}

static uint64_t key_of(uint32_t k) { return k + 1000; }

static void observe(oracle *o, uint32_t k, const agg_row *row) {
  seen *s = &o->keys[k];
  const int nested = (row->flags & AGG_ROW_NESTED) != 0;
  count_row(&s->values, row);
  count_row(&o->all[nested], row);
  if (!(row->flags & AGG_ROW_TIMED)) return;
  s->counts[hist_bucket((uint64_t)row->exec_us)]++;
  o->counts[nested][hist_bucket((uint64_t)row->exec_us)]++;
  if ((uint64_t)row->exec_us > s->slowest) s->slowest = (uint64_t)row->exec_us;
}

/* Statement k is always of the same database, user and level. */
static void make_row(agg *a, uint32_t k, agg_row *row) {
  char name[20];
  memset(row, 0, sizeof *row);
  row->key = key_of(k);
  row->flags = (k % 3 == 0 ? AGG_ROW_NESTED : 0) | (k % 5 == 0 ? AGG_ROW_QUERY_ID : 0);
  row->database = agg_name(a, name, (size_t)sprintf(name, "db%u", k % 4));
  row->username = k % 7 == 0 ? AGG_NAME_NONE : agg_name(a, name, (size_t)sprintf(name, "user%u", k % 6));
  row->tag = agg_name(a, "SELECT", 6);
  row->end_us = next(50) == 0 ? AGG_NO_TIME : 1700000000000000 + next(2000000000);
  if (next(20) != 0) {
    row->flags |= AGG_ROW_TIMED;
    row->exec_us = next(2) ? next(100) : next(1000) * (int64_t)next(100000);
  }
  for (int i = 0; i < AGG_SUM_COUNT; i++) {
    if (next(4) == 0) continue;
    row->known |= 1ull << i;
    row->sums[i] = next(3) ? 0 : next(1000000);
  }
  if (next(10) == 0) {
    row->flags |= AGG_ROW_FAILED | (next(2) ? AGG_ROW_CANCELLED : 0);
    sprintf(row->state, "%05u", 22000 + next(3));
    row->message = "it failed";
    row->message_bytes = 9;
  }
  row->place.offset = k;
}

static void add(agg *a, oracle *o, uint32_t k) {
  agg_row row;
  int fresh;
  make_row(a, k, &row);
  uint32_t entry = agg_add(a, &row, &fresh);
  if (fresh) {
    char text[400];
    size_t n = (size_t)sprintf(text, "statement %u ", k);
    while (n < k % 390) n += (size_t)sprintf(text + n, "%c", 'a' + (int)(n % 26));
    agg_describe(a, entry, key_of(k) * 3, text, n, 0);
  }
  CHECK(agg_find(a, row.key, row.flags, row.database, row.username) == entry);
  observe(o, k, &row);
}

/* ---- what must hold ---- */

static int same_values(const agg_values *a, const agg_values *b) { return memcmp(a, b, sizeof *a) == 0; }

static void check_structure(const agg *a) {
  uint32_t used = 0;
  for (uint32_t i = 0; i <= a->slot_mask; i++) used += a->slots[i].entry != AGG_NONE;
  CHECK(used == a->count);
  for (uint32_t i = 0; i < a->count; i++) {
    const agg_entry *e = agg_at(a, i);
    CHECK(agg_find(a, e->key, e->flags, e->database, e->username) == i);
    CHECK(a->heap[i].weight <= a->entries[a->heap[i].entry].entry.weight);
    if (i > 0) CHECK(a->heap[(i - 1) / 4].weight <= a->heap[i].weight);
    CHECK(e->weight >= e->values.exec_us + e->values.calls || e->values.exec_us > HIST_LIMIT_US);
  }
  /* Every text block is in one text or free. */
  uint32_t blocks = 0;
  for (uint32_t b = a->free_block; b != AGG_NONE; b = a->block_next[b]) blocks++;
  for (uint32_t i = 0; i < a->count; i++)
    for (uint32_t b = a->entries[i].text; b != AGG_NONE; b = a->block_next[b]) blocks++;
  CHECK(blocks == a->options.text_bytes / AGG_TEXT_BLOCK);
}

/* Sums over all entries are those over all rows. */
static void check_totals(const agg *a, const oracle *o) {
  for (int nested = 0; nested < 2; nested++) {
    agg_values sum;
    uint64_t counts[HIST_BUCKETS], more[HIST_BUCKETS];
    agg_values_clear(&sum);
    agg_values_merge(&sum, &agg_others(a, nested)->values);
    agg_others_histogram(a, nested, counts);
    for (uint32_t i = 0; i < agg_count(a); i++) {
      if (((agg_at(a, i)->flags & AGG_NESTED) != 0) != nested) continue;
      agg_values_merge(&sum, &agg_at(a, i)->values);
      agg_histogram(a, i, more);
      hist_merge(counts, more);
    }
    CHECK(same_values(&sum, &o->all[nested]));
    CHECK(memcmp(counts, o->counts[nested], sizeof counts) == 0);
  }
}

static uint32_t entry_of(const agg *a, uint32_t k) {
  char name[20];
  uint32_t database = agg_find_name(a, name, (size_t)sprintf(name, "db%u", k % 4));
  uint32_t username = k % 7 == 0 ? AGG_NAME_NONE : agg_find_name(a, name, (size_t)sprintf(name, "user%u", k % 6));
  if (database == AGG_NONE || username == AGG_NONE) return AGG_NONE;
  return agg_find(a, key_of(k), (k % 3 == 0 ? AGG_NESTED : 0) | (k % 5 == 0 ? AGG_QUERY_ID : 0), database, username);
}

/* The truth lies within every bound; what is not there is below the bound for that. */
static void check_bounds(const agg *a, const oracle *o) {
  uint64_t most_calls, most_us;
  agg_bound(a, &most_calls, &most_us);
  for (uint32_t k = 0; k < KEYS; k++) {
    const agg_values *truth = &o->keys[k].values;
    uint32_t i = entry_of(a, k);
    if (i == AGG_NONE) {
      CHECK(truth->calls <= most_calls && truth->exec_us <= most_us);
      continue;
    }
    const agg_entry *e = agg_at(a, i);
    CHECK(e->values.calls <= truth->calls && truth->calls <= e->values.calls + e->missed_calls);
    CHECK(e->values.exec_us <= truth->exec_us && truth->exec_us <= e->values.exec_us + e->missed_us);
    if (e->missed_calls == 0) CHECK(same_values(&e->values, truth));
  }
}

static void check_exact(const agg *a, const oracle *o) {
  uint32_t there = 0;
  for (uint32_t k = 0; k < KEYS; k++) {
    const seen *s = &o->keys[k];
    uint32_t i = entry_of(a, k);
    CHECK((i == AGG_NONE) == (s->values.calls == 0));
    if (i == AGG_NONE) continue;
    there++;
    uint64_t counts[HIST_BUCKETS];
    agg_sample samples[AGG_SAMPLES_MAX];
    agg_histogram(a, i, counts);
    CHECK(same_values(&agg_at(a, i)->values, &s->values) && memcmp(counts, s->counts, sizeof counts) == 0);
    CHECK(agg_at(a, i)->missed_calls == 0 && agg_at(a, i)->missed_us == 0);
    uint32_t n = agg_samples(a, i, samples);
    CHECK(n == (s->values.timed < a->options.samples ? s->values.timed : a->options.samples));
    for (uint32_t x = 0; x < n; x++)
      CHECK(samples[x].place.offset == k && (x == 0 || samples[x].exec_us <= samples[x - 1].exec_us));
    if (n > 0) CHECK(samples[0].exec_us == s->slowest);
    char text[400], begin[30];
    size_t length = agg_text(a, i, text, sizeof text), head = (size_t)sprintf(begin, "statement %u ", k);
    CHECK(length >= head && memcmp(text, begin, head) == 0 && agg_at(a, i)->fingerprint == key_of(k) * 3);
    CHECK(length <= a->options.text_bytes_each);
    size_t tag_bytes;
    const char *tag = agg_name_text(a, agg_at(a, i)->tag, &tag_bytes);
    CHECK(tag_bytes == 6 && memcmp(tag, "SELECT", 6) == 0);
  }
  CHECK(there == agg_count(a));
}

/* ---- tests ---- */

static void test_exact(void) {
  agg_options options = usual;
  options.entries = KEYS;
  options.text_bytes = 2000000;
  agg *a = open_with(options);
  for (int round = 0; round < 3; round++) {
    oracle *o = new_oracle();
    for (int i = 0; i < 15000; i++) add(a, o, next(2) ? next(20) : next(KEYS));
    check_structure(a);
    check_exact(a, o);
    check_totals(a, o);
    CHECK(agg_counts_of(a).rows == 15000 && agg_counts_of(a).replaced == 0);
    uint64_t calls, us;
    agg_bound(a, &calls, &us);
    CHECK(calls == 0 && us == 0);
    free(o);
    agg_reset(a);
    CHECK(agg_count(a) == 0 && agg_others(a, 0)->values.calls == 0);
  }
  free(a);
}

/* A key of a stream made to hurt: 0 all different, 1 in turn, 2 few hot ones, 3 bursts, 4 everything once and then again. */
static uint32_t stream_key(int kind, uint32_t i) {
  switch (kind) {
    case 0: return i % KEYS;
    case 1: return i % 65; /* one more than there are entries */
    case 2: return next(10) < 7 ? next(12) : next(KEYS);
    case 3: return i / 100 % KEYS;
    default: return i < 8000 ? i % 1000 : next(3) ? KEYS - 1 : next(KEYS);
  }
}

static void test_bounds(void) {
  for (int kind = 0; kind < 5; kind++)
    for (uint32_t entries = 1; entries <= 64; entries = entries * 3 + 1) {
      agg_options options = usual;
      options.entries = entries;
      agg *a = open_with(options);
      oracle *o = new_oracle();
      for (uint32_t i = 0; i < 16000; i++) {
        add(a, o, stream_key(kind, i));
        if (i % 4000 == 0) check_bounds(a, o);
      }
      check_structure(a);
      check_totals(a, o);
      check_bounds(a, o);
      /* Space-saving: weights add up to all that was given out, and no bound is more than one share of it. */
      uint64_t weights = 0;
      for (uint32_t i = 0; i < agg_count(a); i++) weights += agg_at(a, i)->weight;
      CHECK(a->missed_weight <= weights / entries);
      for (uint32_t k = 0; k < KEYS; k++)
        if (o->keys[k].values.exec_us > weights / entries) CHECK(entry_of(a, k) != AGG_NONE);
      free(o);
      free(a);
    }
}

/* Half of the weight is calls: what is called often is kept among slow ones, and the other way round. */
static void test_shares(void) {
  agg_options options = usual;
  agg *a = open_with(options);
  agg_row row = {0};
  int fresh;
  for (uint32_t i = 0; i < 200000; i++) {
    row.flags = AGG_ROW_TIMED;
    row.end_us = AGG_NO_TIME;
    if (i % 20 == 0) {
      row.key = 1; /* 5 % of the calls, hardly any time */
      row.exec_us = 1;
    } else if (i % 1000 == 1) {
      row.key = 2; /* a tenth of the time, hardly any calls */
      row.exec_us = 100000;
    } else {
      row.key = 1000 + i;
      row.exec_us = next(2000);
    }
    agg_add(a, &row, &fresh);
  }
  uint32_t often = agg_find(a, 1, 0, 0, 0), slow = agg_find(a, 2, 0, 0, 0);
  CHECK(often != AGG_NONE && agg_at(a, often)->values.calls == 10000);
  CHECK(slow != AGG_NONE && agg_at(a, slow)->values.calls == 200);
  CHECK(agg_at(a, often)->missed_calls <= 200000 / 64 && agg_counts_of(a).replaced > 100000);
  free(a);
}

static void test_merge(void) {
  for (int round = 0; round < 40; round++) {
    enum { PARTS = 5 };
    agg *parts[PARTS];
    const int large = round % 4 == 0, disjoint = round % 4 == 1;
    oracle *o = new_oracle();
    for (int i = 0; i < PARTS; i++) {
      agg_options options = usual;
      options.entries = large ? KEYS : disjoint ? 50 : 1 + next(200);
      options.text_bytes = large ? 3000000 : 1000 + next(20000);
      options.span_us = 1000000;
      options.spans = 2u << next(6);
      options.samples = large ? 3 : next(6);
      options.names = large ? 20 : 11 + next(10);
      parts[i] = open_with(options);
    }
    for (int i = 0; i < 6000; i++) {
      uint32_t part = next(PARTS);
      /* Statements that only one part sees (few enough, where there are no others), and common ones. */
      if (disjoint && i > 400) break;
      add(parts[part], o,
          disjoint         ? part * 300 + next(50)
          : next(3) == 0 ? part * 300 + next(300)
          : next(2)      ? next(30)
                         : next(KEYS));
    }
    /* As a tree, in any order. */
    int left = PARTS;
    while (left > 1) {
      uint32_t i = next((uint32_t)left), k = next((uint32_t)left - 1);
      if (k >= i) k++;
      uint64_t rows = agg_counts_of(parts[i]).rows + agg_counts_of(parts[k]).rows;
      CHECK(agg_merge(parts[i], parts[k]));
      CHECK(agg_counts_of(parts[i]).rows == rows);
      check_structure(parts[i]);
      free(parts[k]);
      parts[k] = parts[--left];
    }
    check_totals(parts[0], o);
    check_bounds(parts[0], o);
    if (large) check_exact(parts[0], o);
    if (disjoint) CHECK(agg_counts_of(parts[0]).replaced > 0);
    /* And it can be fed on. */
    for (int i = 0; i < 2000; i++) add(parts[0], o, next(KEYS));
    check_structure(parts[0]);
    check_totals(parts[0], o);
    check_bounds(parts[0], o);
    free(parts[0]);
    free(o);
  }
  /* What finds no place raises the bounds, and a statement that comes later may have been it. */
  agg_options two = usual;
  two.entries = 2;
  agg *heavy = open_with(two), *light = open_with(two);
  for (uint64_t key = 1; key <= 3; key++) {
    int fresh;
    agg_row row = {.key = key, .flags = AGG_ROW_TIMED, .end_us = AGG_NO_TIME, .exec_us = key == 3 ? 70 : 9000};
    for (int calls = 0; calls < 5; calls++) agg_add(key == 3 ? light : heavy, &row, &fresh);
  }
  CHECK(agg_merge(heavy, light));
  uint64_t calls, us;
  agg_bound(heavy, &calls, &us);
  CHECK(calls == 5 && us == 350 && agg_find(heavy, 3, 0, 0, 0) == AGG_NONE);
  CHECK(agg_others(heavy, 0)->values.exec_us == 350 && agg_count(heavy) == 2);
  free(heavy);
  free(light);

  agg_options other = usual;
  other.span_us = 5;
  agg *a = open_with(usual), *b = open_with(other);
  CHECK(!agg_merge(a, b));
  other.spans = 0;
  free(b);
  b = open_with(other);
  CHECK(!agg_merge(a, b) && !agg_merge(b, a));
  free(a);
  free(b);
}

static void test_line(void) {
  for (int round = 0; round < 300; round++) {
    agg_options options = usual;
    options.spans = 2u << next(7);
    options.span_us = 1 + next(3) * 999;
    agg *a = open_with(options), *b = open_with(options);
    enum { ROWS = 300 };
    int64_t times[ROWS];
    const int64_t base = next(3) == 0 ? -1000000 : 1700000000000000, spread = 1 + next(1u << next(31));
    for (int i = 0; i < ROWS; i++) {
      int fresh;
      agg_row row = {.key = 1, .flags = AGG_ROW_TIMED | (i % 10 == 0 ? AGG_ROW_NESTED : 0), .exec_us = i};
      row.end_us = times[i] = base + (next(2) ? (int64_t)i * spread / 100 : (int64_t)next(1u << 30) % spread);
      agg_add(next(2) ? a : b, &row, &fresh);
    }
    CHECK(agg_merge(a, b));
    int64_t first, width;
    uint32_t spans = agg_span_count(a, &first, &width);
    CHECK(spans > 0 && spans <= options.spans && width % options.span_us == 0);
    uint64_t calls = 0;
    for (uint32_t s = 0; s < spans; s++) {
      const agg_span *span = agg_span_at(a, s);
      uint64_t expected = 0, nested = 0, us = 0;
      for (int i = 0; i < ROWS; i++) {
        if (times[i] < first + s * width || times[i] >= first + (s + 1) * width) continue;
        if (i % 10 == 0) {
          nested++;
        } else {
          expected++;
          us += (uint64_t)i;
        }
      }
      calls += expected + nested;
      if (span == NULL) {
        CHECK(expected + nested == 0);
        continue;
      }
      CHECK(span->values.calls == expected && span->nested_calls == nested && span->values.exec_us == us);
      CHECK(hist_total(span->counts) == expected);
      CHECK(expected == 0 || (span->values.first_us >= first + s * width && span->values.last_us < first + (s + 1) * width));
    }
    CHECK(calls == ROWS && agg_counts_of(a).outside == 0);
    free(a);
    free(b);
  }
  /* A clock that was wrong does not ruin the line; no time is no harm. */
  agg *a = open_with(usual);
  static const int64_t odd[] = {1700000000000000,  0,                AGG_NO_TIME,    INT64_MAX,
                                INT64_MIN + 1, 1700000001000000, 1 - (1ll << 62)};
  for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
    int fresh;
    agg_row row = {.key = 1, .end_us = odd[i]};
    agg_add(a, &row, &fresh);
  }
  int64_t first, width;
  CHECK(agg_span_count(a, &first, &width) == 2 && first == 1700000000000000 && width == 1000000);
  CHECK(agg_counts_of(a).outside == 5 && agg_at(a, 0)->values.calls == 7);
  free(a);
}

static void test_errors(void) {
  agg *a = open_with(usual), *b = open_with(usual);
  for (uint32_t i = 0; i < 600; i++) {
    int fresh;
    char message[400];
    agg_row row = {.key = 1, .flags = AGG_ROW_FAILED, .end_us = i};
    if (i % 2) row.flags |= AGG_ROW_CANCELLED;
    if (i % 3 == 0) row.flags |= AGG_ROW_PROPAGATED;
    sprintf(row.state, "%05u", i / 100);
    memset(message, 'm', sizeof message);
    memcpy(message + AGG_MESSAGE_BYTES - 1, "\xc3\xa9", 2);
    row.message = message;
    row.message_bytes = i / 100 % 2 ? sizeof message : 7;
    agg_add(i % 7 ? a : b, &row, &fresh);
  }
  CHECK(agg_merge(a, b));
  CHECK(agg_at(a, 0)->values.errors == 600 && agg_at(a, 0)->values.cancelled == 300);
  CHECK(agg_state_count(a) == 5);
  uint64_t errors = 0;
  for (uint32_t i = 0; i < 5; i++) {
    const agg_state *s = agg_state_at(a, i);
    errors += s->errors;
    CHECK((s->state[0] == 0) == (i == 4) && s->cancelled * 2 <= s->errors + 1 && s->first_us <= s->last_us);
    CHECK(s->message_bytes == 7 || s->message_bytes == AGG_MESSAGE_BYTES - 1);
  }
  CHECK(errors == 400);
  free(a);
  free(b);
}

static void test_limits(void) {
  static const agg_options bad[] = {
      {.entries = 0, .names = 1, .span_us = 1}, {.entries = 65537, .names = 1, .span_us = 1},
      {.entries = 1, .names = 0, .span_us = 1}, {.entries = 1, .names = 1, .span_us = 0},
      {.entries = 1, .names = 1, .span_us = 1, .spans = 1}, {.entries = 1, .names = 1, .span_us = 1, .spans = 12},
      {.entries = 1, .names = 1, .span_us = 1, .samples = 17}, {.entries = 1, .names = 1, .span_us = 1, .states = 257},
      {.entries = 1, .names = 1, .span_us = 1, .text_bytes_each = AGG_TEXT_BYTES + 1}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) CHECK(agg_bytes(&bad[i]) == 0);
  agg_options least = {.entries = 1, .names = 1, .span_us = 1};
  agg *a = open_with(least);
  agg_row row = {.flags = AGG_ROW_TIMED | AGG_ROW_FAILED | AGG_ROW_QUERY_ID, .exec_us = -1, .state = "XX000"};
  int fresh;
  for (uint32_t i = 0; i < 100; i++) {
    char name[100];
    row.key = i / 3;
    row.sums[3] = i % 2 ? -5 : INT64_MAX;
    row.known = i == 7 ? ~0ull : 1u << 3 | 1u << AGG_SUM_plan_us;
    row.database = agg_name(a, name, (size_t)sprintf(name, "%070u", i));
    row.username = agg_name(a, "x", 0);
    uint32_t entry = agg_add(a, &row, &fresh);
    if (fresh) agg_describe(a, entry, 1, "a text", 6, 0);
    CHECK(agg_text(a, entry, name, sizeof name) == 0 && (agg_at(a, entry)->flags & AGG_TEXT_CUT) != 0);
  }
  /* Names of 70 bytes that differ in the last seven are one name of 63. */
  CHECK(agg_at(a, 0)->database == 2 && agg_counts_of(a).names_lost == 0 && agg_name(a, "other", 5) == AGG_NAME_OTHERS);
  CHECK(agg_counts_of(a).names_lost == 1 && agg_counts_of(a).bad_values == 150 && agg_counts_of(a).replaced == 33);
  CHECK(agg_others(a, 0)->values.sums[3] == INT64_MAX && agg_others(a, 0)->values.planned == 99);
  CHECK(agg_counts_of(a).texts_cut == 34 && agg_state_count(a) == 1 && agg_state_at(a, 0)->state[0] == 0);
  check_structure(a);
  free(a);

  /* Texts: cut between characters, at the limit of each and of all. */
  agg_options texts = {.entries = 10, .names = 1, .span_us = 1, .text_bytes = 3 * AGG_TEXT_BLOCK, .text_bytes_each = 200};
  a = open_with(texts);
  char text[300], back[300];
  memset(text, 'x', sizeof text);
  memcpy(text + 199, "\xc3\xa9", 2);
  for (uint32_t i = 0; i < 3; i++) {
    row.key = i;
    agg_describe(a, agg_add(a, &row, &fresh), 1, text, sizeof text, 0);
    CHECK(fresh && agg_text(a, i, back, sizeof back) == (i == 0 ? 199 : i == 1 ? AGG_TEXT_BLOCK : 0));
    CHECK(agg_text(a, i, back, 10) == (i < 2 ? 10 : 0) && agg_at(a, i)->flags & AGG_TEXT_CUT);
  }
  agg_describe(a, 0, 2, "short", 5, 0);
  CHECK(agg_text(a, 0, back, sizeof back) == 5 && !(agg_at(a, 0)->flags & AGG_TEXT_CUT));
  agg_describe(a, 2, 2, "short", 5, 1);
  CHECK(agg_text(a, 2, back, sizeof back) == 5 && agg_at(a, 2)->flags & AGG_TEXT_CUT);
  check_structure(a);
  free(a);
}

int main(void) {
  test_exact();
  test_bounds();
  test_shares();
  test_merge();
  test_line();
  test_errors();
  test_limits();
  return 0;
}
