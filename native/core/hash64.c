/* The hash; see hash64.h. */
#include "hash64.h"

uint64_t h64_end(uint64_t lanes[2], const uint8_t *p, size_t n, uint64_t total) {
  for (; n >= 32; p += 32, n -= 32) h64_absorb(lanes, p);
  if (n > 0) {
    uint8_t last[32] = {0};
    memcpy(last, p, n);
    h64_absorb(lanes, last);
  }
  uint64_t h = h64_mix(lanes[0] ^ H64_K2, lanes[1] ^ total ^ H64_K1) ^ lanes[0];
  h = h64_mix(h ^ H64_K0, h64_turn(h, 29) ^ total ^ H64_K3);
  return h ^ h >> 32;
}

uint64_t h64(const void *p, size_t n, uint64_t seed) {
  uint64_t lanes[2];
  h64_begin(lanes, seed);
  return h64_end(lanes, p, n, n);
}
