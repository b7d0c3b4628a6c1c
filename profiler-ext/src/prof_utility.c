/* Utility commands. In, out: prof_utility.h. */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "prof_error.h"
#include "prof_frame.h"
#include "prof_hooks.h"
#include "prof_params.h"
#include "prof_row.h"
#include "prof_utility.h"
#include "prof_xact.h"
#include "tcop/cmdtag.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"

static ProcessUtility_hook_type previous_utility;

static uint32 kind_of(Node *statement) {
  switch (nodeTag(statement)) {
  case T_TransactionStmt:
    return PROF_KIND_TXN;
  case T_CopyStmt:
    return PROF_KIND_COPY;
  case T_ExplainStmt: /* their levels are looked up in ways that may throw */
  case T_ExecuteStmt:
    return PROF_KIND_UTILITY;
  default:
    return GetCommandLogLevel(statement) == LOGSTMT_DDL ? PROF_KIND_DDL : PROF_KIND_UTILITY;
  }
}

/* Commands that hold no literal a secret could be in, and come often. */
static ProfSearch search_of(Node *statement) {
  switch (nodeTag(statement)) {
  case T_TransactionStmt:
  case T_FetchStmt:
  case T_ClosePortalStmt:
  case T_DeallocateStmt:
  case T_DiscardStmt:
  case T_VariableShowStmt:
    return PROF_SEARCH_NEVER;
  case T_DeclareCursorStmt:
  case T_CopyStmt:
  case T_ExplainStmt:
  case T_PrepareStmt:
  case T_ExecuteStmt:
    return PROF_SEARCH_SUSPECT;
  default:
    return PROF_SEARCH_ALWAYS;
  }
}

/* As EXPLAIN itself reads its options, but what it refuses is false here. */
static bool explains_only(Node *statement) {
  bool analyze = false;
  ListCell *cell;

  if (!IsA(statement, ExplainStmt)) return false;
  foreach (cell, ((ExplainStmt *)statement)->options) {
    DefElem *option = lfirst(cell);

    if (strcmp(option->defname, "analyze") != 0) continue;
    if (option->arg == NULL)
      analyze = true;
    else if (IsA(option->arg, Integer))
      analyze = intVal(option->arg) != 0;
    else if (IsA(option->arg, String))
      analyze = pg_strcasecmp(strVal(option->arg), "true") == 0 || pg_strcasecmp(strVal(option->arg), "on") == 0;
#if PG_VERSION_NUM >= 150000
    else if (IsA(option->arg, Boolean))
      analyze = boolVal(option->arg);
#endif
  }
  return !analyze;
}

/* Does this command only mark the transaction, which core ends when the command is over? */
static bool ends_transaction(Node *statement, ProcessUtilityContext context) {
  if (!IsA(statement, TransactionStmt) || context != PROCESS_UTILITY_TOPLEVEL || IsAbortedTransactionBlockState())
    return false;
  switch (((TransactionStmt *)statement)->kind) {
  case TRANS_STMT_COMMIT:
  case TRANS_STMT_ROLLBACK:
  case TRANS_STMT_PREPARE:
    return true;
  default:
    return false;
  }
}

static void call_utility(PROF_UTILITY_PARAMETERS) {
  if (previous_utility != NULL)
    previous_utility(PROF_UTILITY_ARGUMENTS);
  else
    standard_ProcessUtility(PROF_UTILITY_ARGUMENTS);
}

static void utility_watched(PROF_UTILITY_PARAMETERS) {
  Node *statement = pstmt->utilityStmt;
  ProfFrame *frame = prof_frame_open(kind_of(statement));
  bool deferred;

  if (frame == NULL) {
    call_utility(PROF_UTILITY_ARGUMENTS);
    return;
  }
  /* The command may free its own tree: what the row needs is taken now. */
  frame->tag = CreateCommandName(statement);
  frame->tag_length = (int)strlen(frame->tag);
  frame->text = queryString;
  frame->text_location = pstmt->stmt_location;
  frame->text_length = pstmt->stmt_len;
  frame->query_id = (int64)pstmt->queryId;
  frame->search = search_of(statement);
  if (explains_only(statement)) prof_frame_silence(frame);
  deferred = ends_transaction(statement, context) && prof_active == NULL;
  if (frame->mask != 0) {
    if (frame->options & PROF_OPT_PARAMS) prof_params_render(frame, params);
    prof_frame_measure(frame);
  }

  prof_frame_enter(frame);
  PG_TRY();
  { call_utility(PROF_UTILITY_ARGUMENTS); }
  PG_CATCH();
  {
    prof_error_ends_piece(frame);
    prof_frame_free(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  if (deferred) {
    prof_xact_defer(frame);
    return;
  }
  prof_frame_leave(frame);
  if (frame->mask != 0) {
    prof_frame_pause(frame);
    if (qc != NULL && command_tag_display_rowcount(qc->commandTag)) frame->rows = qc->nprocessed;
    prof_row_settle(frame);
    prof_row_write(frame);
  }
  prof_frame_free(frame);
}

static void utility(PROF_UTILITY_PARAMETERS) {
  if (!prof_watching() || context == PROCESS_UTILITY_SUBCOMMAND || prof_rendering) {
    call_utility(PROF_UTILITY_ARGUMENTS);
    return;
  }
  prof_hooks_ask_query_id();
  utility_watched(PROF_UTILITY_ARGUMENTS);
}

void prof_utility_install(void) {
  previous_utility = ProcessUtility_hook;
  ProcessUtility_hook = utility;
}
