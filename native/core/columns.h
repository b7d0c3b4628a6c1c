/*
 * Column types of a block: widths, conversion between a block's little-endian columns and PGCOPY fields, and checks of
 * every value that PostgreSQL's receive functions would refuse (one bad value aborts a whole COPY).
 *
 * In: bytes the caller owns. Out: bytes in memory the caller owns, verdicts as static texts. Nothing is allocated.
 * The numbers are those of ColumnType in src/wire/batch.fbs.
 */
#ifndef COLUMNS_H
#define COLUMNS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum col_type {
  COL_BOOL = 1,
  COL_INT2 = 2,
  COL_INT4 = 3,
  COL_INT8 = 4,
  COL_FLOAT4 = 5,
  COL_FLOAT8 = 6,
  COL_NUMERIC = 7,
  COL_TEXT = 8,
  COL_NAME = 9,
  COL_OID = 10,
  COL_XID = 11,
  COL_PG_LSN = 12,
  COL_INET = 13,
  COL_TIMESTAMPTZ = 14,
  COL_INTERVAL = 15,
  COL_JSON = 16,
  COL_JSONB = 17,
  COL_TEXT_ARRAY = 18
} col_type;

#define COL_TYPE_MIN 1
#define COL_TYPE_MAX 18
#define COL_NAME_BYTES 63u

/* µs between 1970-01-01 (blocks) and 2000-01-01 (PostgreSQL). */
#define COL_EPOCH_US 946684800000000ll
/* Finite times a block and a timestamptz can both hold, µs since 1970; INT64_MIN and INT64_MAX are -infinity, infinity. */
#define COL_TIME_MIN_US (-210866803200000000ll)
#define COL_TIME_MAX_US 9223372036854775806ll

/* Bytes of a value in a block's fixed part, the same as its bytes in PGCOPY; 0: variable width. */
static inline uint32_t col_width(col_type type) {
  static const uint8_t widths[COL_TYPE_MAX + 1] = {0, 1, 2, 4, 8, 4, 8, 0, 0, 0, 4, 4, 8, 0, 8, 16, 0, 0, 0};
  return widths[type];
}

/* text, name, json, jsonb: bytes of a block's value are UTF-8. */
static inline int col_is_text(col_type type) {
  return type == COL_TEXT || type == COL_NAME || type == COL_JSON || type == COL_JSONB;
}

/* PostgreSQL's name of a type, NULL for an unknown number. */
const char *col_type_name(unsigned type);

/* The type of that name, 0 when it is none of ours. */
unsigned col_type_by_name(const char *name, size_t n);

/*
 * Reads one fixed-width PGCOPY value at p into out (both col_width bytes). NULL, or why the value cannot be taken.
 */
const char *col_fixed_from_pg(col_type type, const uint8_t *p, uint8_t *out);

/* Checks `rows` values of a fixed-width column. NULL, or why; *row is the offender. */
const char *col_check_fixed(col_type type, const uint8_t *fixed, size_t rows, size_t *row);

/*
 * Checks one variable-width value as it stands in a block. Text types must have been found to be UTF-8 before: only
 * what goes beyond that (name's length, JSON) is looked at here. NULL, or why.
 */
const char *col_check_variable(col_type type, const uint8_t *p, size_t n);

/* Elements of a text[] in binary form whose frame is sound: calls each(state, bytes, length) (length -1: NULL). */
const char *col_each_element(const uint8_t *p, size_t n, void (*each)(void *state, const uint8_t *p, int32_t n),
                             void *state);

/*
 * Writes n values of a fixed-width column as PGCOPY fields (int32 length, value): row i goes to dst + pos[i] + shift.
 * Behind each field `spare` bytes of its row may be overwritten too: with 4 of them a field is one store.
 */
void col_scatter(col_type type, const uint8_t *fixed, uint8_t *dst, const uint32_t *pos, uint32_t shift, size_t n,
                 uint32_t spare);

/*
 * The same for four columns side by side, of 8 bytes each and none of them timestamptz: a row's fields are written
 * together.
 */
void col_scatter_four(const uint8_t *const fixed[4], uint8_t *dst, const uint32_t *pos, uint32_t shift, size_t n,
                      uint32_t spare);

/* One such field at dst. */
void col_put_field(col_type type, const uint8_t *fixed, uint8_t *dst);

/*
 * The way back: reads n fields at src + pos[i] + shift into a column. Answers 0 when a field is not of the type's width
 * or a timestamptz is out of range; the column is then undefined.
 */
int col_gather(col_type type, const uint8_t *src, const uint32_t *pos, uint32_t shift, uint8_t *fixed, size_t n);

#ifdef __cplusplus
}
#endif
#endif
