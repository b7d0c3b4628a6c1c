/*
 * One aggregate added to another; see aggregate.h, and AGGREGATE.md for why the bounds hold.
 *
 * What is in one of the two alone may have been in the other up to its bound. Statements that both have come first, so that
 * their weights are whole before places are taken from the least.
 */
#include "aggregate_inner.h"

#define ENTRIES_MAX 65536u

/* A name of `from` in `into`. */
static uint32_t carry_name(agg *into, const agg *from, uint32_t name) {
  if (name <= AGG_NAME_OTHERS) return name;
  size_t n;
  const char *text = agg_name_text(from, name, &n);
  return agg_name(into, text, n);
}

/* The entry of `from` that an entry of `into` stands for. */
static uint32_t same_entry(const agg *into, const agg_entry *e, const agg *from) {
  uint32_t names[2] = {e->database, e->username};
  for (uint32_t i = 0; i < 2; i++) {
    if (names[i] <= AGG_NAME_OTHERS) continue;
    size_t n;
    const char *text = agg_name_text(into, names[i], &n);
    names[i] = agg_find_name(from, text, n);
    if (names[i] == AGG_NONE) return AGG_NONE;
  }
  return agg_find(from, e->key, e->flags, names[0], names[1]);
}

static void raise_bounds(agg_entry *e, uint64_t weight, uint64_t calls, uint64_t us) {
  e->weight = agg_plus(e->weight, weight);
  e->missed_calls = agg_plus(e->missed_calls, calls);
  e->missed_us = agg_plus(e->missed_us, us);
}

/* What an entry of `from` counted, to one of `into`; weight and bounds are the caller's. */
static void add_entry(agg *into, uint32_t entry, const agg *from, uint32_t other) {
  agg_full_entry *to = &into->entries[entry];
  const agg_full_entry *e = &from->entries[other];
  agg_values_merge(&to->entry.values, &e->entry.values);
  if (to->entry.tag == AGG_NAME_NONE) to->entry.tag = carry_name(into, from, e->entry.tag);
  if (e->entry.last_state[0] != 0) memcpy(to->entry.last_state, e->entry.last_state, sizeof e->entry.last_state);
  if (e->few <= AGG_FEW) {
    for (uint32_t i = 0; i < e->few; i++) agg_add_bucket(into, entry, e->few_buckets[i], e->few_counts[i]);
  } else {
    const uint64_t *counts = from->histograms + (size_t)other * HIST_BUCKETS;
    for (uint32_t i = 0; i < HIST_BUCKETS; i++)
      if (counts[i] != 0) agg_add_bucket(into, entry, i, counts[i]);
  }
  for (uint32_t i = 0; i < e->slowest.count; i++)
    agg_add_sample(into->samples + (size_t)entry * into->options.samples, &to->slowest, into->options.samples,
                   &from->samples[(size_t)other * from->options.samples + i]);
}

static void describe(agg *into, uint32_t entry, const agg *from, uint32_t other) {
  const agg_full_entry *e = &from->entries[other];
  uint8_t text[AGG_TEXT_BYTES];
  size_t n = agg_text(from, other, text, sizeof text);
  agg_describe(into, entry, e->entry.fingerprint, text, n, (e->entry.flags & AGG_TEXT_CUT) != 0);
}

/* An entry for which there is no place. */
static void give_to_others(agg *into, const agg *from, uint32_t other) {
  const agg_full_entry *e = &from->entries[other];
  agg_other *o = &into->others[(e->entry.flags & AGG_NESTED) != 0];
  uint64_t counts[HIST_BUCKETS];
  agg_values_merge(&o->entry.values, &e->entry.values);
  agg_histogram(from, other, counts);
  hist_merge(o->counts, counts);
  for (uint32_t i = 0; i < e->slowest.count; i++)
    agg_add_sample(o->samples, &o->slowest, into->options.samples,
                   &from->samples[(size_t)other * from->options.samples + i]);
  into->counts.replaced++;
}

static void merge_others(agg *into, const agg *from) {
  for (uint32_t nested = 0; nested < 2; nested++) {
    agg_other *to = &into->others[nested];
    const agg_other *o = &from->others[nested];
    agg_values_merge(&to->entry.values, &o->entry.values);
    hist_merge(to->counts, o->counts);
    if (o->entry.last_state[0] != 0) memcpy(to->entry.last_state, o->entry.last_state, sizeof o->entry.last_state);
    for (uint32_t i = 0; i < o->slowest.count; i++)
      agg_add_sample(to->samples, &to->slowest, into->options.samples, &o->samples[i]);
  }
}

