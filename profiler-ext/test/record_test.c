/*
 * State files and rows as anybody's bytes, under sanitizers. In: nothing, or with -DFUZZ the fuzzer's bytes. Out: exit
 * status 0, or an abort that names the line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prof_record.h"
#include "prof_ring.h"
#include "prof_row_ends.h"

#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

static char text[PROF_RECORD_TEXT_BYTES];

/* What can be read can be written, and is read the same. */
static void check_state_file(const char *bytes, size_t length) {
  static ProfRecord record, again;
  if (prof_record_read(bytes, length, &record) != NULL) return;
  size_t written = prof_record_write(&record, text);
  assert(written <= sizeof text);
  assert(prof_record_read(text, written, &again) == NULL);
  assert(memcmp(&record, &again, sizeof record) == 0);
  /* Every beginning of it is refused. */
  for (size_t cut = 0; cut < written; cut += 1 + written / 64) assert(prof_record_read(text, cut, &again) != NULL);
}

static void check_rows(const char *bytes, size_t length) {
  uint64_t rows;
  size_t whole = prof_rows_whole(bytes, length);
  assert(whole <= length && (whole == 0 || bytes[whole - 1] == '\n') && memchr(bytes, 0, whole) == NULL);
  assert(prof_rows_whole(bytes, whole) == whole);
  size_t kept = prof_rows_salvage(bytes, length, 7, 0, &rows);
  assert(kept <= whole && (kept == 0) == (rows == 0) && prof_rows_whole(bytes, kept) == kept);
}

static void check_header(const char *bytes, size_t length) {
  ProfRingHeader header;
  memset(&header, 0, sizeof header);
  memcpy(&header, bytes, length < sizeof header ? length : sizeof header);
  if (prof_ring_header_valid(&header, 7, 12))
    assert(prof_offset(header.base) > 0 && (header.committed <= header.base ||
                                            header.committed - header.base <= PROF_RING_BYTES));
}

static void check(const uint8_t *bytes, size_t length) {
  if (length == 0) return;
  char *copy = malloc(length);
  memcpy(copy, bytes + 1, length - 1);
  if (bytes[0] % 3 == 0) check_state_file(copy, length - 1);
  if (bytes[0] % 3 == 1) check_rows(copy, length - 1);
  if (bytes[0] % 3 == 2) check_header(copy, length - 1);
  free(copy);
}

static void fill(ProfRecord *record) {
  memset(record, 0, sizeof *record);
  record->id = 2147483647;
  strcpy(record->name, "a name % with\nall \x01 sorts \xff of bytes");
  record->state = PROF_STATE_STOPPED;
  record->stop_reason = PROF_STOP_DURATION;
  record->owner = 4294967295;
  strcpy(record->owner_name, "\"o\"");
  record->started_us = record->stopped_us = INT64_MAX;
  record->max_file_bytes = record->max_total_bytes = 65536;
  record->lost_reason = -3;
  memset(record->options_text, '%', sizeof record->options_text - 1);
  while (prof_record_add_filter(record, PROF_FILTER_USER, "\xff\xff\xff\xff\xff\xff\xff\xff", 8)) continue;
}

/* The fuzzer begins with a state file, which it would hardly find by itself. */
#ifdef FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static bool began;
  if (!began) {
    static ProfRecord record;
    fill(&record);
    check_state_file(text, prof_record_write(&record, text));
    began = true;
  }
  check(bytes, length);
  return 0;
}
#else
static uint32_t seed = 1;

static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

int main(void) {
  static ProfRecord record, again;
  static char broken[PROF_RECORD_TEXT_BYTES + 1];
  fill(&record);
  size_t length = prof_record_write(&record, text);
  assert(length < sizeof text);
  assert(prof_record_read(text, length, &again) == NULL && memcmp(&record, &again, sizeof record) == 0);
  size_t at = 0, filters = 0;
  for (const char *filter; (filter = prof_record_next_filter(&again, &at)) != NULL; filters++)
    assert(filter[0] == PROF_FILTER_USER && strlen(filter) == 9);
  assert(filters == PROF_FILTER_BYTES / 10 && prof_record_has_filter(&again, PROF_FILTER_USER));
  assert(!prof_record_has_filter(&again, PROF_FILTER_CLIENT));
  for (int round = 0; round < 100000; round++) {
    /* A state file with a few bytes changed, put in or left out. */
    fill(&record);
    record.filter_bytes = 0;
    record.options_text[0] = 0;
    length = prof_record_write(&record, text);
    memcpy(broken + 1, text, length);
    broken[0] = 0;
    for (uint32_t hits = 1 + next_random() % 3; hits > 0; hits--) {
      size_t where = 1 + next_random() % length;
      uint32_t what = next_random() % 3;
      if (what == 0) broken[where] = (char)next_random();
      if (what == 1) memmove(broken + where, broken + where + 1, length - where), length--;
      if (what == 2) memmove(broken + where + 1, broken + where, length - where + 1), length++;
    }
    check((const uint8_t *)broken, length + 1);
  }
  return 0;
}
#endif
