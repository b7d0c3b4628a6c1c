// Windows -> block; see csv_block.h.
#include "csv_block.h"

#include <algorithm>
#include <cstring>

#include "../core/hash64.h"
#include "block_write.h"

namespace pem {

const CsvColumnInfo kCsvColumns[CSV_COLUMN_COUNT] = {
#define PEM_CSV_COLUMN(name, type, unit, version) {#name, COL_##type, unit, version},
    CSV_COLUMNS(PEM_CSV_COLUMN)
#undef PEM_CSV_COLUMN
};

namespace {

// Keys of one place of the set: a new one drives out the oldest of them.
constexpr size_t kWays = 4;
// Short texts are copied as one piece of this many bytes; buffers keep that much room behind their end.
constexpr size_t kSlack = 32;
constexpr uint64_t kTableBytes = 256;  // of a column beside its name and data, no less than write_block's estimate

bool is_long_text(uint32_t id) { return id == CSV_COL_query || id == CSV_COL_params || id == CSV_COL_plan; }

// Zeros up to that size.
void extend(Buffer *buffer, size_t size) {
  if (buffer->size() < size) buffer->append_zeros(size - buffer->size());
}

// n bits at p go behind the `rows` bits that are there.
void append_bits(Buffer *bits, uint32_t rows, const uint8_t *p, uint32_t n) {
  extend(bits, (static_cast<size_t>(rows) + n + 7) / 8);
  uint8_t *to = bits->data() + rows / 8;
  const uint32_t shift = rows % 8;
  for (uint32_t i = 0; i < n; i += 8) {
    const uint32_t left = n - i;
    const uint32_t byte = p[i / 8] & (left < 8 ? (1u << left) - 1 : 255u);
    to[i / 8] |= static_cast<uint8_t>(byte << shift);
    if (byte << shift > 255u) to[i / 8 + 1] |= static_cast<uint8_t>(byte >> (8 - shift));
  }
}

}  // namespace

TextSet::TextSet(uint32_t capacity, uint64_t seed) : seed_(seed) {
  size_t size = kWays;
  while (size < capacity) size *= 2;
  keys_.resize(size);
  mask_ = size / kWays - 1;
}

int64_t TextSet::add(const uint8_t *p, size_t n, bool *fresh) {
  const uint64_t hash = h64(p, n, seed_), key = hash != 0 ? hash : 1;
  uint64_t *way = keys_.data() + (key >> 32 & mask_) * kWays;
  *fresh = way[0] != key && way[1] != key && way[2] != key && way[3] != key;
  if (*fresh) {
    std::memmove(way + 1, way, (kWays - 1) * sizeof *way);
    way[0] = key;
  }
  return static_cast<int64_t>(key);
}

void TextSet::remove(int64_t key) {
  uint64_t *way = keys_.data() + (static_cast<uint64_t>(key) >> 32 & mask_) * kWays;
  for (size_t i = 0; i < kWays; i++)
    if (way[i] == static_cast<uint64_t>(key)) way[i] = 0;
}

CsvBlockWriter::CsvBlockWriter(const CsvBlockOptions &options) : options_(options) {
  head_bytes_ = 1024 + 2 * kMaxNameBytes;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!options_.columns[id]) continue;
    Column column;
    column.id = id;
    column.name = kCsvColumns[id].name;
    column.type = kCsvColumns[id].type;
    column.keyed = options_.texts != nullptr && is_long_text(id);
    if (column.keyed) {
      column.name += "_key";
      column.type = COL_INT8;
      keyed_++;
    }
    const uint32_t width = col_width(column.type);
    if (width == 0) column.offsets.append_zeros(4);
    row_bytes_ += width != 0 ? width : 4;
    head_bytes_ += kTableBytes + column.name.size();
    columns_.push_back(std::move(column));
  }
  if (options_.row_places) {
    row_bytes_ += 8;
    head_bytes_ += kTableBytes;
  }
  fresh_offsets_.append_zeros(4);
}

