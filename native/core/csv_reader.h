/*
 * CSV of trace files: finds rows and fields, reads numbers, takes quotes off. The form is RFC 4180 (CSV_FORMAT.md).
 *
 * In: bytes the caller owns, from the beginning of a row on, in pieces that may end anywhere. Out: places of the fields of
 * whole rows, numbers and texts in memory the caller owns. Nothing is allocated, printed or kept: whoever reads a file in
 * pieces goes on behind the last whole row. Full: the caller says how many rows at most. SSE4.1 where the compiler
 * has it, wider vectors where the processor has them too, plain C elsewhere and at the edges: the same answers.
 */
#ifndef CSV_READER_H
#define CSV_READER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* More bytes than this are never looked at in one call: places are 32 bits wide. */
#define CSVR_MAX_BYTES (1u << 30)
/* Places that csvr_scan needs room for: what it finds, and a block of 64 bytes in which every byte is a comma. */
#define CSVR_PLACES(rows, fields) ((size_t)(rows) * (fields) + 80u)

/* What is wrong with a row. */
typedef enum csvr_fault {
  CSVR_FINE = 0,
  CSVR_QUOTE_INSIDE = 1, /* a quote in a field that does not begin with one */
  CSVR_BEHIND_QUOTE = 2, /* a closing quote with something else than a comma or a line's end behind it */
  CSVR_LONE_CR = 3,      /* a CR outside quotes that no LF follows */
  CSVR_FEW_FIELDS = 4,
  CSVR_MANY_FIELDS = 5
} csvr_fault;

typedef struct csvr_found {
  uint32_t rows;    /* whole and sound rows */
  size_t used;      /* their bytes */
  csvr_fault fault; /* of the row at `used`; CSVR_FINE: it is not whole yet, or as many rows as allowed were found */
  size_t fault_at;  /* the byte at which the fault shows */
  int plain;        /* 1: no byte of these rows is NUL or above 0x7f (0 may be said of plain rows too) */
  int doubled;      /* 0: no field of these rows holds a doubled quote (1 may be said without one) */
  int crlf;         /* 0: no row ends with CR LF (1 may be said without one) */
} csvr_found;

/*
 * Finds the rows at p, where a row begins: at most max_rows, each of exactly `fields` fields (at least 1). The end of field
 * f of row r, which is the place of the comma or LF behind it, goes to ends[r * fields + f]; ends[-1] must be the caller's
 * too and is set to -1, so that every field begins one byte behind the end before it. `ends` must have room for
 * CSVR_PLACES(max_rows, fields) behind that. Of more than CSVR_MAX_BYTES only so many are looked at.
 */
void csvr_scan(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found);

/* The same without vectors of 64 bytes, which csvr_scan uses where the processor has them; for tests. */
void csvr_scan_128(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found);

/* The same byte by byte; the tests compare all three. */
void csvr_scan_bytes(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found);

/*
 * The end of the field that begins at *at: 1, and *at is the place of its comma or LF (a CR before that LF is not the
 * field's). 0: that is not within n, or *fault says what is wrong and *at where.
 */
int csvr_field_end(const uint8_t *p, size_t n, size_t *at, csvr_fault *fault);

/*
 * Where the row behind the one at p begins, whatever the number of its fields; 0 when that is not within n, or *fault says
 * what is wrong with its quotes and *fault_at where.
 */
size_t csvr_row_end(const uint8_t *p, size_t n, csvr_fault *fault, size_t *fault_at);

/*
 * Reads one decimal number, an optional '-' and 1 to 19 digits, or the same in quotes. 1: *value; 0: the field is empty,
 * with or without quotes; -1: it is none, or not within 64 bits.
 */
int csvr_number(const uint8_t *p, size_t n, int64_t *value);

/*
 * Reads a column: field i lies between begins[i * step] (the place before its first byte) and ends[i * step]. `before` bytes
 * in front of p may be read too. values[i] is the number, 0 where the field is empty or none; bit i of `nulls` and `bad`
 * (words of 64 bits, (rows + 63) / 64 of them, zero at the start) says which. Answers 1 when a bit was set in either.
 */
int csvr_numbers(const uint8_t *p, size_t before, const uint32_t *begins, const uint32_t *ends, uint32_t step,
                 uint32_t rows, int64_t *values, uint64_t *nulls, uint64_t *bad);

/* The same one by one; the tests compare the two. */
int csvr_numbers_single(const uint8_t *p, const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t rows,
                        int64_t *values, uint64_t *nulls, uint64_t *bad);

/*
 * The first row from `from` on, below `rows`, that has other bytes than row 0 between begins[i * step] and ends[i * step];
 * `rows` when there is none. The n bytes at p may be read.
 */
uint32_t csvr_same(const uint8_t *p, size_t n, const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t from,
                   uint32_t rows);

/* Copies the inside of a quoted field, doubled quotes made single. `out` must hold n bytes; answers how many it got. */
size_t csvr_unquote(const uint8_t *p, size_t n, uint8_t *out);

/* A fault in words. */
const char *csvr_fault_text(csvr_fault fault);

#ifdef __cplusplus
}
#endif
#endif
