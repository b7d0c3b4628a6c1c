/*
 * Tests of the CSV reader's core and of encodings: built with ASan and UBSan, run by csv_reader.test.ts.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <stdlib.h>
#include <string.h>

#include "../csv_reader.h"
#include "../encoding.h"
#include "../utf8.h"
#include "check.h"

#define ROWS 40u

static uint64_t seed = 20261123;

static uint32_t chance(uint32_t below) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(seed >> 33) % below;
}

/* A copy that ends with its allocation, so that reading one byte too far is seen. */
static uint8_t *exact(const void *p, size_t n) {
  uint8_t *copy = malloc(n == 0 ? 1 : n);
  if (n != 0) memcpy(copy, p, n);
  return copy;
}

typedef struct scanned {
  csvr_found found;
  uint32_t *memory, *ends;
} scanned;

static scanned scan(const uint8_t *p, size_t n, uint32_t fields, uint32_t rows, int way) {
  scanned s;
  s.memory = malloc(4 * (CSVR_PLACES(rows, fields) + 1));
  s.ends = s.memory + 1;
  (way == 0 ? csvr_scan : way == 1 ? csvr_scan_bytes : csvr_scan_128)(p, n, fields, rows, s.ends, &s.found);
  CHECK(s.ends[-1] == UINT32_MAX);
  return s;
}

/* All three ways say the same, and what they promise of the rows holds. */
static csvr_found check_scan(const uint8_t *p, size_t n, uint32_t fields, uint32_t rows) {
  uint8_t *copy = exact(p, n);
  scanned fast = scan(copy, n, fields, rows, 0), slow = scan(copy, n, fields, rows, 1);
  const csvr_found a = fast.found, b = slow.found;
  CHECK(a.rows == b.rows && a.used == b.used && a.fault == b.fault && a.rows <= rows);
  CHECK(a.fault == CSVR_FINE || a.fault_at == b.fault_at);
  CHECK(memcmp(fast.ends, slow.ends, (size_t)a.rows * fields * 4) == 0);
  CHECK(!a.plain || b.plain);
  CHECK(a.rows == 0 || fast.ends[(size_t)a.rows * fields - 1] + 1 == a.used);
  for (uint32_t row = 0; row < a.rows; row++)
    for (uint32_t field = 0; field < fields; field++) {
      const uint32_t *end = fast.ends + (size_t)row * fields + field;
      CHECK(copy[*end] == (field + 1 == fields ? '\n' : ','));
      uint32_t stop = *end;
      const uint32_t begin = end[-1] + 1;
      if (field + 1 == fields && stop != begin && copy[stop - 1] == '\r') {
        CHECK(a.crlf);
        stop--;
      }
      if (stop - begin > 2 && copy[begin] == '"' && memchr(copy + begin + 1, '"', stop - begin - 2) != NULL) CHECK(a.doubled);
    }
  scanned plain = scan(copy, n, fields, rows, 2);
  CHECK(memcmp(&plain.found, &a, sizeof a) == 0);
  CHECK(memcmp(fast.ends, plain.ends, (size_t)a.rows * fields * 4) == 0);
  free(plain.memory);
  free(fast.memory);
  free(slow.memory);
  free(copy);
  return a;
}

