// PGCOPY -> block; see block_builder.h.
//
// Rows are read in windows. The fast way supposes that a window has no NULL: then every row's fixed columns lie at
// known distances from its variable ones, so that one short loop finds the rows and one tight loop for each column moves
// its values. Where a window is not like that nothing of it has been taken in, and its rows are read one by one.
#include "block_builder.h"

#include <algorithm>
#include <cstring>

#include "../core/json.h"
#include "../core/pgcopy.h"
#include "../core/utf8.h"
#include "block_write.h"

namespace pem {
namespace {

constexpr uint32_t kWindow = 128;
constexpr size_t kWindowBytes = 4u << 20;
constexpr size_t kMaxRowBytes = 64u << 20;
// Short values are copied as one block of this many bytes; buffers keep that much room behind their end.
constexpr size_t kSlack = 32;
// How far the search for rows asks for memory in advance.
constexpr size_t kAhead = 4096;

}  // namespace

BlockBuilder::BlockBuilder(std::vector<ColumnSpec> columns, BlockMeta meta, BlockLimits limits)
    : specs_(std::move(columns)), meta_(std::move(meta)), limits_(limits) {
  columns_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); i++) {
    Column &column = columns_[i];
    column.type = specs_[i].type;
    column.width = col_width(column.type);
    if (column.width == 0) column.offsets.append_zeros(4);
  }
}

bool BlockBuilder::bad_value(size_t index, const char *why) {
  return error_.set("codec_bad_value", "column \"" + specs_[index].name + "\" (" + col_type_name(specs_[index].type) +
                                           "), row " + std::to_string(row_ + 1) + ": " + why);
}

bool BlockBuilder::feed(const uint8_t *data, size_t n) {
  if (error_) return false;
  size_t used = 0;
  if (pending_.empty()) {
    if (!consume(data, n, &used)) return false;
    pending_.assign(data + used, data + n);
  } else {
    pending_.insert(pending_.end(), data, data + n);
    if (!consume(pending_.data(), pending_.size(), &used)) return false;
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(used));
  }
  if (pending_.size() > kMaxRowBytes) return error_.set("codec_limit", "a row of more than 64 MiB");
  return true;
}

bool BlockBuilder::consume(const uint8_t *p, size_t n, size_t *used) {
  size_t at = 0;
  if (state_ == State::Header) {
    pgc_result result = n == 0 ? PGC_MORE : pgc_read_header(p, n, &at);
    if (result == PGC_BAD) return error_.set("codec_bad_pgcopy", "the stream does not begin as PGCOPY binary does");
    if (result == PGC_MORE) return true;
    state_ = State::Rows;
  }
  const uint32_t fields = static_cast<uint32_t>(columns_.size());
  while (state_ == State::Rows && at < n) {
    if (slow_rows_ == 0) {
      size_t taken = fast_rows(p + at, n - at);
      if (error_) return false;
      at += taken;
      if (taken != 0) {
        slow_penalty_ = 0;
        continue;
      }
      slow_penalty_ = std::min(slow_penalty_ * 2 + 8, 4096u);
      slow_rows_ = slow_penalty_;
    }
    size_t length = 0;
    int last = 0;
    pgc_result result = pgc_scan_row(p + at, n - at, fields, &length, &last);
    if (result == PGC_BAD)
      return error_.set("codec_bad_pgcopy", "row " + std::to_string(rows_ + 1) + " has not " + std::to_string(fields) +
                                                " fields of sound length");
    if (result == PGC_MORE) break;
    if (length > kMaxRowBytes) return error_.set("codec_limit", "a row of more than 64 MiB");
    if (last) {
      state_ = State::Done;
    } else {
      if (rows_ >= limits_.max_rows)
        return error_.set("codec_limit", "more than " + std::to_string(limits_.max_rows) + " rows");
      row_ = rows_;
      if (!slow_row(p + at)) return false;
      rows_++;
      slow_rows_--;
    }
    at += length;
  }
  if (state_ == State::Done && at < n) return error_.set("codec_bad_pgcopy", "bytes after the end of the stream");
  *used = at;
  return true;
}

