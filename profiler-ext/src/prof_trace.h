/*
 * Running traces as this backend sees them: the edge between the control half (which keeps the table below) and the hooks
 * (which ask it before they do anything).
 *
 * In: the traces in shared memory, the session's database, user, application and client. Out: a bit per running trace that
 * matches. Owner of all memory here: prof_control.c, in static storage; nothing is allocated, nothing throws.
 *
 * A bit stands for one trace in this backend only. Up to PROF_MAX_RUNNING traces run at once, but there are more bits than
 * that and they are given out in turn: a mask kept in a cursor's frame does not come to mean another trace when its own has
 * ended and a new one has begun.
 */
#ifndef PROF_TRACE_H
#define PROF_TRACE_H

#include "postgres.h"

#include "port/atomics.h"

/* Extern names are in this library: no detour over the loader's table on the usual path. */
#pragma GCC visibility push(hidden)

#define PROF_MAX_RUNNING 8
#define PROF_TRACE_BITS 32

/* Kinds of commands, ProfTrace.kinds. */
#define PROF_KIND_SELECT (1u << 0)
#define PROF_KIND_INSERT (1u << 1)
#define PROF_KIND_UPDATE (1u << 2)
#define PROF_KIND_DELETE (1u << 3)
#define PROF_KIND_MERGE (1u << 4)
#define PROF_KIND_DDL (1u << 5)
#define PROF_KIND_UTILITY (1u << 6)
#define PROF_KIND_COPY (1u << 7)
#define PROF_KIND_TXN (1u << 8)
#define PROF_KIND_ALL ((1u << 9) - 1)

/* What a trace asks for, ProfTrace.options. */
#define PROF_OPT_PARAMS (1u << 0)
#define PROF_OPT_PLAN_TEXT (1u << 1)
#define PROF_OPT_PLAN_JSON (1u << 2)
#define PROF_OPT_RUSAGE (1u << 3)
#define PROF_OPT_WORKERS (1u << 4)
#define PROF_OPT_NESTED (1u << 5)

typedef struct ProfTrace {
  int32 id; /* 0: this bit is free */
  bool matches; /* the session's filters hold for this backend now */
  Oid owner; /* not InvalidOid: only statements that run as this role (prof_allowed) */
  uint32 kinds; /* PROF_KIND_* */
  uint32 options; /* PROF_OPT_* */
  uint32 sample_threshold; /* a root is taken when a random 32-bit number is <= this; UINT32_MAX: all */
  int64 min_us; /* minimum duration of a statement */
  int64 plan_min_us; /* minimum duration for the plan to be kept */
  int32 max_query_bytes;
  int32 max_params_bytes;
  int32 max_plan_bytes;
  int32 max_error_bytes;
} ProfTrace;

/* Indexed by bit; entries whose id is 0 are free. */
extern ProfTrace prof_traces[PROF_TRACE_BITS];

/* Not for use outside the inline function below. */
extern pg_atomic_uint32 *prof_generation;
extern uint32 prof_generation_seen;
extern uint32 prof_table_generation;
extern uint32 prof_match_mask;
extern void prof_refresh(void);

/*
 * Does a trace run that matches this session? To be asked first in every hook: one relaxed load and a compare on the usual
 * path. Notices what was started, stopped or dropped meanwhile, and (where a running trace filters by user or application)
 * that the session's user or application changed. May be called anywhere, outside of transactions too.
 */
static inline bool prof_watching(void) {
  if (unlikely(pg_atomic_read_u32(prof_generation) != prof_generation_seen)) prof_refresh();
  return prof_match_mask != 0;
}

/* Notices what was started, stopped or dropped meanwhile; whether the session changed is left to the next statement. */
static inline void prof_follow(void) {
  if (unlikely(pg_atomic_read_u32(prof_generation) != prof_table_generation)) prof_refresh();
}

/* prof_watching() at the end of a transaction. */
static inline bool prof_still_watching(void) {
  prof_follow();
  return prof_match_mask != 0;
}

/* The traces that match this session, as bits of prof_traces; to be taken at a root statement. */
static inline uint32 prof_matching(void) {
  return prof_match_mask;
}

extern uint32 prof_owned_mask;
extern uint32 prof_allowed_slow(uint32 mask);

/*
 * mask without the traces that may not see a statement that runs as the current user: a trace started by someone without
 * pg_read_all_stats sees only what runs as its owner. To be asked for each statement, nested ones included.
 */
static inline uint32 prof_allowed(uint32 mask) {
  return likely((mask & prof_owned_mask) == 0) ? mask : prof_allowed_slow(mask);
}

/* The session's user, application or database changed, in a way that prof_watching cannot see: match again. */
extern void prof_session_changed(void);

/*
 * Parallel workers: the leader tells which traces its root statement is in and the root's serial number before it starts
 * workers; a worker asks for them. prof_leader_root is false where this process is no parallel worker or its leader told
 * nothing; the mask is in this process's bits.
 */
extern void prof_root_publish(uint32 mask, int64 serial);
extern bool prof_leader_root(uint32 *mask, int64 *serial);

#pragma GCC visibility pop

#endif
