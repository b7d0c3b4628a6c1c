/*
 * Entries, names and texts of the aggregate; see aggregate.h.
 *
 * A row finds its entry through a hash table. The heap that knows the least entry is looked at only when a place is needed:
 * weights only grow, so what the heap remembers of one is a lower bound, and its root is brought up to date until it is true.
 * An entry begins with room for few buckets; the 5 kB of a whole histogram are first touched by the ninth. So a statement
 * that is seen once costs no more than its text, however many of them there are.
 */
#include "aggregate.h"

#include "aggregate_inner.h"
#include "hash64.h"
#include "utf8.h"

/* ---- layout ---- */

/* Nodes left free before the heap's root, so that the children of each node begin a line of the cache. */
#define HEAP_LEAD 3u

static uint32_t power_above(uint32_t n) {
  uint32_t power = 4;
  while (power < n) power *= 2;
  return power;
}

static int in_range(const agg_options *o) {
  return o->entries >= 1 && o->entries <= 65536 && o->names >= 1 && o->names <= 65536 && o->text_bytes <= 1u << 31 &&
         o->text_bytes_each <= AGG_TEXT_BYTES && o->samples <= AGG_SAMPLES_MAX && o->spans <= 4096 && o->spans != 1 &&
         (o->spans & (o->spans - 1)) == 0 && o->span_us >= 1 && o->span_us <= 1ll << 40 && o->states <= AGG_STATES_MAX;
}

static uint32_t block_count(const agg_options *o) { return o->text_bytes / AGG_TEXT_BLOCK; }

/* Hands out pieces of the caller's memory; with memory NULL it only counts. */
static void *piece(uint8_t *memory, size_t *at, size_t count, size_t size) {
  size_t from = *at;
  *at = (from + count * size + 63) & ~(size_t)63;
  return memory == NULL ? NULL : memory + from;
}

static size_t lay_out(agg *a, uint8_t *memory, const agg_options *o) {
  size_t at = (sizeof(agg) + 63) & ~(size_t)63;
  uint32_t slots = power_above(o->entries * 2), name_slots = power_above((o->names + 2) * 2);
  agg parts = {0};
  parts.slots = piece(memory, &at, slots, sizeof(agg_slot));
  parts.heap = piece(memory, &at, o->entries + HEAP_LEAD, sizeof(agg_heap_node));
  parts.entries = piece(memory, &at, o->entries, sizeof(agg_full_entry));
  parts.samples = piece(memory, &at, (size_t)o->entries * o->samples, sizeof(agg_sample));
  parts.names = piece(memory, &at, o->names + 2, sizeof(agg_name_record));
  parts.name_slots = piece(memory, &at, name_slots, sizeof(uint32_t));
  parts.states = piece(memory, &at, o->states + 1, sizeof(agg_state));
  parts.span_order = piece(memory, &at, o->spans, sizeof(uint16_t));
  parts.span_free = piece(memory, &at, o->spans, sizeof(uint16_t));
  parts.spans = piece(memory, &at, o->spans, sizeof(agg_span));
  parts.block_next = piece(memory, &at, block_count(o), sizeof(uint32_t));
  parts.blocks = piece(memory, &at, block_count(o), AGG_TEXT_BLOCK);
  parts.histograms = piece(memory, &at, (size_t)o->entries * HIST_BUCKETS, sizeof(uint64_t));
  if (a != NULL) {
    *a = parts;
    a->heap += HEAP_LEAD;
    a->options = *o;
    a->slot_mask = slots - 1;
    a->name_mask = name_slots - 1;
  }
  return at;
}

size_t agg_bytes(const agg_options *options) { return in_range(options) ? lay_out(NULL, NULL, options) : 0; }

agg *agg_open(void *memory, const agg_options *options) {
  agg *a = memory;
  lay_out(a, memory, options);
  memset(a->name_slots, 0, ((size_t)a->name_mask + 1) * sizeof(uint32_t));
  a->name_count = 2;
  a->names[AGG_NAME_NONE].bytes = a->names[AGG_NAME_OTHERS].bytes = 0;
  agg_reset(a);
  return a;
}

const agg_options *agg_options_of(const agg *a) { return &a->options; }

