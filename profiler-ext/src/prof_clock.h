/*
 * Time: one monotonic clock, from which wall time is derived. In: the kernel's clocks. Out: nanoseconds that only grow,
 * microseconds since 1970. The distance of the two clocks is read again when it is older than a second, so that a row
 * costs no second clock read. Owner of the state: prof_row.c. Nothing fails.
 */
#ifndef PROF_CLOCK_H
#define PROF_CLOCK_H

#include "postgres.h"

#include <time.h>

#include "datatype/timestamp.h"

/* Microseconds between 1970 and PostgreSQL's own zero. */
#define PROF_EPOCH_US (INT64CONST(86400000000) * (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE))

extern int64 prof_wall_offset_us;
extern int64 prof_wall_read_ns;
extern void prof_wall_read(void);

static inline int64 prof_now_ns(void) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Wall time of a reading of prof_now_ns that is not older than a moment. */
static inline int64 prof_wall_us(int64 now_ns) {
  if (unlikely(now_ns - prof_wall_read_ns > INT64CONST(1000000000))) prof_wall_read();
  return now_ns / 1000 + prof_wall_offset_us;
}

#endif
