/*
 * The sink outside of a server, under sanitizers. In: an empty folder to work in. Out: exit status 0, or an abort that
 * names the line. Rows carry their own number and a text made from it, so that whatever is read back can be checked.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "csv_columns.h"
#include "prof_ring.h"
#include "prof_ring_files.h"
#include "prof_row_ends.h"

#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

#define TRACE 7
#define SLOT 12
#define BODY_MAX 200000

static const char *folder = "trace";
static uint32_t seed = 1;

static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static char expected_byte(uint64_t number, size_t i) {
  static const char bytes[] = "abcdefghijklmnopqrstuvwxyz,\n";
  return bytes[(number * 31 + i) % (sizeof bytes - 1)];
}

/* "<number>,"<text>"\n": with commas and line ends in the text. */
static size_t make_body(char *to, uint64_t number, size_t text) {
  size_t at = (size_t)sprintf(to, "%llu,\"", (unsigned long long)number);
  for (size_t i = 0; i < text; i++) to[at++] = expected_byte(number, i);
  to[at++] = '"';
  to[at++] = '\n';
  return at;
}

typedef struct seen {
  uint64_t rows, files, last_line, last_number, bytes;
} seen;

/* Rows of one stretch of bytes, which must all be whole. */
static void check_rows(const char *bytes, size_t length, seen *so_far) {
  assert(prof_rows_whole(bytes, length) == length);
  for (size_t at = 0; at < length;) {
    char *end;
    assert(strtoll(bytes + at, &end, 10) == TRACE && *end == ',');
    uint64_t line = strtoull(end + 1, &end, 10);
    assert(*end == ',' && line > so_far->last_line);
    uint64_t number = strtoull(end + 1, &end, 10);
    assert(end[0] == ',' && end[1] == '"' && number > so_far->last_number);
    size_t i = 0;
    for (end += 2; *end != '"'; end++, i++) assert(*end == expected_byte(number, i));
    assert(end[1] == '\n');
    at = (size_t)(end + 2 - bytes);
    so_far->last_line = line;
    so_far->last_number = number;
    so_far->rows++;
  }
}

static char *read_whole(const char *path, size_t *length) {
  struct stat about;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return NULL;
  assert(fstat(fd, &about) == 0);
  char *bytes = malloc((size_t)about.st_size + 1);
  assert(read(fd, bytes, (size_t)about.st_size) == about.st_size);
  bytes[about.st_size] = 0;
  close(fd);
  *length = (size_t)about.st_size;
  return bytes;
}

/* All that a reader finds by files alone, in order. */
static seen read_back(uint64_t max_file_bytes) {
  seen all;
  ProfRingState at;
  char path[PROF_PATH_BYTES];
  memset(&all, 0, sizeof all);
  int there = prof_ring_settle(folder, TRACE, SLOT, PROF_SETTLE_LOOK, &at);
  uint64_t last = prof_csv_last(folder, SLOT);
  for (uint64_t file = 1; file <= last; file++) {
    size_t length;
    prof_ring_path(path, folder, SLOT, file);
    char *bytes = read_whole(path, &length);
    if (bytes == NULL) continue;
    all.files++;
    assert(length >= CSV_HEADER_BYTES && memcmp(bytes, CSV_HEADER, CSV_HEADER_BYTES) == 0);
    if (there == 0 && file == prof_file(at.base)) {
      assert(length >= prof_offset(at.base));
      length = prof_offset(at.base);
    }
    uint64_t rows = all.rows;
    check_rows(bytes + CSV_HEADER_BYTES, length - CSV_HEADER_BYTES, &all);
    if (max_file_bytes != 0) assert(length <= max_file_bytes || all.rows == rows + 1);
    all.bytes += length;
    free(bytes);
    if (there == 0 && file == prof_file(at.base) && at.committed > at.base) {
      prof_ring_path(path, folder, SLOT, 0);
      bytes = read_whole(path, &length);
      check_rows(bytes + PROF_RING_PAGE_BYTES, at.committed - at.base, &all);
      free(bytes);
    }
  }
  return all;
}