static void merge_states(agg *into, const agg *from) {
  for (uint32_t i = 0; i < from->state_count; i++) {
    const agg_state *s = &from->states[i];
    int fresh;
    agg_state *to = agg_state_of(into, s->state, &fresh);
    to->errors = agg_plus(to->errors, s->errors);
    to->cancelled = agg_plus(to->cancelled, s->cancelled);
    if (s->first_us < to->first_us) to->first_us = s->first_us;
    if (s->last_us > to->last_us) to->last_us = s->last_us;
    if (!fresh) continue;
    to->place = s->place;
    to->message_bytes = s->message_bytes;
    memcpy(to->message, s->message, s->message_bytes);
  }
}

int agg_merge(agg *into, const agg *from) {
  if ((into->options.spans == 0) != (from->options.spans == 0)) return 0;
  if (into->options.spans != 0 && into->options.span_us != from->options.span_us) return 0;
  const uint64_t weight = into->missed_weight, calls = into->missed_calls, us = into->missed_us;

  for (uint32_t i = 0; i < into->count; i++) {
    agg_entry *e = &into->entries[i].entry;
    if (same_entry(into, e, from) == AGG_NONE)
      raise_bounds(e, from->missed_weight, from->missed_calls, from->missed_us);
  }
  uint8_t shared[ENTRIES_MAX / 8];
  memset(shared, 0, sizeof shared);
  for (uint32_t i = 0; i < from->count; i++) {
    const agg_entry *e = &from->entries[i].entry;
    uint32_t entry = agg_find(into, e->key, e->flags, carry_name(into, from, e->database),
                              carry_name(into, from, e->username));
    if (entry == AGG_NONE) continue;
    shared[i / 8] |= (uint8_t)(1u << i % 8);
    add_entry(into, entry, from, i);
    raise_bounds(&into->entries[entry].entry, e->weight, e->missed_calls, e->missed_us);
  }
  into->missed_weight = agg_plus(weight, from->missed_weight);
  into->missed_calls = agg_plus(calls, from->missed_calls);
  into->missed_us = agg_plus(us, from->missed_us);

  for (uint32_t i = 0; i < from->count; i++) {
    if (shared[i / 8] >> i % 8 & 1) continue;
    const agg_entry *e = &from->entries[i].entry;
    uint32_t database = carry_name(into, from, e->database), username = carry_name(into, from, e->username);
    uint32_t hash = agg_hash(e->key, e->flags, database, username);
    uint32_t entry = agg_find_hashed(into, hash, e->key, e->flags, database, username);
    if (entry != AGG_NONE) {
      /* Two users of `from` that are both "others" here. */
      add_entry(into, entry, from, i);
      raise_bounds(&into->entries[entry].entry, e->weight, e->missed_calls, e->missed_us);
      continue;
    }
    if (into->count == into->options.entries) {
      uint64_t whole = agg_plus(e->weight, weight);
      if (into->entries[agg_least(into)].entry.weight >= whole) {
        into->missed_weight = agg_most(into->missed_weight, whole);
        into->missed_calls =
            agg_most(into->missed_calls, agg_plus(agg_plus(e->values.calls, e->missed_calls), calls));
        into->missed_us = agg_most(into->missed_us, agg_plus(agg_plus(e->values.exec_us, e->missed_us), us));
        give_to_others(into, from, i);
        continue;
      }
      agg_drop_least(into);
    }
    entry = agg_make(into, e->key, e->flags, database, username, hash, agg_plus(weight, e->weight));
    into->entries[entry].entry.missed_calls = agg_plus(calls, e->missed_calls);
    into->entries[entry].entry.missed_us = agg_plus(us, e->missed_us);
    add_entry(into, entry, from, i);
    describe(into, entry, from, i);
  }
  merge_others(into, from);
  merge_states(into, from);
  agg_line_merge(into, from);
  into->weighed_us = agg_plus(into->weighed_us, from->weighed_us);
  into->weighed_calls = agg_plus(into->weighed_calls, from->weighed_calls);
  into->counts.rows = agg_plus(into->counts.rows, from->counts.rows);
  into->counts.replaced = agg_plus(into->counts.replaced, from->counts.replaced);
  into->counts.names_lost = agg_plus(into->counts.names_lost, from->counts.names_lost);
  into->counts.bad_values = agg_plus(into->counts.bad_values, from->counts.bad_values);
  into->counts.outside = agg_plus(into->counts.outside, from->counts.outside);
  into->counts.texts_cut = agg_plus(into->counts.texts_cut, from->counts.texts_cut);
  return 1;
}
