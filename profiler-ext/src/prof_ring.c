/*
 * Rings and CSV files of a slot, the usual path excepted; see prof_ring.h. No file stays open: a CSV is opened for each
 * 64 KiB, so that thousands of backends hold no descriptors and a file that was removed is noticed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "prof_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "csv_columns.h"
#include "prof_fault.h"
#include "prof_ring_files.h"
#include "prof_row_ends.h"

static uint64_t publish(uint64_t *where, uint64_t value) {
  __atomic_store_n(where, value, __ATOMIC_RELEASE);
  return value;
}

static void set_limit(ProfRing *ring) {
  uint64_t room = PROF_ROOM_BYTES;
  uint64_t offset = prof_offset(ring->base);
  uint64_t left = ring->max_file_bytes > offset ? ring->max_file_bytes - offset : 0;
  ring->limit = ring->base + (left < room ? left : room);
}

/*
 * The ring is empty and the file's rows end at position. Base first: a reader that comes between takes the ring as empty.
 * The fence keeps the rows that go into the ring next behind it.
 */
static void set_empty_at(ProfRing *ring, uint64_t position) {
  publish(&ring->header->base, position);
  publish(&ring->shared->base, position);
  publish(&ring->header->committed, position);
  publish(&ring->shared->committed, position);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  ring->base = ring->committed = position;
  ring->rows_in_ring_from = ring->line - ring->lost;
  set_limit(ring);
}

void prof_ring_set_prefix(ProfRing *ring) {
  char text[PROF_PREFIX_BYTES + 8];
  int length = snprintf(text, sizeof text, "%d,%llu,", (int)ring->trace, (unsigned long long)ring->line + 1);
  if (length > PROF_PREFIX_BYTES) length = PROF_PREFIX_BYTES;
  memcpy(ring->prefix + PROF_PREFIX_BYTES - length, text, (size_t)length);
  ring->prefix_length = length;
}

void prof_ring_init(ProfRing *ring, int32_t trace, int32_t slot, const char *folder, ProfLine *shared,
                    uint64_t max_file_bytes) {
  memset(ring, 0, sizeof *ring);
  ring->trace = trace;
  ring->slot = slot;
  ring->folder = folder;
  ring->shared = shared;
  ring->max_file_bytes = max_file_bytes;
  if (shared->trace == trace) {
    ring->line = shared->line;
    ring->lost = shared->lost;
  } else {
    publish(&shared->committed, 0);
    publish(&shared->base, 0);
    publish(&shared->line, 0);
    publish(&shared->lost, 0);
    __atomic_store_n(&shared->trace, trace, __ATOMIC_RELEASE);
  }
  prof_ring_set_prefix(ring);
}

/* The line number advances, the loss is counted. */
static void count_lost(ProfRing *ring, uint64_t rows, uint64_t lines) {
  ring->line += lines;
  ring->lost += rows;
  publish(&ring->shared->lost, ring->lost);
  publish(&ring->shared->line, ring->line);
  if (ring->header != NULL) {
    publish(&ring->header->lost, ring->lost);
    publish(&ring->header->line, ring->line);
  }
  prof_ring_set_prefix(ring);
}

void prof_ring_lose(ProfRing *ring) { count_lost(ring, 1, 1); }

/* What was in the ring is gone with the file it belonged to; readers may have been told of it, so that file is at its end. */
static void lose_ring(ProfRing *ring) {
  count_lost(ring, ring->line - ring->lost - ring->rows_in_ring_from, 0);
  set_empty_at(ring, ring->committed);
  ring->header->sealed = 1;
  ring->sealed = true;
  ring->limit = 0;
  ring->note = PROF_LOST_REMOVED;
}

static void unmap(ProfRing *ring) {
  if (ring->map != NULL) {
    prof_fault_release(ring->map);
    munmap(ring->map, PROF_RING_FILE_BYTES);
  }
  ring->map = NULL;
  ring->header = NULL;
  ring->data = NULL;
  ring->limit = 0;
  ring->faulted = 0;
  ring->sealed = false;
}

static bool reserve(ProfRing *ring, int64_t bytes) {
  return ring->reserve == NULL || ring->reserve(ring->context, bytes, false);
}

