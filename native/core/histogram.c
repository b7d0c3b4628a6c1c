/* The latency histogram; see histogram.h for what is promised and AGGREGATE.md for the text form. */
#include "histogram.h"

void hist_merge(uint64_t *counts, const uint64_t *more) {
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) counts[i] = hist_plus(counts[i], more[i]);
}

uint64_t hist_total(const uint64_t *counts) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) total = hist_plus(total, counts[i]);
  return total;
}

uint64_t hist_quantile_us(const uint64_t *counts, double q) {
  uint64_t total = hist_total(counts);
  if (total == 0) return 0;
  /* The rank of the value asked for, from 1; also for a q that is no number. */
  double place = q > 0 ? (q < 1 ? q * (double)total : (double)total) : 0;
  uint64_t rank = place >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)place;
  if ((double)rank < place || rank == 0) rank++;
  if (rank > total) rank = total;
  uint64_t seen = 0;
  uint32_t last = 0;
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
    if (counts[i] == 0) continue;
    last = i;
    seen = hist_plus(seen, counts[i]);
    if (seen >= rank) break;
  }
  return hist_value_us(last);
}

static size_t put_number(char *text, uint64_t value) {
  char digits[20];
  size_t n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (size_t i = 0; i < n; i++) text[i] = digits[n - 1 - i];
  return n;
}

size_t hist_to_text(const uint64_t *counts, char *text, size_t max) {
  if (max < 1) return 0;
  size_t at = put_number(text, HIST_FORMAT_VERSION);
  uint32_t before = 0;
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
    if (counts[i] == 0) continue;
    char one[26];
    size_t n = 1;
    one[0] = ' ';
    n += put_number(one + n, i - before);
    before = i;
    if (counts[i] != 1) {
      one[n++] = ':';
      n += put_number(one + n, counts[i]);
    }
    if (max - at < n) return 0;
    for (size_t k = 0; k < n; k++) text[at + k] = one[k];
    at += n;
  }
  return at;
}

/* A number without leading zeros at text[*at]. */
static int get_number(const char *text, size_t n, size_t *at, uint64_t *value) {
  size_t from = *at;
  uint64_t v = 0;
  while (*at < n && text[*at] >= '0' && text[*at] <= '9') {
    uint64_t digit = (uint64_t)(text[*at] - '0');
    if (v > (UINT64_MAX - digit) / 10) return 0;
    v = v * 10 + digit;
    ++*at;
  }
  *value = v;
  return *at > from && (text[from] != '0' || *at == from + 1);
}

/* Reads a text form; adds it to counts unless that is NULL. */
static int read_text(const char *text, size_t n, uint64_t *counts) {
  size_t at = 0;
  uint64_t version, bucket = 0;
  if (!get_number(text, n, &at, &version) || version != HIST_FORMAT_VERSION) return 0;
  for (int first = 1; at < n; first = 0) {
    uint64_t gap, count = 1;
    if (text[at++] != ' ' || !get_number(text, n, &at, &gap)) return 0;
    if (gap >= HIST_BUCKETS || (gap == 0 && !first)) return 0;
    bucket += gap;
    if (bucket >= HIST_BUCKETS) return 0;
    if (at < n && text[at] == ':') {
      at++;
      if (!get_number(text, n, &at, &count) || count < 2) return 0;
    }
    if (counts != 0) counts[bucket] = hist_plus(counts[bucket], count);
  }
  return 1;
}

int hist_from_text(const char *text, size_t n, uint64_t *counts) {
  return read_text(text, n, 0) && read_text(text, n, counts);
}
