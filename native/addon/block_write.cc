// Columns -> block; see block_write.h. Vectors are copied in bulk into one buffer that is large enough from the start.
#include "block_write.h"

#include "gen/batch_generated.h"

namespace pem {
namespace {

namespace fb = flatbuffers;

class PoolAllocator : public fb::Allocator {
 public:
  uint8_t *allocate(size_t size) override {
    size_t capacity = 0;
    return pool_take(size, &capacity);
  }
  void deallocate(uint8_t *p, size_t) override { pool_give(p); }
};

// An aligned vector of bytes, straight into the buffer.
fb::Offset<fb::Vector<uint8_t>> put_bytes(fb::FlatBufferBuilder *builder, const uint8_t *p, size_t n) {
  builder->ForceVectorAlignment(n, 1, 8);
  return builder->CreateVector(p, n);
}

}  // namespace

bool write_block(const BlockMeta &meta, uint32_t rows, uint32_t tombstones, const std::vector<ColumnData> &columns,
                 Bytes *out, CodecError *error) {
  static const uint8_t nothing[8] = {0};
  const size_t null_bytes = (static_cast<size_t>(rows) + 7) / 8;
  uint64_t total = 512 + meta.probe.size() + meta.scope.size();
  for (const ColumnData &column : columns) {
    total += 192 + column.name_bytes;
    if (column.nulls != nullptr) total += null_bytes;
    uint32_t width = col_width(column.type);
    total += width != 0 ? static_cast<uint64_t>(rows) * width
                        : (static_cast<uint64_t>(rows) + 1) * 4 + column.offsets[rows];
  }
  if (total > kMaxBlockBytes) return error->set("codec_limit", "a block of more than 1 GiB");

  static PoolAllocator allocator;
  fb::FlatBufferBuilder builder(static_cast<size_t>((total + 15) & ~15ull), &allocator);
  std::vector<fb::Offset<wire::Column>> tables;
  tables.reserve(columns.size());
  for (const ColumnData &column : columns) {
    fb::Offset<fb::Vector<uint8_t>> nulls, fixed, bytes;
    fb::Offset<fb::Vector<uint32_t>> offsets;
    uint32_t width = col_width(column.type);
    if (width != 0) {
      fixed = put_bytes(&builder, rows == 0 ? nothing : column.fixed, static_cast<size_t>(rows) * width);
    } else {
      const uint32_t used = column.offsets[rows];
      bytes = put_bytes(&builder, used == 0 ? nothing : column.bytes, used);
      offsets = builder.CreateVector(column.offsets, static_cast<size_t>(rows) + 1);
    }
    if (column.nulls != nullptr) nulls = builder.CreateVector(column.nulls, null_bytes);
    auto name = builder.CreateString(column.name, column.name_bytes);
    tables.push_back(wire::CreateColumn(builder, name, static_cast<wire::ColumnType>(column.type), nulls, fixed,
                                        offsets, bytes));
  }
  auto list = builder.CreateVector(tables);
  auto probe = builder.CreateString(meta.probe);
  fb::Offset<fb::String> scope;
  if (meta.has_scope) scope = builder.CreateString(meta.scope);
  wire::FinishBlockBuffer(builder, wire::CreateBlock(builder, meta.target, probe, meta.probe_version,
                                                     static_cast<wire::BlockKind>(meta.kind), scope,
                                                     meta.recorded_at_us, rows, tombstones, list, meta.interval_us));
  size_t size = 0, offset = 0;
  uint8_t *memory = builder.ReleaseRaw(size, offset);
  *out = Bytes(memory, memory + offset, size - offset);
  return true;
}

}  // namespace pem