static bool reserve_ring(ProfRing *ring) {
  return ring->reserve == NULL || ring->reserve(ring->context, PROF_RING_FILE_BYTES, true);
}

static void give_back_ring(ProfRing *ring) {
  if (ring->reserve != NULL) ring->reserve(ring->context, -PROF_RING_FILE_BYTES, true);
}

/* Writes pieces at the end of the CSV file. On failure the file ends where it ended before. */
static int append_file(ProfRing *ring, struct iovec *pieces, int count, uint64_t bytes) {
  int fd = prof_csv_open(ring->folder, ring->slot, ring->base);
  if (fd < 0) return -fd == ENOENT || -fd == ESTALE ? PROF_LOST_REMOVED : -fd;
  if (!reserve(ring, (int64_t)bytes)) {
    close(fd);
    return PROF_LOST_LIMIT;
  }
  int failure = prof_csv_write(fd, pieces, count, prof_offset(ring->base));
  close(fd);
  if (failure != 0) reserve(ring, -(int64_t)bytes);
  return failure;
}

static int flush(ProfRing *ring) {
  if (ring->faulted) return EFAULT;
  if (ring->committed == ring->base) return 0;
  size_t bytes = ring->committed - ring->base;
  struct iovec piece = {ring->data, bytes};
  int failure = append_file(ring, &piece, 1, bytes);
  /* The kernel met what would have been a signal. */
  if (failure == EFAULT) ring->faulted = 1;
  if (failure == 0) set_empty_at(ring, ring->committed);
  return failure;
}

/* Begins the file after position's. Returns 0 or why not. */
static int next_file(ProfRing *ring, uint64_t position) {
  uint64_t file = prof_file(position) + 1;
  if (!reserve(ring, CSV_HEADER_BYTES)) return PROF_LOST_LIMIT;
  int failure = prof_csv_create(ring->folder, ring->slot, &file);
  if (failure != 0) {
    reserve(ring, -(int64_t)CSV_HEADER_BYTES);
    return failure;
  }
  set_empty_at(ring, prof_position(file, CSV_HEADER_BYTES));
  ring->header->sealed = 0;
  ring->sealed = false;
  return 0;
}

