/* Row ends; see prof_row_ends.h. */
#include "prof_row_ends.h"

#include <stdbool.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The next byte at or after at that is a quote, a line end or a NUL; length where there is none. */
static size_t next_special(const char *bytes, size_t at, size_t length) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), newline = _mm_set1_epi8('\n'), nul = _mm_setzero_si128();
  for (; length - at >= 16; at += 16) {
    __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)(bytes + at));
    __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(chunk, quote), _mm_cmpeq_epi8(chunk, newline)),
                                 _mm_cmpeq_epi8(chunk, nul));
    int mask = _mm_movemask_epi8(found);
    if (mask != 0) return at + (size_t)__builtin_ctz((unsigned)mask);
  }
#endif
  while (at < length && bytes[at] != '"' && bytes[at] != '\n' && bytes[at] != 0) at++;
  return at;
}

/* End of the row that begins at `at`; 0 where it is not whole. */
static size_t row_end(const char *bytes, size_t at, size_t length) {
  bool quoted = false;
  for (at = next_special(bytes, at, length); at < length; at = next_special(bytes, at + 1, length)) {
    if (bytes[at] == 0) return 0;
    /* A doubled quote switches twice. */
    if (bytes[at] == '"')
      quoted = !quoted;
    else if (!quoted)
      return at + 1;
  }
  return 0;
}

size_t prof_rows_whole(const char *bytes, size_t length) {
  size_t whole = 0;
  for (size_t end; whole < length && (end = row_end(bytes, whole, length)) != 0;) whole = end;
  return whole;
}

/* Reads digits and a comma; false where they are not there or the number is beyond 64 bits. */
static bool read_number(const char *bytes, size_t *at, size_t end, uint64_t *number) {
  size_t from = *at;
  *number = 0;
  for (; *at < end && bytes[*at] >= '0' && bytes[*at] <= '9'; ++*at) {
    if (__builtin_mul_overflow(*number, UINT64_C(10), number) ||
        __builtin_add_overflow(*number, (uint64_t)(bytes[*at] - '0'), number))
      return false;
  }
  return *at > from && *at < end && bytes[(*at)++] == ',';
}

size_t prof_rows_salvage(const char *bytes, size_t length, int32_t trace, uint64_t after, uint64_t *rows) {
  size_t whole = 0;
  uint64_t count = 0;
  for (size_t end; whole < length && (end = row_end(bytes, whole, length)) != 0; whole = end) {
    size_t at = whole;
    uint64_t number, line;
    if (!read_number(bytes, &at, end, &number) || number != (uint64_t)trace) break;
    if (!read_number(bytes, &at, end, &line) || line <= after) break;
    after = line;
    count++;
  }
  if (rows != NULL) *rows = count;
  return whole;
}
