// The envelope of a batch; the drawing is in src/wire/FORMAT.md.
//
// In: bytes from anywhere. Out: places of blocks within them; nothing of a block is read here. A block's place is a
// multiple of 8 from the batch's start, in order, without overlap; what lies between is zero.
#pragma once

#include <cstddef>

#include "block_types.h"
#include "memory.h"

namespace pem {

constexpr size_t kEnvelopeBytes = 64;

struct Envelope {
  uint32_t agent_id;
  uint8_t boot[16];
  uint64_t seq;
  int64_t created_at_us;
};

struct Piece {
  const uint8_t *data;
  size_t size;
};

// Checks all of the envelope; blocks are places in p. *crc is what the batch says and has.
bool open_batch(const uint8_t *p, size_t n, Envelope *envelope, uint32_t *crc, std::vector<Piece> *blocks,
                CodecError *error);

// Envelope and blocks, copied in.
bool write_batch(const Envelope &envelope, const std::vector<Piece> &blocks, Bytes *out, CodecError *error);

}  // namespace pem
