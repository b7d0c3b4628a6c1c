/*
 * Frames: pool, numbers, filters of root statements, times and counters. In, out, owner of the memory: prof_frame.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "csv_columns.h"
#include "prof_error.h"
#include "prof_frame.h"
#include "prof_row.h"
#include "prof_sink.h"
#include "prof_text.h"
#include "prof_xact.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"

/* The first of them are static: what a session allocates stays where it would be without us. */
#define FRAMES_AT_ONCE 8

ProfFrame *prof_active = NULL;
ProfFrame *prof_outermost = NULL;
int prof_live = 0;
bool prof_rendering = false;

static ProfFrame *free_frames = NULL;
static int64 last_serial = 0;

StaticAssertDecl(sizeof(((BufferUsage *)0)->shared_blks_hit) == sizeof(int64) &&
                     offsetof(BufferUsage, temp_blks_written) == (PROF_BLOCK_COUNTERS - 1) * sizeof(int64),
                 "block counters are in the order of the columns");
StaticAssertDecl(offsetof(WalUsage, wal_bytes) == (PROF_WAL_COUNTERS - 1) * sizeof(int64),
                 "WAL counters are in the order of the columns");

int64 prof_next_serial(void) {
  return ++last_serial;
}

/* xorshift: which statements are sampled is no secret. */
static uint32 random_32(void) {
  static uint64 state = 0;

  if (unlikely(state == 0)) state = ((uint64)MyProcPid << 32) ^ (uint64)prof_now_ns() ^ UINT64CONST(0x9e3779b97f4a7c15);
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32)(state >> 32);
}

/* Filters of a root statement: traces that take it. */
static uint32 root_mask(ProfFrame *frame, uint32 kind) {
  uint32 mask = 0;
  uint32 inner = 0;
  uint32 options = 0;
  uint32 drawn = 0;
  bool draw = true;

  for (uint32 bits = prof_matching(); bits != 0; bits &= bits - 1) {
    const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];
    uint32 bit = bits & -bits;

    if ((trace->kinds & kind) == 0) continue;
    if (trace->sample_threshold != PG_UINT32_MAX) {
      if (draw) drawn = random_32();
      draw = false;
      if (drawn > trace->sample_threshold) continue;
    }
    mask |= bit;
    options |= trace->options;
    if (trace->options & PROF_OPT_NESTED) inner |= bit;
  }
  frame->inner = inner;
  frame->options = options;
  return mask;
}

/* A parallel worker's statement belongs to the traces of its leader's root that ask for workers. */
static uint32 worker_mask(ProfFrame *frame) {
  uint32 told;
  uint32 mask = 0;

  frame->options = 0;
  if (prof_leader_root(&told, &frame->parent))
    for (uint32 bits = told; bits != 0; bits &= bits - 1) {
      const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];

      if (trace->id == 0 || (trace->options & PROF_OPT_WORKERS) == 0) continue;
      mask |= bits & -bits;
      frame->options |= trace->options;
    }
  frame->inner = mask;
  frame->flags = CSV_FLAG_WORKER;
  frame->level = 1;
  return mask;
}

bool prof_frame_begin(ProfFrame *frame, uint32 kind) {
  ProfFrame *outer = prof_active;

  if (unlikely(outer != NULL && prof_xact_settle_stale())) outer = prof_active;
  if (outer != NULL && outer->inner == 0) return false;
  memset(&frame->parent, 0, offsetof(ProfFrame, tag) - offsetof(ProfFrame, parent));
  if (outer != NULL) {
    frame->parent = outer->serial;
    frame->level = outer->level + 1;
    frame->inner = outer->inner;
    frame->options = outer->options;
    frame->flags = outer->flags & CSV_FLAG_WORKER;
    frame->mask = prof_allowed(outer->inner);
  } else {
    if (unlikely(IsParallelWorker()))
      frame->mask = worker_mask(frame);
    else {
      frame->mask = prof_allowed(root_mask(frame, kind));
      frame->from_message = true;
      prof_xact_begin_root(frame);
    }
    prof_error_forget();
  }
  frame->serial = prof_next_serial();
  frame->lxid = prof_xact_lxid = PROF_VXID_LOCAL(prof_row_proc());
  frame->plan_ns = -1;
  frame->rows = -1;
  frame->params_length = -1;
  frame->arrived = GetCurrentStatementStartTimestamp();
  return true;
}

void prof_frame_silence(ProfFrame *frame) {
  Assert(frame->serial == last_serial);
  last_serial--;
  frame->silent = true;
  frame->serial = frame->parent;
  frame->level--;
}

void prof_frame_speak(ProfFrame *frame) {
  if (!frame->silent) return;
  frame->silent = false;
  frame->serial = prof_next_serial();
  frame->level++;
}

/* More frames for the pool. */
static bool grow(void) {
  static ProfFrame first[FRAMES_AT_ONCE];
  static bool used = false;
  ProfFrame *frames =
      used ? MemoryContextAllocExtended(TopMemoryContext, sizeof first, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO) : first;

  if (frames == NULL) return false;
  used = true;
  for (int i = 0; i < FRAMES_AT_ONCE; i++) prof_frame_free(&frames[i]);
  return true;
}

ProfFrame *prof_frame_open(uint32 kind) {
  ProfFrame *frame = free_frames;

  if (unlikely(frame == NULL)) {
    if (!grow()) {
      prof_sink_lost(prof_active != NULL ? prof_active->inner : prof_matching());
      return NULL;
    }
    frame = free_frames;
  }
  if (!prof_frame_begin(frame, kind)) return NULL;
  free_frames = frame->outer;
  return frame;
}