static void empty_folder(void) {
  assert(system("chmod -f -R u+rwx trace away; rm -rf trace away; mkdir -m 700 trace") == 0);
}

static char body[BODY_MAX + 64];

static int put(ProfRing *ring, uint64_t number, size_t text, int64_t now_us) {
  size_t length = make_body(body, number, text);
  return prof_ring_append(ring, body, length) ? 0 : prof_ring_append_slow(ring, body, length, now_us);
}

static size_t random_text(void) {
  uint32_t kind = next_random() % 100;
  if (kind < 90) return next_random() % 600;
  return kind < 99 ? next_random() % 5000 : next_random() % BODY_MAX;
}

static void test_rotation_and_owners(void) {
  static const uint64_t limits[] = {65536, 300000, UINT64_C(1) << 38};
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    static ProfLine line;
    ProfRing ring;
    uint64_t number = 0;
    empty_folder();
    memset(&line, 0, sizeof line);
    for (int owner = 0; owner < 40; owner++) {
      /* Some owners come after the server's restart: shared memory is new. */
      if (owner % 7 == 0) memset(&line, 0, sizeof line);
      prof_ring_init(&ring, TRACE, SLOT, folder, &line, limits[i]);
      for (uint32_t rows = next_random() % 200; rows > 0; rows--) assert(put(&ring, ++number, random_text(), 0) == 0);
      prof_ring_let_go(&ring, false);
    }
    seen all = read_back(limits[i]);
    assert(all.rows == number && all.last_line == number && ring.lost == 0);
    assert(i == 2 ? all.files == 1 : all.files > 3);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, limits[i]);
    assert(put(&ring, ++number, 10, 0) == 0);
    prof_ring_let_go(&ring, true);
    ProfRingState at;
    assert(prof_ring_settle(folder, TRACE, SLOT, PROF_SETTLE_LOOK, &at) == 0);
    assert(at.base == at.committed && at.line == number && at.lost == 0 && !at.open);
    all = read_back(limits[i]);
    assert(all.rows == number);
    struct stat about;
    char path[PROF_PATH_BYTES];
    prof_ring_path(path, folder, SLOT, 0);
    assert(stat(path, &about) == 0 && about.st_size == PROF_RING_FILE_BYTES && about.st_blocks <= 16);
  }
}

/* Line numbers grow a digit here and there. */
static void test_line_numbers(void) {
  static ProfLine line;
  ProfRing ring;
  empty_folder();
  memset(&line, 0, sizeof line);
  prof_ring_init(&ring, TRACE, SLOT, folder, &line, UINT64_C(1) << 38);
  for (uint64_t number = 1; number <= 101000; number++) assert(put(&ring, number, 1, 0) == 0);
  prof_ring_let_go(&ring, true);
  seen all = read_back(0);
  assert(all.rows == 101000 && all.last_line == 101000 && all.last_number == 101000);
}