CsvBlockWriter::~CsvBlockWriter() {
  if (fresh_.empty()) return;
  std::lock_guard<std::mutex> guard(options_.texts->lock());
  for (const int64_t key : fresh_) options_.texts->remove(key);
}

// How many of the window's rows the block can still take.
uint32_t CsvBlockWriter::fitting(const CsvWindow &window) {
  uint32_t most = std::min(window.rows, options_.max_rows - rows_);
  if (keyed_ != 0) most = std::min(most, (kMaxRows - fresh_texts()) / keyed_);
  const auto size_of = [this](uint64_t rows, uint64_t texts) {
    return head_bytes_ + rows * row_bytes_ + (rows / 8 + 1) * columns_.size() + texts;
  };
  // A byte of CSV becomes four at most (\xNN): hardly ever is there need to look closer.
  const uint64_t upper = 4 * static_cast<uint64_t>(window.used);
  const uint64_t apart = fresh_bytes_.size() + 12 * (fresh_.size() + 3ull * most) + upper;
  if (size_of(rows_ + most, text_bytes_ + upper) <= options_.max_bytes && apart <= options_.max_bytes) return most;
  uint64_t texts = text_bytes_, fresh = apart - upper;
  for (uint32_t row = 0; row < most; row++) {
    for (const Column &column : columns_) {
      if (window.columns[column.id].texts == nullptr) continue;
      const uint32_t size = window.columns[column.id].texts[row].size;
      (column.keyed ? fresh : texts) += size;
    }
    if (rows_ + row != 0 && (size_of(rows_ + row + 1, texts) > options_.max_bytes || fresh > options_.max_bytes)) return row;
  }
  return most;
}

void CsvBlockWriter::expect(const CsvWindow &window, uint64_t bytes) {
  if (rows_ != 0 || window.rows == 0 || bytes < 4 * window.used) return;
  const uint64_t windows = bytes / window.used + 1;
  const size_t rows = static_cast<size_t>(std::min<uint64_t>(windows * window.rows, options_.max_rows));
  if (head_bytes_ + rows * row_bytes_ > options_.max_bytes) return;
  for (Column &column : columns_) {
    const uint32_t width = col_width(column.type);
    column.fixed.reserve_more(rows * width);
    if (width != 0) continue;
    uint64_t size = 0;
    for (uint32_t row = 0; row < window.rows; row++) size += window.columns[column.id].texts[row].size;
    column.offsets.reserve_more(rows * 4);
    column.bytes.reserve_more(static_cast<size_t>(std::min(size * windows * 9 / 8, options_.max_bytes)));
  }
  if (options_.row_places) row_at_.reserve_more(rows * 8);
}

uint32_t CsvBlockWriter::append(const CsvWindow &window) {
  const uint32_t rows = fitting(window);
  if (rows != 0) {
    for (Column &column : columns_) append_column(&column, window, rows);
    if (options_.row_places) row_at_.append(reinterpret_cast<const uint8_t *>(window.row_at), rows * 8);
    rows_ += rows;
  }
  if (rows < window.rows || rows_ == options_.max_rows) full_ = true;
  return rows;
}

void CsvBlockWriter::append_column(Column *column, const CsvWindow &window, uint32_t rows) {
  const CsvWindowColumn &source = window.columns[column->id];
  if (source.nulls != nullptr) {
    append_bits(&column->nulls, rows_, source.nulls, rows);
  } else if (column->nulls.size() != 0) {
    extend(&column->nulls, (static_cast<size_t>(rows_) + rows + 7) / 8);
  }
  const uint32_t width = col_width(column->type);
  if (column->keyed) {
    append_keys(column, window, rows);
  } else if (width == 0) {
    append_texts(column, window, rows);
  } else if (width == 8) {
    column->fixed.append(reinterpret_cast<const uint8_t *>(source.values), rows * 8);
  } else {
    column->fixed.reserve_more(rows * 4);
    uint32_t *to = reinterpret_cast<uint32_t *>(column->fixed.data() + column->fixed.size());
    for (uint32_t row = 0; row < rows; row++) to[row] = static_cast<uint32_t>(source.values[row]);
    column->fixed.resize(column->fixed.size() + rows * 4);
  }
}

