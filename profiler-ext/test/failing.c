/*
 * Calls of the library that fail when a session asks for it, for tests: the linker puts these in the place of the calls of
 * our own objects (build.sh, PROF_VARIANT=failing); nobody else's calls are touched. In: the session's setting failing.at,
 * "n" (the n-th call from the moment it was set fails) or "n+" (all from the n-th on). Out: the failure that the call would
 * have, and its name as a line of failing.log in the data directory.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

static char set_to[32];
static long calls;

static bool fails(const char *name) {
  const char *setting = MyProc == NULL ? NULL : GetConfigOption("failing.at", true, false);
  if (setting == NULL || setting[0] == 0) return false;
  if (strcmp(setting, set_to) != 0) {
    strlcpy(set_to, setting, sizeof set_to);
    calls = 0;
  }
  char *end;
  long at = strtol(setting, &end, 10);
  calls++;
  if (calls != at && !(*end == '+' && calls > at)) return false;
  FILE *log = fopen("failing.log", "a");
  if (log == NULL || fputs(name, log) < 0 || fputc('\n', log) < 0 || fclose(log) != 0) _exit(2);
  return true;
}

/* An errno and a result, of what the C library does for us. */
#define WRAP(result, name, parameters, arguments, failure, code)                                                               \
  extern result __real_##name parameters;                                                                                      \
  extern result __wrap_##name parameters;                                                                                      \
  result __wrap_##name parameters {                                                                                            \
    if (!fails(#name)) return __real_##name arguments;                                                                         \
    errno = code;                                                                                                              \
    return failure;                                                                                                            \
  }
/* What PostgreSQL throws when there is no memory. */
#define WRAP_THROWS(result, name, parameters, arguments)                                                                       \
  extern result __real_##name parameters;                                                                                      \
  extern result __wrap_##name parameters;                                                                                      \
  result __wrap_##name parameters {                                                                                            \
    if (fails(#name)) ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("In " #name ".")));   \
    return __real_##name arguments;                                                                                            \
  }
/* What it answers instead, where it was asked not to throw. */
#define WRAP_ASKED(name)                                                                                                       \
  extern void *__real_##name(MemoryContext context, Size size, int flags);                                                     \
  extern void *__wrap_##name(MemoryContext context, Size size, int flags);                                                     \
  void *__wrap_##name(MemoryContext context, Size size, int flags) {                                                           \
    return fails(#name) ? NULL : __real_##name(context, size, flags);                                                          \
  }

WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t from), (at, n, prot, flags, fd, from), MAP_FAILED, ENOMEM)
WRAP(int, fstat, (int fd, struct stat *about), (fd, about), -1, EIO)
WRAP(int, lstat, (const char *path, struct stat *about), (path, about), -1, EACCES)
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), -1, EIO)
WRAP(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), -1, ENOSPC)
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), -1, EIO)
WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), -1, EIO)
WRAP(int, fallocate, (int fd, int mode, off_t from, off_t n), (fd, mode, from, n), -1, ENOSPC)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), -1, EIO)
WRAP(int, fsync, (int fd), (fd), -1, EIO)
WRAP(int, link, (const char *from, const char *to), (from, to), -1, EMLINK)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EACCES)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC)
WRAP(DIR *, opendir, (const char *path), (path), NULL, EMFILE)
WRAP(void *, malloc, (size_t n), (n), NULL, ENOMEM)
WRAP(void *, realloc, (void *of, size_t n), (of, n), NULL, ENOMEM)
WRAP_ASKED(MemoryContextAllocExtended)
WRAP_THROWS(void *, palloc, (Size n), (n))
WRAP_THROWS(void *, palloc0, (Size n), (n))
WRAP_THROWS(void *, MemoryContextAlloc, (MemoryContext context, Size n), (context, n))
WRAP_THROWS(char *, OidOutputFunctionCall, (Oid function, Datum value), (function, value))

/* Half of it first, as a disk that gets full takes it. */
extern ssize_t __real_pwritev(int fd, const struct iovec *pieces, int count, off_t at);
extern ssize_t __wrap_pwritev(int fd, const struct iovec *pieces, int count, off_t at);
static bool got_full;
ssize_t __wrap_pwritev(int fd, const struct iovec *pieces, int count, off_t at) {
  if (!got_full && fails("pwritev")) {
    struct iovec half = {pieces->iov_base, pieces->iov_len / 2};
    got_full = half.iov_len > 0;
    if (got_full) return __real_pwritev(fd, &half, 1, at);
    errno = ENOSPC;
    return -1;
  }
  if (got_full) {
    got_full = false;
    errno = ENOSPC;
    return -1;
  }
  return __real_pwritev(fd, pieces, count, at);
}

extern int __real_open(const char *path, int flags, ...);
extern int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (!fails("open")) return __real_open(path, flags, mode);
  errno = EMFILE;
  return -1;
}

/* Explaining allocates much: its first call stands for them all. */
extern void *__real_NewExplainState(void);
extern void *__wrap_NewExplainState(void);
void *__wrap_NewExplainState(void) {
  if (fails("NewExplainState")) ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
  return __real_NewExplainState();
}
