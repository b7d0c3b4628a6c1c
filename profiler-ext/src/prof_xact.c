/*
 * Ends of transactions. In, out: prof_xact.h.
 *
 * COMMIT as a command only marks the transaction; core commits when the command is over, before it reads another message.
 * So the command's frame stays entered until the transaction's event comes: its row has the commit's time and WAL, and
 * statements of deferred triggers are its children. An implicit commit is measured from the event before it to the event
 * after it; a rollback from the error that caused it, since nothing else comes before.
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
#include "utils/fmgrprotos.h"

/* COMMIT and the like are short. */
#define DEFERRED_TEXT_BYTES 1024

LocalTransactionId prof_xact_lxid = InvalidLocalTransactionId;
TimestampTz prof_xact_completed = 0;

static ProfFrame *deferred = NULL;
static ProfFrame implicit;
static bool implicit_measured = false;
static int64 implicit_serial = 0; /* given to children before the commit itself was seen */
static int64 error_ns = 0;
static bool busy = false; /* one of the above is set */

/* The command's portal, which holds its text, goes before the transaction's end. */
static void keep_text(ProfFrame *frame) {
  static char kept[DEFERRED_TEXT_BYTES + 1];
  size_t n;
  const char *text = prof_text_of(frame, &n);

  if (text == NULL) return;
  if (n > DEFERRED_TEXT_BYTES) {
    n = prof_text_cut(text, n, DEFERRED_TEXT_BYTES);
    frame->flags |= CSV_FLAG_QUERY_CUT;
  }
  memcpy(kept, text, n);
  kept[n] = 0;
  frame->text = kept;
  frame->text_location = 0;
  frame->text_length = (int)n;
}

void prof_xact_defer(ProfFrame *frame) {
  if (frame->mask != 0) keep_text(frame);
  deferred = frame;
  busy = true;
}

bool prof_xact_deferred(void) {
  return deferred != NULL;
}

void prof_xact_forget(void) {
  deferred = NULL;
  implicit_measured = false;
}

bool prof_xact_asked(void) {
  LocalTransactionId lxid = PROF_VXID_LOCAL(MyProc);

  return MyProcPort != NULL || (LocalTransactionIdIsValid(lxid) && lxid == prof_xact_lxid);
}

void prof_xact_begin_root(ProfFrame *frame) {
  if (likely(DatumGetInt32(pg_trigger_depth(NULL)) == 0)) return;
  if (implicit_serial == 0) implicit_serial = prof_next_serial();
  busy = true;
  frame->parent = implicit_serial;
  frame->level = 1;
  frame->from_message = false;
}

bool prof_xact_committing(void) {
  return deferred != NULL || implicit_measured ||
         (prof_xact_completed == GetCurrentStatementStartTimestamp() && !IsTransactionBlock());
}

void prof_xact_note(void) {
  error_ns = prof_now_ns();
  busy = true;
  if (LocalTransactionIdIsValid(PROF_VXID_LOCAL(MyProc))) prof_xact_lxid = PROF_VXID_LOCAL(MyProc);
}

/* edata: the error it failed with, or NULL. */
static void finish_deferred(const ErrorData *edata) {
  ProfFrame *frame = deferred;

  deferred = NULL;
  prof_frame_leave(frame);
  if (frame->mask != 0 && !frame->done) {
    prof_frame_pause(frame);
    prof_row_settle(frame);
    if (edata != NULL) prof_error_describe(frame, edata);
    prof_row_write(frame);
  }
  prof_frame_free(frame);
}

bool prof_xact_settle_stale(void) {
  if (likely(deferred == NULL) || deferred->arrived == GetCurrentStatementStartTimestamp()) return false;
  finish_deferred(NULL);
  return true;
}

/* Fills the frame of a commit or rollback that nobody asked for. False: no trace wants it. */
static bool begin_implicit(void) {
  /* A process that ends does not come back to what it was running. */
  if (proc_exit_inprogress) prof_active = prof_outermost = NULL;
  if (!prof_frame_begin(&implicit, PROF_KIND_TXN)) return false;
  if (implicit_serial != 0) implicit.serial = implicit_serial;
  implicit.flags |= CSV_FLAG_IMPLICIT;
  implicit.from_message = false;
  implicit.search = PROF_SEARCH_NEVER;
  return implicit.mask != 0;
}

static const char commit[16] = "COMMIT";
static const char rollback[16] = "ROLLBACK";

/* edata: the error it failed with, or NULL. */
static void finish_implicit(const char *tag, const ErrorData *edata) {
  if (implicit_measured)
    prof_frame_pause(&implicit);
  else {
    LocalTransactionId lxid = prof_xact_lxid;

    /* Notices may give a transaction its xid after the event before the commit. */
    if (!begin_implicit()) return;
    implicit.lxid = lxid;
    implicit.last_ns = prof_now_ns();
    implicit.started_ns = error_ns != 0 ? error_ns : -1;
    implicit.exec_ns = error_ns != 0 ? implicit.last_ns - error_ns : -1;
  }
  implicit_measured = false;
  implicit_serial = 0;
  implicit.tag = tag;
  implicit.tag_length = (uint8)strlen(tag);
  if (edata != NULL) {
    prof_error_forget();
    prof_error_describe(&implicit, edata);
  }
  prof_row_write(&implicit);
}

void prof_xact_failed(const ErrorData *edata) {
  if (deferred != NULL)
    finish_deferred(edata);
  else {
    /* What it took is known only where it came as far as its event. */
    int64 noted_ns = error_ns;

    error_ns = 0;
    finish_implicit(commit, edata);
    error_ns = noted_ns;
  }
}

static inline void before_end(void) {
  if (deferred != NULL || (implicit_serial == 0 && !TransactionIdIsValid(GetTopTransactionIdIfAny()))) return;
  if (unlikely(!prof_xact_asked())) return;
  if (begin_implicit()) {
    prof_frame_measure(&implicit);
    implicit_measured = true;
    busy = true;
  }
}

static void ended(bool committed) {
  if (likely(!busy && !TransactionIdIsValid(GetTopTransactionIdIfAny()) && !prof_error_in_transaction)) return;
  busy = false;
  if (deferred != NULL)
    finish_deferred(NULL);
  /* As prof_xact_asked(), now that the transaction has no number any more: a background process's own is no row. */
  else if (implicit_measured || implicit_serial != 0 || (!committed && prof_error_in_transaction) ||
           ((MyProcPort != NULL || prof_error_in_transaction) && TransactionIdIsValid(GetTopTransactionIdIfAny())))
    finish_implicit(committed ? commit : rollback, NULL);
  implicit_measured = false;
  implicit_serial = 0;
  error_ns = 0;
  prof_error_in_transaction = false;
}

static pg_noinline void watched_event(XactEvent event) {
  switch (event) {
  case XACT_EVENT_PRE_COMMIT:
  case XACT_EVENT_PRE_PREPARE:
    before_end();
    break;
  case XACT_EVENT_COMMIT:
  case XACT_EVENT_PREPARE:
    ended(true);
    break;
  case XACT_EVENT_ABORT:
    ended(false);
    break;
  default:
    break;
  }
}

/* Called twice a transaction, with or without a trace: nothing is saved on the stack before it is known that one runs. */
static void xact_event(XactEvent event, void *arg) {
  if (unlikely(prof_still_watching() || busy)) watched_event(event);
}

void prof_xact_install(void) {
  RegisterXactCallback(xact_event, NULL);
}