static void test_forms(void) {
#define SCAN(text, fields) check_scan((const uint8_t *)(text), sizeof(text) - 1, fields, ROWS)
  csvr_found f = SCAN("a,b\nc,d\n", 2);
  CHECK(f.rows == 2 && f.used == 8 && f.fault == CSVR_FINE);
  f = SCAN("a,b\r\n\"c\",\"d\"\r\n", 2);
  CHECK(f.rows == 2 && f.used == 14 && f.crlf);
  f = SCAN("a,b\nc,d", 2);
  CHECK(f.rows == 1 && f.used == 4 && f.fault == CSVR_FINE);
  f = SCAN("\"a\"\"b\",\",\n\r\"\n", 2);
  CHECK(f.rows == 1 && f.doubled && f.fault == CSVR_FINE);
  f = SCAN("\"\",\n,\"\"\n", 2);
  CHECK(f.rows == 2);
  f = SCAN("\n\n", 1);
  CHECK(f.rows == 2);
  f = SCAN("a\"b,c\n", 2);
  CHECK(f.fault == CSVR_QUOTE_INSIDE && f.fault_at == 1);
  f = SCAN("x,y\n\"a\"b,c\n", 2);
  CHECK(f.rows == 1 && f.fault == CSVR_BEHIND_QUOTE && f.fault_at == 7);
  f = SCAN("a\rb,c\n", 2);
  CHECK(f.fault == CSVR_LONE_CR && f.fault_at == 2);
  f = SCAN("a,b\nc\n", 2);
  CHECK(f.rows == 1 && f.fault == CSVR_FEW_FIELDS && f.fault_at == 5);
  f = SCAN("a,b,", 2);
  CHECK(f.fault == CSVR_MANY_FIELDS && f.fault_at == 3);
  f = SCAN("\"a\"", 1);
  CHECK(f.rows == 0 && f.fault == CSVR_FINE);
  f = SCAN("a\r", 1);
  CHECK(f.rows == 0 && f.fault == CSVR_FINE);
  f = SCAN("\xc3\xa9\n", 1);
  CHECK(f.rows == 1 && !f.plain);
  csvr_fault fault;
  size_t at = 0;
  CHECK(csvr_row_end((const uint8_t *)"a,\"b\n\",c\nd", 10, &fault, &at) == 9 && fault == CSVR_FINE);
  CHECK(csvr_row_end((const uint8_t *)"a,b", 3, &fault, &at) == 0 && fault == CSVR_FINE);
  CHECK(csvr_row_end((const uint8_t *)"a,\"b\"c", 6, &fault, &at) == 0 && fault == CSVR_BEHIND_QUOTE && at == 5);
}

/* Random bytes of few kinds: whole, and as they grow byte by byte. */
static void test_random_bytes(void) {
  static const char alphabet[] = "\"\"\"\",,,,\n\n\ra0-\xe9";
  for (int round = 0; round < 30000; round++) {
    uint8_t text[400];
    const size_t n = chance(round % 8 == 0 ? sizeof text : 40);
    const uint32_t kinds = round % 3 == 0 ? 12 : sizeof alphabet, fields = 1 + chance(4);
    for (size_t i = 0; i < n; i++) text[i] = (uint8_t)alphabet[chance(kinds)];
    const csvr_found all = check_scan(text, n, fields, 1 + chance(ROWS));
    if (round % 16 != 0) continue;
    size_t used = 0;
    for (size_t size = 0; size <= n; size++) used += check_scan(text + used, size - used, fields, ROWS).used;
    CHECK(used >= all.used);
  }
}

/* Any bytes as fields, written as RFC 4180 says, come back as they were; pieces end anywhere. */
static void test_round_trip(void) {
  for (int round = 0; round < 3000; round++) {
    const uint32_t fields = 1 + chance(60), rows = 1 + chance(6);
    uint8_t *texts = malloc((size_t)fields * rows * 40), *csv = malloc((size_t)fields * rows * 90);
    uint32_t *sizes = malloc(4 * (size_t)fields * rows);
    size_t length = 0;
    const uint32_t longest = round % 4 == 0 ? 40 : 3;
    for (uint32_t i = 0; i < fields * rows; i++) {
      uint8_t *text = texts + (size_t)i * 40;
      sizes[i] = chance(longest);
      int quote = chance(8) == 0;
      for (uint32_t k = 0; k < sizes[i]; k++) {
        text[k] = (uint8_t)(chance(3) == 0 ? "\",\n\r"[chance(4)] : chance(256));
        quote |= strchr("\",\n\r", text[k]) != NULL && text[k] != 0;
      }
      if (quote) csv[length++] = '"';
      for (uint32_t k = 0; k < sizes[i]; k++) {
        if (text[k] == '"') csv[length++] = '"';
        csv[length++] = text[k];
      }
      if (quote) csv[length++] = '"';
      if ((i + 1) % fields != 0) {
        csv[length++] = ',';
      } else {
        if (chance(4) == 0) csv[length++] = '\r';
        csv[length++] = '\n';
      }
    }
    uint32_t row = 0;
    size_t at = 0, end = 0;
    while (row < rows) {
      end += 1 + chance((uint32_t)(length - end));
      uint8_t *piece = exact(csv + at, end - at);
      scanned s = scan(piece, end - at, fields, ROWS, 0);
      CHECK(s.found.fault == CSVR_FINE);
      for (uint32_t i = 0; i < s.found.rows * fields; i++) {
        uint32_t begin = s.ends[(int64_t)i - 1] + 1, stop = s.ends[i];
        if ((i + 1) % fields == 0 && stop > begin && piece[stop - 1] == '\r') stop--;
        uint8_t plain[100];
        size_t n = stop - begin;
        if (n >= 2 && piece[begin] == '"') {
          n = csvr_unquote(piece + begin + 1, n - 2, plain);
        } else {
          memcpy(plain, piece + begin, n);
        }
        const uint32_t which = row * fields + i;
        CHECK(n == sizes[which] && memcmp(plain, texts + (size_t)which * 40, n) == 0);
      }
      row += s.found.rows;
      at += s.found.used;
      free(s.memory);
      free(piece);
    }
    CHECK(at == length);
    free(texts);
    free(csv);
    free(sizes);
  }
}

