// Columns -> block; see block_write.h. Vectors are copied in bulk into one buffer that is large enough from the start.
#include "block_write.h"

#include <algorithm>

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

// The caller's memory, once and from a whole line downwards; the pool's where that does not do.
class LentAllocator : public PoolAllocator {
 public:
  explicit LentAllocator(BlockMemory memory) : begin_(memory.data), end_(memory.data + memory.size) {
    end_ -= std::min<size_t>(reinterpret_cast<uintptr_t>(end_) % 64, memory.size);
  }
  bool is_lent(const uint8_t *p) const { return lent_ && p >= begin_ && p < end_; }
  uint8_t *allocate(size_t size) override {
    if (lent_ || static_cast<size_t>(end_ - begin_) < size) return PoolAllocator::allocate(size);
    lent_ = true;
    return end_ - size;
  }
  void deallocate(uint8_t *p, size_t size) override {
    if (!is_lent(p)) PoolAllocator::deallocate(p, size);
  }

 private:
  uint8_t *begin_, *end_;
  bool lent_ = false;
};

// An aligned vector of bytes, straight into the buffer.
fb::Offset<fb::Vector<uint8_t>> put_bytes(fb::FlatBufferBuilder *builder, const uint8_t *p, size_t n) {
  builder->ForceVectorAlignment(n, 1, 8);
  return builder->CreateVector(p, n);
}

// The same for column i of parts.
fb::Offset<fb::Vector<uint8_t>> put_parts(fb::FlatBufferBuilder *builder, const ColumnParts &parts, size_t i, size_t n) {
  builder->ForceVectorAlignment(n, 1, 8);
  uint8_t *to = nullptr;
  const fb::Offset<fb::Vector<uint8_t>> made = builder->CreateUninitializedVector<uint8_t>(n, &to);
  parts.put_data(i, to);
  return made;
}

}  // namespace

bool write_block(const BlockMeta &meta, uint32_t rows, uint32_t tombstones, const std::vector<ColumnData> &columns,
                 Bytes *out, CodecError *error, const ColumnParts *parts, BlockMemory into) {
  static const uint8_t nothing[8] = {0};
  const size_t null_bytes = (static_cast<size_t>(rows) + 7) / 8;
  uint64_t total = 512 + meta.probe.size() + meta.scope.size();
  for (size_t i = 0; i < columns.size(); i++) {
    const ColumnData &column = columns[i];
    total += 192 + column.name_bytes;
    if (column.nulls != nullptr) total += null_bytes;
    uint32_t width = col_width(column.type);
    total += width != 0 ? static_cast<uint64_t>(rows) * width
                        : (static_cast<uint64_t>(rows) + 1) * 4 + (parts ? parts->bytes_of(i) : column.offsets[rows]);
  }
  if (total > kMaxBlockBytes) return error->set("codec_limit", "a block of more than 1 GiB");

  LentAllocator allocator(into);
  fb::FlatBufferBuilder builder(static_cast<size_t>((total + 15) & ~15ull), &allocator);
  std::vector<fb::Offset<wire::Column>> tables;
  tables.reserve(columns.size());
  for (size_t i = 0; i < columns.size(); i++) {
    const ColumnData &column = columns[i];
    fb::Offset<fb::Vector<uint8_t>> nulls, fixed, bytes;
    fb::Offset<fb::Vector<uint32_t>> offsets;
    uint32_t width = col_width(column.type);
    if (parts != nullptr && width != 0) {
      fixed = put_parts(&builder, *parts, i, static_cast<size_t>(rows) * width);
    } else if (parts != nullptr) {
      bytes = put_parts(&builder, *parts, i, parts->bytes_of(i));
      uint32_t *to = nullptr;
      offsets = builder.CreateUninitializedVector<uint32_t>(static_cast<size_t>(rows) + 1, &to);
      parts->put_offsets(i, to);
    } else if (width != 0) {
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
  *out = Bytes(allocator.is_lent(memory) ? nullptr : memory, memory + offset, size - offset);
  return true;
}

}  // namespace pem
