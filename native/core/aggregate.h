/*
 * The bounded aggregate of statements: one entry for each (database, user, nested or not, statement), with sums, extremes, a
 * latency histogram and the slowest samples; a time line; errors by SQLSTATE. Rules, bounds and proofs: AGGREGATE.md.
 *
 * In: rows as numbers, names and texts of the caller. Out: entries to read, until the next call that changes them. Owner: the
 * caller gives one piece of memory (agg_bytes says how much), which holds everything; nothing is allocated, nothing need be
 * done at the end. Not thread-safe.
 *
 * When full: an entry's place goes to a new statement by the space-saving rule; what it had counted goes to one of two
 * "others" entries, so that the sum over all entries is exact. A statement's true calls are between calls and calls +
 * missed_calls, its true time between exec_us and exec_us + missed_us. Every statement with more than its 1/entries share of
 * the weight (half time, half calls) is there. Names beyond the limit become AGG_NAME_OTHERS, SQLSTATEs beyond it count
 * together, texts beyond it are cut; each is counted. The time line doubles the width of its spans, and leaves out rows that
 * would make it longer than AGG_LINE_US.
 */
#ifndef AGGREGATE_H
#define AGGREGATE_H

#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The columns that are summed, by their names in csv_columns.h. */
#define AGG_SUMS(X)    \
  X(elapsed_us)        \
  X(plan_us)           \
  X(rows)              \
  X(shared_hit)        \
  X(shared_read)       \
  X(shared_dirtied)    \
  X(shared_written)    \
  X(local_hit)         \
  X(local_read)        \
  X(local_dirtied)     \
  X(local_written)     \
  X(temp_read)         \
  X(temp_written)      \
  X(shared_read_us)    \
  X(shared_write_us)   \
  X(local_read_us)     \
  X(local_write_us)    \
  X(temp_read_us)      \
  X(temp_write_us)     \
  X(wal_records)       \
  X(wal_fpi)           \
  X(wal_bytes)         \
  X(jit_us)            \
  X(cpu_user_us)       \
  X(cpu_system_us)

#define AGG_SUM_NUMBER_(name) AGG_SUM_##name,
enum agg_sum { AGG_SUMS(AGG_SUM_NUMBER_) AGG_SUM_COUNT };

/* A time that is not known. */
#define AGG_NO_TIME INT64_MIN
/* Longest name: a database, user, or command tag. */
#define AGG_NAME_BYTES 63u
/* Names that are always there: none, and all those for which there was no room. */
#define AGG_NAME_NONE 0u
#define AGG_NAME_OTHERS 1u
#define AGG_SAMPLES_MAX 16u
#define AGG_MESSAGE_BYTES 256u
#define AGG_STATES_MAX 256u
#define AGG_TEXT_BYTES 8192u
/* No time line is longer, us: a row of 1970 among those of today does not make its spans years wide. */
#define AGG_LINE_US (400ll * 86400 * 1000000)

typedef struct agg_options {
  uint32_t entries;         /* statements, 1 to 65,536; each takes about 6 kB, of which few see the histogram's 5 kB */
  uint32_t names;           /* databases, users and tags, 1 to 65,536 */
  uint32_t text_bytes;      /* of all texts together, to 2^31 */
  uint32_t text_bytes_each; /* of one text, to AGG_TEXT_BYTES */
  uint32_t samples;         /* slowest calls kept for each entry, 0 to AGG_SAMPLES_MAX */
  uint32_t spans;           /* of the time line: a power of two, 2 to 4,096, or 0 for no time line */
  int64_t span_us;          /* their first width, 1 to 2^40; it doubles when the line is full */
  uint32_t states;          /* SQLSTATEs, 0 to AGG_STATES_MAX */
} agg_options;

/* What is counted of a set of calls. Sums stop at INT64_MAX. */
typedef struct agg_values {
  uint64_t calls;
  uint64_t timed;     /* calls whose execution time is known: of these are exec_us, min_us, max_us and the histogram */
  uint64_t planned;   /* calls whose planning time is known */
  uint64_t errors;
  uint64_t cancelled; /* of the errors */
  uint64_t exec_us;
  uint64_t min_us, max_us;   /* of no timed call: UINT64_MAX, 0 */
  int64_t first_us, last_us; /* least and greatest time of end, us since 1970; INT64_MAX, INT64_MIN when none is known */
  uint64_t known;            /* bit i: sums[i] was known in a call at least */
  uint64_t sums[AGG_SUM_COUNT];
} agg_values;

/* Where a call stands in the files. */
typedef struct agg_place {
  uint64_t offset; /* bytes from the beginning of the file to the row */
  uint32_t file;   /* the caller's number */
  int32_t pid;
} agg_place;

typedef struct agg_sample {
  uint64_t exec_us;
  int64_t end_us;
  agg_place place;
  uint32_t failed;
} agg_sample;

enum agg_flag {
  AGG_QUERY_ID = 1,  /* the key is the server's query id, not the fingerprint */
  AGG_NESTED = 2,    /* called by another statement, in whose figures it is contained */
  AGG_TEXT_CUT = 4,  /* the normal form is longer than the text kept, or the server had cut the statement */
  AGG_OTHERS = 8
};

typedef struct agg_entry {
  agg_values values;
  uint64_t key;          /* query id or fingerprint */
  uint64_t fingerprint;  /* of the entry's first text */
  uint32_t flags;
  uint32_t database, username, tag; /* numbers of names */
  uint64_t missed_calls, missed_us; /* at most this much went to "others" before the entry was made */
  uint64_t weight;                  /* space-saving's count: never less than the statement's true weight */
  char last_state[8];               /* SQLSTATE of the latest error that was added, with NUL */
} agg_entry;

