/* Files of a slot; see prof_ring_files.h, and for prof_ring_settle prof_ring.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "prof_ring_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv_columns.h"
#include "prof_ring.h"
#include "prof_row_ends.h"

#define OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define WORD_(number) #number
#define WORD(number) WORD_(number)
#define CSV_SUFFIX ".v" WORD(CSV_FORMAT_VERSION) ".csv"

void prof_ring_path(char *path, const char *folder, int32_t slot, uint64_t file) {
  if (file == 0)
    snprintf(path, PROF_PATH_BYTES, "%s/slot_%06d.ring", folder, (int)slot);
  else
    snprintf(path, PROF_PATH_BYTES, "%s/slot_%06d.%06llu" CSV_SUFFIX, folder, (int)slot, (unsigned long long)file);
}

/* Six digits. */
static bool read_six(const char **text, uint64_t *number) {
  *number = 0;
  for (int i = 0; i < 6; i++, ++*text) {
    if (**text < '0' || **text > '9') return false;
    *number = *number * 10 + (uint64_t)(**text - '0');
  }
  return true;
}

bool prof_ring_parse_name(const char *name, int32_t *slot, uint64_t *file) {
  uint64_t number;
  if (strncmp(name, "slot_", 5) != 0) return false;
  name += 5;
  if (!read_six(&name, &number)) return false;
  *slot = (int32_t)number;
  *file = 0;
  if (strcmp(name, ".ring") == 0) return true;
  return *name++ == '.' && read_six(&name, file) && *file > 0 && strcmp(name, CSV_SUFFIX) == 0;
}

int prof_csv_open(const char *folder, int32_t slot, uint64_t position) {
  char path[PROF_PATH_BYTES];
  struct stat about;
  prof_ring_path(path, folder, slot, prof_file(position));
  int fd = open(path, O_WRONLY | OPEN_FLAGS);
  if (fd < 0) return -errno;
  int failure = 0;
  if (fstat(fd, &about) != 0)
    failure = errno;
  else if (!S_ISREG(about.st_mode) || (uint64_t)about.st_size < prof_offset(position))
    failure = ESTALE;
  if (failure == 0) return fd;
  close(fd);
  return -failure;
}

int prof_csv_write(int fd, struct iovec *pieces, int count, uint64_t offset) {
  uint64_t from = offset;
  while (count > 0) {
    ssize_t wrote = pwritev(fd, pieces, count, (off_t)offset);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      int failure = wrote < 0 ? errno : ENOSPC;
      /* Best effort: what stands behind the end that the header names is nobody's. */
      if (ftruncate(fd, (off_t)from) != 0) errno = failure;
      return failure;
    }
    offset += (uint64_t)wrote;
    size_t left = (size_t)wrote;
    while (count > 0 && left >= pieces->iov_len) {
      left -= pieces->iov_len;
      pieces++;
      count--;
    }
    if (count > 0) {
      pieces->iov_base = (char *)pieces->iov_base + left;
      pieces->iov_len -= left;
    }
  }
  return 0;
}

uint64_t prof_csv_last(const char *folder, int32_t slot) {
  uint64_t last = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int32_t of;
    uint64_t file;
    if (prof_ring_parse_name(entry->d_name, &of, &file) && of == slot && file > last) last = file;
  }
  closedir(dir);
  return last;
}

