/*
 * Tests of normal forms and fingerprints: built with ASan and UBSan and run by core.test.ts. The lexer is built a second time
 * without vectors; both must say the same of any bytes.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../fingerprint.h"
#include "../hash64.h"
#include "check.h"

#define FPR_PORTABLE
#define sql_class portable_class
#define sql_in_word portable_in_word
#define sql_in_operator portable_in_operator
#define sql_word_key portable_word_key
#define sql_word_what portable_word_what
#define sql_names_after portable_names_after
#define sql_bodies_after portable_bodies_after
#define sql_is_plain portable_is_plain
#define sql_skip_literal portable_skip_literal
#define sql_skip_comment portable_skip_comment
#define sql_skip_digits portable_skip_digits
#define sql_skip_number portable_skip_number
#define sql_skip_signed portable_skip_signed
#define sql_skip_operator portable_skip_operator
#define sql_skip_dollars portable_skip_dollars
#define fpr_normalise portable_normalise
#define fpr_cache_bytes portable_cache_bytes
#define fpr_cache_open portable_cache_open
#define fpr_cached portable_cached
#include "../fingerprint.c"
#include "../sql_lexer.c"
#undef fpr_normalise
#undef fpr_cache_bytes
#undef fpr_cache_open
#undef fpr_cached

static fpr_work work, portable_work;
static uint64_t state = 1;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)((state >> 33) % below);
}

/* Normalises a copy that ends with its allocation, both ways. */
static fpr_result normalise(const char *sql, size_t n, int cut) {
  char *copy = malloc(n == 0 ? 1 : n);
  CHECK(copy != NULL);
  memcpy(copy, sql, n);
  fpr_result a, b;
  fpr_normalise(&work, copy, n, cut, &a);
  portable_normalise(&portable_work, copy, n, cut, &b);
  free(copy);
  CHECK(a.fingerprint == b.fingerprint && a.text_bytes == b.text_bytes && a.kept_bytes == b.kept_bytes &&
        a.flags == b.flags && memcmp(work.bytes, portable_work.bytes, a.kept_bytes) == 0);
  CHECK(a.fingerprint != 0 && a.kept_bytes <= FPR_TEXT_BYTES && a.kept_bytes <= a.text_bytes);
  return a;
}

/* The normal form, with a NUL; only texts that are kept whole. */
static const char *form(const char *sql) {
  static char text[FPR_TEXT_BYTES + 1];
  fpr_result r = normalise(sql, strlen(sql), 0);
  CHECK(r.kept_bytes == r.text_bytes);
  memcpy(text, work.bytes, r.kept_bytes);
  text[r.kept_bytes] = 0;
  return text;
}

