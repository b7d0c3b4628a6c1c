// What a block is made of, for all parts of the codec that know nothing of Node: specification, meta data, limits,
// coded errors. In and out: plain values; strings are owned here. The limits are those of src/wire/FORMAT.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../core/columns.h"

namespace pem {

constexpr uint32_t kMaxBatchBytes = 4u << 20;
constexpr uint32_t kMaxBlocks = 4096;
constexpr uint32_t kMaxColumns = 256;
constexpr uint32_t kMaxRows = 1u << 20;
constexpr uint32_t kMaxValueBytes = 1u << 20;
constexpr uint32_t kMaxNameBytes = 63;
// No block made here is larger: FlatBuffers' own limit is 2 GiB.
constexpr uint64_t kMaxBlockBytes = 1u << 30;

enum class BlockKind : uint8_t { Full = 1, Delta = 2, Append = 3 };

// code is one of the codec_* codes that native/codec.ts lists; nullptr: no error.
struct CodecError {
  const char *code = nullptr;
  std::string message;

  explicit operator bool() const { return code != nullptr; }
  // For `return error->set(..)`: always false.
  bool set(const char *c, std::string m) {
    code = c;
    message = std::move(m);
    return false;
  }
};

struct ColumnSpec {
  std::string name;
  col_type type;
};

struct BlockMeta {
  int64_t target = 0;
  std::string probe;
  uint32_t probe_version = 0;
  BlockKind kind = BlockKind::Full;
  bool has_scope = false;
  std::string scope;
  int64_t recorded_at_us = 0;
  int64_t interval_us = 0;
};

struct BlockLimits {
  uint32_t max_value_bytes = kMaxValueBytes;
  uint32_t max_rows = kMaxRows;
};

// Checks names, counts and limits before anything is built from them.
bool check_spec(const std::vector<ColumnSpec> &columns, CodecError *error);
bool check_meta(const BlockMeta &meta, CodecError *error);
// 1 to 63 bytes of UTF-8 without NUL.
bool is_name(const char *p, size_t n);

}  // namespace pem
