/*
 * The library's door: settings, shared memory, hooks. In: shared_preload_libraries. Out: an extension that does nothing
 * until a trace is started. Loaded in any other way it does nothing at all, and its functions say so.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "prof_hooks.h"
#include "prof_session.h"
#include "prof_shared.h"

#pragma GCC visibility push(default)
PG_MODULE_MAGIC;
extern void _PG_init(void);
#pragma GCC visibility pop

ProfShared *prof_shared;

bool prof_enabled = true;
int prof_default_total_kb;
int prof_default_file_kb;
int prof_directory_kb;
int prof_default_query_bytes;
int prof_after_restart = PROF_RESTART_CONTINUE;

static shmem_startup_hook_type previous_shmem_startup;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type previous_shmem_request;
#endif

#define TRANCHE "sql_profiler"

/* Backends, workers, walsenders: all that can run a statement. Before 15 it is known only after libraries are loaded. */
int prof_slot_count(void) {
#if PG_VERSION_NUM >= 150000
  return MaxBackends;
#else
  return MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders;
#endif
}

static Size shared_bytes(int slots) {
  return add_size(offsetof(ProfShared, slots), mul_size(sizeof(ProfSlot), (Size)slots));
}

static void request(void) {
#if PG_VERSION_NUM >= 150000
  if (previous_shmem_request != NULL) previous_shmem_request();
#endif
  RequestAddinShmemSpace(shared_bytes(prof_slot_count()));
  RequestNamedLWLockTranche(TRANCHE, 1);
}

/* At each start of the server, and again after a backend crashed. */
static void startup(void) {
  bool found;
  int slots = prof_slot_count();
  if (previous_shmem_startup != NULL) previous_shmem_startup();
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  prof_shared = ShmemInitStruct("sql_profiler", shared_bytes(slots), &found);
  prof_generation = &prof_shared->generation;
  if (!found) {
    memset(prof_shared, 0, shared_bytes(slots));
    prof_shared->slot_count = slots;
    prof_shared->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
    prof_state_startup();
  }
  LWLockRelease(AddinShmemInitLock);
}

static void enabled_changed(bool value, void *extra) {
  (void)value;
  (void)extra;
  prof_session_changed();
}

static void define_settings(void) {
  static const struct config_enum_entry after_restart[] = {
      {"continue", PROF_RESTART_CONTINUE, false}, {"stop", PROF_RESTART_STOP, false}, {NULL, 0, false}};

  DefineCustomBoolVariable("sql_profiler.enabled", "Lets running traces take rows.",
                           "Off: nothing is logged, whatever runs. For emergencies; no function needs to be called.",
                           &prof_enabled, true, PGC_SIGHUP, 0, NULL, enabled_changed, NULL);
  DefineCustomIntVariable("sql_profiler.max_total_bytes", "Disk space of a trace whose start does not name it.",
                          "The trace stops when it is reached.", &prof_default_total_kb, 1024 * 1024, 256, INT_MAX,
                          PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
  DefineCustomIntVariable("sql_profiler.max_file_bytes", "Size of a trace's files where its start does not name it.",
                          "A slot's next file begins when it is reached.", &prof_default_file_kb, 64 * 1024, 64,
                          INT_MAX, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
  DefineCustomIntVariable("sql_profiler.max_directory_bytes", "Disk space of all traces together, stopped ones included.",
                          "The trace that reaches it stops, and none starts. 0: no limit.", &prof_directory_kb,
                          8 * 1024 * 1024, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
  DefineCustomIntVariable("sql_profiler.max_query_bytes", "Longest statement text where a trace's start does not name it.",
                          "Longer ones are cut at a character, and marked.", &prof_default_query_bytes, 32768, 0,
                          64 << 20, PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
  DefineCustomEnumVariable("sql_profiler.after_restart", "What becomes of running traces when the server starts.", NULL,
                           &prof_after_restart, PROF_RESTART_CONTINUE, after_restart, PGC_SIGHUP, 0, NULL, NULL, NULL);
#if PG_VERSION_NUM >= 150000
  MarkGUCPrefixReserved("sql_profiler");
#else
  EmitWarningsOnPlaceholders("sql_profiler");
#endif
}

void _PG_init(void) {
  if (!process_shared_preload_libraries_in_progress) return;
  define_settings();
#if PG_VERSION_NUM >= 150000
  previous_shmem_request = shmem_request_hook;
  shmem_request_hook = request;
#else
  request();
#endif
  previous_shmem_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
  prof_hooks_install();
}