static void test_forms(void) {
  static const char *const pairs[][2] = {
      {"", ""},
      {" \t\r\n\f\v -- nothing", ""},
      {"SELECT 1", "select ?"},
      {";;SELECT 1 ; ;", "select ?"},
      {"select 1; select 2;", "select ?; select ?"},
      {"SELECT a.B , \"C\".\"d\"\"e\" FROM t", "select a.b, \"C\".\"d\"\"e\" from t"},
      {"select '', 'it''s', E'a\\'b', e'\\\\', B'101', x'1F', N'foo', U&'d\\0061'", "select ?, ?, ?, ?, ?, ?, ?, ?"},
      {"select U&'d!0061' UESCAPE '!', 1", "select ?, ?"},
      {"select U&\"d!0061\" UESCAPE '!'", "select u&\"d!0061\" uescape ?"},
      {"select 'a'\n  'b'", "select ?"},
      {"select 'a' -- note\n 'b'", "select ?"},
      {"select 'a' 'b'", "select ? ?"},
      {"select $$ it's $$, $a$ $$ $b$ $a$, $_1$x$_1$, a$b$c", "select ?, ?, ?, a$b$c"},
      {"select $1, $23", "select ?, ?"},
      {"select $ 1", "select $ ?"},
      {"select 0x1F, 0o17, 0b01, 1_000, 1e5, 1.5e-7, .5, 5., 1E+3, 1..10", "select ?, ?, ?, ?, ?, ?, ?, ?, ?, ?..?"},
      {"select 1.e, 1e", "select ? e, ? e"},
      {"select a-1, a -1, (a)-1, a[1]-1, -1, a*-1, a=-1, a<-1, f(-1), -1::int, - 1, -$1",
       "select a - ?, a - ?, (a) - ?, a[?] - ?, ?, a * ?, a = ?, a < ?, f(?), - ?::int, ?, - ?"},
      {"select 1 - -1, 5--3\n, 6", "select ? - ?, ?, ?"},
      {"select @-1, a!=b, a<>b, a||'x'||b, a->>'b', a#>'{}', a?|b, a*/**/b, a+-b, a@-b",
       "select @- ?, a <> b, a <> b, a || ? || b, a ->> ?, a #> ?, a ?| b, a * b, a + - b, a @- b"},
      {"select a::int, a :: text[] , cast(1 as int), '5'::int", "select a::int, a::text[], cast(? as int), ?::int"},
      {"select a[1], a[1:2], a [ 1 : ], (a).b, (select 1)", "select a[?], a[?:?], a[?:], (a).b, (select ?)"},
      {"/* a /* nested */ comment */ select /*+ hint */ 1 -- end", "select ?"},
      {"select true, FALSE, null", "select ?, ?, ?"},
      {"select a is null, a is not null, a is true, a is not false, not null, not true",
       "select a is null, a is not null, a is true, a is not false, not null, not ?"},
      {"update t set a = null where b = true", "update t set a = ? where b = ?"},
      {"select * from t where a in (1, 2 ,3)", "select * from t where a in (?)"},
      {"select * from t where a not in ('a', $2, -3)", "select * from t where a not in (?)"},
      {"select * from t where a in (1::int, 2::int)", "select * from t where a in (?::int)"},
      {"select * from t where (a, b) in ((1, 2), (3, 4))", "select * from t where (a, b) in ((?, ?))"},
      {"select * from t where a in (1, b, 2, 3)", "select * from t where a in (?, b, ?)"},
      {"select * from t where a in (select 1)", "select * from t where a in (select ?)"},
      {"select f(1, 2), f(1, 2, 3)", "select f(?, ?), f(?, ?, ?)"},
      {"insert into t values (1, 'a'), (2, 'b'),(3,'c')", "insert into t values (?, ?)"},
      {"insert into t (a) values (1), (default) returning a", "insert into t(a) values (?), (default) returning a"},
      {"insert into t values (1, now()), (2, now()) on conflict do nothing",
       "insert into t values (?, now()) on conflict do nothing"},
      {"select * from (values (1), (2)) v, u where u.a in (values (1), (2))",
       "select * from (values (?)) v, u where u.a in (values (?))"},
      {"values (1), (2); values (3)", "values (?); values (?)"},
      {"select values, values from t", "select values, values from t"},
      {"select array[1, 2, 3], array[[1,2],[3,4]], array[]::int[], a[1]",
       "select array[?], array[[?]], array[]::int[], a[?]"},
      {"savepoint S1", "savepoint ?"},
      {"release savepoint \"S 1\"", "release savepoint ?"},
      {"rollback to savepoint s1", "rollback to savepoint ?"},
      {"rollback", "rollback"},
      {"deallocate pdo_stmt_0001", "deallocate ?"},
      {"deallocate all", "deallocate all"},
      {"fetch forward 100 from c_77", "fetch forward ? from ?"},
      {"declare c1 cursor for select a from t", "declare ? cursor for select a from t"},
      {"do $x$ begin null; savepoint s; perform f(1, $q$ $q$); end; $x$ ;",
       "do $$ begin ?; savepoint ?; perform f(?, ?); end; $$"},
      {"do 'begin end'", "do ?"},
      {"create function f() returns int language sql as $$ SELECT 1; $$",
       "create function f() returns int language sql as $$ select ?; $$"},
      {"select \xc3\x89\xc3\xa9 from T\xc3\xa4", "select \xc3\x89\xc3\xa9 from t\xc3\xa4"},
      {"select 'unfinished", "select ?"},
      {"select \"unfinished", "select \"unfinished"},
      {"select 1 /* unfinished", "select ?"},
      {"select $a$ unfinished $b$", "select ?"},
      {"select E'\\", "select ?"},
      {"do $$ begin 'unfinished", "do $$ begin ?"},
      {"select 1 :: int := 2 => 3", "select ?::int := ? => ?"},
  };
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    const char *made = form(pairs[i][0]);
    if (strcmp(made, pairs[i][1]) == 0) continue;
    fprintf(stderr, "%s\n  is   %s\n  not  %s\n", pairs[i][0], made, pairs[i][1]);
    exit(1);
  }
  CHECK(normalise("select 'a", 9, 0).flags == FPR_UNTERMINATED && normalise("select 'a'", 10, 1).flags == FPR_CUT);
  CHECK(normalise("select \0 1", 10, 0).fingerprint == normalise("select 1", 8, 0).fingerprint);
}

