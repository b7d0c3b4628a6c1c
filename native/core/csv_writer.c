/*
 * Decimal digits two at a time, text sixteen bytes at a time. In, out, room: csv_writer.h.
 *
 * The usual text needs no quotes, so it is copied while it is looked through, and begun again where that guess was wrong;
 * looking first and copying after costs a second pass over every text instead.
 */
#include "csv_writer.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

const char csvw_pairs[200] =
    "00010203040506070809" "10111213141516171819" "20212223242526272829" "30313233343536373839" "40414243444546474849"
    "50515253545556575859" "60616263646566676869" "70717273747576777879" "80818283848586878889" "90919293949596979899";

static inline char *pair(char *p, uint32_t value) {
  memcpy(p, csvw_pairs + 2 * value, 2);
  return p + 2;
}

static inline char *four(char *p, uint32_t value) {
  p = pair(p, value / 100);
  return pair(p, value % 100);
}

static inline char *eight(char *p, uint32_t value) {
  p = four(p, value / 10000);
  return four(p, value % 10000);
}

/* value < 10,000 without zeros in front. */
static inline char *head(char *p, uint32_t value) {
  if (value >= 1000) return four(p, value);
  if (value >= 100) {
    *p++ = (char)('0' + value / 100);
    return pair(p, value % 100);
  }
  if (value >= 10) return pair(p, value);
  *p = (char)('0' + value);
  return p + 1;
}

/* value < 100,000,000 without zeros in front. */
static inline char *upto_eight(char *p, uint32_t value) {
  if (value < 10000) return head(p, value);
  p = head(p, value / 10000);
  return four(p, value % 10000);
}

char *csvw_u64_long(char *p, uint64_t value) {
  const uint64_t e8 = 100000000u, e16 = e8 * e8;
  if (value < e8) return upto_eight(p, (uint32_t)value);
  if (value < e16) {
    p = upto_eight(p, (uint32_t)(value / e8));
    return eight(p, (uint32_t)(value % e8));
  }
  p = head(p, (uint32_t)(value / e16));
  value %= e16;
  p = eight(p, (uint32_t)(value / e8));
  return eight(p, (uint32_t)(value % e8));
}

static inline int special(char c) {
  return c == '"' || c == ',' || c == '\n' || c == '\r';
}

#if defined(__SSE2__)
static inline __m128i load(const char *p) {
  return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline void store(char *p, __m128i bytes) {
  _mm_storeu_si128((__m128i *)(void *)p, bytes);
}

static inline __m128i specials(__m128i bytes) {
  __m128i a = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(',')));
  __m128i b = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')));
  return _mm_or_si128(a, b);
}
#endif

/* Copies text as it is; 0 when it turns out to need quotes (then what lies at p means nothing). */
static int copy_plain(char *p, const char *text, size_t n) {
#if defined(__SSE2__)
  if (n >= 16) {
    /* The last block overlaps the one before: no byte behind the text is read. */
    __m128i bytes = load(text + n - 16);
    __m128i found = specials(bytes);
    store(p + n - 16, bytes);
    for (size_t i = 0; i + 16 < n; i += 16) {
      bytes = load(text + i);
      store(p + i, bytes);
      found = _mm_or_si128(found, specials(bytes));
    }
    return _mm_movemask_epi8(found) == 0;
  }
#endif
  for (size_t i = 0; i < n; i++) {
    if (special(text[i])) return 0;
    p[i] = text[i];
  }
  return 1;
}

char *csvw_text(char *p, const char *text, size_t n) {
  if (n != 0 && copy_plain(p, text, n)) return p + n;
  *p++ = '"';
  const char *const end = text + n;
  while (text < end) {
    /* Up to and with the next quote, which is then written again. */
    const char *quote = memchr(text, '"', (size_t)(end - text));
    size_t length = (size_t)((quote == NULL ? end : quote + 1) - text);
    memcpy(p, text, length);
    p += length;
    text += length;
    if (quote != NULL) *p++ = '"';
  }
  *p++ = '"';
  return p;
}
