/*
 * Tests of the row writer: numbers against the C library's, texts against a writer of one byte at a time, and nothing
 * touched outside the room that csv_writer.h names. Built with ASan and UBSan and run by csv_writer.test.ts.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../csv_columns.h"
#include "../csv_writer.h"
#include "check.h"

static uint64_t state = 0x9e3779b97f4a7c15u;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static void check_number(int64_t value) {
  char expected[32];
  int n = snprintf(expected, sizeof expected, "%" PRId64, value);
  char *room = malloc((size_t)n);
  CHECK(csvw_i64(room, value) == room + n && memcmp(room, expected, (size_t)n) == 0);
  free(room);
  if (value < 0) return;
  room = malloc((size_t)n);
  CHECK(csvw_u64(room, (uint64_t)value) == room + n && memcmp(room, expected, (size_t)n) == 0);
  free(room);
}

static void test_numbers(void) {
  for (int64_t value = -20000; value < 120000; value++) check_number(value);
  int64_t power = 1;
  for (int digits = 1; digits < 19; digits++) {
    power *= 10;
    for (int64_t near = -3; near <= 3; near++) {
      check_number(power + near);
      check_number(-power + near);
    }
  }
  check_number(INT64_MAX);
  check_number(INT64_MIN);
  char most[CSVW_NUMBER_BYTES];
  CHECK(csvw_u64(most, UINT64_MAX) == most + 20 && memcmp(most, "18446744073709551615", 20) == 0);
  for (int i = 0; i < 200000; i++) check_number((int64_t)(next() >> (next() & 63)));
  for (uint32_t value = 0; value < 1000000; value += value < 2000 ? 1 : 997) {
    char expected[16], room[6];
    snprintf(expected, sizeof expected, "%06u", value);
    CHECK(csvw_six(room, value) == room + 6 && memcmp(room, expected, 6) == 0);
  }
}

/* The same, a byte at a time. */
static size_t model(char *out, const char *text, size_t n) {
  size_t length = 0;
  int quoted = n == 0;
  for (size_t i = 0; i < n; i++) quoted |= strchr("\",\r\n", text[i]) != NULL && text[i] != 0;
  if (!quoted) {
    memcpy(out, text, n);
    return n;
  }
  out[length++] = '"';
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '"') out[length++] = '"';
    out[length++] = text[i];
  }
  out[length++] = '"';
  return length;
}

static void check_text(const char *bytes, size_t n) {
  char *text = malloc(n == 0 ? 1 : n);
  if (n != 0) memcpy(text, bytes, n);
  char *expected = malloc(CSVW_TEXT_BYTES(n)), *room = malloc(CSVW_TEXT_BYTES(n));
  size_t length = model(expected, text, n);
  CHECK(length <= CSVW_TEXT_BYTES(n));
  CHECK(csvw_text(room, text, n) == room + length && memcmp(room, expected, length) == 0);
  free(room);
  free(expected);
  free(text);
}

static void test_texts(void) {
  check_text("", 0);
  char text[300];
  static const char alphabet[] = "a\",\r\n\0\x80\xff$ ";
  for (size_t n = 1; n < 80; n++) {
    memset(text, 'x', n);
    check_text(text, n);
    memset(text, '"', n);
    check_text(text, n);
    for (size_t at = 0; at < n; at++)
      for (size_t c = 0; c < sizeof alphabet; c++) {
        memset(text, 'x', n);
        text[at] = alphabet[c];
        check_text(text, n);
      }
  }
  for (int i = 0; i < 30000; i++) {
    size_t n = next() % sizeof text;
    for (size_t at = 0; at < n; at++) text[at] = (next() & 7) != 0 ? (char)next() : alphabet[next() % sizeof alphabet];
    check_text(text, n);
  }
}

static void test_columns(void) {
  const char *header = CSV_HEADER;
  CHECK(strlen(header) == CSV_HEADER_BYTES && header[CSV_HEADER_BYTES - 1] == '\n');
  int commas = 0;
  for (const char *p = header; *p != 0; p++) commas += *p == ',';
  CHECK(commas + 1 == CSV_COLUMN_COUNT);
  CHECK(strncmp(header, "trace,line,end_time,", 20) == 0 && CSV_COL_trace == 0);
  CHECK(CSV_COL_query == CSV_COLUMN_COUNT - 3 && CSV_COL_plan == CSV_COLUMN_COUNT - 1);
}

int main(void) {
  test_numbers();
  test_texts();
  test_columns();
  return 0;
}