void prof_frame_free(ProfFrame *frame) {
  frame->outer = free_frames;
  free_frames = frame;
}

/* The executor state goes: at the end of ExecutorEnd, or instead of it. No catalog is read here. */
static void state_gone(void *arg) {
  ProfFrame *frame = arg;

  if (frame->ending) {
    prof_frame_done(frame);
    return;
  }
  if (!frame->done && frame->ran && frame->mask != 0) {
    /* It ends now, however long ago its last piece was. Whoever held its text may have gone before. */
    frame->last_ns = prof_now_ns();
    if (!frame->text_kept) frame->text = NULL;
    prof_row_write(frame);
  }
  prof_frame_done(frame);
  prof_frame_free(frame);
}

void prof_frame_hang(ProfFrame *frame, QueryDesc *queryDesc) {
  frame->callback.func = state_gone;
  frame->callback.arg = frame;
  MemoryContextRegisterResetCallback(queryDesc->estate->es_query_cxt, &frame->callback);
  frame->hung = true;
  prof_live++;
}

ProfFrame *prof_frame_of(QueryDesc *queryDesc) {
  if (queryDesc->estate == NULL) return NULL;
  for (MemoryContextCallback *callback = queryDesc->estate->es_query_cxt->reset_cbs; callback != NULL;
       callback = callback->next)
    if (callback->func == state_gone) return callback->arg;
  return NULL;
}

void prof_frame_release(ProfFrame *frame) {
  Assert(frame->ending);
  prof_frame_free(frame);
}

void prof_frame_keep_text(ProfFrame *frame, QueryDesc *queryDesc) {
  size_t n;
  const char *text = prof_text_of(frame, &n);
  char *copy;

  if (frame->text_kept || text == NULL || n > PG_INT32_MAX) return;
  copy = MemoryContextAllocExtended(queryDesc->estate->es_query_cxt, n + 1, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
  if (copy != NULL) {
    memcpy(copy, text, n);
    copy[n] = 0;
  }
  frame->text_kept = true;
  frame->text = copy;
  frame->text_location = 0;
  frame->text_length = (int)n;
}

static inline void read_counters(ProfCounters *counters) {
  memcpy(counters->value, &pgBufferUsage, PROF_BLOCK_COUNTERS * sizeof(int64));
  memcpy(counters->value + PROF_BLOCK_COUNTERS, &pgWalUsage, PROF_WAL_COUNTERS * sizeof(int64));
}

/* Adds b - a to sum: only what rows show. */
static void add_usage(struct rusage *sum, const struct rusage *a, const struct rusage *b) {
  sum->ru_utime.tv_sec += b->ru_utime.tv_sec - a->ru_utime.tv_sec;
  sum->ru_utime.tv_usec += b->ru_utime.tv_usec - a->ru_utime.tv_usec;
  sum->ru_stime.tv_sec += b->ru_stime.tv_sec - a->ru_stime.tv_sec;
  sum->ru_stime.tv_usec += b->ru_stime.tv_usec - a->ru_stime.tv_usec;
  sum->ru_minflt += b->ru_minflt - a->ru_minflt;
  sum->ru_majflt += b->ru_majflt - a->ru_majflt;
  sum->ru_nvcsw += b->ru_nvcsw - a->ru_nvcsw;
  sum->ru_nivcsw += b->ru_nivcsw - a->ru_nivcsw;
}

void prof_frame_measure(ProfFrame *frame) {
  frame->measured = true;
  frame->io_known = track_io_timing;
  if (unlikely(track_io_timing)) prof_io_times(frame->io_base);
  read_counters(&frame->base);
  if (unlikely(frame->options & PROF_OPT_RUSAGE)) {
    memset(&frame->usage, 0, sizeof frame->usage);
    getrusage(RUSAGE_SELF, &frame->usage_base);
  }
  frame->piece_ns = frame->started_ns = prof_now_ns();
}

void prof_frame_resume(ProfFrame *frame) {
  ProfCounters now = {.value[2 * PROF_COUNTER_PAIRS - 1] = 0};

  read_counters(&now);
#pragma GCC unroll 1
  for (int i = 0; i < PROF_COUNTER_PAIRS; i++) frame->base.pair[i] += now.pair[i] - frame->pause.pair[i];
  if (unlikely(frame->io_known)) {
    int64 io[PROF_IO_TIMES] = {0};

    prof_io_times(io);
    for (int i = 0; i < PROF_IO_TIMES; i++) frame->io_base[i] += io[i] - frame->io_pause[i];
  }
  if (unlikely(frame->options & PROF_OPT_RUSAGE)) getrusage(RUSAGE_SELF, &frame->usage_base);
  frame->piece_ns = prof_now_ns();
}

void prof_frame_pause(ProfFrame *frame) {
  frame->last_ns = prof_now_ns();
  frame->exec_ns += frame->last_ns - frame->piece_ns;
  read_counters(&frame->pause);
  if (unlikely(frame->io_known)) {
    frame->io_known = track_io_timing;
    prof_io_times(frame->io_pause);
  }
  if (unlikely(frame->options & PROF_OPT_RUSAGE)) {
    struct rusage now;

    getrusage(RUSAGE_SELF, &now);
    add_usage(&frame->usage, &frame->usage_base, &now);
  }
}
