/*
 * A 64-bit hash for tables and fingerprints, in one call or in pieces of 32 bytes: the same answers. Every bit of the input
 * and of the seed changes half of the answer's bits; it is no defence against somebody who looks for collisions.
 *
 * In: bytes and a state of two words that the caller owns. Out: a number, the same on all little-endian machines: answers
 * are stored (fingerprints), so another algorithm needs another FPR_RULES_VERSION.
 */
#ifndef HASH64_H
#define HASH64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Odd constants with about as many ones as zeros. */
#define H64_K0 0x9e3779b97f4a7c15ull
#define H64_K1 0xd6e8feb86659fd93ull
#define H64_K2 0xa0761d6478bd642full
#define H64_K3 0xe7037ed1a0b428dbull

static inline uint64_t h64_load(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

static inline uint64_t h64_turn(uint64_t v, int bits) { return v << bits | v >> (64 - bits); }

/* Both halves of the product. */
static inline uint64_t h64_mix(uint64_t a, uint64_t b) {
  __extension__ typedef unsigned __int128 wide;
  wide product = (wide)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* No seed makes a lane that is small: what is multiplied with it would hardly be mixed. */
static inline void h64_begin(uint64_t lanes[2], uint64_t seed) {
  uint64_t mixed = h64_mix(seed ^ H64_K2, H64_K0);
  lanes[0] = mixed ^ H64_K3;
  lanes[1] = h64_turn(mixed, 32) + H64_K1;
}

/* Takes in 32 bytes. The factors go in beside their product: one that is zero does not make the other forgotten. */
static inline void h64_absorb(uint64_t lanes[2], const uint8_t *p) {
  uint64_t a = h64_load(p) ^ H64_K1, b = h64_load(p + 8) ^ lanes[0];
  uint64_t c = h64_load(p + 16) ^ H64_K2, d = h64_load(p + 24) ^ lanes[1];
  lanes[0] = h64_mix(a, b) ^ h64_turn(a, 23) ^ b;
  lanes[1] = h64_mix(c, d) ^ h64_turn(c, 23) ^ d;
}

/* Takes in the last n bytes, and says the hash of all `total` bytes since h64_begin. */
uint64_t h64_end(uint64_t lanes[2], const uint8_t *p, size_t n, uint64_t total);

/* The hash of p[0..n). */
uint64_t h64(const void *p, size_t n, uint64_t seed);

/* The hash of two numbers. */
static inline uint64_t h64_pair(uint64_t a, uint64_t b) {
  uint64_t h = h64_mix(a ^ H64_K0, b ^ H64_K1) ^ a;
  return h64_mix(h ^ H64_K2, h64_turn(h, 29) ^ b ^ H64_K3);
}

#ifdef __cplusplus
}
#endif
#endif
