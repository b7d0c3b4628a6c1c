/*
 * Tests of core that need no PostgreSQL and no Node: built with ASan and UBSan and run by core.test.ts.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <stdlib.h>
#include <string.h>

#include "../columns.h"
#include "../crc32c.h"
#include "../json.h"
#include "../pgcopy.h"
#include "../utf8.h"
#include "check.h"

/* A copy that ends with its allocation, so that reading one byte too far is seen. */
static uint8_t *exact(const void *p, size_t n) {
  uint8_t *copy = malloc(n == 0 ? 1 : n);
  if (n != 0) memcpy(copy, p, n);
  return copy;
}

static size_t prefix(const char *p, size_t n) {
  uint8_t *copy = exact(p, n);
  size_t found = col_utf8_prefix(copy, n);
  free(copy);
  return found;
}

static void test_utf8(void) {
  CHECK(prefix("", 0) == 0);
  CHECK(prefix("abc\0def", 7) == 3);
  CHECK(prefix("\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x98", 9) == 9);
  static const char *const bad[] = {"\x80",         "\xc0\x80",     "\xc1\xbf",         "\xc3",     "\xe0\x9f\xbf",
                                    "\xed\xa0\x80", "\xe2\x82",     "\xf0\x8f\xbf\xbf", "\xf5\x80", "\xf4\x90\x80\x80",
                                    "\xc3(",        "\xf0\x9f\x90", "\xff",             "\xe2(\xa1"};
  char text[80];
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    for (size_t before = 0; before < 40; before++) {
      memset(text, 'x', before);
      strcpy(text + before, bad[i]);
      CHECK(prefix(text, before + strlen(bad[i])) == before);
      uint8_t out[3 * sizeof text];
      size_t n = col_utf8_repair((const uint8_t *)text, before + strlen(bad[i]), out);
      CHECK(col_utf8_prefix(out, n) == n && n > before);
    }
  CHECK(col_utf8_cut((const uint8_t *)"a\xc3\xa9" "b", 4, 2) == 1);
  CHECK(col_utf8_cut((const uint8_t *)"a\xc3\xa9" "b", 4, 3) == 3);
  CHECK(col_utf8_cut((const uint8_t *)"abc", 3, 9) == 3);
}

static void test_crc(void) {
  uint8_t data[10000];
  uint32_t state = 1;
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
  CHECK(crc32c((const uint8_t *)"123456789", 9, 0) == 0xe3069283u);
  for (size_t n = 0; n < sizeof data; n += n < 40 ? 1 : 517)
    for (size_t at = 0; at < 8; at++)
      if (at + n <= sizeof data) CHECK(crc32c(data + at, n, (uint32_t)n) == crc32c_table(data + at, n, (uint32_t)n));
}

static void test_columns(void) {
  for (unsigned type = COL_TYPE_MIN; type <= COL_TYPE_MAX; type++) {
    const char *name = col_type_name(type);
    CHECK(col_type_by_name(name, strlen(name)) == type);
    uint32_t width = col_width((col_type)type);
    if (width == 0) continue;
    enum { N = 9 };
    uint8_t fixed[16 * N], back[16 * N], one[16];
    for (size_t i = 0; i < sizeof fixed; i++) fixed[i] = type == COL_BOOL ? i & 1 : (uint8_t)(i * 37 & 0x3f);
    for (uint32_t spare = 0; spare <= 4; spare += 4) {
      uint32_t pos[N];
      for (uint32_t i = 0; i < N; i++) pos[i] = i * (width + 11);
      size_t size = pos[N - 1] + 3 + 4 + width + spare;
      uint8_t *wire = exact(fixed, 0);
      wire = realloc(wire, size);
      memset(wire, 0xee, size);
      col_scatter((col_type)type, fixed, wire, pos, 3, N, spare);
      for (uint32_t i = 0; i < N; i++) {
        CHECK(pgc_get32(wire + pos[i] + 3) == width);
        CHECK(col_fixed_from_pg((col_type)type, wire + pos[i] + 7, one) == NULL);
        CHECK(memcmp(one, fixed + i * width, width) == 0);
        CHECK(wire[pos[i] + 2] == 0xee);
      }
      CHECK(col_gather((col_type)type, wire, pos, 3, back, N));
      CHECK(memcmp(back, fixed, N * width) == 0);
      wire[pos[4] + 6] ^= 1;
      CHECK(!col_gather((col_type)type, wire, pos, 3, back, N));
      free(wire);
    }
  }
}

