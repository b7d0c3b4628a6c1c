/*
 * The files of one backend slot in one trace: a mapped ring of 64 KiB in front of CSV files. Knows nothing of PostgreSQL,
 * so that it can be run under sanitizers and fuzzed.
 *
 * In: rows. Out: `slot_<slot>.ring` and `slot_<slot>.<n>.v1.csv` in the trace's folder. One process writes to a slot at a
 * time and owns ring and files while it does; the next one goes on where it ended, also when it was killed. When the ring
 * is full it is appended to the CSV file at the offset that the header names, which may be repeated by anyone; a file
 * that would outgrow its limit is followed by the next. What cannot be written is counted, never an error.
 *
 * A position is a file's number and an offset in it in one number (prof_position): it only ever grows. The rows of a slot
 * are the bytes of its files up to `base`, which are in the CSV, and from there to `committed`, which are in the ring.
 * `committed` < `base` (seen between the two stores of a file's end) means that the ring is empty.
 */
#ifndef PROF_RING_H
#define PROF_RING_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

#define PROF_RING_MAGIC "PEMRING1"
#define PROF_RING_PAGE_BYTES 4096
#define PROF_RING_BYTES 65536
#define PROF_RING_FILE_BYTES (PROF_RING_PAGE_BYTES + PROF_RING_BYTES)
/* The longest "<trace>,<line>,": 10 + 1 + 19 + 1. It is always copied whole. */
#define PROF_PREFIX_BYTES 32
#define PROF_ROOM_BYTES (PROF_RING_BYTES - PROF_PREFIX_BYTES)

#define PROF_OFFSET_BITS 40
#define PROF_MAX_FILES 999999
#define PROF_RETRY_US 1000000

static inline uint64_t prof_position(uint64_t file, uint64_t offset) { return file << PROF_OFFSET_BITS | offset; }
static inline uint64_t prof_file(uint64_t position) { return position >> PROF_OFFSET_BITS; }
static inline uint64_t prof_offset(uint64_t position) {
  return position & ((UINT64_C(1) << PROF_OFFSET_BITS) - 1);
}

/* First page of the ring file, native byte order: it never leaves the machine. */
typedef struct ProfRingHeader {
  char magic[8];
  int32_t trace;
  int32_t slot;
  uint64_t base;
  uint64_t committed;
  uint64_t line; /* rows written or lost */
  uint64_t lost;
  uint32_t open;   /* a process has it */
  uint32_t sealed; /* what lies in the file may be torn: the next owner begins another */
} ProfRingHeader;

/* What others may see of a slot while the server runs: in shared memory, written by the slot's owner alone. */
typedef struct ProfLine {
  uint64_t committed;
  uint64_t line;
  uint64_t base;
  uint64_t lost;
  int32_t trace; /* 0: the rest means nothing */
  int32_t pad;
  uint64_t pad2[3];
} ProfLine __attribute__((aligned(64)));

_Static_assert(sizeof(ProfLine) == 64, "a line of its own");

/* Why a row is lost, beside the errno values, which are positive. */
enum {
  PROF_LOST_NONE = 0,
  PROF_LOST_UNFORMATTED = -1, /* the row could not be made */
  PROF_LOST_FAULT = -2,       /* the ring's memory went away: truncated, or no room to write a page back */
  PROF_LOST_REMOVED = -3,     /* the CSV file was removed or truncated */
  PROF_LOST_FILES = -4,       /* no file number left */
  PROF_LOST_LIMIT = -5        /* the trace has come to its limit: its end, not a loss */
};

typedef struct ProfRing {
  /* The usual path. */
  uint64_t committed;
  uint64_t limit; /* a row may end here at most; 0 while there is no ring */
  uint64_t base;
  uint64_t line;
  char *data;
  ProfRingHeader *header;
  ProfLine *shared;
  volatile sig_atomic_t faulted; /* set by the SIGBUS handler */
  int prefix_length;
  char prefix[2 * PROF_PREFIX_BYTES]; /* of the next row; ends in the middle */

  /* The rest. */
  int32_t trace;
  int32_t slot;
  const char *folder; /* the caller's */
  char *map;
  ino_t inode;
  uint64_t lost;
  uint64_t rows_in_ring_from; /* line - lost when the ring was empty */
  uint64_t max_file_bytes;
  bool recovering;     /* not mapped after a fault; rows that wait in the ring file have no room in the CSV yet */
  bool sealed;         /* nothing may be added to the file: begin the next */
  int64_t retry_at_us; /* after a failure; until then rows are lost without a system call */
  int failure;
  int note; /* why rows were lost last; the owner may clear it */
  /* Asked before each write: false refuses it (a limit). bytes may be negative: given back; is_ring: a ring file's. */
  bool (*reserve)(void *context, int64_t bytes, bool is_ring);
  void *context;
} ProfRing;