// Takes in a window of rows without NULLs at p; answers the bytes taken, 0 when the rows there are not such.
size_t BlockBuilder::fast_rows(const uint8_t *p, size_t n) {
  const size_t fed = n;
  const uint16_t fields = static_cast<uint16_t>(columns_.size());
  uint32_t pos[kWindow];
  uint32_t count = 0;
  const uint32_t most = std::min(kWindow, limits_.max_rows - rows_);
  size_t at = 0;
  n = std::min(n, kWindowBytes);
  while (count < most) {
    size_t end = at + 2;
    if (end > n || pgc_get16(p + at) != fields) break;
    bool whole = true;
    for (const Column &column : columns_) {
      if (column.width != 0) {
        end += 4 + column.width;
        continue;
      }
      uint32_t length;
      if (end + 4 > n || (length = pgc_get32(p + end)) > limits_.max_value_bytes) {
        whole = false;
        break;
      }
      end += 4 + static_cast<size_t>(length);
    }
    if (!whole || end > n) break;
    // Only a few bytes of each row are looked at here, which hides the stream from the processor.
    const size_t lines = std::min(end - at, kAhead);
    for (size_t k = 0; k < lines; k += 64) __builtin_prefetch(p + at + kAhead + k);
    pos[count++] = static_cast<uint32_t>(at);
    at = end;
  }
  if (count == 0) return 0;
  reserve_for(p, at, count, fed);

  const uint32_t cut_values = cut_values_, bad_text = bad_text_;
  uint32_t cursor[kWindow];
  std::memcpy(cursor, pos, count * sizeof cursor[0]);
  uint32_t shift = 2;
  for (size_t i = 0; i < columns_.size(); i++) {
    if (fast_column(&columns_[i], p, at, cursor, &shift, count)) continue;
    // Not taken: columns before this one go back to where they were.
    for (size_t k = 0; k <= i; k++) {
      Column &column = columns_[k];
      if (column.width != 0) {
        column.fixed.resize(static_cast<size_t>(rows_) * column.width);
      } else {
        column.offsets.resize((static_cast<size_t>(rows_) + 1) * 4);
        uint32_t length;
        std::memcpy(&length, column.offsets.data() + static_cast<size_t>(rows_) * 4, 4);
        column.bytes.resize(length);
      }
    }
    cut_values_ = cut_values;
    bad_text_ = bad_text;
    return 0;
  }
  rows_ += count;
  for (Column &column : columns_)
    if (column.nulls.size() != 0) column.nulls.append_zeros((rows_ + 7) / 8 - column.nulls.size());
  return at;
}

// Room for all rows that `fed` bytes like these hold, so that columns do not grow step by step.
void BlockBuilder::reserve_for(const uint8_t *p, size_t window, uint32_t count, size_t fed) {
  if (fed < 4 * window || columns_[0].offsets.size() + columns_[0].fixed.size() > 8) return;
  const size_t rows = std::min<size_t>(fed / window * count + count, limits_.max_rows);
  size_t at = 2;
  for (Column &column : columns_) {
    const size_t length = column.width != 0 ? column.width : pgc_get32(p + at);
    at += 4 + length;
    if (column.width != 0) {
      column.fixed.reserve_more(rows * column.width);
    } else {
      column.offsets.reserve_more(rows * 4);
      column.bytes.reserve_more(std::min(rows * length, fed));
    }
  }
}

// One column of a window. False: the window is not as supposed, or a value needs the slow way.
bool BlockBuilder::fast_column(Column *column, const uint8_t *p, size_t n, uint32_t *pos, uint32_t *shift,
                               uint32_t count) {
  if (column->width != 0) {
    const size_t size = static_cast<size_t>(count) * column->width;
    column->fixed.reserve_more(size);
    uint8_t *to = column->fixed.data() + column->fixed.size();
    if (!col_gather(column->type, p, pos, *shift, to, count)) return false;
    column->fixed.resize(column->fixed.size() + size);
    *shift += 4 + column->width;
    return true;
  }
  Buffer &bytes = column->bytes;
  const size_t before = bytes.size();
  bytes.reserve_more(n + kSlack);
  column->offsets.reserve_more(static_cast<size_t>(count) * 4);
  uint32_t *ends = reinterpret_cast<uint32_t *>(column->offsets.data() + column->offsets.size());
  uint8_t *to = bytes.data();
  size_t size = before;
  const uint32_t skip = column->type == COL_JSONB ? 1 : 0;  // jsonb's version byte
  for (uint32_t i = 0; i < count; i++) {
    const size_t at = pos[i] + *shift;
    const uint32_t length = pgc_get32(p + at);
    if (length < skip || (skip != 0 && p[at + 4] != 1)) return false;
    const uint8_t *from = p + at + 4 + skip;
    if (length <= kSlack && at + 4 + skip + kSlack <= n) {
      std::memcpy(to + size, from, kSlack);
    } else {
      std::memcpy(to + size, from, length - skip);
    }
    size += length - skip;
    ends[i] = static_cast<uint32_t>(size);
    pos[i] = static_cast<uint32_t>(at + 4 + length);
  }
  *shift = 0;
  if (size > kMaxBlockBytes) return false;
  if (col_is_text(column->type) && col_ascii_prefix(to + before, size - before) != size - before) {
    size_t start = before;
    for (uint32_t i = 0; i < count; start = ends[i++])
      if (col_utf8_prefix(to + start, ends[i] - start) != ends[i] - start) return false;
  }
  if (column->type != COL_TEXT) {
    size_t start = before;
    for (uint32_t i = 0; i < count; start = ends[i++])
      if (col_check_variable(column->type, to + start, ends[i] - start) != nullptr) return false;
  }
  bytes.resize(size);
  column->offsets.resize(column->offsets.size() + static_cast<size_t>(count) * 4);
  return true;
}

