/*
 * The SQL functions that tell of traces: list (behind the view traces), progress, changed. In: shared memory and state
 * files. Out: rows of the traces that the caller may see. Nothing is written but what has come to its end meanwhile.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "prof_shared.h"

#pragma GCC visibility push(default)
PG_FUNCTION_INFO_V1(prof_list);
PG_FUNCTION_INFO_V1(prof_progress);
PG_FUNCTION_INFO_V1(prof_changed);
#pragma GCC visibility pop

/* Rows of a set-returning function, all at once. */
typedef struct rows {
  Tuplestorestate *store;
  TupleDesc columns;
} rows;

static rows begin_rows(FunctionCallInfo fcinfo) {
  ReturnSetInfo *result = (ReturnSetInfo *)fcinfo->resultinfo;
  rows to;
  if (result == NULL || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_Materialize) == 0)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("this function must be called in FROM")));
  MemoryContext kept = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
  if (get_call_result_type(fcinfo, NULL, &to.columns) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
  to.columns = CreateTupleDescCopy(to.columns);
  to.store = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
  MemoryContextSwitchTo(kept);
  result->returnMode = SFRM_Materialize;
  result->setResult = to.store;
  result->setDesc = to.columns;
  return to;
}

static bool is_ascii(const char *text) {
  for (; *text != 0; text++)
    if ((unsigned char)*text >= 128) return false;
  return true;
}

/* Text of a state file (UTF-8) in this database's encoding; what that lacks becomes '?'. */
static char *to_database(const char *text) {
  char *copy = pstrdup(text);
  if (is_ascii(copy) ||
      (GetDatabaseEncoding() == PG_UTF8 && pg_verify_mbstr(PG_UTF8, copy, (int)strlen(copy), true)))
    return copy;
  for (char *at = copy; *at != 0; at++)
    if ((unsigned char)*at >= 128) *at = '?';
  return copy;
}

