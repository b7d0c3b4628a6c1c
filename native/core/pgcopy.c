/* The frame of a PGCOPY stream; see pgcopy.h. */
#include "pgcopy.h"

static const uint8_t signature[11] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0};

pgc_result pgc_read_header(const uint8_t *p, size_t n, size_t *used) {
  size_t have = n < sizeof signature ? n : sizeof signature;
  if (memcmp(p, signature, have) != 0) return PGC_BAD;
  if (n < PGC_HEADER_BYTES) return PGC_MORE;
  /* The upper 16 flags are critical by PostgreSQL's documentation; bit 16 says that rows carry OIDs. */
  if ((pgc_get32(p + 11) & 0xffff0000u) != 0) return PGC_BAD;
  uint32_t extension = pgc_get32(p + 15);
  if (extension > (1u << 20)) return PGC_BAD;
  if (n - PGC_HEADER_BYTES < extension) return PGC_MORE;
  *used = PGC_HEADER_BYTES + extension;
  return PGC_OK;
}

void pgc_write_header(uint8_t *p) {
  memcpy(p, signature, sizeof signature);
  memset(p + sizeof signature, 0, PGC_HEADER_BYTES - sizeof signature);
}

pgc_result pgc_scan_row(const uint8_t *p, size_t n, uint32_t fields, size_t *used, int *last) {
  if (n < 2) return PGC_MORE;
  uint16_t count = pgc_get16(p);
  if (count == 0xffff) {
    *last = 1;
    *used = 2;
    return PGC_OK;
  }
  if (count != fields) return PGC_BAD;
  size_t at = 2;
  for (uint32_t i = 0; i < fields; i++) {
    if (n - at < 4) return PGC_MORE;
    uint32_t length = pgc_get32(p + at);
    at += 4;
    if (length == 0xffffffffu) continue;
    if (length > 0x7fffffffu) return PGC_BAD;
    if (n - at < length) return PGC_MORE;
    at += length;
  }
  *last = 0;
  *used = at;
  return PGC_OK;
}