// One row that pgc_scan_row has found whole.
bool BlockBuilder::slow_row(const uint8_t *p) {
  p += 2;
  for (size_t i = 0; i < columns_.size(); i++) {
    Column &column = columns_[i];
    const uint32_t length = pgc_get32(p);
    p += 4;
    if (column.nulls.size() != 0 && (row_ & 7) == 0) column.nulls.append_zeros(1);
    if (length == 0xffffffffu) {
      if (column.width != 0) column.fixed.append_zeros(column.width);
      set_null(&column, row_);
      end_value(&column);
      continue;
    }
    if (column.width != 0) {
      if (length != column.width)
        return bad_value(i, "a field of another width: the query's type is not the column's");
      column.fixed.reserve_more(column.width);
      const char *why = col_fixed_from_pg(column.type, p, column.fixed.data() + column.fixed.size());
      if (why != nullptr) return bad_value(i, why);
      column.fixed.resize(column.fixed.size() + column.width);
    } else {
      if (!append_value(&column, i, p, length)) return false;
      if (column.bytes.size() > kMaxBlockBytes) return error_.set("codec_limit", "a column of more than 1 GiB");
      end_value(&column);
    }
    p += length;
  }
  return true;
}

void BlockBuilder::set_null(Column *column, uint32_t row) {
  if (column->nulls.size() == 0) column->nulls.append_zeros(row / 8 + 1);
  column->nulls.data()[row >> 3] |= static_cast<uint8_t>(1u << (row & 7));
}

void BlockBuilder::end_value(Column *column) {
  if (column->width != 0) return;
  const uint32_t end = static_cast<uint32_t>(column->bytes.size());
  column->offsets.append(reinterpret_cast<const uint8_t *>(&end), 4);
}

bool BlockBuilder::append_text(Column *column, uint32_t row, const uint8_t *p, size_t n) {
  if (col_utf8_prefix(p, n) != n) {
    bad_text_++;
    scratch_.resize(3 * n);
    n = col_utf8_repair(p, n, scratch_.data());
    p = scratch_.data();
  }
  const bool json = column->type == COL_JSON || column->type == COL_JSONB;
  size_t limit = limits_.max_value_bytes;
  if (column->type == COL_NAME) limit = std::min<size_t>(limit, COL_NAME_BYTES);
  if (n > limit) {
    cut_values_++;
    if (json) {
      set_null(column, row);
      return true;
    }
    n = col_utf8_cut(p, n, limit);
  }
  if (json && col_check_variable(column->type, p, n) != nullptr) {
    bad_text_++;
    set_null(column, row);
    return true;
  }
  column->bytes.append(p, n);
  return true;
}

namespace {

struct Repair {
  std::vector<uint8_t> *out;
  bool changed;
};

void repair_element(void *state, const uint8_t *p, int32_t n) {
  Repair *repair = static_cast<Repair *>(state);
  std::vector<uint8_t> &out = *repair->out;
  const size_t at = out.size();
  const size_t length = n > 0 ? static_cast<size_t>(n) : 0;
  out.resize(at + 4 + 3 * length);
  const size_t written = length == 0 ? 0 : col_utf8_repair(p, length, out.data() + at + 4);
  pgc_put32(out.data() + at, n < 0 ? 0xffffffffu : static_cast<uint32_t>(written));
  if (written != length || (length != 0 && std::memcmp(out.data() + at + 4, p, length) != 0)) repair->changed = true;
  out.resize(at + 4 + written);
}

}  // namespace

bool BlockBuilder::append_value(Column *column, size_t index, const uint8_t *p, size_t n) {
  if (column->type == COL_JSONB) {
    if (n < 1 || p[0] != 1) return bad_value(index, "jsonb of an unknown version");
    p++;
    n--;
  }
  if (col_is_text(column->type)) return append_text(column, row_, p, n);
  if (column->type == COL_TEXT_ARRAY && n >= 12) {
    const uint32_t dimensions = std::min(pgc_get32(p), 6u);
    const size_t head = std::min(n, 12 + 8 * static_cast<size_t>(dimensions));
    scratch_.assign(p, p + head);
    Repair repair = {&scratch_, false};
    const char *why = col_each_element(p, n, repair_element, &repair);
    if (why != nullptr) return bad_value(index, why);
    if (repair.changed) {
      bad_text_++;
      p = scratch_.data();
      n = scratch_.size();
    }
  }
  if (n > limits_.max_value_bytes) {
    cut_values_++;
    set_null(column, row_);
    return true;
  }
  const char *why = col_check_variable(column->type, p, n);
  if (why != nullptr) return bad_value(index, why);
  column->bytes.append(p, n);
  return true;
}

bool BlockBuilder::finish(Bytes *block) {
  if (error_) return false;
  if (state_ != State::Done) return error_.set("codec_bad_pgcopy", "the stream ends before its trailer");
  std::vector<ColumnData> data;
  data.reserve(columns_.size());
  for (size_t i = 0; i < columns_.size(); i++) {
    Column &column = columns_[i];
    data.push_back({specs_[i].name.data(), specs_[i].name.size(), column.type,
                    column.nulls.size() != 0 ? column.nulls.data() : nullptr, column.fixed.data(),
                    reinterpret_cast<const uint32_t *>(column.offsets.data()), column.bytes.data()});
  }
  return write_block(meta_, rows_, 0, data, block, &error_);
}

}  // namespace pem