/* Makes a struct ready; nothing is opened before the first row. folder and shared stay the caller's and must live on. */
extern void prof_ring_init(ProfRing *ring, int32_t trace, int32_t slot, const char *folder, ProfLine *shared,
                           uint64_t max_file_bytes);

/*
 * The next row, the hard way: opens the ring, makes room, begins another file, writes long rows through. now_us: the time,
 * for pauses between failures. Returns PROF_LOST_NONE, or why the row is lost (and counted, but for PROF_LOST_LIMIT).
 */
extern int prof_ring_append_slow(ProfRing *ring, const char *body, size_t length, int64_t now_us);

/* Counts a lost row. */
extern void prof_ring_lose(ProfRing *ring);

/*
 * Lets the files go. finished: the trace has ended; the ring is emptied into the CSV file and its room given back.
 * Otherwise it stays as it is for the slot's next owner.
 */
extern void prof_ring_let_go(ProfRing *ring, bool finished);

/* Renders the prefix of the next row anew. */
extern void prof_ring_set_prefix(ProfRing *ring);

/*
 * Appends "<trace>,<line>," and body if there is room for it right now; false if not, and then nothing has happened. A
 * reader that sees the published length sees all bytes before it.
 */
static inline bool prof_ring_append(ProfRing *ring, const char *body, size_t length) {
  size_t prefix = (size_t)ring->prefix_length;
  uint64_t end = ring->committed + prefix + length;
  if (__builtin_expect(end > ring->limit, 0)) return false;
  char *to = ring->data + (ring->committed - ring->base);
  memcpy(to, ring->prefix + PROF_PREFIX_BYTES - prefix, PROF_PREFIX_BYTES);
  memcpy(to + prefix, body, length);
  uint64_t line = ring->line + 1;
  __atomic_store_n(&ring->header->line, line, __ATOMIC_RELAXED);
  __atomic_store_n(&ring->header->committed, end, __ATOMIC_RELEASE);
  if (__builtin_expect(ring->faulted, 0)) return false;
  ring->line = line;
  ring->committed = end;
  __atomic_store_n(&ring->shared->line, line, __ATOMIC_RELAXED);
  __atomic_store_n(&ring->shared->committed, end, __ATOMIC_RELEASE);
  /* Count on in the text: the comma between the numbers stops the carry. */
  char *digit = ring->prefix + PROF_PREFIX_BYTES - 2;
  while (*digit == '9') *digit-- = '0';
  if (__builtin_expect(*digit == ',', 0))
    prof_ring_set_prefix(ring);
  else
    ++*digit;
  return true;
}

/* What is known of a slot from its files alone. */
typedef struct ProfRingState {
  uint64_t base;
  uint64_t committed;
  uint64_t line;
  uint64_t lost;
  bool open;
} ProfRingState;

enum prof_settle {
  PROF_SETTLE_LOOK,    /* only look */
  PROF_SETTLE_COPY,    /* the slot's owner may be at work: bring the CSV up to date, leave the ring alone */
  PROF_SETTLE_RELEASE, /* nobody owns it, the trace goes on: the next owner continues */
  PROF_SETTLE_SALVAGE, /* as RELEASE, after the machine went down: keep what is whole, begin another file */
  PROF_SETTLE_FINISH   /* nobody owns it, the trace has ended: bring the CSV up to date and give the ring's room back */
};

/*
 * Works on a slot's ring from outside. state: what it holds afterwards. Returns 0, or an errno: ENOENT where there is no
 * ring, EINVAL where the file is no ring.
 */
extern int prof_ring_settle(const char *folder, int32_t trace, int32_t slot, enum prof_settle how,
                            ProfRingState *state);

/* Names of a slot's files; path has PROF_PATH_BYTES. file 0: the ring. */
#define PROF_PATH_BYTES 128
extern void prof_ring_path(char *path, const char *folder, int32_t slot, uint64_t file);

/* The reverse, for an entry of the folder: false where it is neither ring (file = 0) nor CSV of a slot. */
extern bool prof_ring_parse_name(const char *name, int32_t *slot, uint64_t *file);

/* Is the header one that the sink wrote, in all that is relied on? */
extern bool prof_ring_header_valid(const ProfRingHeader *header, int32_t trace, int32_t slot);

#pragma GCC visibility pop

#endif