void agg_reset(agg *a) {
  memset(&a->counts, 0, sizeof a->counts);
  memset(a->others, 0, sizeof a->others);
  for (uint32_t i = 0; i < 2; i++) {
    agg_values_clear(&a->others[i].entry.values);
    a->others[i].entry.flags = AGG_OTHERS | (i == 1 ? AGG_NESTED : 0);
  }
  memset(a->slots, 0xff, ((size_t)a->slot_mask + 1) * sizeof(agg_slot));
  a->count = 0;
  a->missed_weight = a->missed_calls = a->missed_us = 0;
  a->call_weight = 1;
  a->weighed_us = a->weighed_calls = 0;
  uint32_t blocks = block_count(&a->options);
  for (uint32_t i = 0; i < blocks; i++) a->block_next[i] = i + 1 < blocks ? i + 1 : AGG_NONE;
  a->free_block = blocks > 0 ? 0 : AGG_NONE;
  a->state_count = 0;
  agg_line_reset(a);
}

/* ---- values ---- */

void agg_values_clear(agg_values *v) {
  memset(v, 0, sizeof *v);
  v->min_us = UINT64_MAX;
  v->first_us = INT64_MAX;
  v->last_us = INT64_MIN;
}

static void stop_at_most(agg_values *v) {
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++)
    if (v->sums[i] > INT64_MAX) v->sums[i] = INT64_MAX;
}

/* Each addend is at most INT64_MAX, so that a sum that is too large shows it in its first bit. */
static void add_sums(agg_values *v, const uint64_t *sums) {
  uint64_t all = 0;
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++) {
    v->sums[i] += sums[i];
    all |= v->sums[i];
  }
  if (__builtin_expect(all > INT64_MAX, 0)) stop_at_most(v);
}

static inline void widen(agg_values *v, int64_t first_us, int64_t last_us) {
  if (first_us < v->first_us) v->first_us = first_us;
  if (last_us > v->last_us) v->last_us = last_us;
}

void agg_values_add(agg_values *v, const agg_row *row) {
  v->calls++;
  v->planned += row->known >> AGG_SUM_plan_us & 1;
  if (row->flags & AGG_ROW_TIMED) {
    uint64_t exec_us = (uint64_t)row->exec_us;
    v->timed++;
    v->exec_us = agg_plus(v->exec_us, exec_us);
    if (exec_us < v->min_us) v->min_us = exec_us;
    if (exec_us > v->max_us) v->max_us = exec_us;
  }
  if (row->flags & AGG_ROW_FAILED) {
    v->errors++;
    v->cancelled += (row->flags & AGG_ROW_CANCELLED) != 0;
  }
  if (row->end_us != AGG_NO_TIME) widen(v, row->end_us, row->end_us);
  v->known |= row->known;
  add_sums(v, (const uint64_t *)row->sums);
}

void agg_values_merge(agg_values *v, const agg_values *more) {
  v->calls = agg_plus(v->calls, more->calls);
  v->timed = agg_plus(v->timed, more->timed);
  v->planned = agg_plus(v->planned, more->planned);
  v->errors = agg_plus(v->errors, more->errors);
  v->cancelled = agg_plus(v->cancelled, more->cancelled);
  v->exec_us = agg_plus(v->exec_us, more->exec_us);
  if (more->min_us < v->min_us) v->min_us = more->min_us;
  if (more->max_us > v->max_us) v->max_us = more->max_us;
  widen(v, more->first_us, more->last_us);
  v->known |= more->known;
  add_sums(v, more->sums);
}

/* ---- names ---- */

static inline size_t name_bytes(const void *name, size_t n) { return col_utf8_cut(name, n, AGG_NAME_BYTES); }

/* The slot of a name, or the free one where it would stand. */
static uint32_t name_slot(const agg *a, const void *name, size_t n) {
  uint32_t at = (uint32_t)h64(name, n, 0) & a->name_mask;
  for (; a->name_slots[at] != 0; at = (at + 1) & a->name_mask) {
    const agg_name_record *record = &a->names[a->name_slots[at]];
    if (record->bytes == n && memcmp(record->text, name, n) == 0) break;
  }
  return at;
}

uint32_t agg_find_name(const agg *a, const void *name, size_t n) {
  if (n == 0) return AGG_NAME_NONE;
  uint32_t found = a->name_slots[name_slot(a, name, name_bytes(name, n))];
  return found == 0 ? AGG_NONE : found;
}

uint32_t agg_name(agg *a, const void *name, size_t n) {
  if (n == 0) return AGG_NAME_NONE;
  n = name_bytes(name, n);
  uint32_t at = name_slot(a, name, n);
  if (a->name_slots[at] != 0) return a->name_slots[at];
  if (a->name_count == a->options.names + 2) {
    a->counts.names_lost++;
    return AGG_NAME_OTHERS;
  }
  agg_name_record *record = &a->names[a->name_count];
  record->bytes = (uint8_t)n;
  memcpy(record->text, name, n);
  return a->name_slots[at] = a->name_count++;
}

