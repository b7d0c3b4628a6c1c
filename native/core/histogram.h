/*
 * A latency histogram whose buckets are log-linear: 32 of one microsecond each, then 16 equal ones in every power of two.
 * A value is told from its bucket with an error of at most 1/32 (3.2 %), and two histograms are merged by adding.
 *
 * In: microseconds and counts; out: bucket numbers, quantiles and the text form, in memory the caller owns. Nothing is
 * allocated. Full: a count stops at UINT64_MAX; a time of HIST_LIMIT_US or more counts in the last bucket (its owner keeps
 * the exact maximum). The text form, which is what is stored, is described in AGGREGATE.md.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HIST_FORMAT_VERSION 1
#define HIST_BUCKETS 640u
/* 2^43 microseconds, about 101 days. */
#define HIST_LIMIT_US (1ull << 43)
/* No text form is longer: the version, and for each bucket a space, a gap, a colon and a count. */
#define HIST_TEXT_BYTES (2u + HIST_BUCKETS * 25u)

/* The bucket of a time. */
static inline uint32_t hist_bucket(uint64_t us) {
  if (us < 32) return (uint32_t)us;
  if (us >= HIST_LIMIT_US) return HIST_BUCKETS - 1;
  uint32_t power = 63u - (uint32_t)__builtin_clzll(us);
  return 16u * (power - 4u) + (uint32_t)(us >> (power - 4u));
}

/* The least time in a bucket, us. */
static inline uint64_t hist_low_us(uint32_t bucket) {
  if (bucket < 32) return bucket;
  return (uint64_t)(bucket % 16u + 16u) << (bucket / 16u - 1u);
}

/* How many whole microseconds a bucket covers. */
static inline uint64_t hist_width_us(uint32_t bucket) { return bucket < 32 ? 1 : 1ull << (bucket / 16u - 1u); }

/* The time that a bucket stands for, us: its middle. */
static inline uint64_t hist_value_us(uint32_t bucket) { return hist_low_us(bucket) + hist_width_us(bucket) / 2; }

static inline uint64_t hist_plus(uint64_t a, uint64_t b) {
  uint64_t sum = a + b;
  return sum < a ? UINT64_MAX : sum;
}

/* counts += more, both of HIST_BUCKETS. */
void hist_merge(uint64_t *counts, const uint64_t *more);

/* All counts together. */
uint64_t hist_total(const uint64_t *counts);

/*
 * The time that a share q (0 to 1) of all values does not exceed, us, as its bucket tells it. 0 for an empty histogram.
 */
uint64_t hist_quantile_us(const uint64_t *counts, double q);

/* Writes the text form (no NUL at its end) and returns its bytes; 0 when it is longer than max. */
size_t hist_to_text(const uint64_t *counts, char *text, size_t max);

/*
 * Adds a text form to counts. 0 when the text is none of this version; counts are then unchanged.
 */
int hist_from_text(const char *text, size_t n, uint64_t *counts);

#ifdef __cplusplus
}
#endif
#endif