/* Four columns together say what they say one by one, and leave alone what is not theirs. */
static void test_four(void) {
  enum { N = 9, STRIDE = 61 };
  uint8_t fixed[4][8 * N];
  const uint8_t *columns[4] = {fixed[0], fixed[1], fixed[2], fixed[3]};
  for (size_t i = 0; i < sizeof fixed; i++) fixed[i / (8 * N)][i % (8 * N)] = (uint8_t)(i * 91 + 7);
  uint32_t pos[N];
  for (uint32_t i = 0; i < N; i++) pos[i] = i * STRIDE;
  for (uint32_t spare = 0; spare <= 4; spare += 4) {
    const size_t size = pos[N - 1] + 3 + 48 + spare;
    uint8_t *wire = malloc(size);
    CHECK(wire != NULL);
    memset(wire, 0xee, size);
    col_scatter_four(columns, wire, pos, 3, N, spare);
    for (uint32_t i = 0; i < N; i++) {
      for (uint32_t k = 0; k < 4; k++) {
        uint8_t field[12];
        col_put_field(COL_INT8, fixed[k] + 8 * i, field);
        CHECK(memcmp(wire + pos[i] + 3 + 12 * k, field, 12) == 0);
      }
      CHECK(wire[pos[i] + 2] == 0xee);
      if (i + 1 < N) CHECK(wire[pos[i] + 3 + 48 + spare] == 0xee);
    }
    free(wire);
  }
}

/* More times than are converted at once, infinities among them: the same fields with and without room for wide stores. */
static void test_many_times(void) {
  enum { N = 150 };
  int64_t times[N];
  uint32_t pos[N];
  uint8_t wire[16 * N];
  for (uint32_t i = 0; i < N; i++) {
    times[i] = i % 7 == 0 ? INT64_MIN : i % 7 == 1 ? INT64_MAX : (int64_t)i * 1790000000000000 / 100 - 1;
    pos[i] = 16 * i;
  }
  for (uint32_t spare = 0; spare <= 4; spare += 4) {
    col_scatter(COL_TIMESTAMPTZ, (const uint8_t *)times, wire, pos, 0, N, spare);
    for (uint32_t i = 0; i < N; i++) {
      int64_t want = i % 7 < 2 ? times[i] : times[i] - COL_EPOCH_US;
      CHECK(pgc_get32(wire + pos[i]) == 8);
      CHECK((int64_t)pgc_get64(wire + pos[i] + 4) == want);
    }
  }
}

static void test_times(void) {
  static const struct {
    int64_t pg;
    int ok;
  } times[] = {{INT64_MIN, 1}, {INT64_MAX, 1}, {0, 1}, {-211813488000000000, 1}, {-211813488000000001, 0},
               {INT64_MAX - 1, 0}, {INT64_MAX - COL_EPOCH_US - 1, 1}, {INT64_MAX - COL_EPOCH_US, 0}, {INT64_MIN + 1, 0}};
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    uint8_t wire[12], out[8];
    uint32_t zero = 0;
    size_t row;
    pgc_put32(wire, 8);
    pgc_put64(wire + 4, (uint64_t)times[i].pg);
    CHECK((col_fixed_from_pg(COL_TIMESTAMPTZ, wire + 4, out) == NULL) == times[i].ok);
    CHECK(col_gather(COL_TIMESTAMPTZ, wire, &zero, 0, out, 1) == times[i].ok);
    if (!times[i].ok) continue;
    CHECK(col_check_fixed(COL_TIMESTAMPTZ, out, 1, &row) == NULL);
    uint8_t again[12];
    col_put_field(COL_TIMESTAMPTZ, out, again);
    CHECK(memcmp(wire, again, 12) == 0);
  }
  int64_t low = COL_TIME_MIN_US - 1;
  size_t row = 9;
  CHECK(col_check_fixed(COL_TIMESTAMPTZ, (const uint8_t *)&low, 1, &row) != NULL && row == 0);
  CHECK(col_check_fixed(COL_BOOL, (const uint8_t *)"\0\1\2", 3, &row) != NULL && row == 2);
}