const char *agg_name_text(const agg *a, uint32_t name, size_t *n) {
  *n = name < a->name_count ? a->names[name].bytes : 0;
  return name < a->name_count ? a->names[name].text : "";
}

/* ---- texts ---- */

static void free_text(agg *a, agg_full_entry *e) {
  while (e->text != AGG_NONE) {
    uint32_t next = a->block_next[e->text];
    a->block_next[e->text] = a->free_block;
    a->free_block = e->text;
    e->text = next;
  }
  e->text_bytes = 0;
}

void agg_describe(agg *a, uint32_t entry, uint64_t fingerprint, const void *text, size_t n, int cut) {
  agg_full_entry *e = &a->entries[entry];
  const uint8_t *p = text;
  free_text(a, e);
  e->entry.fingerprint = fingerprint;
  size_t keep = col_utf8_cut(p, n, n < a->options.text_bytes_each ? n : a->options.text_bytes_each);
  uint32_t *link = &e->text;
  size_t stored = 0;
  while (stored < keep && a->free_block != AGG_NONE) {
    uint32_t block = a->free_block;
    size_t some = keep - stored < AGG_TEXT_BLOCK ? keep - stored : AGG_TEXT_BLOCK;
    a->free_block = a->block_next[block];
    memcpy(a->blocks + (size_t)block * AGG_TEXT_BLOCK, p + stored, some);
    a->block_next[block] = AGG_NONE;
    *link = block;
    link = &a->block_next[block];
    stored += some;
  }
  if (stored < n) a->counts.texts_cut++;
  e->text_bytes = (uint32_t)(stored < n ? col_utf8_cut(p, n, stored) : n);
  e->entry.flags &= ~(uint32_t)AGG_TEXT_CUT;
  if (cut || stored < n) e->entry.flags |= AGG_TEXT_CUT;
}

size_t agg_text(const agg *a, uint32_t entry, void *text, size_t max) {
  const agg_full_entry *e = &a->entries[entry];
  size_t n = e->text_bytes < max ? e->text_bytes : max, at = 0;
  for (uint32_t block = e->text; at < n; block = a->block_next[block]) {
    size_t some = n - at < AGG_TEXT_BLOCK ? n - at : AGG_TEXT_BLOCK;
    memcpy((uint8_t *)text + at, a->blocks + (size_t)block * AGG_TEXT_BLOCK, some);
    at += some;
  }
  return n;
}

/* ---- histograms and samples of entries ---- */

void agg_add_bucket(agg *a, uint32_t entry, uint32_t bucket, uint64_t count) {
  agg_full_entry *e = &a->entries[entry];
  uint64_t *whole = a->histograms + (size_t)entry * HIST_BUCKETS;
  if (e->few <= AGG_FEW) {
    for (uint32_t i = 0; i < e->few; i++)
      if (e->few_buckets[i] == bucket) {
        e->few_counts[i] = agg_plus(e->few_counts[i], count);
        return;
      }
    if (e->few < AGG_FEW) {
      e->few_buckets[e->few] = (uint16_t)bucket;
      e->few_counts[e->few++] = count;
      return;
    }
    memset(whole, 0, HIST_BUCKETS * sizeof *whole);
    for (uint32_t i = 0; i < AGG_FEW; i++) whole[e->few_buckets[i]] = e->few_counts[i];
    e->few = AGG_FEW + 1;
  }
  whole[bucket] = agg_plus(whole[bucket], count);
}

static void histogram_of(const agg *a, uint32_t entry, uint64_t *counts) {
  const agg_full_entry *e = &a->entries[entry];
  if (e->few > AGG_FEW) {
    hist_merge(counts, a->histograms + (size_t)entry * HIST_BUCKETS);
    return;
  }
  for (uint32_t i = 0; i < e->few; i++)
    counts[e->few_buckets[i]] = agg_plus(counts[e->few_buckets[i]], e->few_counts[i]);
}

void agg_histogram(const agg *a, uint32_t entry, uint64_t *counts) {
  memset(counts, 0, HIST_BUCKETS * sizeof *counts);
  histogram_of(a, entry, counts);
}

void agg_others_histogram(const agg *a, int nested, uint64_t *counts) {
  memcpy(counts, a->others[nested != 0].counts, HIST_BUCKETS * sizeof *counts);
}

