/*
 * The SQL function read: rows of one file of a slot, from a byte on, whole ones only. In: an id, a slot, a file's number;
 * never a path. Out: bytea of CSV. Bytes that are flushed come from the CSV file, the rest from the ring file, both read
 * and not mapped; while the slot's owner empties its ring meanwhile, they are read again.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "prof_row_ends.h"
#include "prof_shared.h"

#pragma GCC visibility push(default)
PG_FUNCTION_INFO_V1(prof_read);
#pragma GCC visibility pop

#define READ_BYTES_MAX (64 << 20)

/* Up to bytes bytes of a file; fewer where it ends, none where it is not there. */
static size_t read_file(const char *path, uint64 from, char *to, size_t bytes) {
  size_t got = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno != ENOENT)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
  if (fd < 0) return 0;
  while (got < bytes) {
    ssize_t more = pread(fd, to + got, bytes - got, (off_t)(from + got));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) {
      int failure = errno;
      close(fd);
      errno = failure;
      ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
    }
    if (more == 0) break;
    got += (size_t)more;
  }
  close(fd);
  return got;
}

static uint64 file_bytes(const char *path) {
  struct stat about;
  return lstat(path, &about) == 0 && S_ISREG(about.st_mode) ? (uint64)about.st_size : 0;
}

typedef struct source {
  int64 id;
  int32 slot;
  uint64 file;
  char csv[PROF_PATH_BYTES];
  char ring[PROF_PATH_BYTES];
} source;

/* Where the file's rows end, and how much of it is in the CSV; false: there is nothing of it. */
static bool look(const source *of, ProfRingState *at, uint64 *end, uint64 *in_csv) {
  ProfLine *line;
  if (!prof_slot(of->id, of->slot, at, &line) || of->file > prof_file(at->committed)) return false;
  *end = *in_csv = of->file < prof_file(at->committed) ? file_bytes(of->csv) : prof_offset(at->committed);
  if (of->file == prof_file(at->base)) *in_csv = prof_offset(at->base);
  return true;
}

/* Bytes from..from + want of the file. True, unless the ring was emptied meanwhile. */
static bool copy(const source *of, uint64 from, char *to, size_t want, size_t *got) {
  ProfRingState at, again;
  uint64 end, in_csv;
  *got = 0;
  if (!look(of, &at, &end, &in_csv)) return true;
  if (want > end - from) want = end - from;
  if (from < in_csv) {
    size_t part = Min(want, in_csv - from);
    *got = read_file(of->csv, from, to, part);
    if (*got < part) return true;
  }
  if (*got == want) return true;
  size_t rest = want - *got;
  size_t ring = read_file(of->ring, PROF_RING_PAGE_BYTES + (from + *got - in_csv), to + *got, rest);
  pg_read_barrier();
  if (!look(of, &again, &end, &in_csv) || again.base != at.base) return false;
  *got += ring;
  return true;
}

/* Whole rows of at least want bytes where there are that many, at least one row. */
static bytea *read_rows(const source *of, uint64 from, size_t want) {
  for (;;) {
    ProfRingState at;
    uint64 end, in_csv;
    size_t got;
    CHECK_FOR_INTERRUPTS();
    uint64 left = look(of, &at, &end, &in_csv) && end > from ? end - from : 0;
    size_t bytes = Min(left, want);
    bytea *result = palloc(VARHDRSZ + bytes);
    if (bytes == 0 || copy(of, from, VARDATA(result), bytes, &got)) {
      size_t whole = bytes == 0 ? 0 : prof_rows_whole(VARDATA(result), got);
      if (whole == 0 && bytes > 0 && got == bytes && bytes < left && want < MaxAllocSize / 2 - VARHDRSZ) {
        /* A row longer than that. */
        want *= 2;
      } else {
        SET_VARSIZE(result, VARHDRSZ + whole);
        return result;
      }
    }
    pfree(result);
  }
}

Datum prof_read(PG_FUNCTION_ARGS) {
  source of;
  char folder[64];
  int running;
  int64 from = PG_GETARG_INT64(3);
  int32 most = PG_GETARG_INT32(4);
  ProfRecord *record = palloc(sizeof *record);
  of.id = PG_GETARG_INT32(0);
  of.slot = PG_GETARG_INT32(1);
  of.file = (uint64)Max(PG_GETARG_INT32(2), 0);
  prof_control_tend();
  prof_session_reads();
  prof_control_find(of.id, record, &running);
  pfree(record);
  if (of.file == 0) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("files are counted from 1")));
  if (from < 0) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("from_bytes must not be negative")));
  if (most < 1 || most > READ_BYTES_MAX)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("max_bytes must be from 1 to %d", READ_BYTES_MAX)));
  prof_state_folder(folder, of.id);
  prof_ring_path(of.csv, folder, of.slot, of.file);
  prof_ring_path(of.ring, folder, of.slot, 0);
  PG_RETURN_BYTEA_P(read_rows(&of, (uint64)from, (size_t)most));
}