static Datum time_of(int64 unix_us) {
  return TimestampTzGetDatum(unix_us - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

static const char *stop_text(int64 reason) {
  static const char *const texts[PROF_STOP_COUNT] = {NULL, "requested", "duration_s", "max_total_bytes",
                                                     "sql_profiler.max_directory_bytes", "restart"};
  return reason >= 0 && reason < PROF_STOP_COUNT ? texts[reason] : NULL;
}

static const char *lost_text(int64 reason) {
  switch (reason) {
  case PROF_LOST_NONE:
    return NULL;
  case PROF_LOST_UNFORMATTED:
    return "a row could not be made";
  case PROF_LOST_FAULT:
    return "a mapped file was cut short or could not be written back";
  case PROF_LOST_REMOVED:
    return "a trace file was removed or cut short";
  case PROF_LOST_FILES:
    return "a slot has used up its file numbers";
  default:
    return strerror((int)reason);
  }
}

static void put_text(Datum *value, bool *is_null, const char *text) {
  *is_null = text == NULL;
  if (text != NULL) *value = CStringGetTextDatum(text);
}

static void put_trace(rows *to, const ProfRecord *record) {
  Datum values[13];
  bool nulls[13] = {false};
  bool running = record->state == PROF_STATE_RUNNING;
  values[0] = Int32GetDatum((int32)record->id);
  values[1] = CStringGetTextDatum(to_database(record->name));
  values[2] = CStringGetTextDatum(running ? "running" : "stopped");
  values[3] = time_of(record->started_us);
  values[4] = time_of(record->stopped_us);
  nulls[4] = running;
  put_text(&values[5], &nulls[5], stop_text(record->stop_reason));
  values[6] = DirectFunctionCall1(jsonb_in, CStringGetDatum(to_database(record->options_text)));
  values[7] = Int64GetDatum(record->files);
  values[8] = Int64GetDatum(record->bytes);
  values[9] = Int64GetDatum(record->rows);
  values[10] = Int64GetDatum(record->lost);
  put_text(&values[11], &nulls[11], lost_text(record->lost_reason));
  values[12] = CStringGetTextDatum(to_database(record->owner_name));
  tuplestore_putvalues(to->store, to->columns, values, nulls);
}

/* What a running trace has come to. */
static void count_running(int place, ProfRecord *record) {
  ProfSharedTrace *trace = &prof_shared->traces[place];
  int count;
  ProfSlotInfo *slots = prof_slots(record->id, &count);
  record->bytes = (int64)pg_atomic_read_u64(&trace->csv_bytes);
  record->lost_reason = (int32)pg_atomic_read_u32(&trace->lost_reason);
  record->rows = record->lost = record->files = 0;
  for (int i = 0; i < count; i++) {
    const ProfRingState *at = &slots[i].at;
    record->files += (int64)prof_file(at->committed);
    record->bytes += (int64)(at->committed - at->base);
    record->rows += (int64)(at->line - at->lost);
    record->lost += (int64)at->lost;
  }
  if (slots != NULL) pfree(slots);
}

static bool count_trace(int32 id, ProfRecord *record) {
  int place = -1;
  LWLockAcquire(prof_shared->lock, LW_SHARED);
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    if (prof_shared->traces[i].record.id == id) *record = prof_shared->traces[place = i].record;
  bool there = place >= 0 || prof_state_load(id, record) == 0;
  LWLockRelease(prof_shared->lock);
  if (!there || !prof_control_visible(record)) return false;
  if (place >= 0) {
    count_running(place, record);
  } else if (!record->settled) {
    /* Backends that were idle when it ended have let go meanwhile, or not. Rows lost without a ring are in no file. */
    int64 lost = record->lost;
    LWLockAcquire(prof_shared->lock, LW_EXCLUSIVE);
    if (prof_state_load(id, record) == 0) {
      (void)prof_state_count(record);
      record->lost = Max(lost, record->lost);
      if (record->settled) (void)prof_state_save(record);
    }
    LWLockRelease(prof_shared->lock);
  }
  return true;
}

Datum prof_list(PG_FUNCTION_ARGS) {
  int count;
  prof_control_tend();
  rows to = begin_rows(fcinfo);
  int32 *ids = prof_state_ids(&count);
  ProfRecord *record = palloc(sizeof *record);
  for (int i = 0; i < count; i++)
    if (count_trace(ids[i], record)) put_trace(&to, record);
  return (Datum)0;
}

static void put_slot(rows *to, const ProfSlotInfo *info, int64 last) {
  Datum values[4];
  bool nulls[4] = {false};
  values[0] = Int32GetDatum(info->slot);
  values[1] = Int32GetDatum((int32)prof_file(info->at.committed));
  values[2] = Int64GetDatum((int64)prof_offset(info->at.committed));
  values[3] = Int64GetDatum(last);
  tuplestore_putvalues(to->store, to->columns, values, nulls);
}

/* Slots of a trace that the caller may see; from here on this session is not traced. */
static ProfSlotInfo *slots_for_caller(int32 id, int *count) {
  ProfRecord *record = palloc(sizeof *record);
  int place;
  prof_control_tend();
  prof_session_reads();
  prof_control_find(id, record, &place);
  pfree(record);
  return prof_slots(id, count);
}

Datum prof_progress(PG_FUNCTION_ARGS) {
  int count;
  ProfSlotInfo *slots = slots_for_caller(PG_GETARG_INT32(0), &count);
  rows to = begin_rows(fcinfo);
  for (int i = 0; i < count; i++)
    if (slots[i].at.committed != 0) put_slot(&to, &slots[i], (int64)(slots[i].at.line - slots[i].at.lost));
  return (Datum)0;
}

/*
 * What this session was told last of a trace: changes are found by comparing, so that backends count nothing for it. A
 * version is this memory's number; one that is not known here (another session's, an older one) gets all slots.
 */
typedef struct told {
  int32 id;
  int64 version;
  int count;
  ProfSlotInfo *slots;
} told;

#define TOLD_MAX 32
static told memory[TOLD_MAX];
static int64 versions;

static told *recall(int32 id) {
  told *oldest = &memory[0];
  for (int i = 0; i < TOLD_MAX; i++) {
    if (memory[i].id == id) return &memory[i];
    if (memory[i].version < oldest->version) oldest = &memory[i];
  }
  if (oldest->slots != NULL) pfree(oldest->slots);
  memset(oldest, 0, sizeof *oldest);
  return oldest;
}

/* Versions of two sessions must not meet: begin with the time. */
static int64 next_version(void) {
  if (versions == 0) versions = prof_now_us();
  return ++versions;
}

Datum prof_changed(PG_FUNCTION_ARGS) {
  int32 id = PG_GETARG_INT32(0);
  int64 since = PG_GETARG_INT64(1);
  int count, at = 0;
  ProfSlotInfo *slots = slots_for_caller(id, &count);
  rows to = begin_rows(fcinfo);
  told *before = recall(id);
  bool known = before->id == id && before->version == since;
  int64 version = 0;
  for (int i = 0; i < count; i++) {
    if (slots[i].at.committed == 0) continue;
    if (known) {
      while (at < before->count && before->slots[at].slot < slots[i].slot) at++;
      if (at < before->count && before->slots[at].slot == slots[i].slot &&
          before->slots[at].at.committed == slots[i].at.committed)
        continue;
    }
    if (version == 0) version = next_version();
    put_slot(&to, &slots[i], version);
  }
  if (version != 0) {
    ProfSlotInfo *kept = MemoryContextAlloc(TopMemoryContext, sizeof *kept * (size_t)(count + 1));
    if (count > 0) memcpy(kept, slots, sizeof *kept * (size_t)count);
    if (before->slots != NULL) pfree(before->slots);
    before->id = id;
    before->version = version;
    before->count = count;
    before->slots = kept;
  }
  return (Datum)0;
}