void agg_add_sample(agg_sample *samples, agg_slowest *slowest, uint32_t most, const agg_sample *sample) {
  if (slowest->count < most) {
    samples[slowest->count++] = *sample;
    if (slowest->count < most) return;
  } else {
    if (most == 0 || sample->exec_us <= samples[slowest->least].exec_us) return;
    samples[slowest->least] = *sample;
  }
  slowest->least = 0;
  for (uint32_t i = 1; i < most; i++)
    if (samples[i].exec_us < samples[slowest->least].exec_us) slowest->least = i;
}

static uint32_t sorted(const agg_sample *from, uint32_t count, agg_sample *to) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t at = i;
    for (; at > 0 && to[at - 1].exec_us < from[i].exec_us; at--) to[at] = to[at - 1];
    to[at] = from[i];
  }
  return count;
}

uint32_t agg_samples(const agg *a, uint32_t entry, agg_sample *samples) {
  return sorted(a->samples + (size_t)entry * a->options.samples, a->entries[entry].slowest.count, samples);
}

uint32_t agg_others_samples(const agg *a, int nested, agg_sample *samples) {
  return sorted(a->others[nested != 0].samples, a->others[nested != 0].slowest.count, samples);
}

/* ---- the table of entries ---- */

uint32_t agg_hash(uint64_t key, uint32_t flags, uint32_t database, uint32_t username) {
  return (uint32_t)h64_pair(key, (uint64_t)database << 32 | username << 2 | (flags & (AGG_QUERY_ID | AGG_NESTED)));
}

uint32_t agg_find_hashed(const agg *a, uint32_t hash, uint64_t key, uint32_t flags, uint32_t database,
                         uint32_t username) {
  for (uint32_t at = hash & a->slot_mask;; at = (at + 1) & a->slot_mask) {
    const agg_slot *slot = &a->slots[at];
    if (slot->entry == AGG_NONE) return AGG_NONE;
    if (slot->hash != hash) continue;
    const agg_entry *e = &a->entries[slot->entry].entry;
    if (e->key == key && e->database == database && e->username == username &&
        ((e->flags ^ flags) & (AGG_QUERY_ID | AGG_NESTED)) == 0)
      return slot->entry;
  }
}

uint32_t agg_find(const agg *a, uint64_t key, uint32_t flags, uint32_t database, uint32_t username) {
  return agg_find_hashed(a, agg_hash(key, flags, database, username), key, flags, database, username);
}

static void take_slot(agg *a, uint32_t hash, uint32_t entry) {
  uint32_t at = hash & a->slot_mask;
  while (a->slots[at].entry != AGG_NONE) at = (at + 1) & a->slot_mask;
  a->slots[at].hash = hash;
  a->slots[at].entry = entry;
}

/* Slots behind the freed one move up, so that no search ends too soon. */
static void free_slot(agg *a, uint32_t hash, uint32_t entry) {
  uint32_t hole = hash & a->slot_mask;
  while (a->slots[hole].entry != entry) hole = (hole + 1) & a->slot_mask;
  for (uint32_t at = (hole + 1) & a->slot_mask; a->slots[at].entry != AGG_NONE; at = (at + 1) & a->slot_mask) {
    uint32_t home = a->slots[at].hash & a->slot_mask;
    if (((at - home) & a->slot_mask) < ((at - hole) & a->slot_mask)) continue;
    a->slots[hole] = a->slots[at];
    hole = at;
  }
  a->slots[hole].entry = AGG_NONE;
}

/* ---- the heap ---- */

static void sink_node(agg *a, uint32_t at) {
  agg_heap_node node = a->heap[at];
  for (;;) {
    uint32_t first = 4 * at + 1, child = first;
    if (first + 4 <= a->count) {
      /* Written so that nothing has to be guessed: which child is least is chance. */
      const agg_heap_node *c = &a->heap[first];
      uint32_t left = c[1].weight < c[0].weight, right = 2 + (c[3].weight < c[2].weight);
      child += c[right].weight < c[left].weight ? right : left;
    } else {
      if (first >= a->count) break;
      for (uint32_t i = first + 1; i < a->count; i++)
        if (a->heap[i].weight < a->heap[child].weight) child = i;
    }
    if (a->heap[child].weight >= node.weight) break;
    a->heap[at] = a->heap[child];
    at = child;
  }
  a->heap[at] = node;
}

