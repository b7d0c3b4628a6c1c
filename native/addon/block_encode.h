// Blocks -> one PGCOPY stream.
//
// In: opened blocks with the same columns, and fields to put before and behind them. Out: the stream, in memory of its
// own. A block whose columns are not those of the request is an error that names it.
#pragma once

#include "block_verify.h"

namespace pem {

// A field that is the same for all rows of a block: from its header, or one number for each block.
struct ExtraField {
  enum class Kind { RecordedAt, Target, Gone, Int8 };
  Kind kind;
  std::vector<int64_t> values;  // Int8: one for each block
};

struct EncodeRequest {
  std::vector<ColumnSpec> columns;
  std::vector<ExtraField> prefix, suffix;
  bool tombstones = true;  // false: rows of keys that are gone stay out
  bool header = true;
  bool trailer = true;
};

// Bytes behind a stream's end that the encoder may write to.
constexpr size_t kStreamSlack = 32;

// *size is the stream's length; *out has room for kStreamSlack bytes more.
bool encode_blocks(const std::vector<BlockView> &blocks, const EncodeRequest &request, Bytes *out, size_t *size,
                   CodecError *error);

}  // namespace pem