int prof_csv_create(const char *folder, int32_t slot, uint64_t *file) {
  char path[PROF_PATH_BYTES], unfinished[PROF_PATH_BYTES];
  /*
   * Under another name until its first line is there: who is killed between leaves no file without one. What is found by
   * that name may have got its right one already, so it is never written to.
   */
  snprintf(unfinished, sizeof unfinished, "%s/slot_%06d.new", folder, (int)slot);
  unlink(unfinished);
  int fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | OPEN_FLAGS, 0600);
  if (fd < 0) return errno;
  struct iovec head = {(char *)(uintptr_t)CSV_HEADER, CSV_HEADER_BYTES};
  int failure = prof_csv_write(fd, &head, 1, 0);
  close(fd);
  for (int tries = 0; failure == 0; tries++) {
    if (*file > PROF_MAX_FILES) {
      failure = PROF_LOST_FILES;
      break;
    }
    prof_ring_path(path, folder, slot, *file);
    if (link(unfinished, path) == 0) break;
    if (errno != EEXIST || tries == 2)
      failure = errno;
    else
      *file = prof_csv_last(folder, slot) + 1;
  }
  unlink(unfinished);
  return failure;
}

/* Takes the room on the disk now: a write to the mapping must not find the disk full. */
static int take_room(int fd) {
  if (fallocate(fd, 0, 0, PROF_RING_FILE_BYTES) == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return errno;
  static const char zeros[PROF_RING_PAGE_BYTES];
  for (int at = 0; at < PROF_RING_FILE_BYTES; at += PROF_RING_PAGE_BYTES) {
    ssize_t wrote = pwrite(fd, zeros, sizeof zeros, at);
    if (wrote != sizeof zeros) return wrote < 0 ? errno : ENOSPC;
  }
  return 0;
}

int prof_ring_create(const char *folder, int32_t slot) {
  char path[PROF_PATH_BYTES];
  prof_ring_path(path, folder, slot, 0);
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | OPEN_FLAGS, 0600);
  if (fd < 0) return -errno;
  int failure = take_room(fd);
  if (failure == 0) return fd;
  close(fd);
  unlink(path);
  return -failure;
}

int prof_ring_open(const char *folder, int32_t slot) {
  char path[PROF_PATH_BYTES];
  struct stat about;
  prof_ring_path(path, folder, slot, 0);
  int fd = open(path, O_RDWR | OPEN_FLAGS);
  if (fd < 0) return -errno;
  if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size == PROF_RING_FILE_BYTES) return fd;
  close(fd);
  return -EINVAL;
}

void prof_ring_remove(const char *folder, int32_t slot) {
  char path[PROF_PATH_BYTES];
  prof_ring_path(path, folder, slot, 0);
  unlink(path);
}

static void punch(int fd) {
  /* A file system that cannot does not give the room back before the trace is dropped. */
  (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PROF_RING_PAGE_BYTES, PROF_RING_BYTES);
}

void prof_ring_punch(const char *folder, int32_t slot, ino_t inode) {
  struct stat about;
  int fd = prof_ring_open(folder, slot);
  if (fd < 0) return;
  if (fstat(fd, &about) == 0 && about.st_ino == inode) punch(fd);
  close(fd);
}

bool prof_ring_header_valid(const ProfRingHeader *header, int32_t trace, int32_t slot) {
  if (memcmp(header->magic, PROF_RING_MAGIC, sizeof header->magic) != 0) return false;
  if (header->trace != trace || header->slot != slot || header->lost > header->line) return false;
  if (prof_file(header->base) == 0 || prof_file(header->base) > PROF_MAX_FILES) return false;
  if (prof_offset(header->base) < CSV_HEADER_BYTES) return false;
  return header->committed <= header->base || header->committed - header->base <= PROF_RING_BYTES;
}

static bool read_exactly(int fd, void *to, size_t bytes, off_t at) { return pread(fd, to, bytes, at) == (ssize_t)bytes; }

static int write_header(int fd, const ProfRingHeader *header) {
  ssize_t wrote = pwrite(fd, header, sizeof *header, 0);
  return wrote == (ssize_t)sizeof *header ? 0 : wrote < 0 ? errno : EIO;
}

