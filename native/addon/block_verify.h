// The bytes of a block -> a view of its columns that is safe to read.
//
// In: bytes from anywhere. Out: a view that borrows them (they must outlive it and stay unchanged). Nothing in the bytes
// is trusted: the FlatBuffers verifier first, then, before anything is read through a length of theirs:
//   1. 1 to 256 columns of known types, rows <= 1,048,576, tombstones <= rows and only in a delta;
//   2. names have 1 to 63 bytes of UTF-8;
//   3. a column is either fixed or of variable width, as its type says; a NULL bitmap has ceil(rows / 8) bytes; a fixed part rows * width bytes, at a multiple of 8;
//   4. offsets are rows + 1 numbers from 0 to the length of the bytes, ascending, no value above 1 MiB;
//   5. all columns together hold no more bytes than the block: FlatBuffers lets tables point at one vector, and a small
//      batch would become a stream a hundred times its size.
// check_values() goes on to each value: all that PostgreSQL's COPY would refuse.
#pragma once

#include <string_view>

#include "block_types.h"
#include "memory.h"

namespace pem {

struct ColumnView {
  std::string_view name;
  col_type type;
  uint32_t width;
  const uint8_t *nulls;     // nullptr: no NULLs
  const uint8_t *fixed;     // width != 0
  const uint32_t *offsets;  // width == 0
  const uint8_t *bytes;

  bool is_null(uint32_t row) const { return nulls != nullptr && (nulls[row >> 3] >> (row & 7) & 1) != 0; }
};

struct BlockView {
  const uint8_t *data;
  size_t size;
  int64_t target;
  std::string_view probe;
  uint32_t probe_version;
  BlockKind kind;
  bool has_scope;
  std::string_view scope;
  int64_t recorded_at_us;
  int64_t interval_us;
  uint32_t rows;
  uint32_t tombstones;
  std::vector<ColumnView> columns;

  BlockMeta meta() const;
};

// Structure alone, as above. data must lie at a multiple of 8 (see AlignedBlock).
bool open_block(const uint8_t *data, size_t size, BlockView *view, CodecError *error);

// Every value of an opened block.
bool check_values(const BlockView &view, CodecError *error);

// Bytes at a multiple of 8: those given when they lie so, else a copy.
class AlignedBlock {
 public:
  AlignedBlock(const uint8_t *data, size_t size);
  const uint8_t *data() const { return data_; }

 private:
  const uint8_t *data_;
  Bytes copy_;
};

}  // namespace pem
