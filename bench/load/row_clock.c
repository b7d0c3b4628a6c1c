/*
 * Two functions for a backend under measurement, so that what a trace adds to a statement is timed in the process that
 * does it, without a client: bench_statements(n) runs pgbench's SELECT n times by a saved plan and answers nanoseconds
 * of processor time, bench_clock(n) those of n calls of clock_gettime. Built and loaded by bench/runs/profiler_row.ts.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(bench_statements);
PG_FUNCTION_INFO_V1(bench_clock);

static int64 read_ns(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  return (int64)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* Of this process: neighbours do not count. */
static int64 spent_ns(void) { return read_ns(CLOCK_PROCESS_CPUTIME_ID); }

Datum bench_statements(PG_FUNCTION_ARGS) {
  int64 count = PG_GETARG_INT64(0);
  Oid types[1] = {INT4OID};
  SPI_connect();
  SPIPlanPtr plan = SPI_prepare("SELECT abalance FROM pgbench_accounts WHERE aid = $1", 1, types);
  if (plan == NULL) elog(ERROR, "cannot prepare: %d", SPI_result);
  int64 from = spent_ns();
  for (int64 i = 0; i < count; i++) {
    Datum values[1] = {Int32GetDatum((int32)(i * 7919 % 100000) + 1)};
    if (SPI_execute_plan(plan, values, NULL, true, 0) != SPI_OK_SELECT) elog(ERROR, "cannot execute");
    SPI_freetuptable(SPI_tuptable);
    CHECK_FOR_INTERRUPTS();
  }
  int64 took = spent_ns() - from;
  SPI_finish();
  PG_RETURN_INT64(took);
}

Datum bench_clock(PG_FUNCTION_ARGS) {
  int64 count = PG_GETARG_INT64(0);
  int64 sum = 0;
  int64 from = spent_ns();
  for (int64 i = 0; i < count; i++) sum += read_ns(CLOCK_MONOTONIC) & 1;
  PG_RETURN_INT64(spent_ns() - from + (sum < 0));
}
