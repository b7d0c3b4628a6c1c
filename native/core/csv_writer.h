/*
 * Fields of a trace file's rows: decimal numbers and quoted text, fast enough for one row per statement of a busy server.
 *
 * In: values, and texts of any bytes. Out: bytes in memory the caller owns, without a separator: the caller puts ',' and '\n'.
 * Nothing is allocated, nothing fails: the caller has made sure of the room that CSVW_NUMBER_BYTES and CSVW_TEXT_BYTES
 * name, and every function returns the first byte behind what it wrote.
 *
 * The format is RFC 4180 with "\n" as line end. A field is quoted exactly if it holds '"', ',', CR or LF or is an empty
 * text; unknown is an empty field without quotes, for which nothing is written at all.
 */
#ifndef CSV_WRITER_H
#define CSV_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest number, -9223372036854775808. */
#define CSVW_NUMBER_BYTES 20u

/* The most that a text of n bytes becomes: every byte a quote. */
#define CSVW_TEXT_BYTES(n) (2 * (size_t)(n) + 2)

/* "00" to "99". */
extern const char csvw_pairs[200];

/* Numbers from 100 on; use csvw_u64. */
char *csvw_u64_long(char *p, uint64_t value);

/* Writes value in decimal digits. */
static inline char *csvw_u64(char *p, uint64_t value) {
  if (value < 10) {
    *p = (char)('0' + value);
    return p + 1;
  }
  if (value < 100) {
    memcpy(p, csvw_pairs + 2 * value, 2);
    return p + 2;
  }
  return csvw_u64_long(p, value);
}

/* Writes value in decimal digits, with '-' in front where it is negative. */
static inline char *csvw_i64(char *p, int64_t value) {
  if (value >= 0) return csvw_u64(p, (uint64_t)value);
  *p = '-';
  return csvw_u64(p + 1, 0 - (uint64_t)value);
}

/* Writes value < 1,000,000 as exactly six digits. */
static inline char *csvw_six(char *p, uint32_t value) {
  uint32_t high = value / 10000, low = value % 10000;
  memcpy(p, csvw_pairs + 2 * high, 2);
  memcpy(p + 2, csvw_pairs + 2 * (low / 100), 2);
  memcpy(p + 4, csvw_pairs + 2 * (low % 100), 2);
  return p + 6;
}

/* Writes the n bytes of text as one field, quoted where it must be. The places must not overlap. */
char *csvw_text(char *p, const char *text, size_t n);

#ifdef __cplusplus
}
#endif
#endif
