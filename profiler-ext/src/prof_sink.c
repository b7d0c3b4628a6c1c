/* From a row to the rings of its traces; see prof_sink.h. The rings live here, one per place of the shared table. */
#include "postgres.h"

#include "utils/timestamp.h"

#include "prof_session.h"
#include "prof_shared.h"
#include "prof_sink.h"

typedef struct sink {
  ProfRing ring;
  char folder[64];
  int index;
  int64 id;
  int64 max_total_bytes;
} sink;

static sink sinks[PROF_MAX_RUNNING];
static sink *sink_of_bit[PROF_TRACE_BITS];

/* A ring that somebody removed and one that was not counted may make up a little too little, but never a huge number. */
uint64 prof_sink_bytes_on_disk(ProfSharedTrace *trace) {
  int64 csv = (int64)pg_atomic_read_u64(&trace->csv_bytes), rings = (int32)pg_atomic_read_u32(&trace->rings);
  return (uint64)Max(csv, 0) + (uint64)Max(rings, 0) * PROF_RING_FILE_BYTES;
}

static uint64 bytes_of_all(void) {
  uint64 bytes = pg_atomic_read_u64(&prof_shared->stopped_bytes);
  for (int i = 0; i < PROF_MAX_RUNNING; i++) bytes += prof_sink_bytes_on_disk(&prof_shared->traces[i]);
  return bytes;
}

static void count(ProfSharedTrace *trace, int64 bytes, bool is_ring) {
  if (is_ring)
    pg_atomic_fetch_add_u32(&trace->rings, bytes > 0 ? 1 : -1);
  else
    pg_atomic_fetch_add_u64(&trace->csv_bytes, bytes);
}

/* Counts what a ring is about to write; a limit ends the trace instead. Once per 64 KiB. */
static bool reserve(void *context, int64 bytes, bool is_ring) {
  sink *to = context;
  ProfSharedTrace *trace = &prof_shared->traces[to->index];
  /* The place may be another trace's by now. */
  if (pg_atomic_read_u64(&trace->stop) != prof_stop_word(to->id, PROF_STOP_NONE)) return bytes < 0;
  count(trace, bytes, is_ring);
  if (bytes < 0) return true;
  uint32 reason = PROF_STOP_NONE;
  if (prof_sink_bytes_on_disk(trace) > (uint64)to->max_total_bytes) reason = PROF_STOP_TOTAL_BYTES;
  if (prof_directory_kb > 0 && bytes_of_all() > (uint64)prof_directory_kb * 1024) reason = PROF_STOP_DIRECTORY_BYTES;
  if (reason == PROF_STOP_NONE) return true;
  count(trace, -bytes, is_ring);
  prof_request_stop(to->index, to->id, reason);
  return false;
}

void prof_sink_begin(int bit, int index, const ProfRecord *record) {
  sink *to = &sinks[index];
  to->index = index;
  to->id = record->id;
  to->max_total_bytes = record->max_total_bytes;
  prof_state_folder(to->folder, record->id);
  prof_ring_init(&to->ring, (int32)record->id, prof_my_slot_number(), to->folder, &prof_my_slot->lines[index],
                 (uint64)record->max_file_bytes);
  to->ring.reserve = reserve;
  to->ring.context = to;
  sink_of_bit[bit] = to;
}

void prof_sink_end(int bit, bool finished) {
  sink *from = sink_of_bit[bit];
  if (from == NULL) return;
  prof_ring_let_go(&from->ring, finished);
  sink_of_bit[bit] = NULL;
}

/* A row that found no room, or no ring. */
static pg_noinline void append_slow(sink *to, const char *body, size_t length, int64 end_us) {
  to->ring.note = PROF_LOST_NONE;
  (void)prof_ring_append_slow(&to->ring, body, length, end_us);
  if (to->ring.note != PROF_LOST_NONE)
    pg_atomic_write_u32(&prof_shared->traces[to->index].lost_reason, (uint32)to->ring.note);
}

/* Ends the traces whose time is over. */
static pg_noinline void expire(int64 end_us) {
  for (uint32 left = prof_live_mask; left != 0; left &= left - 1) {
    sink *of = sink_of_bit[__builtin_ctz(left)];
    ProfSharedTrace *trace = &prof_shared->traces[of->index];
    /* The record of a running trace does not change. */
    if (trace->record.id == of->id && trace->record.deadline_us > 0 && trace->record.deadline_us <= end_us)
      prof_request_stop(of->index, of->id, PROF_STOP_DURATION);
  }
  prof_refresh();
}

void prof_sink_row(uint32 mask, int64 end_us, const char *body, size_t length) {
  prof_follow();
  if (unlikely(end_us >= prof_next_deadline_us)) expire(end_us);
  for (mask &= prof_live_mask; mask != 0; mask &= mask - 1) {
    sink *to = sink_of_bit[__builtin_ctz(mask)];
    if (unlikely(!prof_ring_append(&to->ring, body, length))) append_slow(to, body, length, end_us);
  }
}

void prof_sink_lost(uint32 mask) {
  prof_follow();
  for (mask &= prof_live_mask; mask != 0; mask &= mask - 1) {
    sink *to = sink_of_bit[__builtin_ctz(mask)];
    prof_ring_lose(&to->ring);
    pg_atomic_write_u32(&prof_shared->traces[to->index].lost_reason, (uint32)PROF_LOST_UNFORMATTED);
  }
}