static int variable(col_type type, const char *p, size_t n) {
  uint8_t *copy = exact(p, n);
  int ok = col_check_variable(type, copy, n) == NULL;
  free(copy);
  return ok;
}

static void test_variable(void) {
  CHECK(variable(COL_NUMERIC, "\0\1\0\0\0\0\0\2\0\7", 10));
  CHECK(!variable(COL_NUMERIC, "\0\2\0\0\0\0\0\2\0\7", 10));
  CHECK(!variable(COL_NUMERIC, "\0\1\0\0\0\1\0\2\0\7", 10));
  CHECK(!variable(COL_NUMERIC, "\0\1\0\0\0\0\x40\0\0\7", 10));
  CHECK(!variable(COL_NUMERIC, "\0\1\0\0\0\0\0\2\x27\x10", 10));
  CHECK(!variable(COL_NUMERIC, "\0\0\0", 3));
  CHECK(variable(COL_INET, "\2\x20\0\4abcd", 8));
  CHECK(!variable(COL_INET, "\2\x21\0\4abcd", 8));
  CHECK(!variable(COL_INET, "\3\x20\0\4abcd", 8));
  CHECK(!variable(COL_INET, "\2\x20\0\4abc", 7));
  CHECK(variable(COL_TEXT_ARRAY, "\0\0\0\0\0\0\0\0\0\0\0\x19", 12));
  CHECK(!variable(COL_TEXT_ARRAY, "\0\0\0\0\0\0\0\0\0\0\0\x11", 12));
  CHECK(variable(COL_TEXT_ARRAY, "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\1\0\0\0\1\xff\xff\xff\xff", 24));
  CHECK(!variable(COL_TEXT_ARRAY, "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\1\x7f\xff\xff\xff\xff\xff\xff\xff", 24));
  CHECK(!variable(COL_TEXT_ARRAY, "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1\0\0\0\1\xff", 25));
  CHECK(!variable(COL_TEXT_ARRAY, "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1\0\0\0\2x", 25));
  CHECK(!variable(COL_TEXT_ARRAY, "\0\0\0\7\0\0\0\0\0\0\0\x19", 12));
  char name[65];
  memset(name, 'n', sizeof name);
  CHECK(variable(COL_NAME, name, 63) && !variable(COL_NAME, name, 64));
  CHECK(variable(COL_JSON, "{\"a\":\"\\u0000\"}", 14) && !variable(COL_JSONB, "{\"a\":\"\\u0000\"}", 14));
  CHECK(!variable(COL_JSON, "", 0));
}

static void test_stream(void) {
  uint8_t head[PGC_HEADER_BYTES];
  size_t used = 0;
  int last = 0;
  pgc_write_header(head);
  for (size_t n = 1; n < sizeof head; n++) {
    uint8_t *copy = exact(head, n);
    CHECK(pgc_read_header(copy, n, &used) == PGC_MORE);
    free(copy);
  }
  CHECK(pgc_read_header(head, sizeof head, &used) == PGC_OK && used == sizeof head);
  head[12] = 1;
  CHECK(pgc_read_header(head, sizeof head, &used) == PGC_BAD);
  const char row[] = "\0\2\0\0\0\3abc\xff\xff\xff\xff";
  for (size_t n = 0; n < 13; n++) {
    uint8_t *copy = exact(row, n);
    CHECK(pgc_scan_row(copy, n, 2, &used, &last) == PGC_MORE);
    free(copy);
  }
  CHECK(pgc_scan_row((const uint8_t *)row, 13, 2, &used, &last) == PGC_OK && used == 13 && !last);
  CHECK(pgc_scan_row((const uint8_t *)row, 13, 3, &used, &last) == PGC_BAD);
  CHECK(pgc_scan_row((const uint8_t *)"\xff\xff", 2, 3, &used, &last) == PGC_OK && used == 2 && last);
}

int main(void) {
  test_utf8();
  test_crc();
  test_columns();
  test_four();
  test_many_times();
  test_times();
  test_variable();
  test_stream();
  return 0;
}
