/*
 * What is known of a trace, and its form as a file. Knows nothing of PostgreSQL, so that the reading half can be fuzzed.
 *
 * In: a record or the text of a state file, which may be anybody's bytes. Out: the other one. The caller owns all memory.
 * The text is lines of "key value", first a line with the version, last "end": a file that was cut short is not taken for
 * a shorter one. Numbers are checked against the ranges that the control functions keep.
 */
#ifndef PROF_RECORD_H
#define PROF_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define PROF_NAME_BYTES 64
#define PROF_FILTER_BYTES 4096
#define PROF_OPTIONS_BYTES 8192
#define PROF_BOOT_BYTES 40
/* Room for any record as text. */
#define PROF_RECORD_TEXT_BYTES 49152

enum prof_state { PROF_STATE_RUNNING = 1, PROF_STATE_STOPPED = 2 };

/* Why a trace ended. */
enum prof_stop {
  PROF_STOP_NONE,
  PROF_STOP_REQUESTED,
  PROF_STOP_DURATION,
  PROF_STOP_TOTAL_BYTES,
  PROF_STOP_DIRECTORY_BYTES,
  PROF_STOP_RESTART,
  PROF_STOP_COUNT
};

/* First byte of a filter. */
#define PROF_FILTER_DATABASE 'd'
#define PROF_FILTER_USER 'u'
#define PROF_FILTER_APPLICATION 'a'
#define PROF_FILTER_CLIENT 'c'

typedef struct ProfRecord {
  int64_t id;
  char name[PROF_NAME_BYTES];
  int64_t state;
  int64_t stop_reason;
  int64_t owner; /* role that started it */
  char owner_name[PROF_NAME_BYTES];
  int64_t own_only; /* 1: only what its owner ran */
  int64_t started_us;
  int64_t stopped_us;
  int64_t deadline_us; /* 0: none */
  int64_t kinds;
  int64_t options;
  int64_t sample_threshold;
  int64_t min_us;
  int64_t plan_min_us;
  int64_t max_file_bytes;
  int64_t max_total_bytes;
  int64_t max_query_bytes;
  int64_t max_params_bytes;
  int64_t max_plan_bytes;
  int64_t max_error_bytes;
  /* After its end: what it came to. */
  int64_t settled; /* 1: no backend has its files any more, the numbers are final */
  int64_t rows;
  int64_t lost;
  int64_t lost_reason; /* PROF_LOST_* or an errno */
  int64_t bytes;
  int64_t files;
  char boot[PROF_BOOT_BYTES]; /* see prof_state_boot, when the server was last started */
  int64_t filter_bytes;
  char filters[PROF_FILTER_BYTES]; /* filter_bytes of: kind, text, NUL */
  char options_text[PROF_OPTIONS_BYTES]; /* as they were given, JSON */
} ProfRecord;

/* Writes the record to text (PROF_RECORD_TEXT_BYTES); returns its length. */
extern size_t prof_record_write(const ProfRecord *record, char *text);

/* Reads text. NULL, or what is wrong with it (a constant), and then record holds nothing of use. */
extern const char *prof_record_read(const char *text, size_t length, ProfRecord *record);

/* Adds a filter; false where there is no more room, or the text is longer than a name. */
extern bool prof_record_add_filter(ProfRecord *record, char kind, const char *text, size_t length);

/* The filter at or after *at, which moves behind it; NULL at the end. Its first byte is the kind, the text follows. */
extern const char *prof_record_next_filter(const ProfRecord *record, size_t *at);

/* Are there filters of this kind? */
extern bool prof_record_has_filter(const ProfRecord *record, char kind);

#pragma GCC visibility pop

#endif