static int number(const char *text, int64_t *value) {
  uint8_t *copy = exact(text, strlen(text));
  const int known = csvr_number(copy, strlen(text), value);
  free(copy);
  return known;
}

static void test_numbers(void) {
  int64_t v;
  CHECK(number("", &v) == 0 && v == 0);
  CHECK(number("\"\"", &v) == 0);
  CHECK(number("0", &v) == 1 && v == 0);
  CHECK(number("\"-7\"", &v) == 1 && v == -7);
  CHECK(number("9223372036854775807", &v) == 1 && v == INT64_MAX);
  CHECK(number("-9223372036854775808", &v) == 1 && v == INT64_MIN);
  static const char *const none[] = {"9223372036854775808", "-9223372036854775809", "-", "--1", "+1", " 1", "1 ", "1.0",
                                     "99999999999999999999", "1a", "\"", "1\"", "\xb1", "/", ":", "0x1", "\"\"1\"\""};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) CHECK(number(none[i], &v) == -1 && v == 0);

  for (int round = 0; round < 20000; round++) {
    enum { COUNT = 70 };
    uint8_t text[COUNT * 24];
    uint32_t ends[COUNT + 1];
    const uint32_t before = chance(20);
    size_t n = 0;
    ends[0] = UINT32_MAX;
    for (uint32_t i = 0; i < COUNT; i++) {
      const uint32_t digits = round % 7 == 0 ? 16 : chance(round % 2 == 0 ? 4 : 21);
      if (round % 5 == 0 && chance(8) == 0) text[n++] = '-';
      for (uint32_t k = 0; k < digits; k++)
        text[n++] = (uint8_t)(round % 3 == 0 && chance(60) == 0 ? chance(256) : '0' + chance(10));
      ends[i + 1] = (uint32_t)n;
      text[n++] = ',';
    }
    uint8_t *copy = malloc(before + n);
    memset(copy, '7', before);
    memcpy(copy + before, text, n);
    int64_t fast[COUNT], slow[COUNT];
    uint64_t nulls[2][2] = {{0}}, bad[2][2] = {{0}};
    const uint32_t step = 1 + chance(3), rows = COUNT / step;
    const int a = csvr_numbers(copy + before, before, ends, ends + 1, step, rows, fast, nulls[0], bad[0]);
    const int b = csvr_numbers_single(copy + before, ends, ends + 1, step, rows, slow, nulls[1], bad[1]);
    CHECK(a == b && memcmp(fast, slow, rows * 8) == 0);
    CHECK(memcmp(nulls[0], nulls[1], 16) == 0 && memcmp(bad[0], bad[1], 16) == 0);
    for (uint32_t i = 0; i < rows; i++) {
      int64_t value;
      const uint32_t begin = ends[i * step] + 1;
      const int known = csvr_number(copy + before + begin, ends[i * step + 1] - begin, &value);
      CHECK(value == fast[i] && (known == 0) == (nulls[0][i >> 6] >> (i & 63) & 1));
      CHECK((known < 0) == (bad[0][i >> 6] >> (i & 63) & 1));
    }
    free(copy);
  }
}

static void test_same(void) {
  for (int round = 0; round < 20000; round++) {
    enum { COUNT = 24 };
    uint8_t text[COUNT * 100];
    uint32_t ends[COUNT + 1], row = 0;
    const uint32_t size = chance(round % 2 == 0 ? 20 : 90), other = chance(2 * COUNT), from = 1 + chance(3);
    size_t n = 0;
    ends[0] = UINT32_MAX;
    for (uint32_t i = 0; i < COUNT; i++) {
      uint32_t bytes = size;
      for (uint32_t k = 0; k < size; k++) text[n + k] = (uint8_t)('a' + k % 26);
      if (i == other && size != 0 && chance(2) == 0) text[n + chance(size)] ^= 1;
      else if (i == other) bytes = size + 1;
      text[n + size] = ',';
      n += bytes;
      ends[i + 1] = (uint32_t)n;
      text[n++] = ',';
    }
    uint8_t *copy = exact(text, n - 1);
    for (row = from; row < COUNT; row++) {
      const uint32_t begin = ends[row] + 1, bytes = ends[row + 1] - begin;
      if (bytes != ends[1] || memcmp(copy + begin, copy, bytes) != 0) break;
    }
    CHECK(csvr_same(copy, n - 1, ends, ends + 1, 1, from, COUNT) == row);
    free(copy);
  }
}

