/* UTF-8 checks; see utf8.h. Probe texts are nearly all ASCII, so ASCII is what is fast. */
#include "utf8.h"

#include <string.h>

#define HIGH 0x8080808080808080ull
#define ONES 0x0101010101010101ull

/* Non-zero where a byte of v is NUL or has its high bit set (exact as a yes/no answer for the whole word). */
static inline uint64_t not_plain(uint64_t v) { return ((v - ONES) | v) & HIGH; }

size_t col_ascii_prefix(const uint8_t *p, size_t n) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    uint64_t v[4];
    memcpy(v, p + i, 32);
    if ((not_plain(v[0]) | not_plain(v[1]) | not_plain(v[2]) | not_plain(v[3])) != 0) return i;
  }
  for (; i + 8 <= n; i += 8) {
    uint64_t v;
    memcpy(&v, p + i, 8);
    if (not_plain(v) != 0) return i;
  }
  while (i < n && p[i] != 0 && p[i] < 0x80) i++;
  return i;
}

/* Length of the well-formed character at p, 0 when ill-formed or NUL. */
static size_t character(const uint8_t *p, size_t n) {
  uint8_t a = p[0];
  if (a < 0x80) return a != 0;
  if (a < 0xc2 || a > 0xf4) return 0;
  if (n < 2) return 0;
  uint8_t b = p[1];
  if (a < 0xe0) return (b & 0xc0) == 0x80 ? 2 : 0;
  uint8_t low = 0x80, high = 0xbf;
  if (a == 0xe0) low = 0xa0;
  if (a == 0xed) high = 0x9f;
  if (a == 0xf0) low = 0x90;
  if (a == 0xf4) high = 0x8f;
  if (b < low || b > high || n < 3 || (p[2] & 0xc0) != 0x80) return 0;
  if (a < 0xf0) return 3;
  return n >= 4 && (p[3] & 0xc0) == 0x80 ? 4 : 0;
}

size_t col_utf8_prefix(const uint8_t *p, size_t n) {
  size_t i = 0;
  while (i < n) {
    if (p[i] < 0x80) {
      size_t run = col_ascii_prefix(p + i, n - i);
      if (run > 0) {
        i += run;
        continue;
      }
    }
    size_t length = character(p + i, n - i);
    if (length == 0) return i;
    i += length;
  }
  return i;
}

size_t col_utf8_cut(const uint8_t *p, size_t n, size_t limit) {
  if (n <= limit) return n;
  while (limit > 0 && (p[limit] & 0xc0) == 0x80) limit--;
  return limit;
}

/* How many bytes one U+FFFD stands for: the longest prefix of a well-formed character, at least one byte. */
static size_t ill_formed(const uint8_t *p, size_t n) {
  uint8_t a = p[0];
  size_t want = a >= 0xf0 && a <= 0xf4 ? 4 : a >= 0xe0 && a < 0xf0 ? 3 : a >= 0xc2 && a < 0xe0 ? 2 : 1;
  if (want == 1 || n < 2) return 1;
  uint8_t low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
  uint8_t high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
  if (p[1] < low || p[1] > high) return 1;
  size_t i = 2;
  while (i < want && i < n && (p[i] & 0xc0) == 0x80) i++;
  return i;
}

size_t col_utf8_repair(const uint8_t *p, size_t n, uint8_t *out) {
  size_t i = 0, o = 0;
  while (i < n) {
    size_t good = col_utf8_prefix(p + i, n - i);
    memcpy(out + o, p + i, good);
    i += good;
    o += good;
    if (i == n) break;
    memcpy(out + o, "\xef\xbf\xbd", 3);
    o += 3;
    i += ill_formed(p + i, n - i);
  }
  return o;
}
