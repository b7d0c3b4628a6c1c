/*
 * The loop of csvr_scan over blocks of 64 bytes, once for each kind of vectors: part of csv_reader.c and included by it alone.
 *
 * In: SCAN_BLOCKS, the function's name; SCAN_TARGET, its attribute; SCAN_MASKS(p), a block's masks; SCAN_PLACES(bits, base,
 * to), which writes places. Out: the function, which finds rows until one is not whole, not sound, or enough of them are
 * there. It is undefined of them at its end.
 */

/* Bit i of the answer: the parity of bits 0 .. i. */
#ifndef CSV_SCAN_H
#define CSV_SCAN_H
static inline uint64_t running_parity(uint64_t v) {
  v ^= v << 1;
  v ^= v << 2;
  v ^= v << 4;
  v ^= v << 8;
  v ^= v << 16;
  v ^= v << 32;
  return v;
}
#endif

SCAN_TARGET static void SCAN_BLOCKS(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends,
                                    csvr_found *found) {
  /* Of the block before: all ones inside quotes; 1: its last byte was a separator (or the row begins), a closing quote,
   * a CR outside quotes. */
  uint64_t inside_before = 0, separator_before = 1, close_before = 0, return_before = 0;
  uint64_t doubled = 0, crlf = 0;
  int plain = 1;
  size_t count = 0;       /* separators written */
  size_t wanted = fields; /* and what there should be of them at the next line's end */
  uint8_t tail[64];
  for (size_t at = 0; at < n && found->rows < max_rows; at += 64) {
    const uint8_t *block = p + at;
    uint64_t valid = ~0ull;
    if (n - at < 64) {
      memset(tail, ' ', sizeof tail);
      memcpy(tail, block, n - at);
      block = tail;
      valid = (1ull << (n - at)) - 1;
    }
    const masks m = SCAN_MASKS(block);
    plain &= m.plain;
    uint64_t separators = m.separators, feeds = m.feeds, bad = 0;
    if ((m.quotes | inside_before | close_before | m.returns | return_before) != 0) {
      const uint64_t inside = running_parity(m.quotes) ^ inside_before;
      const uint64_t opens = m.quotes & inside, closes = m.quotes & ~inside, returns = m.returns & ~inside;
      separators &= ~inside;
      feeds &= ~inside;
      const uint64_t behind_close = closes << 1 | close_before;
      bad = (opens & ~(separators << 1 | separator_before | behind_close)) |
            (behind_close & ~(separators | m.quotes | returns)) | ((returns << 1 | return_before) & ~feeds);
      doubled |= opens & behind_close;
      crlf |= returns;
      inside_before = (uint64_t)((int64_t)inside >> 63);
      close_before = closes >> 63;
      return_before = returns >> 63;
      if ((bad & valid) != 0) break;
    }
    separator_before = separators >> 63;

    SCAN_PLACES(separators, (uint32_t)at, ends + count);
    int sound = 1;
    while (feeds != 0) {
      const uint64_t feed = feeds & (0 - feeds);
      if (count + (size_t)__builtin_popcountll(separators & (feed - 1)) + 1 != wanted) {
        sound = 0;
        break;
      }
      wanted += fields;
      found->used = at + (size_t)__builtin_ctzll(feed) + 1;
      if (++found->rows == max_rows) break;
      feeds ^= feed;
    }
    count += (size_t)__builtin_popcountll(separators);
    if (!sound || (count > wanted && found->rows < max_rows)) break;
  }
  found->doubled = doubled != 0;
  found->crlf = crlf != 0;
  found->plain = plain;
}

#undef SCAN_BLOCKS
#undef SCAN_TARGET
#undef SCAN_MASKS
#undef SCAN_PLACES