/* A killed owner loses no row that it had appended, and the next goes on behind it. */
static void test_killed(void) {
  ProfLine *line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  volatile uint64_t *done = (volatile uint64_t *)(void *)(line + 1);
  uint64_t number = 0, certain = 0;
  empty_folder();
  for (int owner = 0; owner < 40; owner++) {
    *done = 0;
    pid_t child = fork();
    if (child == 0) {
      ProfRing ring;
      prof_ring_init(&ring, TRACE, SLOT, folder, line, 1000000);
      for (uint64_t i = number + 1;; i++) {
        if (put(&ring, i, random_text() % 3000, 0) != 0) _exit(1);
        *done = i;
      }
    }
    struct timespec some = {0, (long)(next_random() % 20000000)};
    nanosleep(&some, NULL);
    assert(kill(child, SIGKILL) == 0);
    int status;
    assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    uint64_t before = number;
    if (*done != 0) number = *done;
    certain += number - before;
    /* The row under way may have been finished or not. */
    number++;
    for (uint32_t i = 0; i < 100; i++) next_random();
    if (owner % 5 == 0) memset(line, 0, sizeof *line);
    if (owner % 9 == 0) {
      ProfRingState at;
      enum prof_settle how = owner % 2 == 0 ? PROF_SETTLE_FINISH : PROF_SETTLE_RELEASE;
      int failure = prof_ring_settle(folder, TRACE, SLOT, how, &at);
      assert(failure == 0 || failure == ENOENT || failure == EINVAL);
    }
  }
  seen all = read_back(0);
  assert(all.rows >= certain && all.rows <= certain + 40);
  assert(certain > 1000);
  munmap(line, 4096);
}

/* rows + lost = lines, and what is there is whole. */
static void check_balance(const ProfRing *ring) {
  seen all = read_back(0);
  if (all.rows + ring->lost != ring->line)
    fprintf(stderr, "%llu rows, %llu lost, %llu lines\n", (unsigned long long)all.rows, (unsigned long long)ring->lost,
            (unsigned long long)ring->line);
  assert(all.rows + ring->lost == ring->line);
}

/* Whoever reads a CSV alone finds whole rows and nothing else. */
static void check_csv_alone(uint64_t file) {
  char path[PROF_PATH_BYTES];
  size_t length;
  prof_ring_path(path, folder, SLOT, file);
  char *bytes = read_whole(path, &length);
  if (bytes == NULL) return;
  assert(prof_rows_whole(bytes, length) == length);
  free(bytes);
}

enum harm { TRUNCATE_RING, SHORTEN_RING, REMOVE_RING, REMOVE_CSV, TRUNCATE_CSV, MOVE_FOLDER, HARMS };

static void harm(enum harm what, uint64_t file) {
  char path[PROF_PATH_BYTES];
  prof_ring_path(path, folder, SLOT, what <= REMOVE_RING ? 0 : file);
  switch (what) {
  case TRUNCATE_RING:
    assert(truncate(path, 0) == 0);
    break;
  case SHORTEN_RING:
    assert(truncate(path, 20000) == 0);
    break;
  case REMOVE_RING:
  case REMOVE_CSV:
    assert(unlink(path) == 0);
    break;
  case TRUNCATE_CSV:
    assert(truncate(path, 100) == 0);
    break;
  default:
    assert(rename("trace", "away") == 0);
  }
}

/* What an operator may do to the files while they are written. */
static void test_harmed(void) {
  for (int round = 0; round < HARMS * 6; round++) {
    enum harm what = (enum harm)(round % HARMS);
    static ProfLine line;
    ProfRing ring;
    uint64_t number = 0;
    int64_t now_us = 1000000000;
    empty_folder();
    memset(&line, 0, sizeof line);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 500000);
    for (uint32_t rows = 1 + next_random() % 600; rows > 0; rows--) assert(put(&ring, ++number, random_text(), now_us) == 0);
    uint64_t file = prof_file(ring.base);
    seen before = read_back(0);
    assert(before.rows == number);
    harm(what, file);
    for (uint32_t rows = 600; rows > 0; rows--) (void)put(&ring, ++number, random_text(), now_us += 50000);
    if (what == MOVE_FOLDER) {
      assert(ring.lost > 0);
      assert(rename("away", "trace") == 0);
      for (uint32_t rows = 600; rows > 0; rows--) (void)put(&ring, ++number, random_text(), now_us += 50000);
    }
    uint64_t lost = ring.lost;
    for (uint32_t rows = 100; rows > 0; rows--) assert(put(&ring, ++number, random_text(), now_us) == 0);
    assert(ring.lost == lost);
    assert(ring.line == number && line.line == number && line.lost == lost);
    prof_ring_let_go(&ring, round / HARMS % 2 == 0);
    /* Rows of a CSV that was destroyed are gone with it, beside those that were counted: only then less is there. */
    if (what == REMOVE_CSV || what == TRUNCATE_CSV) {
      char path[PROF_PATH_BYTES];
      struct stat about;
      prof_ring_path(path, folder, SLOT, file);
      if (what == TRUNCATE_CSV) assert(stat(path, &about) == 0 && about.st_size == 100);
      (void)unlink(path);
      seen after = read_back(0);
      assert(after.rows + ring.lost <= ring.line && after.last_number == number && after.last_line == number);
    } else {
      check_balance(&ring);
    }
    if (what == REMOVE_RING) assert(ring.lost == 0);
  }
}

