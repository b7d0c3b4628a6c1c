/*
 * Rows: a frame becomes one line of CSV and goes to the sink.
 *
 * In: a frame whose statement is complete (paused, if it was measured). Out: one row to each trace of its mask that takes
 * it, formatted once for all traces that ask for the same. One buffer of the backend, which grows for long texts without
 * throwing; where it cannot, texts are cut, then left out. Filters by duration are here: a nested statement's row waits
 * for its root (prof_hold.h).
 */
#ifndef PROF_ROW_H
#define PROF_ROW_H

#include "postgres.h"

#include "prof_frame.h"

/* Writes the row of frame, unless it is silent, and marks it done. */
extern void prof_row_write(ProfFrame *frame);

/* Whose virtual transaction id rows have: a parallel worker's are its leader's. */
static inline PGPROC *prof_row_proc(void) {
  return unlikely(IsParallelWorker() && MyProc->lockGroupLeader != NULL) ? MyProc->lockGroupLeader : MyProc;
}

extern void prof_row_settle_slow(const ProfFrame *frame);
extern uint32 prof_held;

/* frame ended a piece and may have been the outermost statement: rows that waited for it are decided on. */
static inline void prof_row_settle(const ProfFrame *frame) {
  if (unlikely(prof_held != 0) && prof_active == NULL) prof_row_settle_slow(frame);
}

#endif
