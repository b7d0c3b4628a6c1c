/*
 * The columns of a trace file, in the order in which they stand in it: the one list that the writer (profiler-ext) and the
 * reader share. A column is only ever added, and always before query, params and plan, which are long and come last.
 *
 * In and out: nothing, this is a table. X(name, type, unit, min_server_version): the type is the end of a COL_ constant of
 * columns.h, the unit is "" for plain numbers and texts, and servers older than the last number leave the column empty.
 * Meaning and further conditions: profiler-ext/COLUMNS.md.
 */
#ifndef CSV_COLUMNS_H
#define CSV_COLUMNS_H

/* Part of each file's name; another number is another format. */
#define CSV_FORMAT_VERSION 1

#define CSV_COLUMNS(X)                              \
  X(trace, INT4, "", 130000)                        \
  X(line, INT8, "", 130000)                         \
  X(end_time, TIMESTAMPTZ, "us", 130000)            \
  X(exec_us, INT8, "us", 130000)                    \
  X(elapsed_us, INT8, "us", 130000)                 \
  X(serial, INT8, "", 130000)                       \
  X(parent, INT8, "", 130000)                       \
  X(level, INT4, "", 130000)                        \
  X(vxid, TEXT, "", 130000)                         \
  X(xid, XID, "", 130000)                           \
  X(pid, INT4, "", 130000)                          \
  X(backend_start, TIMESTAMPTZ, "us", 130000)       \
  X(slot, INT4, "", 130000)                         \
  X(database, NAME, "", 130000)                     \
  X(username, NAME, "", 130000)                     \
  X(application, TEXT, "", 130000)                  \
  X(client, TEXT, "", 130000)                       \
  X(encoding, NAME, "", 130000)                     \
  X(query_id, INT8, "", 130000)                     \
  X(tag, TEXT, "", 130000)                          \
  X(plan_us, INT8, "us", 130000)                    \
  X(rows, INT8, "rows", 130000)                     \
  X(shared_hit, INT8, "blocks", 130000)             \
  X(shared_read, INT8, "blocks", 130000)            \
  X(shared_dirtied, INT8, "blocks", 130000)         \
  X(shared_written, INT8, "blocks", 130000)         \
  X(local_hit, INT8, "blocks", 130000)              \
  X(local_read, INT8, "blocks", 130000)             \
  X(local_dirtied, INT8, "blocks", 130000)          \
  X(local_written, INT8, "blocks", 130000)          \
  X(temp_read, INT8, "blocks", 130000)              \
  X(temp_written, INT8, "blocks", 130000)           \
  X(shared_read_us, INT8, "us", 130000)             \
  X(shared_write_us, INT8, "us", 130000)            \
  X(local_read_us, INT8, "us", 170000)              \
  X(local_write_us, INT8, "us", 170000)             \
  X(temp_read_us, INT8, "us", 150000)               \
  X(temp_write_us, INT8, "us", 150000)              \
  X(wal_records, INT8, "records", 130000)           \
  X(wal_fpi, INT8, "images", 130000)                \
  X(wal_bytes, INT8, "bytes", 130000)               \
  X(jit_us, INT8, "us", 130000)                     \
  X(workers_planned, INT4, "processes", 130000)     \
  X(workers_launched, INT4, "processes", 130000)    \
  X(sqlstate, TEXT, "", 130000)                     \
  X(error, TEXT, "", 130000)                        \
  X(cpu_user_us, INT8, "us", 130000)                \
  X(cpu_system_us, INT8, "us", 130000)              \
  X(minor_faults, INT8, "faults", 130000)           \
  X(major_faults, INT8, "faults", 130000)           \
  X(voluntary_switches, INT8, "switches", 130000)   \
  X(involuntary_switches, INT8, "switches", 130000) \
  X(flags, INT4, "", 130000)                        \
  X(query, TEXT, "", 130000)                        \
  X(params, TEXT, "", 130000)                       \
  X(plan, TEXT, "", 130000)

/* CSV_COL_trace, CSV_COL_line, .. : place of a column in a row, from 0. */
#define CSV_COLUMN_NUMBER_(name, type, unit, version) CSV_COL_##name,
enum csv_column { CSV_COLUMNS(CSV_COLUMN_NUMBER_) CSV_COLUMN_COUNT };

/* The first line of each file, with its "\n"; CSV_HEADER_BYTES without the NUL behind it. */
#define CSV_COLUMN_HEAD_(name, type, unit, version) "," #name
#define CSV_HEADER (&CSV_COLUMNS(CSV_COLUMN_HEAD_) "\n"[1])
#define CSV_HEADER_BYTES (sizeof(CSV_COLUMNS(CSV_COLUMN_HEAD_) "\n") - 2)

/* Bits of the column flags. */
enum csv_flag {
  CSV_FLAG_QUERY_CUT = 1,
  CSV_FLAG_PARAMS_CUT = 2,
  CSV_FLAG_PLAN_CUT = 4,
  CSV_FLAG_PROPAGATED = 8,   /* the error was thrown by a nested statement, whose row has its message */
  CSV_FLAG_WORKER = 16,      /* row of a parallel worker, already counted in its leader's */
  CSV_FLAG_CANCELLED = 32,   /* ended by a cancel request, a timeout or the server */
  CSV_FLAG_IMPLICIT = 64,    /* commit or rollback that no statement asked for */
  CSV_FLAG_MASKED = 128,     /* literals of a secret were replaced */
  CSV_FLAG_ERROR_CUT = 256
};

#endif