/* Appends the ring's rows to the CSV. Where that is gone they are lost, and the next owner begins another file. */
static int settle_rows(const char *folder, ProfRingHeader *header, char *rows, enum prof_settle how) {
  size_t bytes = header->committed - header->base;
  uint64_t count = 0;
  size_t whole = prof_rows_salvage(rows, bytes, header->trace, 0, &count);
  struct stat about;
  int fd = prof_csv_open(folder, header->slot, header->base);
  if (fd == -ENOENT || fd == -ESTALE) {
    if (how == PROF_SETTLE_COPY) return 0;
    header->lost = header->lost + count > header->line ? header->line : header->lost + count;
    header->base = header->committed;
    header->sealed = 1;
    return 0;
  }
  if (fd < 0) return -fd;
  /* After the machine went down the header may be older than the file: what was appended since stays. */
  if (how == PROF_SETTLE_SALVAGE && (fstat(fd, &about) != 0 || (uint64_t)about.st_size != prof_offset(header->base)))
    whole = 0;
  struct iovec piece = {rows, whole};
  int failure = prof_csv_write(fd, &piece, whole > 0 ? 1 : 0, prof_offset(header->base));
  close(fd);
  if (failure == 0 && how != PROF_SETTLE_COPY) header->base = header->committed = header->base + whole;
  return failure;
}

/* Seals a file whose end may be torn, at the length that it has. */
static void seal(const char *folder, ProfRingHeader *header) {
  char path[PROF_PATH_BYTES];
  struct stat about;
  prof_ring_path(path, folder, header->slot, prof_file(header->base));
  uint64_t bytes = lstat(path, &about) == 0 && S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
  if (bytes < CSV_HEADER_BYTES) bytes = CSV_HEADER_BYTES;
  if (bytes >= UINT64_C(1) << PROF_OFFSET_BITS) bytes = (UINT64_C(1) << PROF_OFFSET_BITS) - 1;
  header->base = header->committed = prof_position(prof_file(header->base), bytes);
  header->sealed = 1;
}

int prof_ring_settle(const char *folder, int32_t trace, int32_t slot, enum prof_settle how, ProfRingState *state) {
  ProfRingHeader header, again;
  char *rows = NULL;
  int failure = 0;
  memset(state, 0, sizeof *state);
  int fd = prof_ring_open(folder, slot);
  if (fd < 0) return -fd;
  for (int tries = 0; failure == 0; tries++) {
    if (!read_exactly(fd, &header, sizeof header, 0) || !prof_ring_header_valid(&header, trace, slot)) {
      failure = EINVAL;
      break;
    }
    if (header.committed < header.base) header.committed = header.base;
    if (how == PROF_SETTLE_LOOK || how == PROF_SETTLE_RELEASE || header.committed == header.base) break;
    size_t bytes = header.committed - header.base;
    if (rows == NULL && (rows = malloc(PROF_RING_BYTES)) == NULL) {
      failure = ENOMEM;
      break;
    }
    if (!read_exactly(fd, rows, bytes, PROF_RING_PAGE_BYTES)) {
      failure = EIO;
      break;
    }
    /* While its owner is at work, the ring may have been emptied and filled again meanwhile. */
    if (how == PROF_SETTLE_COPY) {
      __atomic_thread_fence(__ATOMIC_SEQ_CST);
      if (!read_exactly(fd, &again, sizeof again, 0)) failure = EIO;
      if (failure == 0 && again.base != header.base && tries < 100) continue;
      if (failure == 0 && again.base != header.base) failure = EBUSY;
    }
    if (failure == 0) failure = settle_rows(folder, &header, rows, how);
    break;
  }
  free(rows);
  if (failure == 0 && how >= PROF_SETTLE_RELEASE) {
    if (how == PROF_SETTLE_SALVAGE) seal(folder, &header);
    header.open = 0;
    failure = write_header(fd, &header);
    if (failure == 0 && how == PROF_SETTLE_FINISH) punch(fd);
  }
  close(fd);
  if (failure == 0 || failure == ENOSPC) {
    state->base = header.base;
    state->committed = header.committed;
    state->line = header.line;
    state->lost = header.lost;
    state->open = header.open != 0;
  }
  return failure;
}
