// Checks of what callers ask a block to be made of; see block_types.h.
#include "block_types.h"

#include "../core/utf8.h"

namespace pem {

bool is_name(const char *p, size_t n) {
  return n > 0 && n <= kMaxNameBytes && col_utf8_prefix(reinterpret_cast<const uint8_t *>(p), n) == n;
}

bool check_spec(const std::vector<ColumnSpec> &columns, CodecError *error) {
  if (columns.empty() || columns.size() > kMaxColumns)
    return error->set("codec_columns", "a block has 1 to 256 columns, not " + std::to_string(columns.size()));
  for (const ColumnSpec &column : columns) {
    if (!is_name(column.name.data(), column.name.size()))
      return error->set("codec_columns", "a column's name has 1 to 63 bytes of UTF-8");
    if (column.type < COL_TYPE_MIN || column.type > COL_TYPE_MAX)
      return error->set("codec_columns", "column \"" + column.name + "\" has an unknown type");
  }
  return true;
}

bool check_meta(const BlockMeta &meta, CodecError *error) {
  if (!is_name(meta.probe.data(), meta.probe.size()))
    return error->set("codec_argument", "a probe's name has 1 to 63 bytes of UTF-8");
  if (meta.has_scope && !is_name(meta.scope.data(), meta.scope.size()))
    return error->set("codec_argument", "a block's scope has 1 to 63 bytes of UTF-8");
  if (meta.kind < BlockKind::Full || meta.kind > BlockKind::Append)
    return error->set("codec_argument", "a block is full, delta or append");
  if (meta.recorded_at_us < COL_TIME_MIN_US || meta.recorded_at_us > COL_TIME_MAX_US)
    return error->set("codec_argument", "recorded_at is out of range");
  return true;
}

}  // namespace pem