/* Maps the ring file. Returns 0 or an errno; the descriptor is closed in any case. */
static int map_ring(ProfRing *ring, int fd) {
  struct stat about;
  int failure = 0;
  void *map = MAP_FAILED;
  if (fstat(fd, &about) != 0 ||
      (map = mmap(NULL, PROF_RING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
    failure = errno;
  close(fd);
  if (failure != 0) return failure;
  ring->faulted = 0;
  if (!prof_fault_guard(map, PROF_RING_FILE_BYTES, &ring->faulted)) {
    munmap(map, PROF_RING_FILE_BYTES);
    return ENOMEM;
  }
  ring->map = map;
  ring->header = map;
  ring->data = (char *)map + PROF_RING_PAGE_BYTES;
  ring->inode = about.st_ino;
  return 0;
}

/* A ring of its own for a slot that has none. It is one once its magic is there. after: the file before its first. */
static int create_ring(ProfRing *ring, uint64_t after) {
  if (!reserve_ring(ring)) return PROF_LOST_LIMIT;
  int fd = prof_ring_create(ring->folder, ring->slot);
  int failure = fd < 0 ? -fd : map_ring(ring, fd);
  if (failure == 0) {
    ring->header->trace = ring->trace;
    ring->header->slot = ring->slot;
    ring->header->line = ring->line;
    ring->header->lost = ring->lost;
    ring->header->open = 1;
    failure = next_file(ring, prof_position(after, 0));
  }
  if (failure == 0 && ring->faulted) failure = PROF_LOST_FAULT;
  if (failure != 0) {
    unmap(ring);
    if (fd >= 0) prof_ring_remove(ring->folder, ring->slot);
    give_back_ring(ring);
    return failure;
  }
  __atomic_thread_fence(__ATOMIC_RELEASE);
  memcpy(ring->header->magic, PROF_RING_MAGIC, sizeof ring->header->magic);
  return 0;
}

/* Goes on where the slot's last owner ended. ENOENT: there is nothing to go on with. */
static int continue_ring(ProfRing *ring) {
  int fd = prof_ring_open(ring->folder, ring->slot);
  if (fd == -EINVAL) prof_ring_remove(ring->folder, ring->slot);
  if (fd < 0) return fd == -EINVAL ? ENOENT : -fd;
  int failure = map_ring(ring, fd);
  if (failure != 0) return failure;
  ProfRingHeader header = *ring->header;
  if (ring->faulted || !prof_ring_header_valid(&header, ring->trace, ring->slot)) {
    unmap(ring);
    prof_ring_remove(ring->folder, ring->slot);
    give_back_ring(ring);
    return ENOENT;
  }
  if (header.line > ring->line) {
    ring->line = header.line;
    ring->lost = header.lost;
  }
  ring->base = header.base;
  ring->committed = header.committed > header.base ? header.committed : header.base;
  /* How many of the rows are in the ring is not written down: count, if one day they are lost. */
  uint64_t rows;
  prof_rows_salvage(ring->data, ring->committed - ring->base, ring->trace, 0, &rows);
  ring->rows_in_ring_from = ring->line - ring->lost - rows;
  set_limit(ring);
  publish(&ring->shared->lost, ring->lost);
  publish(&ring->shared->line, ring->line);
  publish(&ring->shared->base, ring->base);
  publish(&ring->shared->committed, ring->committed);
  __atomic_store_n(&ring->header->open, 1, __ATOMIC_RELAXED);
  prof_ring_set_prefix(ring);
  if (header.sealed) {
    ring->sealed = true;
    ring->limit = 0;
  }
  return 0;
}

static int open_ring(ProfRing *ring) {
  int failure = continue_ring(ring);
  if (failure != ENOENT) return failure;
  /* Files may be there without a ring: somebody removed it. Theirs are not touched. */
  return create_ring(ring, prof_csv_last(ring->folder, ring->slot));
}

/* The ring file was removed by somebody: what is in memory is still ours, but the next owner would not find it. */
static bool ring_removed(const ProfRing *ring) {
  char path[PROF_PATH_BYTES];
  struct stat about;
  prof_ring_path(path, ring->folder, ring->slot, 0);
  return lstat(path, &about) != 0 || about.st_ino != ring->inode;
}

/* Writes what is known of the slot into its ring file, which is not mapped: the next owner begins another CSV. */
static bool write_sealed_header(const ProfRing *ring, int fd) {
  ProfRingHeader header;
  memcpy(header.magic, PROF_RING_MAGIC, sizeof header.magic);
  header.trace = ring->trace;
  header.slot = ring->slot;
  header.base = header.committed = ring->base;
  header.line = ring->line;
  header.lost = ring->lost;
  header.open = header.sealed = 1;
  return pwrite(fd, &header, sizeof header, 0) == (ssize_t)sizeof header;
}

/*
 * The mapping is not the file any more. Rows that still are in the file (no room to write a page back leaves them there, a
 * truncation does not) go into the CSV, now or when there is room for them: until then they can be read where they are.
 * The rest is lost. Rows that come go into another CSV, since readers may have been told of some that are gone.
 */
static int recover_from_fault(ProfRing *ring) {
  static char rows[PROF_RING_BYTES];
  size_t found = 0;
  uint64_t count = 0;
  int failure = 0;
  unmap(ring);
  ring->recovering = true;
  int fd = prof_ring_open(ring->folder, ring->slot);
  if (fd >= 0) {
    ssize_t got = pread(fd, rows, ring->committed - ring->base, PROF_RING_PAGE_BYTES);
    if (got > 0) found = prof_rows_salvage(rows, (size_t)got, ring->trace, 0, &count);
  }
  if (found > 0) {
    struct iovec piece = {rows, found};
    failure = append_file(ring, &piece, 1, found);
    if (failure == PROF_LOST_REMOVED) found = count = 0;
  }
  if (failure == 0 || failure == PROF_LOST_REMOVED) {
    uint64_t were = ring->line - ring->lost - ring->rows_in_ring_from;
    if (were > count) ring->note = PROF_LOST_FAULT;
    count_lost(ring, were > count ? were - count : 0, 0);
    ring->rows_in_ring_from = ring->line - ring->lost;
    ring->base = ring->committed = publish(&ring->shared->base, ring->base + found);
    publish(&ring->shared->committed, ring->base);
    if (fd < 0 || !write_sealed_header(ring, fd)) {
      prof_ring_remove(ring->folder, ring->slot);
      give_back_ring(ring);
    }
    ring->recovering = false;
    failure = 0;
  }
  if (fd >= 0) close(fd);
  return failure;
}

/* Empties the ring to make room; where the file is gone, so is what was to be appended to it. */
static int make_room(ProfRing *ring) {
  int failure = ring->sealed ? 0 : flush(ring);
  if (failure == PROF_LOST_REMOVED) {
    lose_ring(ring);
    failure = 0;
  }
  if (failure == 0 && ring->sealed) failure = next_file(ring, ring->committed);
  if (failure == 0 && ring_removed(ring)) {
    uint64_t position = ring->committed;
    unmap(ring);
    give_back_ring(ring);
    failure = create_ring(ring, prof_file(position));
  }
  return failure;
}

/* Longer than the ring, which is empty. */
static int write_through(ProfRing *ring, const char *body, size_t length) {
  size_t prefix = (size_t)ring->prefix_length;
  struct iovec pieces[2] = {{ring->prefix + PROF_PREFIX_BYTES - prefix, prefix}, {(char *)(uintptr_t)body, length}};
  int failure = append_file(ring, pieces, 2, prefix + length);
  if (failure != 0) return failure;
  uint64_t line = ++ring->line;
  publish(&ring->header->line, line);
  publish(&ring->shared->line, line);
  set_empty_at(ring, ring->base + prefix + length);
  prof_ring_set_prefix(ring);
  return 0;
}

static int append_once(ProfRing *ring, const char *body, size_t length) {
  int failure = 0;
  if ((ring->faulted || ring->recovering) && (failure = recover_from_fault(ring)) != 0) return failure;
  if (ring->header == NULL && (failure = open_ring(ring)) != 0) return failure;
  if (prof_ring_append(ring, body, length)) return 0;
  if (ring->faulted) return EFAULT;
  uint64_t bytes = (uint64_t)ring->prefix_length + length;
  bool outgrows = prof_offset(ring->committed) + bytes > ring->max_file_bytes;
  if ((failure = make_room(ring)) != 0) return failure;
  if (outgrows && prof_offset(ring->base) > CSV_HEADER_BYTES && (failure = next_file(ring, ring->base)) != 0)
    return failure;
  /* A row alone may be longer than a file should be. */
  if (bytes > PROF_ROOM_BYTES || ring->base + bytes > ring->limit) return write_through(ring, body, length);
  return prof_ring_append(ring, body, length) ? 0 : EFAULT;
}

int prof_ring_append_slow(ProfRing *ring, const char *body, size_t length, int64_t now_us) {
  /* A clock that was set back must not silence a trace for hours. */
  if (now_us >= ring->retry_at_us || ring->retry_at_us - now_us > PROF_RETRY_US) {
    ring->failure = append_once(ring, body, length);
    /* A fault is found when it happened: once more, on a new ring. */
    if (ring->failure == EFAULT) ring->failure = append_once(ring, body, length);
    if (ring->failure == EFAULT) ring->failure = PROF_LOST_FAULT;
    if (ring->failure == 0 || ring->failure == PROF_LOST_LIMIT) return ring->failure;
    ring->retry_at_us = now_us + PROF_RETRY_US;
  }
  ring->note = ring->failure;
  prof_ring_lose(ring);
  return ring->failure;
}

void prof_ring_let_go(ProfRing *ring, bool finished) {
  if (ring->faulted || ring->recovering) (void)recover_from_fault(ring);
  if (ring->header == NULL) {
    /* The slot is ours and its ring may be full of the last owner's rows, though we had none. */
    ProfRingState state;
    if (finished) (void)prof_ring_settle(ring->folder, ring->trace, ring->slot, PROF_SETTLE_FINISH, &state);
    return;
  }
  if (finished) {
    ring->reserve = NULL;
    int failure = flush(ring);
    if (failure == PROF_LOST_REMOVED) lose_ring(ring);
    if (failure == 0) prof_ring_punch(ring->folder, ring->slot, ring->inode);
  }
  __atomic_store_n(&ring->header->open, 0, __ATOMIC_RELEASE);
  unmap(ring);
}
