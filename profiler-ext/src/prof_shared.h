/*
 * What all backends share, and what each backend keeps of it.
 *
 * ProfShared is written under its lock by the control functions alone, inside a change of its generation (odd while it
 * changes), so that readers copy without a lock and look again. Exceptions, all atomic: a trace's stop word (whoever comes
 * to a limit), the bytes written (once per 64 KiB), and the slots, each of which its owner alone writes.
 */
#ifndef PROF_SHARED_H
#define PROF_SHARED_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "prof_record.h"
#include "prof_ring.h"
#include "prof_trace.h"

#pragma GCC visibility push(hidden)

#define PROF_FOLDER "sql_profiler"

typedef struct ProfSharedTrace {
  pg_atomic_uint64 stop; /* id << 32 | PROF_STOP_*: which trace this is, and why it ends; 0: free */
  pg_atomic_uint64 stopped_us;
  pg_atomic_uint64 csv_bytes;
  pg_atomic_uint32 rings;
  pg_atomic_uint32 lost_reason; /* PROF_LOST_* or an errno, of the last loss */
  bool more_slots;              /* files of slots beyond this server's, from before max_connections was lowered */
  ProfRecord record;            /* id 0: free */
} ProfSharedTrace;

typedef struct ProfSlot {
  ProfLine lines[PROF_MAX_RUNNING];
  pg_atomic_uint32 pid; /* a process may write to this slot's files; 0: none */
  int32 root_ids[PROF_MAX_RUNNING];
  int64 root_serial;
  char pad[80];
} ProfSlot __attribute__((aligned(128)));

StaticAssertDecl(sizeof(ProfSlot) == 640, "slots must not share cache lines");

typedef struct ProfShared {
  pg_atomic_uint32 generation; /* starts at 2; odd: a change is under way */
  char pad[124];
  LWLock *lock;
  int32 slot_count;
  int32 last_id;                 /* ids are never given twice; under the lock */
  pg_atomic_uint64 stopped_bytes; /* of all traces that have ended */
  ProfSharedTrace traces[PROF_MAX_RUNNING];
  ProfSlot slots[FLEXIBLE_ARRAY_MEMBER];
} ProfShared;

extern ProfShared *prof_shared; /* NULL where the library was not preloaded */

/* Settings (README.md). */
extern bool prof_enabled;
extern int prof_default_total_kb;
extern int prof_default_file_kb;
extern int prof_directory_kb;
extern int prof_default_query_bytes;
extern int prof_after_restart;
enum { PROF_RESTART_CONTINUE, PROF_RESTART_STOP };

static inline uint64 prof_stop_word(int64 id, uint32 reason) { return (uint64)id << 32 | reason; }

/* Does the trace at this place still run? Not exact before the next change of the generation. */
static inline bool prof_running(ProfSharedTrace *trace) {
  uint64 word = pg_atomic_read_u64(&trace->stop);
  return word != 0 && (uint32)word == PROF_STOP_NONE;
}

/* Microseconds since 1970 UTC. */
extern int64 prof_now_us(void);

/* prof_module.c */
extern int prof_slot_count(void);

/* prof_session.c */
/* Ends trace `id` at place `index` for this reason, unless it has ended already. No lock; files are left to others. */
extern void prof_request_stop(int index, int64 id, uint32 reason);
/* From now on nothing that this session does is traced: it reads traces. */
extern void prof_session_reads(void);

/* prof_sink.c: a trace begins or ends in this backend. */
extern void prof_sink_begin(int bit, int index, const ProfRecord *record);
extern void prof_sink_end(int bit, bool finished);
/* What a running trace takes of the disk, in bytes: its files, rings included. */
extern uint64 prof_sink_bytes_on_disk(ProfSharedTrace *trace);

/* prof_state.c: files of the state folder; 0 or an errno. */
extern void prof_state_folder(char *path, int64 id);
extern int prof_state_save(const ProfRecord *record);
extern int prof_state_load(int64 id, ProfRecord *record);
extern int prof_state_save_last_id(int32 id);
extern int prof_state_make_folder(int64 id);
extern int prof_state_hide(int64 id);
extern void prof_state_sweep(void);
/* Ids of all state files, ascending, in the current memory context. */
extern int32 *prof_state_ids(int *count);
/* Under the lock, for a trace that has ended: counts what its folder holds into rows, lost, bytes, files, settled. */
extern int prof_state_count(ProfRecord *record);
/* Which boot of the machine this is; PROF_BOOT_BYTES. */
extern void prof_state_boot(char *boot);
/* At the server's start, in shared memory that is all zeros but for slot_count and lock. */
extern void prof_state_startup(void);

/* prof_slots.c */
typedef struct ProfSlotInfo {
  int32 slot;
  ProfRingState at;
} ProfSlotInfo;
/* Slots that have rows of this trace, by number, in the current memory context. */
extern ProfSlotInfo *prof_slots(int64 id, int *count);
/* One of them. False: it has none. *line is where its owner publishes, NULL where nobody does. */
extern bool prof_slot(int64 id, int32 slot, ProfRingState *at, ProfLine **line);

/* prof_control.c */
/* Completes what came to its limit or its time; to be called at the start of every function. */
extern void prof_control_tend(void);
/* May the caller see this trace? */
extern bool prof_control_visible(const ProfRecord *record);
/* The record of a trace that the caller may see, else an error. running: its place, or -1. */
extern void prof_control_find(int64 id, ProfRecord *record, int *running);

/* prof_options.c: reads options into record, or throws an error that names the one that is wrong. */
struct Jsonb;
extern void prof_options_read(struct Jsonb *options, ProfRecord *record);

#pragma GCC visibility pop

#endif