/* What is cut behind the first rows of a list, or behind enough of the form, is one statement wherever it was cut. */
static void test_cut(void) {
  char sql[40000];
  size_t n = (size_t)sprintf(sql, "insert into some_table (a, b, c) values ");
  size_t second = 0;
  for (int i = 0; i < 200; i++) {
    if (i == 2) second = n;
    n += (size_t)sprintf(sql + n, "%s(%d, 'text %d', now())", i == 0 ? "" : ", ", i, i * i);
  }
  const uint64_t whole = normalise(sql, n, 0).fingerprint;
  for (size_t at = second; at < n; at += 7) CHECK(normalise(sql, at, 1).fingerprint == whole);

  n = (size_t)sprintf(sql, "select * from t where a in (1, 2");
  CHECK(normalise(sql, n, 1).fingerprint == normalise("select * from t where a in (1, 2, 3", 35, 1).fingerprint);
  /* The last word may be half of one. */
  CHECK(normalise("select a from ta", 16, 1).fingerprint == normalise("select a from tab", 17, 1).fingerprint);
  CHECK(normalise("select a from ta", 16, 0).fingerprint != normalise("select a from tab", 17, 0).fingerprint);

  n = (size_t)sprintf(sql, "select ");
  for (int i = 0; n < 38000; i++) n += (size_t)sprintf(sql + n, "column_%d, ", i);
  const uint64_t start = normalise(sql, 2000, 1).fingerprint;
  for (size_t at = 1500; at < n; at += 501) CHECK(normalise(sql, at, 1).fingerprint == start);
  CHECK(normalise(sql, 1900, 0).fingerprint != normalise(sql, 2000, 0).fingerprint);
}

/* Forms longer than the memory: their hash is that of the whole, and lists in them are one element still. */
static void test_long(void) {
  const size_t room = 300000;
  char *sql = malloc(room), *list = malloc(room);
  CHECK(sql != NULL && list != NULL);
  for (size_t size = 7000; size < 100000; size += 1009 + next(900)) {
    size_t n = (size_t)sprintf(sql, "select a");
    while (n < size) n += (size_t)sprintf(sql + n, ", column_%u", next(1000000));
    fpr_result r = normalise(sql, n, 0);
    CHECK(r.text_bytes == n && r.fingerprint == h64(sql, n, FPR_RULES_VERSION));
    CHECK(r.kept_bytes == (n < FPR_TEXT_BYTES ? n : FPR_TEXT_BYTES) && memcmp(work.bytes, sql, r.kept_bytes) == 0);

    /* Rows of up to 9 kB behind any amount of text. */
    uint32_t columns = 1 + next(2000), rows = 2 + next(4);
    n += (size_t)sprintf(sql + n, " from (values ");
    memcpy(list, sql, n);
    size_t m = n;
    for (uint32_t row = 0; row < rows; row++) {
      m += (size_t)sprintf(list + m, "%s(", row == 0 ? "" : ",");
      for (uint32_t i = 0; i < columns; i++) m += (size_t)sprintf(list + m, "%s%u", i == 0 ? "" : ",", i);
      list[m++] = ')';
      if (row == 0) memcpy(sql + n, list + n, m - n), n = m;
    }
    list[m++] = ')';
    sql[n++] = ')';
    CHECK(normalise(list, m, 0).fingerprint == normalise(sql, n, 0).fingerprint);
  }
  /* One word, one name, one operator of any length. */
  for (size_t size = 30; size < 90000; size = size * 3 / 2) {
    memset(sql, 'w', size);
    CHECK(normalise(sql, size, 0).fingerprint == h64(sql, size, FPR_RULES_VERSION));
    sql[0] = sql[size - 1] = '"';
    CHECK(normalise(sql, size, 0).fingerprint == h64(sql, size, FPR_RULES_VERSION));
    memset(sql, '|', size);
    CHECK(normalise(sql, size, 0).fingerprint == h64(sql, size, FPR_RULES_VERSION));
  }
  /* A character that the kept text would split is left out of it. */
  memset(sql, 'x', 9000);
  for (size_t at = FPR_TEXT_BYTES - 4; at <= FPR_TEXT_BYTES; at++) {
    memcpy(sql + at, "\xf0\x9f\x90\x98", 4);
    size_t kept = normalise(sql, 9000, 0).kept_bytes;
    CHECK(kept == (at == FPR_TEXT_BYTES - 4 || at == FPR_TEXT_BYTES ? FPR_TEXT_BYTES : at));
    memset(sql + at, 'x', 4);
  }
  free(sql);
  free(list);
}

