/*
 * CRC-32C; see crc32c.h. The instruction has a latency of three cycles and one can start each cycle, so long inputs run
 * as three streams whose remainders are joined by tables that multiply by x^(8 * STREAM).
 */
#include "crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u
#define STREAM 1024u

static uint32_t table[8][256];
static uint32_t shift[4][256]; /* a register moved on by STREAM zero bytes, byte by byte of the register */

/* Runs before main (or at load of the library), so that no caller races to fill the tables. */
__attribute__((constructor)) static void fill_tables(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? POLYNOMIAL : 0);
    table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int k = 1; k < 8; k++) table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
  uint32_t basis[32];
  for (int bit = 0; bit < 32; bit++) {
    uint32_t c = 1u << bit;
    for (uint32_t i = 0; i < STREAM; i++) c = (c >> 8) ^ table[0][c & 0xff];
    basis[bit] = c;
  }
  for (int byte = 0; byte < 4; byte++)
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = 0;
      for (int bit = 0; bit < 8; bit++)
        if (i >> bit & 1) c ^= basis[byte * 8 + bit];
      shift[byte][i] = c;
    }
}

uint32_t crc32c_table(const uint8_t *p, size_t n, uint32_t seed) {
  uint32_t c = ~seed;
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    v ^= c;
    c = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^ table[4][v >> 24 & 0xff] ^
        table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^ table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
  }
  while (n-- > 0) c = (c >> 8) ^ table[0][(c ^ *p++) & 0xff];
  return ~c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
#define STEP8(c, v) _mm_crc32_u64((c), (v))
#define STEP1(c, v) _mm_crc32_u8((uint32_t)(c), (v))
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define TARGET
#define STEP8(c, v) __crc32cd((uint32_t)(c), (v))
#define STEP1(c, v) __crc32cb((uint32_t)(c), (v))
#endif

#ifdef STEP8
static inline uint64_t load(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

static inline uint32_t move_on(uint64_t c) {
  return shift[0][c & 0xff] ^ shift[1][c >> 8 & 0xff] ^ shift[2][c >> 16 & 0xff] ^ shift[3][c >> 24 & 0xff];
}

TARGET static uint32_t by_instruction(const uint8_t *p, size_t n, uint32_t seed) {
  uint64_t a = (uint32_t)~seed;
  for (; n >= 3 * STREAM; p += 3 * STREAM, n -= 3 * STREAM) {
    uint64_t b = 0, c = 0;
    for (size_t i = 0; i < STREAM; i += 64) {
      __builtin_prefetch(p + 3 * STREAM + i);
      __builtin_prefetch(p + 4 * STREAM + i);
      __builtin_prefetch(p + 5 * STREAM + i);
      for (size_t k = i; k < i + 64; k += 8) {
        a = STEP8(a, load(p + k));
        b = STEP8(b, load(p + STREAM + k));
        c = STEP8(c, load(p + 2 * STREAM + k));
      }
    }
    a = move_on(move_on(a) ^ b) ^ c;
  }
  for (; n >= 8; p += 8, n -= 8) a = STEP8(a, load(p));
  while (n-- > 0) a = STEP1(a, *p++);
  return ~(uint32_t)a;
}
#endif

uint32_t crc32c(const uint8_t *p, size_t n, uint32_t seed) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return by_instruction(p, n, seed);
  return crc32c_table(p, n, seed);
#elif defined(STEP8)
  return by_instruction(p, n, seed);
#else
  return crc32c_table(p, n, seed);
#endif
}
