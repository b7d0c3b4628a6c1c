/*
 * Hooks of the executor. In, out: prof_hooks.h.
 *
 * Without a trace each hook is one look at the traces (ExecutorStart) or at whether a frame lives (the others) and a jump
 * to the next. A straight SELECT costs four clock reads: before and behind ExecutorStart and ExecutorRun; at the latter's
 * return it is complete, and its row is written, since the client may leave ExecutorEnd waiting until its next query.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "jit/jit.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "prof_error.h"
#include "prof_frame.h"
#include "prof_hooks.h"
#include "prof_params.h"
#include "prof_plan.h"
#include "prof_row.h"
#include "prof_text.h"
#include "prof_utility.h"
#include "prof_xact.h"

bool prof_hooks_query_id_asked = false;

/* Whoever had the hooks before, or PostgreSQL itself: never NULL. */
static ExecutorStart_hook_type previous_start;
static ExecutorRun_hook_type previous_run;
static ExecutorFinish_hook_type previous_finish;
static ExecutorEnd_hook_type previous_end;

static inline void set_text(ProfFrame *frame, QueryDesc *queryDesc) {
  frame->text = queryDesc->sourceText;
  frame->text_location = queryDesc->plannedstmt->stmt_location;
  frame->text_length = queryDesc->plannedstmt->stmt_len;
}