typedef struct agg_state {
  char state[8];
  uint64_t errors, cancelled; /* rows where the error began; not those it was propagated to */
  int64_t first_us, last_us;
  agg_place place;            /* of the first one added, and its message */
  uint32_t message_bytes;
  char message[AGG_MESSAGE_BYTES];
} agg_state;

/* A span of the time line: statements that are not nested. */
typedef struct agg_span {
  agg_values values;
  uint64_t nested_calls;
  uint64_t counts[HIST_BUCKETS];
} agg_span;

enum agg_row_flag {
  AGG_ROW_QUERY_ID = AGG_QUERY_ID,
  AGG_ROW_NESTED = AGG_NESTED,
  AGG_ROW_TIMED = 16,
  AGG_ROW_FAILED = 32,
  AGG_ROW_CANCELLED = 64,
  AGG_ROW_PROPAGATED = 128
};

typedef struct agg_row {
  uint64_t key;
  uint32_t flags; /* agg_row_flag */
  uint32_t database, username, tag;
  int64_t end_us;  /* or AGG_NO_TIME */
  int64_t exec_us; /* where AGG_ROW_TIMED; below 0 counts as 0, and as a bad value */
  uint64_t known;  /* bit i: sums[i] is known */
  int64_t sums[AGG_SUM_COUNT]; /* 0 where not known; below 0 counts as 0, and as a bad value */
  agg_place place;
  char state[6];   /* SQLSTATE with NUL, where AGG_ROW_FAILED */
  const char *message; /* UTF-8, not NULL where message_bytes > 0 */
  uint32_t message_bytes;
} agg_row;

/* What became of the rows, since agg_open or agg_reset. */
typedef struct agg_counts {
  uint64_t rows;
  uint64_t replaced;      /* entries whose place went to another statement */
  uint64_t names_lost;    /* times that a name became AGG_NAME_OTHERS */
  uint64_t bad_values;    /* negative numbers */
  uint64_t outside;       /* rows too far from the others in time for the time line, or without a time */
  uint64_t texts_cut;     /* texts that did not fit */
} agg_counts;

typedef struct agg agg;

/* Bytes for these options, to be aligned to 64. 0: they are out of range. */
size_t agg_bytes(const agg_options *options);
/* Memory of agg_bytes(options). */
agg *agg_open(void *memory, const agg_options *options);
/* Forgets everything but names, whose numbers stay. */
void agg_reset(agg *a);
const agg_options *agg_options_of(const agg *a);

/* Number of a name (UTF-8), of which AGG_NAME_BYTES bytes count; AGG_NAME_NONE for n = 0. */
uint32_t agg_name(agg *a, const void *name, size_t n);
/* A name by its number; *n its bytes. AGG_NAME_NONE and AGG_NAME_OTHERS have none. */
const char *agg_name_text(const agg *a, uint32_t name, size_t *n);

/* The entry of that statement, UINT32_MAX: it has none now. flags: AGG_QUERY_ID, AGG_NESTED. */
uint32_t agg_find(const agg *a, uint64_t key, uint32_t flags, uint32_t database, uint32_t username);
/* Adds a call; the number of its entry, good until the next agg_add. *fresh: the entry was made now and has no text. */
uint32_t agg_add(agg *a, const agg_row *row, int *fresh);
/* Fingerprint and text (UTF-8) of a fresh entry. cut: the text is not all of the normal form. */
void agg_describe(agg *a, uint32_t entry, uint64_t fingerprint, const void *text, size_t n, int cut);

/*
 * Adds all of `from` to `into`, error bounds included. 0, and nothing is changed, when one has a time line and the other has
 * not, or with another first width. Places of samples are taken as they are: the caller numbers files for both.
 */
int agg_merge(agg *into, const agg *from);

/* Entries are numbered from 0 in no order. */
uint32_t agg_count(const agg *a);
const agg_entry *agg_at(const agg *a, uint32_t entry);
/* What has no entry of its own; calls 0: nothing. */
const agg_entry *agg_others(const agg *a, int nested);
/* Copies an entry's text, at most max bytes. */
size_t agg_text(const agg *a, uint32_t entry, void *text, size_t max);
/* Copies a histogram of HIST_BUCKETS. */
void agg_histogram(const agg *a, uint32_t entry, uint64_t *counts);
void agg_others_histogram(const agg *a, int nested, uint64_t *counts);
/* The slowest calls, slowest first, at most AGG_SAMPLES_MAX. */
uint32_t agg_samples(const agg *a, uint32_t entry, agg_sample *samples);
uint32_t agg_others_samples(const agg *a, int nested, agg_sample *samples);
/* A statement that is not there may have up to this many calls, and this much time. */
void agg_bound(const agg *a, uint64_t *missed_calls, uint64_t *missed_us);
agg_counts agg_counts_of(const agg *a);

/* States are numbered from 0; the last one, where it has an empty name, is all those for which there was no room. */
uint32_t agg_state_count(const agg *a);
const agg_state *agg_state_at(const agg *a, uint32_t state);

/* The time line: spans of *width_us from the first that has a row to the last, those between them included. */
uint32_t agg_span_count(const agg *a, int64_t *first_us, int64_t *width_us);
/* NULL: nothing happened in that span. */
const agg_span *agg_span_at(const agg *a, uint32_t span);

#ifdef __cplusplus
}
#endif
#endif