static void lift_node(agg *a, uint32_t at) {
  agg_heap_node node = a->heap[at];
  while (at > 0 && a->heap[(at - 1) / 4].weight > node.weight) {
    a->heap[at] = a->heap[(at - 1) / 4];
    at = (at - 1) / 4;
  }
  a->heap[at] = node;
}

uint32_t agg_least(agg *a) {
  for (;;) {
    uint32_t entry = a->heap[0].entry;
    uint64_t weight = a->entries[entry].entry.weight;
    if (a->heap[0].weight == weight) return entry;
    a->heap[0].weight = weight;
    sink_node(a, 0);
  }
}

void agg_drop_least(agg *a) {
  uint32_t entry = agg_least(a);
  agg_full_entry *e = &a->entries[entry];
  const agg_values *v = &e->entry.values;
  agg_other *other = &a->others[(e->entry.flags & AGG_NESTED) != 0];
  a->missed_weight = agg_most(a->missed_weight, e->entry.weight);
  a->missed_calls = agg_most(a->missed_calls, agg_plus(v->calls, e->entry.missed_calls));
  a->missed_us = agg_most(a->missed_us, agg_plus(v->exec_us, e->entry.missed_us));
  agg_values_merge(&other->entry.values, v);
  histogram_of(a, entry, other->counts);
  for (uint32_t i = 0; i < e->slowest.count; i++)
    agg_add_sample(other->samples, &other->slowest, a->options.samples,
                   &a->samples[(size_t)entry * a->options.samples + i]);
  if (e->entry.last_state[0] != 0) memcpy(other->entry.last_state, e->entry.last_state, sizeof e->entry.last_state);
  free_text(a, e);
  free_slot(a, agg_hash(e->entry.key, e->entry.flags, e->entry.database, e->entry.username), entry);
  e->entry.flags = AGG_OTHERS;
  a->counts.replaced++;
}

uint32_t agg_make(agg *a, uint64_t key, uint32_t flags, uint32_t database, uint32_t username, uint32_t hash,
                  uint64_t weight) {
  /* A dropped entry is the heap's root still. */
  int dropped = a->count > 0 && (a->entries[a->heap[0].entry].entry.flags & AGG_OTHERS) != 0;
  uint32_t entry = dropped ? a->heap[0].entry : a->count++;
  agg_full_entry *e = &a->entries[entry];
  memset(&e->entry, 0, sizeof e->entry);
  agg_values_clear(&e->entry.values);
  e->entry.key = key;
  e->entry.flags = flags & (AGG_QUERY_ID | AGG_NESTED);
  e->entry.database = database;
  e->entry.username = username;
  e->entry.missed_calls = a->missed_calls;
  e->entry.missed_us = a->missed_us;
  e->entry.weight = weight;
  e->few = 0;
  e->slowest.count = e->slowest.least = 0;
  e->text = AGG_NONE;
  e->text_bytes = 0;
  take_slot(a, hash, entry);
  uint32_t node = dropped ? 0 : a->count - 1;
  a->heap[node].entry = entry;
  a->heap[node].weight = weight;
  if (dropped) {
    sink_node(a, 0);
    /* Most likely the next to go. */
    const char *next = (const char *)&a->entries[a->heap[0].entry];
    for (size_t i = 0; i < sizeof(agg_full_entry); i += 64) __builtin_prefetch(next + i, 1);
    __builtin_prefetch(&a->samples[(size_t)a->heap[0].entry * a->options.samples]);
  } else {
    lift_node(a, node);
  }
  return entry;
}

/* ---- rows ---- */

agg_state *agg_state_of(agg *a, const char *state, int *fresh) {
  *fresh = 0;
  for (uint32_t i = 0; i < a->state_count; i++)
    if (memcmp(a->states[i].state, state, 6) == 0) return &a->states[i];
  uint32_t others = a->options.states;
  if (a->state_count == others + 1) return &a->states[others];
  agg_state *made = &a->states[a->state_count++];
  memset(made, 0, sizeof *made);
  made->first_us = INT64_MAX;
  made->last_us = INT64_MIN;
  if (a->state_count <= others) memcpy(made->state, state, 6);
  *fresh = 1;
  return made;
}

static void add_error(agg *a, const agg_row *row) {
  int fresh;
  agg_state *s = agg_state_of(a, row->state, &fresh);
  s->errors++;
  s->cancelled += (row->flags & AGG_ROW_CANCELLED) != 0;
  if (row->end_us != AGG_NO_TIME) {
    if (row->end_us < s->first_us) s->first_us = row->end_us;
    if (row->end_us > s->last_us) s->last_us = row->end_us;
  }
  if (!fresh) return;
  s->place = row->place;
  s->message_bytes = (uint32_t)col_utf8_cut((const uint8_t *)row->message, row->message_bytes, AGG_MESSAGE_BYTES);
  if (s->message_bytes > 0) memcpy(s->message, row->message, s->message_bytes);
}