void CsvBlockWriter::append_texts(Column *column, const CsvWindow &window, uint32_t rows) {
  const CsvText *texts = window.columns[column->id].texts;
  column->offsets.reserve_more(rows * 4);
  uint32_t *ends = reinterpret_cast<uint32_t *>(column->offsets.data() + column->offsets.size());
  Buffer &bytes = column->bytes;
  const size_t before = bytes.size();
  // Places in the window where kSlack bytes may be read; a text elsewhere is far from them as an unsigned number.
  const uintptr_t first = reinterpret_cast<uintptr_t>(window.bytes);
  const size_t places = window.readable >= kSlack ? window.readable - kSlack + 1 : 0;
  size_t size = before;
  bytes.reserve_more(rows * kSlack + kSlack);
  for (uint32_t row = 0; row < rows; row++) {
    const CsvText &text = texts[row];
    if (text.size <= kSlack && reinterpret_cast<uintptr_t>(text.data) - first < places) {
      std::memcpy(bytes.data() + size, text.data, kSlack);
    } else if (text.size != 0) {
      // Room for this one and for the short ones behind it.
      bytes.resize(size);
      bytes.reserve_more(text.size + (rows - row) * kSlack + kSlack);
      std::memcpy(bytes.data() + size, text.data, text.size);
    }
    size += text.size;
    ends[row] = static_cast<uint32_t>(size);
  }
  bytes.resize(size);
  column->offsets.resize(column->offsets.size() + rows * 4);
  text_bytes_ += size - before;
}

void CsvBlockWriter::append_keys(Column *column, const CsvWindow &window, uint32_t rows) {
  const CsvWindowColumn &source = window.columns[column->id];
  column->fixed.reserve_more(rows * 8);
  int64_t *to = reinterpret_cast<int64_t *>(column->fixed.data() + column->fixed.size());
  std::lock_guard<std::mutex> guard(options_.texts->lock());
  for (uint32_t row = 0; row < rows; row++) {
    if (source.is_null(row)) {
      to[row] = 0;
      continue;
    }
    bool fresh = false;
    to[row] = options_.texts->add(source.texts[row].data, source.texts[row].size, &fresh);
    if (fresh) add_text(source.texts[row], to[row]);
  }
  column->fixed.resize(column->fixed.size() + rows * 8);
}

void CsvBlockWriter::add_text(const CsvText &text, int64_t key) {
  fresh_.push_back(key);
  fresh_bytes_.append(text.data, text.size);
  const uint32_t end = static_cast<uint32_t>(fresh_bytes_.size());
  fresh_offsets_.append(reinterpret_cast<const uint8_t *>(&end), 4);
}

bool CsvBlockWriter::finish(const BlockMeta &meta, Bytes *block, CodecError *error) {
  std::vector<ColumnData> data;
  data.reserve(columns_.size() + 1);
  for (const Column &column : columns_)
    data.push_back({column.name.data(), column.name.size(), column.type,
                    column.nulls.size() != 0 ? column.nulls.data() : nullptr, column.fixed.data(),
                    reinterpret_cast<const uint32_t *>(column.offsets.data()), column.bytes.data()});
  if (options_.row_places) data.push_back({"row_at", 6, COL_INT8, nullptr, row_at_.data(), nullptr, nullptr});
  return write_block(meta, rows_, 0, data, block, error);
}

bool CsvBlockWriter::finish_texts(const BlockMeta &meta, Bytes *block, CodecError *error) {
  const std::vector<ColumnData> data = {
      {"key", 3, COL_INT8, nullptr, reinterpret_cast<const uint8_t *>(fresh_.data()), nullptr, nullptr},
      {"text", 4, COL_TEXT, nullptr, nullptr, reinterpret_cast<const uint32_t *>(fresh_offsets_.data()),
       fresh_bytes_.data()}};
  if (!write_block(meta, fresh_texts(), 0, data, block, error)) return false;
  fresh_.clear();
  return true;
}

}  // namespace pem