static const char *converted(const char *encoding, const char *text, size_t n, size_t limit, enc_made *made) {
  static uint8_t out[200];
  uint8_t *copy = exact(text, n), *to = malloc(limit == 0 ? 1 : limit);
  *made = enc_to_utf8(enc_by_name((const uint8_t *)encoding, strlen(encoding)), copy, n, to, limit);
  CHECK(made->size <= limit && col_utf8_prefix(to, made->size) == made->size);
  memcpy(out, to, made->size);
  out[made->size] = 0;
  free(copy);
  free(to);
  return (const char *)out;
}

static void test_encodings(void) {
  enc_made m;
  CHECK(strcmp(converted("UTF8", "a\xc3\xa9\xff" "b", 5, 100, &m), "a\xc3\xa9\\xff" "b") == 0 && m.escaped && !m.cut);
  CHECK(strcmp(converted("", "\xe2\x82" "a", 3, 100, &m), "\\xe2\\x82" "a") == 0);
  CHECK(strcmp(converted("SQL_ASCII", "\xc3\xa9\0", 3, 100, &m), "\xc3\xa9\\x00") == 0);
  CHECK(strcmp(converted("LATIN1", "\xe9\x80", 2, 100, &m), "\xc3\xa9\xc2\x80") == 0 && !m.escaped);
  CHECK(strcmp(converted("WIN1252", "\x80\x81", 2, 100, &m), "\xe2\x82\xac\\x81") == 0 && m.escaped);
  CHECK(strcmp(converted("EUC_JP", "a\xa4\xa2", 3, 100, &m), "a\\xa4\\xa2") == 0 && m.escaped);
  CHECK(strcmp(converted("no such", "a\xa4", 2, 100, &m), "a\\xa4") == 0);
  /* Cut between characters and never within a \xNN. */
  CHECK(strcmp(converted("LATIN1", "a\xe9\xe9", 3, 4, &m), "a\xc3\xa9") == 0 && m.cut);
  CHECK(strcmp(converted("UTF8", "ab\xff" "c", 4, 5, &m), "ab") == 0 && m.cut);
  CHECK(strcmp(converted("UTF8", "ab\xff" "c", 4, 6, &m), "ab\\xff") == 0 && m.cut);
  CHECK(strcmp(converted("UTF8", "ab\xff" "c", 4, 7, &m), "ab\\xff" "c") == 0 && !m.cut);
  CHECK(strcmp(converted("UTF8", "a\xc3\xa9\xff", 4, 2, &m), "a") == 0 && m.cut);
  CHECK(strcmp(converted("UTF8", "\xff", 1, 0, &m), "") == 0 && m.cut);
  for (size_t i = 0; enc_single_byte(i) != NULL; i++) {
    CHECK(enc_by_name((const uint8_t *)enc_single_byte(i)->name, strlen(enc_single_byte(i)->name)) == enc_single_byte(i));
    for (int byte = 0; byte < 256; byte++) {
      const char one[1] = {(char)byte};
      converted(enc_single_byte(i)->name, one, 1, 4, &m);
      CHECK(m.size != 0 && !m.cut && m.escaped == (byte == 0 || (byte > 0x7f && enc_single_byte(i)->table[byte - 0x80] == 0)));
    }
  }
  static const char *const names[] = {"UTF8", "LATIN2", "KOI8R", "EUC_KR"};
  for (int round = 0; round < 20000; round++) {
    char text[50];
    const size_t n = chance(sizeof text);
    for (size_t i = 0; i < n; i++) text[i] = (char)(chance(3) == 0 ? chance(256) : 'a' + chance(20));
    converted(names[chance(4)], text, n, chance(3) == 0 ? chance(60) : 4 * n, &m);
  }
}

int main(void) {
  test_forms();
  test_random_bytes();
  test_round_trip();
  test_numbers();
  test_same();
  test_encodings();
  return 0;
}
