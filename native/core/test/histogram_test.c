/*
 * Tests of the latency histogram: built with ASan and UBSan and run by core.test.ts.
 * In: nothing. Out: exit status 0, or the line of the first check that failed.
 */
#include <stdlib.h>
#include <string.h>

#include "../histogram.h"
#include "check.h"

static uint64_t state = 1;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)((state >> 33) % below);
}

static void test_buckets(void) {
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
    uint64_t low = hist_low_us(i), high = low + hist_width_us(i) - 1;
    CHECK(hist_bucket(low) == i && hist_bucket(high) == i && (i == 0 || hist_bucket(low - 1) == i - 1));
    CHECK(i == HIST_BUCKETS - 1 ? high + 1 == HIST_LIMIT_US : hist_low_us(i + 1) == high + 1);
    /* The error bound, at both ends. */
    uint64_t value = hist_value_us(i);
    CHECK((value - low) * 32 <= low && (high - value) * 32 <= high);
  }
  CHECK(hist_bucket(HIST_LIMIT_US) == HIST_BUCKETS - 1 && hist_bucket(UINT64_MAX) == HIST_BUCKETS - 1);
}

static void test_values(void) {
  uint64_t counts[HIST_BUCKETS], back[HIST_BUCKETS], both[HIST_BUCKETS];
  static char text[HIST_TEXT_BYTES];
  enum { N = 3000 };
  static uint64_t values[N];
  for (int round = 0; round < 200; round++) {
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < N; i++) {
      uint64_t v = (uint64_t)next(1u << 31) << next(12) >> next(32);
      uint32_t at = (uint32_t)i;
      counts[hist_bucket(v)]++;
      if (round < 5) {
        for (; at > 0 && values[at - 1] > v; at--) values[at] = values[at - 1];
        values[at] = v;
      }
    }
    CHECK(hist_total(counts) == N);
    if (round < 5)
      for (int q = 1; q <= N; q++) {
        uint64_t truth = values[q - 1], said = hist_quantile_us(counts, (q - 0.5) / N);
        CHECK(said * 100 <= truth * 105 && truth * 100 <= said * 105);
      }
    size_t n = hist_to_text(counts, text, sizeof text);
    CHECK(n > 0 && hist_to_text(counts, text, n) == n && hist_to_text(counts, text, n - 1) == 0);
    char *copy = malloc(n);
    memcpy(copy, text, n);
    memset(back, 0, sizeof back);
    CHECK(hist_from_text(copy, n, back) && memcmp(back, counts, sizeof back) == 0);
    CHECK(hist_from_text(copy, n, back));
    memcpy(both, counts, sizeof both);
    hist_merge(both, counts);
    CHECK(memcmp(both, back, sizeof both) == 0);
    /* Damaged: refused, or another histogram, and then nothing half done. */
    copy[next((uint32_t)n)] = " :19x"[next(5)];
    memcpy(both, back, sizeof both);
    if (!hist_from_text(copy, n, back)) CHECK(memcmp(both, back, sizeof both) == 0);
    free(copy);
  }
}

static void test_texts(void) {
  uint64_t counts[HIST_BUCKETS], back[HIST_BUCKETS], both[HIST_BUCKETS];
  static char text[HIST_TEXT_BYTES];
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) counts[i] = UINT64_MAX;
  CHECK(hist_to_text(counts, text, sizeof text) > 0 && hist_total(counts) == UINT64_MAX);
  memcpy(both, counts, sizeof both);
  hist_merge(both, counts);
  CHECK(memcmp(both, counts, sizeof both) == 0);

  static const char *const bad[] = {
      "",  "2",   "1 ",      "1 640",                  "1 0 0",                    "1 1:0", "1 1:1", "1 1:", "1  1", "1 01", "1 1:02",
      "x", "1,1", "1 639 1", "1 18446744073709551616", "1 1:18446744073709551616", "1 1 ",  "01 1",  "1 -1"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) CHECK(!hist_from_text(bad[i], strlen(bad[i]), back));
  memset(back, 0, sizeof back);
  CHECK(hist_from_text("1", 1, back) && hist_total(back) == 0 && hist_quantile_us(back, 0.5) == 0);
  CHECK(hist_from_text("1 0:7 3 2:18446744073709551615", 30, back) && back[0] == 7 && back[3] == 1 && back[5] == UINT64_MAX);
}

int main(void) {
  test_buckets();
  test_values();
  test_texts();
  return 0;
}
