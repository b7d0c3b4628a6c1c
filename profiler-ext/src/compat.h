/*
 * What differs between PostgreSQL 13 and 18, in one place: signatures of hooks, places of fields. In and out: nothing.
 */
#ifndef PROF_COMPAT_H
#define PROF_COMPAT_H

#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "portability/instr_time.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/utility.h"

#if PG_VERSION_NUM < 130000
#error "sql_profiler needs PostgreSQL 13 or newer"
#endif

#if PG_VERSION_NUM >= 180000
#define PROF_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define PROF_RUN_ARGUMENTS queryDesc, direction, count
#define PROF_RUN_ONCE false /* no longer told: what can be fetched from again is seen in the flags of its start */
#else
#define PROF_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define PROF_RUN_ARGUMENTS queryDesc, direction, count, execute_once
#define PROF_RUN_ONCE execute_once
#endif

#if PG_VERSION_NUM >= 140000
#define PROF_UTILITY_PARAMETERS                                                                                        \
  PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context, ParamListInfo params, \
      QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define PROF_UTILITY_ARGUMENTS pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc
#else
#define PROF_UTILITY_PARAMETERS                                                                                        \
  PlannedStmt *pstmt, const char *queryString, ProcessUtilityContext context, ParamListInfo params,                    \
      QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define PROF_UTILITY_ARGUMENTS pstmt, queryString, context, params, queryEnv, dest, qc
#endif

/* The virtual transaction id's halves, as pg_locks shows them. */
#if PG_VERSION_NUM >= 170000
#define PROF_VXID_BACKEND(proc) ((proc)->vxid.procNumber)
#define PROF_VXID_LOCAL(proc) ((proc)->vxid.lxid)
#else
#define PROF_VXID_BACKEND(proc) ((proc)->backendId)
#define PROF_VXID_LOCAL(proc) ((proc)->lxid)
#endif

/* Index of this backend's PGPROC. */
#if PG_VERSION_NUM >= 170000
#define PROF_SLOT ((int)MyProcNumber)
#else
#define PROF_SLOT (MyProc->pgprocno)
#endif

/* Nanoseconds of an instr_time that holds a duration. */
static inline int64 prof_duration_ns(instr_time duration) {
#if PG_VERSION_NUM >= 160000
  return INSTR_TIME_GET_NANOSEC(duration);
#else
  return (int64)duration.tv_sec * 1000000000 + duration.tv_nsec;
#endif
}

/* I/O times of this process so far, in the order of the columns; what this version has not got stays as it is. */
#define PROF_IO_TIMES 6

static inline void prof_io_times(int64 *ns) {
#if PG_VERSION_NUM >= 170000
  ns[0] = prof_duration_ns(pgBufferUsage.shared_blk_read_time);
  ns[1] = prof_duration_ns(pgBufferUsage.shared_blk_write_time);
  ns[2] = prof_duration_ns(pgBufferUsage.local_blk_read_time);
  ns[3] = prof_duration_ns(pgBufferUsage.local_blk_write_time);
#else
  ns[0] = prof_duration_ns(pgBufferUsage.blk_read_time);
  ns[1] = prof_duration_ns(pgBufferUsage.blk_write_time);
#endif
#if PG_VERSION_NUM >= 150000
  ns[4] = prof_duration_ns(pgBufferUsage.temp_blk_read_time);
  ns[5] = prof_duration_ns(pgBufferUsage.temp_blk_write_time);
#endif
}

/* Which of them this version has, a bit each. */
#if PG_VERSION_NUM >= 170000
#define PROF_IO_KNOWN 0x3f
#elif PG_VERSION_NUM >= 150000
#define PROF_IO_KNOWN 0x33
#else
#define PROF_IO_KNOWN 0x03
#endif

#endif
