/* Rows that wait for their root. In, out, owner of the memory: prof_hold.h. */
#include "postgres.h"

#include "prof_hold.h"
#include "prof_sink.h"
#include "utils/memutils.h"

#define KEPT_BYTES (64 * 1024)

typedef struct Held {
  uint32 mask;
  uint32 length; /* of the row behind this */
  int64 end_us;
} Held;

uint32 prof_held = 0;

static char *buffer = NULL;
static size_t capacity = 0;
static size_t used = 0;
static uint32 lost[PROF_TRACE_BITS];

static bool make_room(size_t n) {
  size_t wanted = Max(capacity, KEPT_BYTES);
  char *bigger;

  if (used + n <= capacity) return true;
  while (wanted < used + n) wanted *= 2;
  if (wanted > PROF_HOLD_BYTES) return false;
  bigger = MemoryContextAllocExtended(TopMemoryContext, wanted, MCXT_ALLOC_NO_OOM);
  if (bigger == NULL) return false;
  if (buffer != NULL) {
    memcpy(bigger, buffer, used);
    pfree(buffer);
  }
  buffer = bigger;
  capacity = wanted;
  return true;
}

void prof_hold_row(uint32 mask, int64 end_us, const char *body, size_t length) {
  Held held = {.mask = mask, .length = (uint32)length, .end_us = end_us};
  size_t n = sizeof held + MAXALIGN(length);

  prof_held |= mask;
  if (!make_room(n)) {
    for (uint32 bits = mask; bits != 0; bits &= bits - 1) lost[__builtin_ctz(bits)]++;
    return;
  }
  memcpy(buffer + used, &held, sizeof held);
  memcpy(buffer + used + sizeof held, body, length);
  used += n;
}

void prof_hold_settle(uint32 mask, uint32 taken) {
  for (size_t at = 0; at < used;) {
    Held held;

    memcpy(&held, buffer + at, sizeof held);
    if (held.mask & taken) prof_sink_row(held.mask & taken, held.end_us, buffer + at + sizeof held, held.length);
    held.mask &= ~mask;
    memcpy(buffer + at, &held, sizeof held);
    at += sizeof held + MAXALIGN(held.length);
  }
  for (uint32 bits = mask & prof_held; bits != 0; bits &= bits - 1) {
    int bit = __builtin_ctz(bits);

    if (taken & (1u << bit))
      for (; lost[bit] > 0; lost[bit]--) prof_sink_lost(1u << bit);
    lost[bit] = 0;
  }
  prof_held &= ~mask;
  if (prof_held != 0) return;
  used = 0;
  if (capacity > KEPT_BYTES) {
    pfree(buffer);
    buffer = NULL;
    capacity = 0;
  }
}
