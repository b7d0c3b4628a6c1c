/*
 * Starting, stopping and dropping traces: the SQL functions start, stop, drop. In: arguments of whoever may execute them.
 * Out: the shared table, the state files, folders. The table is changed under the lock, with its generation odd; nothing
 * between may throw. What a function did stays when its transaction is rolled back.
 *
 * A trace that came to a limit is ended by whoever notices (one atomic word); its files and its state file are brought up
 * to date by the next function that anybody calls, or by the next start of the server.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "prof_shared.h"

#pragma GCC visibility push(default)
PG_FUNCTION_INFO_V1(prof_start);
PG_FUNCTION_INFO_V1(prof_stop);
PG_FUNCTION_INFO_V1(prof_drop);
#pragma GCC visibility pop

#if PG_VERSION_NUM < 140000
#define ROLE_PG_READ_ALL_STATS DEFAULT_ROLE_READ_ALL_STATS
#endif

static bool sees_all(void) { return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS); }

bool prof_control_visible(const ProfRecord *record) { return sees_all() || (Oid)record->owner == GetUserId(); }

static void require_loaded(void) {
  if (prof_shared != NULL) return;
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("sql_profiler must be loaded by \"shared_preload_libraries\""),
                  errhint("Add sql_profiler to shared_preload_libraries and restart the server.")));
}

static void fail(int failure, const char *what) {
  errno = failure;
  ereport(ERROR, (errcode_for_file_access(), errmsg("could not %s in \"%s\": %m", what, PROF_FOLDER)));
}

static void begin_change(void) { pg_atomic_fetch_add_u32(&prof_shared->generation, 1); }
static void end_change(void) { pg_atomic_fetch_add_u32(&prof_shared->generation, 1); }

/* Brings the files of a trace that has ended up to date. True: no backend has any of them any more. */
static bool settle_slots(int index, const ProfRecord *record, uint64 *rows, uint64 *lost) {
  char folder[64];
  bool settled = true;
  prof_state_folder(folder, record->id);
  *rows = *lost = 0;
  for (int32 slot = 0; slot < prof_shared->slot_count; slot++) {
    ProfSlot *of = &prof_shared->slots[slot];
    ProfLine *line = &of->lines[index];
    ProfRingState state;
    if (__atomic_load_n(&line->trace, __ATOMIC_ACQUIRE) != record->id) continue;
    /* A process that comes to the slot from now on sees that the trace has ended: see attach() of prof_session.c. */
    bool owned = pg_atomic_read_u32(&of->pid) != 0;
    (void)prof_ring_settle(folder, (int32)record->id, slot, owned ? PROF_SETTLE_COPY : PROF_SETTLE_FINISH, &state);
    settled = settled && !owned;
    uint64 lines = __atomic_load_n(&line->line, __ATOMIC_RELAXED);
    uint64 gone = __atomic_load_n(&line->lost, __ATOMIC_RELAXED);
    *rows += lines > gone ? lines - gone : 0;
    *lost += gone;
  }
  if (prof_shared->traces[index].more_slots) {
    int count;
    const ProfSlotInfo *slots = prof_slots(record->id, &count);
    for (int i = 0; i < count; i++) {
      ProfRingState state = slots[i].at;
      if (slots[i].slot < prof_shared->slot_count) continue;
      (void)prof_ring_settle(folder, (int32)record->id, slots[i].slot, PROF_SETTLE_FINISH, &state);
      *rows += slots[i].at.line - slots[i].at.lost;
      *lost += slots[i].at.lost;
    }
  }
  return settled;
}

/* Under the lock: the place of a trace that has ended becomes free. Not where its state cannot be written: later again. */
static void finish(int index) {
  ProfSharedTrace *trace = &prof_shared->traces[index];
  ProfRecord *record = palloc(sizeof *record);
  uint64 rows, lost;
  *record = trace->record;
  pg_memory_barrier();
  bool settled = settle_slots(index, record, &rows, &lost);
  (void)prof_state_count(record);
  record->settled = record->settled && settled;
  record->rows = Max(record->rows, (int64)rows);
  record->lost = Max(record->lost, (int64)lost);
  record->lost_reason = (int32)pg_atomic_read_u32(&trace->lost_reason);
  record->state = PROF_STATE_STOPPED;
  record->stop_reason = (uint32)pg_atomic_read_u64(&trace->stop);
  record->stopped_us = (int64)pg_atomic_read_u64(&trace->stopped_us);
  if (record->stop_reason == PROF_STOP_DURATION) record->stopped_us = record->deadline_us;
  if (record->stopped_us == 0) record->stopped_us = prof_now_us();
  int failure = prof_state_save(record);
  if (failure != 0) {
    errno = failure;
    ereport(WARNING, (errcode_for_file_access(),
                      errmsg("trace %d has ended, but its state could not be written: %m", (int)record->id),
                      errhint("It is tried again; until then a restart of the server would continue the trace.")));
  } else {
    pg_atomic_fetch_add_u64(&prof_shared->stopped_bytes, record->bytes);
    begin_change();
    trace->record.id = 0;
    pg_atomic_write_u64(&trace->csv_bytes, 0);
    pg_atomic_write_u32(&trace->rings, 0);
    pg_atomic_write_u64(&trace->stop, 0);
    end_change();
  }
  pfree(record);
}

