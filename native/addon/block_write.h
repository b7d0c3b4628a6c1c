// Columns in memory -> the bytes of a block. In: columns the caller owns and has checked. Out: a block of its own, or in
// memory that the caller lends.
#pragma once

#include "block_types.h"
#include "memory.h"

namespace pem {

// One column, borrowed. Fixed width: fixed; else offsets (rows + 1) and bytes. nulls: bitmap or nullptr.
struct ColumnData {
  const char *name;
  size_t name_bytes;
  col_type type;
  const uint8_t *nulls;
  const uint8_t *fixed;
  const uint32_t *offsets;
  const uint8_t *bytes;
};

// Columns whose data is in many places, put together in the block itself; i is the column's place. Their ColumnData has
// neither fixed nor offsets nor bytes.
class ColumnParts {
 public:
  virtual ~ColumnParts() = default;
  // Bytes of all values of a column of variable width.
  virtual uint32_t bytes_of(size_t i) const = 0;
  // All values of a column: rows * width, or bytes_of().
  virtual void put_data(size_t i, uint8_t *to) const = 0;
  // rows + 1 places.
  virtual void put_offsets(size_t i, uint32_t *to) const = 0;
};

// Memory that a block may be written to; where it does not fit there, it gets memory of its own.
struct BlockMemory {
  uint8_t *data = nullptr;
  size_t size = 0;
};

// Fails when the block would be larger than kMaxBlockBytes. parts: where the columns' data is, nullptr: in `columns`. A block
// that was written to `into` is a view: *out owns nothing, and its data() lies in `into`.
bool write_block(const BlockMeta &meta, uint32_t rows, uint32_t tombstones, const std::vector<ColumnData> &columns,
                 Bytes *out, CodecError *error, const ColumnParts *parts = nullptr, BlockMemory into = {});

}  // namespace pem
