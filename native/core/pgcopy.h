/*
 * PGCOPY: PostgreSQL's COPY .. (FORMAT binary) stream. Byte order and the frame of the stream.
 *
 * In: bytes of a stream, in any pieces. Out: positions and numbers. The caller owns all memory; nothing is allocated,
 * printed or kept. A stream is an 11-byte signature, uint32 flags, uint32 length of an extension, the extension, rows
 * (int16 field count, then for each field int32 length, -1 for NULL, and its bytes) and int16 -1.
 */
#ifndef PGCOPY_H
#define PGCOPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blocks are little-endian and are copied in bulk: a little-endian machine is needed"
#endif

#define PGC_HEADER_BYTES 19u
#define PGC_TRAILER_BYTES 2u

typedef enum pgc_result {
  PGC_OK = 0,   /* done, *used says how far */
  PGC_MORE = 1, /* the bytes so far are fine, more are needed */
  PGC_BAD = 2   /* no PGCOPY stream, or one we do not read (OIDs) */
} pgc_result;

static inline uint16_t pgc_get16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return __builtin_bswap16(v);
}
static inline uint32_t pgc_get32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return __builtin_bswap32(v);
}
static inline uint64_t pgc_get64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return __builtin_bswap64(v);
}
static inline void pgc_put16(uint8_t *p, uint16_t v) {
  v = __builtin_bswap16(v);
  memcpy(p, &v, 2);
}
static inline void pgc_put32(uint8_t *p, uint32_t v) {
  v = __builtin_bswap32(v);
  memcpy(p, &v, 4);
}
static inline void pgc_put64(uint8_t *p, uint64_t v) {
  v = __builtin_bswap64(v);
  memcpy(p, &v, 8);
}

/* Reads the stream's header. *used is set on PGC_OK only; an extension of more than 1 MiB is PGC_BAD. */
pgc_result pgc_read_header(const uint8_t *p, size_t n, size_t *used);

/* Writes the 19 bytes of a header without flags and extension. */
void pgc_write_header(uint8_t *p);

/*
 * Length of the row at p with exactly `fields` fields, all of it within n. PGC_OK: *used is its length, 2 and *last = 1
 * for the trailer. Field lengths below -1 or another field count are PGC_BAD.
 */
pgc_result pgc_scan_row(const uint8_t *p, size_t n, uint32_t fields, size_t *used, int *last);

#ifdef __cplusplus
}
#endif
#endif
