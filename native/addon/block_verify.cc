// Verification of blocks; see block_verify.h.
#include "block_verify.h"

#include <cstring>

#include "../core/utf8.h"
#include "gen/batch_generated.h"

namespace pem {
namespace {

bool bad(CodecError *error, const char *why) { return error->set("codec_bad_block", why); }

std::string_view text_of(const flatbuffers::String *s) { return {s->c_str(), s->size()}; }

bool open_column(const wire::Column *table, const uint8_t *base, uint32_t rows, ColumnView *view, CodecError *error) {
  const unsigned type = static_cast<unsigned>(table->type());
  if (type < COL_TYPE_MIN || type > COL_TYPE_MAX) return bad(error, "a column of an unknown type");
  view->name = text_of(table->name());
  if (!is_name(view->name.data(), view->name.size())) return bad(error, "a column's name is not 1 to 63 bytes of UTF-8");
  view->type = static_cast<col_type>(type);
  view->width = col_width(view->type);
  view->nulls = nullptr;
  view->fixed = nullptr;
  view->offsets = nullptr;
  view->bytes = nullptr;
  if (table->nulls() != nullptr) {
    if (table->nulls()->size() != (rows + 7) / 8) return bad(error, "a NULL bitmap of another length than the rows");
    view->nulls = table->nulls()->data();
  }
  if (view->width != 0 ? table->offsets() != nullptr || table->bytes() != nullptr : table->fixed() != nullptr)
    return bad(error, "a column with parts that its type does not have");
  if (view->width != 0) {
    const auto *fixed = table->fixed();
    if (fixed == nullptr || fixed->size() != static_cast<uint64_t>(rows) * view->width)
      return bad(error, "a column of another length than the rows");
    view->fixed = fixed->data();
    if (rows != 0 && (view->fixed - base) % 8 != 0) return bad(error, "a column that is not aligned");
    return true;
  }
  const auto *offsets = table->offsets();
  const auto *bytes = table->bytes();
  if (offsets == nullptr || bytes == nullptr || offsets->size() != static_cast<uint64_t>(rows) + 1)
    return bad(error, "a column of another length than the rows");
  const uint32_t *o = reinterpret_cast<const uint32_t *>(offsets->Data());
  // A descending pair wraps around and looks too large: one comparison for both rules.
  uint32_t wrong = o[0] != 0;
  for (uint32_t i = 0; i < rows; i++) wrong |= o[i + 1] - o[i] > kMaxValueBytes;
  if (wrong != 0) return bad(error, "offsets that do not ascend, or a value of more than 1 MiB");
  if (o[rows] != bytes->size()) return bad(error, "offsets that do not end with the bytes");
  view->offsets = o;
  view->bytes = bytes->data();
  return true;
}

// Of the block's own bytes, what this column takes.
uint64_t held_bytes(const ColumnView &column, uint32_t rows) {
  const uint64_t nulls = column.nulls != nullptr ? (rows + 7) / 8 : 0;
  if (column.width != 0) return nulls + static_cast<uint64_t>(rows) * column.width;
  return nulls + (static_cast<uint64_t>(rows) + 1) * 4 + column.offsets[rows];
}

bool bad_value(const ColumnView &column, uint64_t row, const char *why, CodecError *error) {
  return error->set("codec_bad_value", "column \"" + std::string(column.name) + "\" (" + col_type_name(column.type) +
                                           "), row " + std::to_string(row + 1) + ": " + why);
}

bool check_text(const ColumnView &column, uint32_t rows, CodecError *error) {
  const uint8_t *p = column.bytes;
  const size_t size = column.offsets[rows];
  size_t at = col_ascii_prefix(p, size);
  if (at == size) return true;
  for (uint32_t row = 0; row < rows; row++) {
    const uint32_t start = column.offsets[row], end = column.offsets[row + 1];
    if (end <= at) continue;
    if (col_utf8_prefix(p + start, end - start) != end - start)
      return bad_value(column, row, "not UTF-8, or a NUL in it", error);
  }
  return true;
}

}  // namespace

BlockMeta BlockView::meta() const {
  BlockMeta meta;
  meta.target = target;
  meta.probe = std::string(probe);
  meta.probe_version = probe_version;
  meta.kind = kind;
  meta.has_scope = has_scope;
  meta.scope = std::string(scope);
  meta.recorded_at_us = recorded_at_us;
  meta.interval_us = interval_us;
  return meta;
}

bool open_block(const uint8_t *data, size_t size, BlockView *view, CodecError *error) {
  if (size < 16 || size > kMaxBlockBytes) return bad(error, "too short or too long for a block");
  flatbuffers::Verifier verifier(data, size, 8, kMaxColumns + 8);
  if (!wire::VerifyBlockBuffer(verifier)) return bad(error, "no sound FlatBuffer of kind PEMK");
  const wire::Block *block = wire::GetBlock(data);
  view->data = data;
  view->size = size;
  view->target = block->target();
  view->probe = text_of(block->probe());
  view->probe_version = block->probe_version();
  view->kind = static_cast<BlockKind>(block->kind());
  view->has_scope = block->scope() != nullptr;
  view->scope = view->has_scope ? text_of(block->scope()) : std::string_view();
  view->recorded_at_us = block->recorded_at_us();
  view->interval_us = block->interval_us();
  view->rows = block->rows();
  view->tombstones = block->tombstones();
  if (!is_name(view->probe.data(), view->probe.size())) return bad(error, "a probe's name is not 1 to 63 bytes of UTF-8");
  if (view->has_scope && !is_name(view->scope.data(), view->scope.size()))
    return bad(error, "a scope is not 1 to 63 bytes of UTF-8");
  if (view->kind < BlockKind::Full || view->kind > BlockKind::Append) return bad(error, "a block of an unknown kind");
  if (view->recorded_at_us < COL_TIME_MIN_US || view->recorded_at_us > COL_TIME_MAX_US)
    return bad(error, "recorded_at is out of range");
  if (view->rows > kMaxRows) return bad(error, "more than 1,048,576 rows");
  if (view->tombstones > view->rows || (view->tombstones != 0 && view->kind != BlockKind::Delta))
    return bad(error, "more tombstones than rows, or tombstones outside a delta");
  const auto *columns = block->columns();
  if (columns->size() == 0 || columns->size() > kMaxColumns) return bad(error, "not 1 to 256 columns");
  view->columns.resize(columns->size());
  for (uint32_t i = 0; i < columns->size(); i++)
    if (!open_column(columns->Get(i), data, view->rows, &view->columns[i], error)) return false;
  uint64_t held = 0;
  for (const ColumnView &column : view->columns) held += held_bytes(column, view->rows);
  if (held > size) return bad(error, "columns that share their bytes");
  return true;
}

bool check_values(const BlockView &view, CodecError *error) {
  for (const ColumnView &column : view.columns) {
    if (column.width != 0) {
      size_t row = 0;
      const char *why = col_check_fixed(column.type, column.fixed, view.rows, &row);
      if (why != nullptr) return bad_value(column, row, why, error);
      continue;
    }
    if (col_is_text(column.type) && !check_text(column, view.rows, error)) return false;
    if (column.type == COL_TEXT) continue;
    for (uint32_t row = 0; row < view.rows; row++) {
      if (column.is_null(row)) continue;
      const uint32_t start = column.offsets[row];
      const char *why = col_check_variable(column.type, column.bytes + start, column.offsets[row + 1] - start);
      if (why != nullptr) return bad_value(column, row, why, error);
    }
  }
  return true;
}

AlignedBlock::AlignedBlock(const uint8_t *data, size_t size) : data_(data) {
  if (reinterpret_cast<uintptr_t>(data) % 8 == 0 || size == 0) return;
  copy_ = Bytes(size);
  std::memcpy(copy_.data(), data, size);
  data_ = copy_.data();
}

}  // namespace pem
