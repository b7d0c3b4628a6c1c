/*
 * The time line of the aggregate; see aggregate.h. Span i covers the times from i * span_us on; those from span_first to
 * span_last are there, at most options.spans of them, found through span_order, so that the line can grow at both ends (files
 * are read one after the other) without moving a span. When it would be too long, pairs of spans become one.
 */
#include "aggregate_inner.h"

#define EMPTY UINT16_MAX

static inline int64_t divide_down(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static inline uint16_t *order_of(agg *a, int64_t span) {
  return &a->span_order[(uint64_t)span & (a->options.spans - 1)];
}

void agg_line_reset(agg *a) {
  a->has_spans = 0;
  a->span_us = a->options.span_us;
  a->span_free_count = a->options.spans;
  for (uint32_t i = 0; i < a->options.spans; i++) {
    a->span_order[i] = EMPTY;
    a->span_free[i] = (uint16_t)(a->options.spans - 1 - i);
  }
}

static agg_span *take_span(agg *a, int64_t number) {
  uint16_t *order = order_of(a, number);
  if (*order == EMPTY) {
    *order = a->span_free[--a->span_free_count];
    agg_span *span = &a->spans[*order];
    memset(span, 0, sizeof *span);
    agg_values_clear(&span->values);
  }
  return &a->spans[*order];
}

static void merge_span(agg_span *into, const agg_span *from) {
  agg_values_merge(&into->values, &from->values);
  into->nested_calls = agg_plus(into->nested_calls, from->nested_calls);
  hist_merge(into->counts, from->counts);
}

static void double_width(agg *a) {
  uint16_t places[4096];
  int64_t first = divide_down(a->span_first, 2), last = divide_down(a->span_last, 2);
  /* At most options.spans spans become at most half as many and one. */
  for (int64_t i = first; i <= last; i++) {
    uint16_t place = EMPTY;
    for (int64_t half = 2 * i; half <= 2 * i + 1; half++) {
      if (half < a->span_first || half > a->span_last) continue;
      uint16_t found = *order_of(a, half);
      if (found == EMPTY) continue;
      if (place == EMPTY) {
        place = found;
      } else {
        merge_span(&a->spans[place], &a->spans[found]);
        a->span_free[a->span_free_count++] = found;
      }
    }
    places[i - first] = place;
  }
  for (uint32_t i = 0; i < a->options.spans; i++) a->span_order[i] = EMPTY;
  a->span_first = first;
  a->span_last = last;
  a->span_us *= 2;
  for (int64_t i = first; i <= last; i++) *order_of(a, i) = places[i - first];
}

/* The span of a time; NULL: the line would become too long. */
static agg_span *span_of(agg *a, int64_t time_us) {
  int64_t number = divide_down(time_us, a->span_us);
  if (!a->has_spans) {
    a->has_spans = 1;
    a->span_first = a->span_last = number;
    return take_span(a, number);
  }
  if (number >= a->span_first && number <= a->span_last) return take_span(a, number);
  /* Numbers of spans differ by less than 2^64, so as unsigned numbers their distance is right. */
  int64_t first = number < a->span_first ? number : a->span_first, last = number > a->span_last ? number : a->span_last;
  if ((uint64_t)last - (uint64_t)first > (uint64_t)(AGG_LINE_US / a->span_us)) return NULL;
  while (last - first >= (int64_t)a->options.spans) {
    double_width(a);
    number = divide_down(time_us, a->span_us);
    first = number < a->span_first ? number : a->span_first;
    last = number > a->span_last ? number : a->span_last;
  }
  a->span_first = first;
  a->span_last = last;
  return take_span(a, number);
}

void agg_line_add(agg *a, const agg_row *row) {
  if (a->options.spans == 0) return;
  const int64_t far = 1ll << 62; /* also AGG_NO_TIME */
  agg_span *span = row->end_us < -far || row->end_us > far ? NULL : span_of(a, row->end_us);
  if (span == NULL) {
    a->counts.outside++;
    return;
  }
  if (row->flags & AGG_ROW_NESTED) {
    span->nested_calls = agg_plus(span->nested_calls, 1);
    return;
  }
  agg_values_add(&span->values, row);
  if (row->flags & AGG_ROW_TIMED) span->counts[hist_bucket((uint64_t)row->exec_us)]++;
}

void agg_line_merge(agg *into, const agg *from) {
  if (!from->has_spans) return;
  while (into->has_spans && into->span_us < from->span_us) double_width(into);
  if (!into->has_spans) into->span_us = from->span_us;
  for (int64_t i = from->span_first; i <= from->span_last; i++) {
    uint16_t place = from->span_order[(uint64_t)i & (from->options.spans - 1)];
    if (place == EMPTY) continue;
    const agg_span *span = &from->spans[place];
    agg_span *found = span_of(into, i * from->span_us);
    if (found == NULL)
      into->counts.outside = agg_plus(into->counts.outside, agg_plus(span->values.calls, span->nested_calls));
    else
      merge_span(found, span);
  }
}

uint32_t agg_span_count(const agg *a, int64_t *first_us, int64_t *width_us) {
  *width_us = a->span_us;
  *first_us = a->has_spans ? a->span_first * a->span_us : 0;
  return a->has_spans ? (uint32_t)(a->span_last - a->span_first + 1) : 0;
}

const agg_span *agg_span_at(const agg *a, uint32_t span) {
  uint16_t place = a->span_order[(uint64_t)(a->span_first + span) & (a->options.spans - 1)];
  return place == EMPTY ? NULL : &a->spans[place];
}
