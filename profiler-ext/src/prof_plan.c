/*
 * Planning. In, out, owner of the memory: prof_plan.h.
 *
 * Between the planner and ExecutorStart a plan is copied, cached, put into portals with a copy of its text: what stays is
 * the text, the statement's place in it and the query id, within one message.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#include "common/hashfn.h"
#include "optimizer/planner.h"
#include "prof_error.h"
#include "prof_guard.h"
#include "prof_plan.h"
#include "prof_text.h"
#include "utils/memutils.h"

#define ENTRIES 8
#define HASHED_BYTES 4096

typedef struct Planned {
  const char *text; /* NULL: not in use. Only compared: it may be gone */
  size_t length;
  uint64 hash;
  int location;
  int64 query_id;
  TimestampTz arrived;
  int64 ns;
} Planned;

int prof_plan_waiting = 0;

static Planned entries[ENTRIES];
static int next_entry = 0;
static planner_hook_type previous_planner;
static MemoryContext plan_context;

/* Portals have copies of texts. */
static uint64 hash_of(const char *text, size_t n) {
  return hash_bytes_extended((const unsigned char *)text, n < HASHED_BYTES ? (int)n : HASHED_BYTES, 0);
}

static bool same_text(const Planned *entry, const char *text) {
  size_t n;

  if (entry->text == text) return true;
  if (text == NULL) return false;
  n = strlen(text);
  return n == entry->length && hash_of(text, n) == entry->hash;
}

int64 prof_plan_find(QueryDesc *queryDesc) {
  PlannedStmt *plan = queryDesc->plannedstmt;
  TimestampTz arrived = GetCurrentStatementStartTimestamp();
  int64 ns = -1;

  /* The newest first: a statement that was planned again means its last plan. */
  for (int i = 1; i <= ENTRIES; i++) {
    Planned *entry = &entries[(next_entry - i) & (ENTRIES - 1)];

    if (entry->text == NULL) continue;
    if (entry->arrived != arrived) {
      entry->text = NULL;
      prof_plan_waiting--;
    } else if (ns < 0 && entry->location == plan->stmt_location && entry->query_id == (int64)plan->queryId &&
               same_text(entry, queryDesc->sourceText)) {
      ns = entry->ns;
      entry->text = NULL;
      prof_plan_waiting--;
    }
  }
  return ns;
}

static void remember(const char *text, const PlannedStmt *plan, int64 ns) {
  Planned *entry = &entries[next_entry];

  if (text == NULL) return;
  if (entry->text == NULL) prof_plan_waiting++;
  next_entry = (next_entry + 1) & (ENTRIES - 1);
  entry->text = text;
  entry->length = strlen(text);
  entry->hash = hash_of(text, entry->length);
  entry->location = plan->stmt_location;
  entry->query_id = (int64)plan->queryId;
  entry->arrived = GetCurrentStatementStartTimestamp();
  entry->ns = ns;
}

static PlannedStmt *call_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams) {
  return previous_planner != NULL ? previous_planner(parse, query_string, cursorOptions, boundParams)
                                  : standard_planner(parse, query_string, cursorOptions, boundParams);
}

/* A statement that cannot be planned is a row: it has no frame yet. */
static void failed(Query *parse, const char *query_string, int64 started_ns) {
  static ProfFrame frame;

  if (!prof_frame_begin(&frame, prof_kind_of(parse->commandType))) return;
  frame.text = query_string;
  frame.text_location = parse->stmt_location;
  frame.text_length = parse->stmt_len;
  frame.query_id = (int64)parse->queryId;
  frame.started_ns = started_ns;
  frame.last_ns = prof_now_ns();
  frame.exec_ns = -1;
  frame.plan_ns = frame.last_ns - started_ns;
  prof_text_tag(&frame, parse->commandType);
  prof_error_caught(&frame);
}

static PlannedStmt *plan_watched(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams) {
  PlannedStmt *plan;
  int64 started_ns = prof_now_ns();

  PG_TRY();
  { plan = call_planner(parse, query_string, cursorOptions, boundParams); }
  PG_CATCH();
  {
    failed(parse, query_string, started_ns);
    PG_RE_THROW();
  }
  PG_END_TRY();
  remember(query_string, plan, prof_now_ns() - started_ns);
  return plan;
}

static PlannedStmt *plan(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams) {
  if (!prof_watching() || prof_rendering) return call_planner(parse, query_string, cursorOptions, boundParams);
  return plan_watched(parse, query_string, cursorOptions, boundParams);
}

typedef struct Rendering {
  QueryDesc *queryDesc;
  ExplainFormat format;
  char *out;
} Rendering;

static void explain(void *arg) {
  Rendering *rendering = arg;
  MemoryContext before = MemoryContextSwitchTo(plan_context);
  ExplainState *es = NewExplainState();

  es->format = rendering->format;
  es->costs = true;
  ExplainBeginOutput(es);
  ExplainOpenGroup("Query", NULL, true, es);
  ExplainPrintPlan(es, rendering->queryDesc);
  ExplainCloseGroup("Query", NULL, true, es);
  ExplainEndOutput(es);
  while (es->str->len > 0 && es->str->data[es->str->len - 1] == '\n') es->str->data[--es->str->len] = 0;
  rendering->out = es->str->data;
  MemoryContextSwitchTo(before);
}

static const char *render(QueryDesc *queryDesc, ExplainFormat format) {
  Rendering rendering = {.queryDesc = queryDesc, .format = format};

  return prof_guarded(explain, &rendering) ? rendering.out : NULL;
}

void prof_plan_render(ProfFrame *frame, QueryDesc *queryDesc) {
  uint32 wanted = 0;

  for (uint32 bits = frame->mask; bits != 0; bits &= bits - 1) {
    const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];

    if (trace->id != 0 && frame->exec_ns / 1000 >= trace->plan_min_us) wanted |= trace->options;
  }
  if (wanted & PROF_OPT_PLAN_TEXT) frame->plan_text = render(queryDesc, EXPLAIN_FORMAT_TEXT);
  if (wanted & PROF_OPT_PLAN_JSON) frame->plan_json = render(queryDesc, EXPLAIN_FORMAT_JSON);
}

void prof_plan_drop(ProfFrame *frame) {
  frame->plan_text = frame->plan_json = NULL;
  MemoryContextReset(plan_context);
}

void prof_plan_install(void) {
  plan_context = AllocSetContextCreate(TopMemoryContext, "sql_profiler plan", ALLOCSET_SMALL_SIZES);
  previous_planner = planner_hook;
  planner_hook = plan;
}
