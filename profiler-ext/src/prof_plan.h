/*
 * Planning: how long it took, and what came out of it.
 *
 * In: calls of the planner, executor states at their end. Out: nanoseconds for the frame of the statement that was
 * planned; plans as EXPLAIN shows them. The list of planning times is a small ring in static storage: an entry that no
 * ExecutorStart takes is overwritten. Plans live in a context of their own until the row is written; one that cannot be
 * rendered is left out.
 */
#ifndef PROF_PLAN_H
#define PROF_PLAN_H

#include "postgres.h"

#include "prof_frame.h"

extern int prof_plan_waiting; /* entries of the list in use */
extern int64 prof_plan_find(QueryDesc *queryDesc);

/* Nanoseconds that planning this statement took; -1: it was not planned for this execution. */
static inline int64 prof_plan_take(QueryDesc *queryDesc) {
  return likely(prof_plan_waiting == 0) ? -1 : prof_plan_find(queryDesc);
}

/* Renders the plan of frame, which is paused and complete, where a trace asks for it. */
extern void prof_plan_render(ProfFrame *frame, QueryDesc *queryDesc);

/* The row is written. */
extern void prof_plan_drop(ProfFrame *frame);

extern void prof_plan_install(void);

#endif
