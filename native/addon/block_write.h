// Columns in memory -> the bytes of a block. In: columns the caller owns and has checked. Out: a block of its own.
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

// Fails when the block would be larger than kMaxBlockBytes.
bool write_block(const BlockMeta &meta, uint32_t rows, uint32_t tombstones, const std::vector<ColumnData> &columns,
                 Bytes *out, CodecError *error);

}  // namespace pem