static bool has_ended(int index) {
  uint64 word = pg_atomic_read_u64(&prof_shared->traces[index].stop);
  return word != 0 && (uint32)word != PROF_STOP_NONE;
}

/* Under the lock. */
static void tend(void) {
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    if (has_ended(i)) finish(i);
}

void prof_control_tend(void) {
  bool ended = false;
  require_loaded();
  int64 now = prof_now_us();
  for (int i = 0; i < PROF_MAX_RUNNING; i++) {
    ProfSharedTrace *trace = &prof_shared->traces[i];
    uint64 word = pg_atomic_read_u64(&trace->stop);
    int64 deadline = trace->record.deadline_us;
    if (prof_running(trace) && deadline > 0 && deadline <= now)
      prof_request_stop(i, (int64)(word >> 32), PROF_STOP_DURATION);
    ended |= has_ended(i);
  }
  if (!ended) return;
  LWLockAcquire(prof_shared->lock, LW_EXCLUSIVE);
  tend();
  LWLockRelease(prof_shared->lock);
}

static int find_place(int64 id) {
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    if (prof_shared->traces[i].record.id == id) return i;
  return -1;
}

static void require_visible(const ProfRecord *record) {
  if (prof_control_visible(record)) return;
  ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for trace %d", (int)record->id),
                  errhint("Only roles with the privileges of pg_read_all_stats may use traces of others.")));
}

void prof_control_find(int64 id, ProfRecord *record, int *running) {
  require_loaded();
  LWLockAcquire(prof_shared->lock, LW_SHARED);
  int place = id > 0 ? find_place(id) : -1;
  int failure = ENOENT;
  if (place >= 0) {
    *record = prof_shared->traces[place].record;
    failure = 0;
  } else if (id > 0) {
    failure = prof_state_load(id, record);
  }
  LWLockRelease(prof_shared->lock);
  if (failure == ENOENT)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("trace %d does not exist", (int)id)));
  if (failure != 0) fail(failure, psprintf("read the state of trace %d", (int)id));
  require_visible(record);
  *running = place;
}

/* Under the lock. */
static void require_room(const char *name) {
  int running = 0;
  uint64 bytes = pg_atomic_read_u64(&prof_shared->stopped_bytes);
  for (int i = 0; i < PROF_MAX_RUNNING; i++) {
    ProfSharedTrace *trace = &prof_shared->traces[i];
    if (trace->record.id == 0) continue;
    running++;
    bytes += prof_sink_bytes_on_disk(trace);
    if (strcmp(trace->record.name, name) == 0)
      ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("trace \"%s\" is running already", name),
                      errdetail("Its id is %d.", (int)trace->record.id)));
  }
  if (running == PROF_MAX_RUNNING)
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("%d traces are running already, which is the most there can be", running)));
  if (prof_directory_kb > 0 && bytes >= (uint64)prof_directory_kb * 1024)
    ereport(ERROR, (errcode(ERRCODE_DISK_FULL), errmsg("traces have reached sql_profiler.max_directory_bytes"),
                    errhint("Drop traces that are not needed any more.")));
}

/* Under the lock: folder and state file, then the table. */
static void launch(ProfRecord *record) {
  int failure = prof_state_save_last_id(prof_shared->last_id + 1);
  if (failure != 0) fail(failure, "write the last id");
  record->id = ++prof_shared->last_id;
  record->deadline_us = record->deadline_us > 0 ? record->started_us + record->deadline_us * USECS_PER_SEC : 0;
  failure = prof_state_make_folder(record->id);
  if (failure != 0) fail(failure, "make the trace's folder");
  failure = prof_state_save(record);
  if (failure != 0) {
    (void)prof_state_hide(record->id);
    prof_state_sweep();
    fail(failure, "write the trace's state");
  }
  ProfSharedTrace *trace = &prof_shared->traces[find_place(0)];
  begin_change();
  trace->record = *record;
  trace->more_slots = false;
  pg_atomic_write_u64(&trace->stopped_us, 0);
  pg_atomic_write_u64(&trace->csv_bytes, 0);
  pg_atomic_write_u32(&trace->rings, 0);
  pg_atomic_write_u32(&trace->lost_reason, PROF_LOST_NONE);
  pg_atomic_write_u64(&trace->stop, prof_stop_word(record->id, PROF_STOP_NONE));
  end_change();
}