static void start_watched(QueryDesc *queryDesc, int eflags) {
  PlannedStmt *plan = queryDesc->plannedstmt;
  ProfFrame *frame;
  int64 plan_ns = prof_plan_take(queryDesc);

  prof_hooks_ask_query_id();
  /* What is only explained does not run. */
  frame =
      (eflags & EXEC_FLAG_EXPLAIN_ONLY) || prof_rendering ? NULL : prof_frame_open(prof_kind_of(queryDesc->operation));
  if (frame == NULL) {
    previous_start(queryDesc, eflags);
    return;
  }
  frame->executor = true;
  set_text(frame, queryDesc);
  frame->query_id = (int64)plan->queryId;
  frame->plan_ns = plan_ns;
  prof_text_tag(frame, queryDesc->operation);
  frame->rare = plan->parallelModeNeeded || (plan->jitFlags & PGJIT_PERFORM) != 0;
  if (frame->mask != 0) {
    if (unlikely(frame->options & PROF_OPT_PARAMS)) prof_params_render(frame, queryDesc->params);
    prof_frame_measure(frame);
  }

  prof_frame_enter(frame);
  PG_TRY();
  { previous_start(queryDesc, eflags); }
  PG_CATCH();
  {
    prof_error_ends_piece(frame);
    prof_frame_free(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  prof_frame_leave(frame);
  if (frame->mask != 0) prof_frame_pause(frame);
  prof_frame_hang(frame, queryDesc);
}

static void start(QueryDesc *queryDesc, int eflags) {
  if (likely(!prof_watching())) {
    prof_hooks_release_query_id();
    previous_start(queryDesc, eflags);
    return;
  }
  start_watched(queryDesc, eflags);
}

#if PG_VERSION_NUM < 180000
static bool count_workers(PlanState *state, ProfFrame *frame) {
  if (IsA(state, GatherState)) {
    frame->workers_planned += ((Gather *)state->plan)->num_workers;
    frame->workers_launched += ((GatherState *)state)->nworkers_launched;
  } else if (IsA(state, GatherMergeState)) {
    frame->workers_planned += ((GatherMerge *)state->plan)->num_workers;
    frame->workers_launched += ((GatherMergeState *)state)->nworkers_launched;
  }
  return planstate_tree_walker(state, count_workers, frame);
}
#endif

static int64 jit_us(const JitInstrumentation *instr) {
  return (prof_duration_ns(instr->generation_counter) + prof_duration_ns(instr->inlining_counter) +
          prof_duration_ns(instr->optimization_counter) + prof_duration_ns(instr->emission_counter)) /
         1000;
}

/* What only the executor state knows, at the end of a piece. */
static void read_state(ProfFrame *frame, QueryDesc *queryDesc) {
  EState *estate = queryDesc->estate;

  if (estate->es_jit != NULL) frame->jit_us = jit_us(&estate->es_jit->instr);
  if (estate->es_jit_worker_instr != NULL) frame->jit_us += jit_us(estate->es_jit_worker_instr);
  if (queryDesc->plannedstmt->parallelModeNeeded) {
#if PG_VERSION_NUM >= 180000
    frame->workers_planned = estate->es_parallel_workers_to_launch;
    frame->workers_launched = estate->es_parallel_workers_launched;
#else
    frame->workers_planned = frame->workers_launched = 0;
    if (queryDesc->planstate != NULL) count_workers(queryDesc->planstate, frame);
#endif
  }
}

/*
 * Is a statement complete that just ran? A SELECT that came to its end and cannot be fetched from again: nothing of it
 * is left for ExecutorFinish.
 */
static bool is_complete(QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool once) {
  return queryDesc->operation == CMD_SELECT && !queryDesc->plannedstmt->hasModifyingCTE &&
         ScanDirectionIsForward(direction) && (count == 0 || queryDesc->estate->es_processed < count) &&
         (once || (queryDesc->estate->es_top_eflags & (EXEC_FLAG_REWIND | EXEC_FLAG_BACKWARD)) == 0);
}

static void run_framed(ProfFrame *frame, PROF_RUN_PARAMETERS) {
  bool complete;

  frame->ran = true;
  if (frame->measured) prof_frame_resume(frame);
  if (unlikely(queryDesc->plannedstmt->parallelModeNeeded)) prof_root_publish(frame->mask, frame->serial);
  prof_frame_enter(frame);
  PG_TRY();
  { previous_run(PROF_RUN_ARGUMENTS); }
  PG_CATCH();
  {
    if (frame->measured) frame->rows = Max(frame->rows, 0) + (int64)queryDesc->estate->es_processed;
    prof_error_ends_piece(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  prof_frame_leave(frame);
  if (!frame->measured) return;
  prof_frame_pause(frame);
  frame->rows = Max(frame->rows, 0) + (int64)queryDesc->estate->es_processed;
  if (unlikely(frame->rare)) read_state(frame, queryDesc);
  prof_row_settle(frame);
  complete = is_complete(queryDesc, direction, count, PROF_RUN_ONCE);
  if (complete) {
    if (unlikely(frame->options & (PROF_OPT_PLAN_TEXT | PROF_OPT_PLAN_JSON))) prof_plan_render(frame, queryDesc);
    prof_row_write(frame);
    if (unlikely(frame->plan_text != NULL || frame->plan_json != NULL)) prof_plan_drop(frame);
  } else if (queryDesc->operation == CMD_SELECT)
    prof_frame_keep_text(frame, queryDesc);
}

static void run(PROF_RUN_PARAMETERS) {
  ProfFrame *frame = likely(prof_live == 0) ? NULL : prof_frame_of(queryDesc);

  if (frame == NULL || frame->done)
    previous_run(PROF_RUN_ARGUMENTS);
  else
    run_framed(frame, PROF_RUN_ARGUMENTS);
}

static void finish_framed(ProfFrame *frame, QueryDesc *queryDesc) {
  if (frame->measured) prof_frame_resume(frame);
  prof_frame_enter(frame);
  PG_TRY();
  { previous_finish(queryDesc); }
  PG_CATCH();
  {
    prof_error_ends_piece(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  prof_frame_leave(frame);
  if (frame->measured) prof_frame_pause(frame);
  prof_row_settle(frame);
}

static void finish(QueryDesc *queryDesc) {
  ProfFrame *frame = likely(prof_live == 0) ? NULL : prof_frame_of(queryDesc);

  if (frame == NULL || frame->done)
    previous_finish(queryDesc);
  else
    finish_framed(frame, queryDesc);
}

static void end_framed(ProfFrame *frame, QueryDesc *queryDesc) {
  if (unlikely(frame->options & (PROF_OPT_PLAN_TEXT | PROF_OPT_PLAN_JSON))) prof_plan_render(frame, queryDesc);
  frame->ending = true;
  /* A copy that was kept between pieces goes with the state; whoever ends it has the text itself. */
  if (frame->text_kept) set_text(frame, queryDesc);
  prof_frame_resume(frame);
  prof_frame_enter(frame);
  PG_TRY();
  { previous_end(queryDesc); }
  PG_CATCH();
  {
    prof_frame_leave(frame);
    prof_frame_pause(frame);
    prof_error_caught(frame);
    prof_plan_drop(frame);
    /* If the state is still there, it takes the frame along. */
    if (prof_frame_of(queryDesc) == frame)
      frame->ending = false;
    else
      prof_frame_release(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  prof_frame_leave(frame);
  prof_frame_pause(frame);
  prof_row_settle(frame);
  prof_row_write(frame);
  if (unlikely(frame->plan_text != NULL || frame->plan_json != NULL)) prof_plan_drop(frame);
  prof_frame_release(frame);
}

static void end(QueryDesc *queryDesc) {
  ProfFrame *frame = likely(prof_live == 0) ? NULL : prof_frame_of(queryDesc);

  /* What never ran is no row; its frame goes with the executor state, as that of a written row does. */
  if (frame == NULL || frame->done || !frame->ran || !frame->measured)
    previous_end(queryDesc);
  else
    end_framed(frame, queryDesc);
}

#if PG_VERSION_NUM >= 140000
static post_parse_analyze_hook_type previous_analyze;

/*
 * Core makes query ids before this hook, and only where somebody asked before: of the first statement that a session
 * analyses under a trace it is made here, as core would have. Without it a client that connects for each of its statements
 * would have none at all.
 */
static void analyze(ParseState *pstate, Query *query, JumbleState *jstate) {
  if (previous_analyze != NULL) previous_analyze(pstate, query, jstate);
  if (likely(!prof_watching()) || likely(query_id_enabled) || prof_rendering) return;
  prof_hooks_ask_query_id();
  if (IsQueryIdEnabled() && query->queryId == 0) (void)PROF_JUMBLE(query, pstate->p_sourcetext);
}
#endif

void prof_hooks_install(void) {
#if PG_VERSION_NUM >= 140000
  previous_analyze = post_parse_analyze_hook;
  post_parse_analyze_hook = analyze;
#endif
  previous_start = ExecutorStart_hook != NULL ? ExecutorStart_hook : standard_ExecutorStart;
  ExecutorStart_hook = start;
  previous_run = ExecutorRun_hook != NULL ? ExecutorRun_hook : standard_ExecutorRun;
  ExecutorRun_hook = run;
  previous_finish = ExecutorFinish_hook != NULL ? ExecutorFinish_hook : standard_ExecutorFinish;
  ExecutorFinish_hook = finish;
  previous_end = ExecutorEnd_hook != NULL ? ExecutorEnd_hook : standard_ExecutorEnd;
  ExecutorEnd_hook = end;
  prof_plan_install();
  prof_utility_install();
  prof_error_install();
  prof_xact_install();
}