/* A disk that takes no more: rows are lost and counted, no half row and no NUL stays, and it goes on when there is room. */
static void test_full(void) {
  for (int round = 0; round < 20; round++) {
    static ProfLine line;
    ProfRing ring;
    uint64_t number = 0;
    int64_t now_us = 1000000000;
    struct rlimit old, small;
    empty_folder();
    memset(&line, 0, sizeof line);
    signal(SIGXFSZ, SIG_IGN);
    assert(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    small.rlim_cur = 100000 + next_random() % 400000;
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, UINT64_C(1) << 38);
    assert(setrlimit(RLIMIT_FSIZE, &small) == 0);
    for (int i = 0; i < 3000; i++) (void)put(&ring, ++number, random_text(), now_us += 10000);
    assert(setrlimit(RLIMIT_FSIZE, &old) == 0);
    uint64_t lost = ring.lost;
    assert(lost > 0 && ring.note == EFBIG);
    check_csv_alone(1);
    check_balance(&ring);
    now_us += PROF_RETRY_US;
    for (int i = 0; i < 300; i++) assert(put(&ring, ++number, random_text(), now_us) == 0);
    assert(ring.lost == lost);
    prof_ring_let_go(&ring, true);
    check_balance(&ring);
    assert(ring.line == number);
  }
}

/* A clock that is set back does not silence a slot. */
static void test_clock_set_back(void) {
  static ProfLine line;
  ProfRing ring;
  empty_folder();
  memset(&line, 0, sizeof line);
  assert(rename("trace", "away") == 0);
  prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
  assert(put(&ring, 1, 10, INT64_C(2000000000000000)) == ENOENT);
  assert(rename("away", "trace") == 0);
  assert(put(&ring, 2, 10, INT64_C(2000000000000000) + 1) == ENOENT);
  assert(put(&ring, 3, 10, INT64_C(1000000000000000)) == 0);
  prof_ring_let_go(&ring, true);
  check_balance(&ring);
}