/* Who may not see others' statements has a trace of its own ones. */
static void set_owner(ProfRecord *record) {
  char *owner = GetUserNameFromId(GetUserId(), false);
  size_t at = 0;
  strlcpy(record->owner_name, owner, sizeof record->owner_name);
  record->owner = GetUserId();
  record->own_only = !sees_all();
  if (!record->own_only) return;
  for (const char *filter; (filter = prof_record_next_filter(record, &at)) != NULL;)
    if (*filter == PROF_FILTER_USER && strcmp(filter + 1, owner) != 0)
      ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                      errmsg("permission denied to trace user \"%s\"", filter + 1),
                      errhint("Only roles with the privileges of pg_read_all_stats may trace others.")));
}

Datum prof_start(PG_FUNCTION_ARGS) {
  ProfRecord *record = palloc0(sizeof *record);
  require_loaded();
  /* Not STRICT: a start that does nothing would look like one that did. */
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                    errmsg("%s must not be null", PG_ARGISNULL(0) ? "a trace's name" : "options")));
  char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
  Jsonb *options = PG_GETARG_JSONB_P(1);
  /* On disk all is UTF-8: databases of any encoding list the same traces. */
  name = pg_server_to_any(name, (int)strlen(name), PG_UTF8);
  if (name[0] == 0 || strlen(name) >= PROF_NAME_BYTES)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("a trace's name must have 1 to %d bytes", PROF_NAME_BYTES - 1)));
  strlcpy(record->name, name, sizeof record->name);
  prof_options_read((struct Jsonb *)options, record);
  char *text = JsonbToCString(NULL, &options->root, VARSIZE(options));
  text = pg_server_to_any(text, (int)strlen(text), PG_UTF8);
  if (strlcpy(record->options_text, text, sizeof record->options_text) >= sizeof record->options_text)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("options must have less than %d bytes", PROF_OPTIONS_BYTES)));
  set_owner(record);
  record->state = PROF_STATE_RUNNING;
  prof_state_boot(record->boot);
  prof_control_tend();
  LWLockAcquire(prof_shared->lock, LW_EXCLUSIVE);
  tend();
  require_room(name);
  record->started_us = prof_now_us();
  launch(record);
  LWLockRelease(prof_shared->lock);
  PG_RETURN_INT32((int32)record->id);
}

Datum prof_stop(PG_FUNCTION_ARGS) {
  int32 id = PG_GETARG_INT32(0);
  ProfRecord *record = palloc(sizeof *record);
  int place;
  prof_control_tend();
  prof_control_find(id, record, &place);
  if (place >= 0) {
    prof_request_stop(place, id, PROF_STOP_REQUESTED);
    LWLockAcquire(prof_shared->lock, LW_EXCLUSIVE);
    tend();
    LWLockRelease(prof_shared->lock);
  }
  PG_RETURN_VOID();
}

Datum prof_drop(PG_FUNCTION_ARGS) {
  int32 id = PG_GETARG_INT32(0);
  ProfRecord *record = palloc(sizeof *record);
  int place;
  prof_control_tend();
  prof_control_find(id, record, &place);
  if (place >= 0)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("trace %d is running", id),
                    errhint("Stop it first: SELECT sql_profiler.stop(%d).", id)));
  LWLockAcquire(prof_shared->lock, LW_EXCLUSIVE);
  /* Somebody may have been quicker. */
  int failure = prof_state_load(id, record);
  if (failure == 0) failure = prof_state_hide(id);
  if (failure == 0)
    pg_atomic_fetch_sub_u64(&prof_shared->stopped_bytes,
                            Min((uint64)record->bytes, pg_atomic_read_u64(&prof_shared->stopped_bytes)));
  LWLockRelease(prof_shared->lock);
  if (failure != 0 && failure != ENOENT) fail(failure, psprintf("drop trace %d", id));
  prof_state_sweep();
  PG_RETURN_VOID();
}
