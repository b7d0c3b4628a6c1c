/*
 * CRC-32C (Castagnoli), the checksum of batches and spool records. The processor's instruction where there is one,
 * tables otherwise: the same answers. In: bytes the caller owns; out: a number.
 */
#ifndef CRC32C_H
#define CRC32C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* crc32c of p[0..n), continued from `seed` (0 to begin): crc(b, crc(a, 0)) is the checksum of a followed by b. */
uint32_t crc32c(const uint8_t *p, size_t n, uint32_t seed);

/* The same by tables alone; the tests compare the two. */
uint32_t crc32c_table(const uint8_t *p, size_t n, uint32_t seed);

#ifdef __cplusplus
}
#endif
#endif
