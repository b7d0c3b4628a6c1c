/*
 * Ends of rows that come again: what a row says behind the session's columns hardly changes from one execution of a
 * prepared statement to the next. Made once, kept as bytes, compared by the statement's whole text, copied.
 *
 * In: texts and query ids of rows that are written. Out: two pieces of CSV, around rows, shared_hit and shared_read. Static
 * storage of the backend, 10 kB, of which a page is touched when its first statement is kept; nothing is allocated, nothing
 * fails. A place that many statements want keeps the one that comes most often (credit).
 *
 * It spares a sixth of the instructions of a row and a quarter of the lines of code that it fetches, together 27 ns of
 * about 560 (docs/benchmarks.md).
 */
#ifndef PROF_TAIL_H
#define PROF_TAIL_H

#include "postgres.h"

#include "prof_frame.h"

#define PROF_TAILS_LOG 4
#define PROF_TAIL_FRONT_BYTES 32
#define PROF_TAIL_BACK_BYTES 576
#define PROF_TAIL_CREDIT 8

typedef struct ProfTail {
  const char *tag; /* NULL: the place is empty */
  int64 query_id;
  uint16 n;      /* bytes of the text */
  uint16 raw_at; /* where they stand in back as they are */
  uint16 length; /* of back */
  uint8 front_length;
  uint8 credit;
  char front[PROF_TAIL_FRONT_BYTES]; /* query_id, tag, plan_us */
  char back[PROF_TAIL_BACK_BYTES];   /* shared_dirtied to the end */
} ProfTail;

extern ProfTail prof_tails[1 << PROF_TAILS_LOG] __attribute__((visibility("hidden")));

/* Where the end of a statement's rows is, if it is kept at all. Not by address: a portal has a copy of its text. */
static inline ProfTail *prof_tail_place(size_t n, int64 query_id) {
  return &prof_tails[((uint32)query_id ^ (uint32)n) * 2654435761u >> (32 - PROF_TAILS_LOG)];
}

static inline bool prof_tail_same(const char *a, const char *b, size_t n) {
  ProfPair x;
  ProfPair y;
  ProfPair different = {0, 0};

  if (unlikely(n < sizeof x)) return memcmp(a, b, n) == 0;
#pragma GCC unroll 1
  for (size_t at = 0; at < n; at += sizeof x) {
    /* The last step overlaps the one before. */
    size_t from = Min(at, n - sizeof x);

    memcpy(&x, a + from, sizeof x);
    memcpy(&y, b + from, sizeof y);
    different |= x ^ y;
  }
  return (different[0] | different[1]) == 0;
}

static inline bool prof_tail_is(const ProfTail *tail, const char *text, size_t n, int64 query_id, const char *tag) {
  return tail->tag == tag && tail->n == n && tail->query_id == query_id &&
         prof_tail_same(tail->back + tail->raw_at, text, n);
}

/*
 * A row was made that has these ends: front, from query_id to the ',' before rows, and back, from shared_dirtied to its
 * '\n'. They are kept if the place is free or its statement has been away for long.
 */
extern void prof_tail_keep(ProfTail *tail, const char *text, size_t n, int64 query_id, const char *tag,
                           const char *front, size_t front_length, const char *back, size_t length);

#endif