/* Whatever is between brackets, quotes and words: both builds say the same and nothing is touched outside. */
static void test_any_bytes(void) {
  static const char *const tokens[] = {
      "select", "VALUES", "in", "(", ")", ",", "[", "]", "array", "'", "''", "E'", "\\", "$$", "$a$", "$1", "\"", "--",
      "/*", "*/", "\n", " ", ";", ":", "::", ".", "..", "1", "-", "1e5", "0x", "null", "is", "not", "true", "uescape",
      "U&'", "u&\"", "do", "create", "savepoint", "declare", "?", "=", "<>", "!=", "\xc3\xa9", "\xff",
      "a_long_name_of_a_table",
  };
  for (int round = 0; round < 60000; round++) {
    char sql[700];
    size_t n = 0;
    for (uint32_t i = next(40); i > 0; i--) {
      const char *token = tokens[next(sizeof tokens / sizeof tokens[0])];
      memcpy(sql + n, token, strlen(token));
      n += strlen(token);
      if (next(8) == 0) sql[n - 1] = (char)next(256);
    }
    normalise(sql, n, next(4) == 0);
  }
}

/* A form that tells two texts apart has two fingerprints, and one form has one. */
static void test_same(void) {
  static const char *const words[] = {"a",      "b",     "1", "'x'", "$1", ",",    "(",  ")", "in",
                                      "values", "array", "[", "]",   "-",  "null", "is", "."};
  enum { N = 20000 };
  static struct {
    uint64_t fingerprint;
    uint64_t text;
  } seen[N];
  for (int i = 0; i < N; i++) {
    char sql[200];
    size_t n = 0;
    for (uint32_t k = 1 + next(9); k > 0; k--)
      n += (size_t)sprintf(sql + n, "%s ", words[next(sizeof words / sizeof words[0])]);
    fpr_result r = normalise(sql, n, 0);
    seen[i].fingerprint = r.fingerprint;
    seen[i].text = h64(work.bytes, r.kept_bytes, 99);
  }
  for (int i = 0; i < 3000; i++)
    for (int k = i + 1; k < i + 1000; k++)
      CHECK((seen[i].fingerprint == seen[k].fingerprint) == (seen[i].text == seen[k].text));
}