/* A row as it should be: nothing below 0, nothing unknown that is not 0. */
static void mend(agg *a, const agg_row *from, agg_row *row) {
  *row = *from;
  if (row->exec_us < 0) {
    row->exec_us = 0;
    a->counts.bad_values += (row->flags & AGG_ROW_TIMED) != 0;
  }
  row->known &= (1ull << AGG_SUM_COUNT) - 1;
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++) {
    if (row->known >> i & 1 && row->sums[i] < 0) a->counts.bad_values++;
    if (!(row->known >> i & 1) || row->sums[i] < 0) row->sums[i] = 0;
  }
}

static inline int is_fine(const agg_row *row) {
  int64_t all = row->exec_us;
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++) all |= row->sums[i];
  return all >= 0 && row->known >> AGG_SUM_COUNT == 0;
}

/* What a call of that time weighs: its time, and the mean time so far. */
static uint64_t weigh(agg *a, uint64_t exec_us) {
  uint64_t us = exec_us < HIST_LIMIT_US ? exec_us : HIST_LIMIT_US;
  a->weighed_us = agg_plus(a->weighed_us, us);
  uint64_t calls = ++a->weighed_calls;
  if (calls < 256 || (calls & 255) == 0) a->call_weight = 1 + a->weighed_us / calls;
  return us + a->call_weight;
}

uint32_t agg_add(agg *a, const agg_row *row, int *fresh) {
  agg_row mended;
  if (__builtin_expect(!is_fine(row), 0)) {
    mend(a, row, &mended);
    row = &mended;
  }
  a->counts.rows++;
  uint32_t hash = agg_hash(row->key, row->flags, row->database, row->username);
  uint32_t entry = agg_find_hashed(a, hash, row->key, row->flags, row->database, row->username);
  *fresh = entry == AGG_NONE;
  const int timed = (row->flags & AGG_ROW_TIMED) != 0;
  const uint64_t weight = weigh(a, timed ? (uint64_t)row->exec_us : 0);
  if (*fresh) {
    if (a->count == a->options.entries) agg_drop_least(a);
    entry = agg_make(a, row->key, row->flags, row->database, row->username, hash, agg_plus(a->missed_weight, weight));
  } else {
    a->entries[entry].entry.weight = agg_plus(a->entries[entry].entry.weight, weight);
  }
  agg_full_entry *e = &a->entries[entry];
  agg_values_add(&e->entry.values, row);
  if (e->entry.tag == AGG_NAME_NONE) e->entry.tag = row->tag;
  if (timed) {
    agg_sample *samples = a->samples + (size_t)entry * a->options.samples;
    agg_add_bucket(a, entry, hist_bucket((uint64_t)row->exec_us), 1);
    if (e->slowest.count < a->options.samples ||
        (a->options.samples > 0 && (uint64_t)row->exec_us > samples[e->slowest.least].exec_us)) {
      agg_sample sample = {(uint64_t)row->exec_us, row->end_us, row->place, (row->flags & AGG_ROW_FAILED) != 0};
      agg_add_sample(samples, &e->slowest, a->options.samples, &sample);
    }
  }
  if (__builtin_expect((row->flags & AGG_ROW_FAILED) != 0, 0)) {
    memcpy(e->entry.last_state, row->state, sizeof row->state);
    if (!(row->flags & AGG_ROW_PROPAGATED)) add_error(a, row);
  }
  agg_line_add(a, row);
  return entry;
}

/* ---- reading ---- */

uint32_t agg_count(const agg *a) { return a->count; }
const agg_entry *agg_at(const agg *a, uint32_t entry) { return &a->entries[entry].entry; }
const agg_entry *agg_others(const agg *a, int nested) { return &a->others[nested != 0].entry; }

void agg_bound(const agg *a, uint64_t *missed_calls, uint64_t *missed_us) {
  *missed_calls = a->missed_calls;
  *missed_us = a->missed_us;
}

agg_counts agg_counts_of(const agg *a) { return a->counts; }
uint32_t agg_state_count(const agg *a) { return a->state_count; }
const agg_state *agg_state_at(const agg *a, uint32_t state) { return &a->states[state]; }