/* Any bytes in a ring file: a new one is made, what was there is not believed. */
static void test_hostile_rings(void) {
  for (int round = 0; round < 150; round++) {
    static ProfLine line;
    static char bytes[PROF_RING_FILE_BYTES];
    char path[PROF_PATH_BYTES];
    ProfRing ring;
    ProfRingState at;
    empty_folder();
    memset(&line, 0, sizeof line);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
    for (uint64_t number = 1; number < 300; number++) assert(put(&ring, number, 300, 0) == 0);
    prof_ring_let_go(&ring, false);
    prof_ring_path(path, folder, SLOT, 0);
    int fd = open(path, O_RDWR);
    assert(read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    for (uint32_t hits = 1 + next_random() % 8; hits > 0; hits--)
      bytes[next_random() % (round % 3 == 0 ? sizeof bytes : sizeof(ProfRingHeader))] = (char)next_random();
    assert(pwrite(fd, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    if (round % 10 == 0) assert(ftruncate(fd, next_random() % PROF_RING_FILE_BYTES) == 0);
    close(fd);
    memset(&line, 0, sizeof line);
    (void)prof_ring_settle(folder, TRACE, SLOT, (enum prof_settle)(round % 5), &at);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
    for (uint64_t number = 1000; number < 1300; number++) (void)put(&ring, number, 300, (int64_t)number * 1000000);
    prof_ring_let_go(&ring, round % 2 == 0);
  }
}

/* After the machine went down: what is whole is kept, and nothing is added behind what may be torn. */
static void test_salvage(void) {
  static ProfLine line;
  ProfRing ring;
  ProfRingState at;
  char path[PROF_PATH_BYTES];
  uint64_t number = 0;
  for (int torn = 0; torn < 3; torn++) {
    empty_folder();
    memset(&line, 0, sizeof line);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
    for (number = 1; number <= 500; number++) assert(put(&ring, number, 300, 0) == 0);
    uint64_t base = ring.base;
    prof_ring_let_go(&ring, false);
    if (torn == 1) {
      /* A page of the ring never reached the disk. */
      prof_ring_path(path, folder, SLOT, 0);
      int fd = open(path, O_RDWR);
      char zeros[4096] = {0};
      assert(pwrite(fd, zeros, sizeof zeros, PROF_RING_PAGE_BYTES + 8192) == (ssize_t)sizeof zeros);
      close(fd);
    }
    if (torn == 2) {
      prof_ring_path(path, folder, SLOT, 1);
      assert(truncate(path, (off_t)prof_offset(base) - 100) == 0);
    }
    assert(prof_ring_settle(folder, TRACE, SLOT, PROF_SETTLE_SALVAGE, &at) == 0);
    assert(at.base == at.committed && prof_file(at.base) == 1);
    memset(&line, 0, sizeof line);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
    assert(put(&ring, 1000, 300, 0) == 0);
    assert(prof_file(ring.committed) == 2 && ring.line == 501);
    prof_ring_let_go(&ring, true);
    if (torn != 2) {
      seen all = read_back(0);
      assert(torn == 0 ? all.rows == 501 : all.rows > 100 && all.rows < 501);
      assert(all.last_line == 501);
    }
  }
}

/* Readers against a writer at full speed: nothing torn, nothing twice, nothing missing. */
static void test_reader_races(int seconds) {
  ProfLine *line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  volatile uint64_t *written = (volatile uint64_t *)(void *)(line + 1);
  empty_folder();
  pid_t child = fork();
  if (child == 0) {
    ProfRing ring;
    time_t until = time(NULL) + seconds;
    prof_ring_init(&ring, TRACE, SLOT, folder, line, 3000000);
    uint64_t number = 0;
    for (; time(NULL) < until; number++)
      if (put(&ring, number + 1, random_text() % 900, 0) != 0) _exit(1);
    prof_ring_let_go(&ring, false);
    *written = number;
    _exit(0);
  }
  static char bytes[1 << 20];
  seen all;
  uint64_t file = 1, from = CSV_HEADER_BYTES;
  bool over = false;
  memset(&all, 0, sizeof all);
  for (;;) {
    int status;
    if (!over && waitpid(child, &status, WNOHANG) == child) {
      assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      over = true;
    }
    char path[PROF_PATH_BYTES];
    struct stat about;
    uint64_t base = __atomic_load_n(&line->base, __ATOMIC_ACQUIRE);
    uint64_t committed = __atomic_load_n(&line->committed, __ATOMIC_ACQUIRE);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&line->base, __ATOMIC_RELAXED) != base) continue;
    if (committed < base) committed = base;
    if (committed == 0) continue;
    prof_ring_path(path, folder, SLOT, file);
    uint64_t end = prof_offset(committed), in_csv = end;
    if (file < prof_file(committed)) {
      assert(stat(path, &about) == 0);
      end = in_csv = (uint64_t)about.st_size;
    }
    if (file == prof_file(base)) in_csv = prof_offset(base);
    if (from == end) {
      if (file < prof_file(committed)) {
        file++;
        from = CSV_HEADER_BYTES;
      } else if (over) {
        break;
      }
      continue;
    }
    size_t want = end - from < sizeof bytes ? end - from : sizeof bytes, got = 0;
    if (from < in_csv) {
      int fd = open(path, O_RDONLY);
      size_t part = in_csv - from < want ? in_csv - from : want;
      assert(pread(fd, bytes, part, (off_t)from) == (ssize_t)part);
      close(fd);
      got = part;
    }
    if (got < want) {
      prof_ring_path(path, folder, SLOT, 0);
      int fd = open(path, O_RDONLY);
      assert(pread(fd, bytes + got, want - got, (off_t)(PROF_RING_PAGE_BYTES + (from + got - in_csv))) ==
             (ssize_t)(want - got));
      close(fd);
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      if (__atomic_load_n(&line->base, __ATOMIC_RELAXED) != base) continue;
    }
    size_t whole = prof_rows_whole(bytes, want);
    assert(whole > 0 && (whole == want || want == sizeof bytes));
    check_rows(bytes, whole, &all);
    from += whole;
  }
  assert(all.rows == *written && all.last_line == *written && all.rows > 10000);
  munmap(line, 4096);
}

/* A fault that is not ours ends the process as it would without us. */
static void test_foreign_fault(void) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    static ProfLine line;
    ProfRing ring;
    signal(SIGBUS, SIG_DFL);
    empty_folder();
    memset(&line, 0, sizeof line);
    prof_ring_init(&ring, TRACE, SLOT, folder, &line, 1 << 20);
    if (put(&ring, 1, 10, 0) != 0) _exit(3);
    int fd = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (ftruncate(fd, 4096) != 0) _exit(3);
    char *other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ftruncate(fd, 0) != 0) _exit(3);
    *(volatile char *)other = 1;
    _exit(4);
  }
  int status;
  assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_names(void) {
  char path[PROF_PATH_BYTES];
  int32_t slot;
  uint64_t file;
  prof_ring_path(path, "f", 42, 7);
  assert(strcmp(path, "f/slot_000042.000007.v1.csv") == 0);
  assert(prof_ring_parse_name(path + 2, &slot, &file) && slot == 42 && file == 7);
  prof_ring_path(path, "f", 999999, 0);
  assert(prof_ring_parse_name(path + 2, &slot, &file) && slot == 999999 && file == 0);
  static const char *const others[] = {"", "slot_", "slot_00001.ring", "slot_0000001.ring", "slot_000001.ringx",
                                       "slot_000001.000000.v1.csv", "slot_000001.000001.v2.csv", "slot_-00001.ring",
                                       "slot_000001.00001.v1.csv", "slot_000001.000001.v1.csv.gz", "trace_1"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert(!prof_ring_parse_name(others[i], &slot, &file));
}

static void test_row_ends(void) {
  /* Against the plainest way to do it. */
  static const char alphabet[] = "\"\n,ab\0";
  char bytes[80];
  for (int round = 0; round < 200000; round++) {
    size_t length = next_random() % sizeof bytes, whole = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) bytes[i] = alphabet[next_random() % (round % 2 ? 6 : 5)];
    for (size_t i = 0; i < length && bytes[i] != 0; i++) {
      if (bytes[i] == '"') quoted = !quoted;
      if (bytes[i] == '\n' && !quoted) whole = i + 1;
    }
    assert(prof_rows_whole(bytes, length) == whole);
  }
}

int main(int count, char **words) {
  setvbuf(stderr, NULL, _IONBF, 0);
  test_names();
  test_row_ends();
  test_line_numbers();
  test_rotation_and_owners();
  test_killed();
  test_harmed();
  test_full();
  test_clock_set_back();
  test_hostile_rings();
  test_salvage();
  test_foreign_fault();
  test_reader_races(count > 1 ? atoi(words[1]) : 3);
  return 0;
}
