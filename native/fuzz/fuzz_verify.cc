// libFuzzer target: bytes as a batch and as a block. What passes verification is encoded, in both forms, and diffed:
// none of it may read or write out of bounds, and every stream must come back as rows of its block.
#include <cstdlib>
#include <cstring>

#include "../addon/batch.h"
#include "../addon/block_builder.h"
#include "../addon/block_delta.h"
#include "../addon/block_encode.h"
#include "../addon/block_verify.h"

using namespace pem;

static void require(bool what) {
  if (!what) std::abort();
}

static void use_block(const uint8_t *data, size_t size) {
  BlockView view;
  CodecError error;
  if (!open_block(data, size, &view, &error)) return;
  const bool sound = check_values(view, &error);
  EncodeRequest request;
  for (const ColumnView &column : view.columns) request.columns.push_back({std::string(column.name), column.type});
  request.prefix.push_back({ExtraField::Kind::Gone, {}});
  Bytes stream;
  size_t length = 0;
  // Structure alone must do for encoding: that is what blocksToPgcopy relies on.
  require(encode_blocks({view}, request, &stream, &length, &error));
  if (!sound) return;
  std::vector<ColumnSpec> columns = request.columns;
  columns.insert(columns.begin(), {"gone", COL_BOOL});
  if (columns.size() <= kMaxColumns) {
    BlockBuilder builder(columns, view.meta(), {});
    require(builder.feed(stream.data(), length) && builder.complete() && builder.rows() == view.rows);
    require(builder.cut_values() == 0 && builder.bad_text() == 0);
    Bytes block;
    require(builder.finish(&block));
  }
  BlockDelta delta(request.columns, {0});
  Bytes changes;
  if (delta.diff(view, false, &changes, &error) == BlockDelta::Answer::Full)
    require(delta.diff(view, false, &changes, &error) == BlockDelta::Answer::Same);
}

// A copy of its own, at a multiple of 8 and not a byte longer, so that the sanitizer sees each step outside.
static void use_copy(const uint8_t *data, size_t size) {
  uint8_t *copy = static_cast<uint8_t *>(std::malloc(size == 0 ? 1 : size));
  if (size != 0) std::memcpy(copy, data, size);
  use_block(copy, size);
  std::free(copy);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Envelope envelope;
  uint32_t crc = 0;
  std::vector<Piece> blocks;
  CodecError error;
  if (open_batch(data, size, &envelope, &crc, &blocks, &error))
    for (const Piece &block : blocks) use_copy(block.data, block.size);
  use_copy(data, size);
  return 0;
}
