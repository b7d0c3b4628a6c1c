/*
 * Errors of statements. In, out: prof_error.h.
 *
 * PG_CATCH tells the code alone; the message comes with a copy of the error data, made in a context whose first block is
 * there since the server's start, so that an error for want of memory can be copied too. (Letting EmitErrorReport show the
 * data to a hook would copy nothing, but sends the error to the client where the server's log does not want it.)
 *
 * The same error passes the catches of all statements around it, then the emit_log_hook. The first one that has a row to
 * write shows the message; code and a hash of the message tell the others that it is still the same error. Errors of
 * statements without a frame (syntax, missing tables, bad parameters) come to the emit_log_hook alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "csv_columns.h"
#include "miscadmin.h"
#include "prof_error.h"
#include "prof_row.h"
#include "prof_text.h"
#include "prof_xact.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/memutils.h"

ProfErrorSeen prof_error_seen = {0};
bool prof_error_in_transaction = false;

static emit_log_hook_type previous_emit_log;
static MemoryContext error_context;

/* The error that is being handled, within PG_CATCH; lasts until the next one. */
static ErrorData *copy_error(void) {
  MemoryContext before;
  ErrorData *edata;

  MemoryContextReset(error_context);
  before = MemoryContextSwitchTo(error_context);
  edata = CopyErrorData();
  MemoryContextSwitchTo(before);
  return edata;
}

static uint32 hash_of(const char *message) {
  uint32 hash = 2166136261u;

  if (message != NULL)
    for (int i = 0; message[i] != 0 && i < 256; i++) hash = (hash ^ (unsigned char)message[i]) * 16777619u;
  return hash;
}

/* Cancel requests, timeouts and shutdowns. */
static bool is_cancel(int code) {
  return ERRCODE_TO_CATEGORY(code) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
#if PG_VERSION_NUM >= 170000
         code == ERRCODE_TRANSACTION_TIMEOUT ||
#endif
         code == ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
}

/* Puts the error into frame; its row shows the message if none did before. */
void prof_error_describe(ProfFrame *frame, const ErrorData *edata) {
  uint32 hash = hash_of(edata->message);

  frame->sqlstate = edata->sqlerrcode;
  if (is_cancel(edata->sqlerrcode)) frame->flags |= CSV_FLAG_CANCELLED;
  if (prof_error_seen.code == edata->sqlerrcode && prof_error_seen.hash == hash)
    frame->flags |= CSV_FLAG_PROPAGATED;
  else {
    frame->error = edata->message;
    frame->error_query = edata->internalquery;
  }
  prof_error_seen.code = edata->sqlerrcode;
  prof_error_seen.hash = hash;
}

void prof_error_caught(ProfFrame *frame) {
  if (prof_active == NULL) prof_error_in_transaction = true;
  if (frame->mask != 0 && !frame->done) {
    ErrorData *edata = copy_error();

    prof_frame_speak(frame);
    prof_error_describe(frame, edata);
    prof_row_write(frame);
  }
  prof_frame_done(frame);
}

void prof_error_ends_piece(ProfFrame *frame) {
  prof_frame_leave(frame);
  if (frame->measured) prof_frame_pause(frame);
  prof_row_settle(frame);
  prof_error_caught(frame);
}

/* A row for an error that has no other. */
static void write_bare(ErrorData *edata, int64 now_ns) {
  static ProfFrame bare;
  uint32 kind = prof_text_guess_kind(debug_query_string);

  if (!prof_frame_begin(&bare, kind) || bare.mask == 0) return;
  bare.text = debug_query_string;
  bare.text_location = -1;
  bare.text_length = 0;
  bare.search = PROF_SEARCH_ALWAYS;
  bare.last_ns = now_ns;
  /* Between two messages there is no arrival to count from. */
  bare.started_ns = -1;
  bare.from_message = debug_query_string != NULL;
  bare.exec_ns = -1;
  prof_error_seen.code = 0;
  prof_error_describe(&bare, edata);
  prof_row_write(&bare);
}

static void on_error(ErrorData *edata) {
  /* Reported from within a statement, which goes on. */
  if (prof_active != NULL && !prof_xact_deferred()) return;
  prof_error_in_transaction = true;
  prof_xact_note();
  if (prof_error_seen.code == edata->sqlerrcode && prof_error_seen.hash == hash_of(edata->message)) {
    /* Its row is written, and its life ends here: the next one may read the same. */
    prof_error_forget();
    return;
  }
  /* A statement is complete, and the error has no place in a text: its commit failed. */
  if (prof_xact_committing() && edata->cursorpos == 0 && edata->internalpos == 0 &&
      edata->sqlerrcode != ERRCODE_IN_FAILED_SQL_TRANSACTION)
    prof_xact_failed(edata);
  else
    write_bare(edata, prof_now_ns());
  prof_error_forget();
}

/* The process ends from here, and no catch is passed any more. */
static void on_fatal(ErrorData *edata) {
  int64 now_ns = prof_now_ns();
  bool written = false;

  prof_error_in_transaction = true;
  prof_xact_note();
  prof_error_seen.code = 0;
  while (prof_active != NULL) {
    ProfFrame *frame = prof_active;

    if (frame->mask != 0 && !frame->done) {
      if (frame->measured) prof_frame_pause(frame);
      prof_error_describe(frame, edata);
      prof_frame_leave(frame);
      prof_row_settle(frame);
      prof_frame_speak(frame);
      prof_row_write(frame);
      written = true;
    } else
      prof_frame_leave(frame);
    prof_frame_done(frame);
  }
  prof_xact_forget();
  if (!written) write_bare(edata, now_ns);
}

static void emit_log(ErrorData *edata) {
  if (edata->elevel >= ERROR && edata->elevel < PANIC && CritSectionCount == 0 && MyProc != NULL &&
      OidIsValid(MyDatabaseId) && !proc_exit_inprogress && !prof_rendering && !IsParallelWorker() && prof_watching() &&
      (prof_active != NULL || prof_xact_asked())) {
    if (edata->elevel == ERROR)
      on_error(edata);
    else
      on_fatal(edata);
  }
  if (previous_emit_log) previous_emit_log(edata);
}

void prof_error_install(void) {
  error_context = AllocSetContextCreate(TopMemoryContext, "sql_profiler error", 64 * 1024, 64 * 1024, 64 * 1024);
  previous_emit_log = emit_log_hook;
  emit_log_hook = emit_log;
}