static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void test_hash(void) {
  uint8_t text[200];
  double changed = 0;
  uint64_t tries = 0;
  for (size_t n = 1; n < sizeof text; n += n < 40 ? 1 : 13) {
    for (size_t i = 0; i < n; i++) text[i] = (uint8_t)next(256);
    const uint64_t before = h64(text, n, 7);
    for (size_t bit = 0; bit < 8 * n; bit++, tries++) {
      text[bit / 8] ^= (uint8_t)(1 << bit % 8);
      uint64_t difference = before ^ h64(text, n, 7);
      CHECK(difference != 0);
      int bits = __builtin_popcountll(difference);
      CHECK(bits > 8 && bits < 56);
      changed += bits;
      text[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(h64(text, n, 8) != before && h64(text, n - 1, 7) != before);
  }
  changed /= (double)tries;
  CHECK(changed > 31.8 && changed < 32.2);
  memset(text, 0, sizeof text);
  for (size_t n = 0; n < sizeof text; n++)
    for (size_t m = 0; m < n; m++) CHECK(h64(text, n, 0) != h64(text, m, 0));
  /* In pieces. */
  for (size_t n = 0; n < sizeof text; n++) text[n] = (uint8_t)(n * 37);
  for (size_t first = 0; first <= 160; first += 32) {
    uint64_t lanes[2];
    h64_begin(lanes, 5);
    for (size_t i = 0; i < first; i += 32) h64_absorb(lanes, text + i);
    CHECK(h64_end(lanes, text + first, 199 - first, 199) == h64(text, 199, 5));
  }
  /* Texts of few bytes that are not 0, whatever the seed. */
  static const uint64_t seeds[] = {0, 1, H64_K0, H64_K1, H64_K2, H64_K3, UINT64_MAX};
  static uint64_t found[400000];
  for (size_t seed = 0; seed < sizeof seeds / sizeof seeds[0]; seed++) {
    size_t count = 0;
    for (size_t n = 1; n <= 36; n += n < 4 ? 1 : 4)
      for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 8; k++)
          for (size_t j = 0; j <= i; j++)
            for (int m = 0; m < (j == i ? 1 : 8); m++) {
              uint8_t few[36] = {0};
              few[j] = (uint8_t)(1 << m);
              few[i] = (uint8_t)(1 << k);
              found[count++] = h64(few, n, seeds[seed]);
            }
    CHECK(count < sizeof found / sizeof found[0]);
    qsort(found, count, sizeof found[0], by_number);
    for (size_t i = 1; i < count; i++) CHECK(found[i] != found[i - 1]);
  }
  /* Numbers in a row fill a table as chance would: no slot of 4,096 with 65,536 keys has more than 48 or fewer than 2. */
  static uint32_t slots[4096];
  for (uint64_t i = 0; i < 65536; i++) slots[h64_pair(i, 3) & 4095]++;
  for (size_t i = 0; i < 4096; i++) CHECK(slots[i] < 48 && slots[i] > 1);
  /* Stored answers are the same on every machine and for ever. */
  CHECK(h64("select ?", 8, FPR_RULES_VERSION) == 0x2ffab3d5dad1d531ull);
}

static void test_cache(void) {
  CHECK(fpr_cache_bytes(0) == fpr_cache_bytes(4) && fpr_cache_bytes(1000) == 64 + 1024 * 16);
  void *memory = aligned_alloc(64, fpr_cache_bytes(64));
  CHECK(memory != NULL);
  fpr_cache *cache = fpr_cache_open(memory, 64);
  for (int round = 0; round < 20000; round++) {
    char sql[60];
    size_t n = (size_t)sprintf(sql, "select %u from t%u", next(40), next(3));
    int cut = next(2) == 1, known;
    uint64_t found = fpr_cached(cache, &work, sql, n, cut, &known);
    CHECK(found == normalise(sql, n, cut).fingerprint);
    CHECK(fpr_cached(cache, &work, sql, n, cut, &known) == found && known);
  }
  /* Texts that never come again: the same answers while the cache rests, and it is asked again later. */
  fpr_cache_open(memory, 64);
  int hits = 0, known;
  for (int round = 0; round < 100000; round++) {
    char sql[60];
    size_t n = (size_t)sprintf(sql, "select %d from t", round < 40000 ? round : round % 8);
    CHECK(fpr_cached(cache, &work, sql, n, 0, &known) == work.last.fingerprint || known);
    hits += known;
  }
  CHECK(hits > 60000 - 32768 - 4096 - 100 && hits < 60000);
  free(memory);
}

/* A megabyte of what might be done twice takes no longer than a megabyte of anything, by orders of magnitude. */
static void test_time(void) {
  static const char *const units[] = {
      "(",  "in (", "values (", "array[", "'a'\n",   "'a' -- \n", "$a",       "$a$", "$a$ $", "/*",             "/* ", "- ",
      "--", "1.",   "\"",       "E'\\",   "values ", "values,",   "in((1),(", ")",   "],",    "U&'' uescape ", "(1,", ";",
      "a.", "\xc3"};
  const size_t n = 1 << 20;
  char *sql = malloc(n);
  CHECK(sql != NULL);
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
    size_t length = strlen(units[i]);
    for (size_t at = 0; at < n; at++) sql[at] = units[i][at % length];
    clock_t from = clock();
    normalise(sql, n, 0);
    CHECK(clock() - from < 3 * CLOCKS_PER_SEC);
  }
  free(sql);
}

int main(void) {
  test_hash();
  test_forms();
  test_cut();
  test_long();
  test_any_bytes();
  test_same();
  test_cache();
  test_time();
  return 0;
}
