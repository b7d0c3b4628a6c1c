// Windows -> block; see csv_block.h.
#include "csv_block.h"

#include <algorithm>
#include <cstring>

#include "../core/hash64.h"

namespace pem {

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

void put_place(uint8_t *places, uint32_t row, uint32_t place) {
  std::memcpy(places + 4 * static_cast<size_t>(row), &place, 4);
}

// The n bytes at `from`, `times` over.
void repeat(const uint8_t *from, size_t n, uint32_t times, uint8_t *to) {
  const size_t total = n * times;
  if (total == 0) return;
  // Once, then what is there as often as it fits.
  std::memcpy(to, from, n);
  for (size_t done = n; done < total;) {
    const size_t more = std::min(done, total - done);
    std::memcpy(to + done, to, more);
    done += more;
  }
}

// Texts behind others of `before` bytes; the places of their ends go to `ends`. kSlack bytes behind the last of them may be
// written too.
void copy_texts(const CsvWindow &window, const CsvText *texts, uint32_t rows, uint32_t before, uint8_t *ends,
                uint8_t *to) {
  // Places in the window where kSlack bytes may be read; a text elsewhere is far from them as an unsigned number.
  const uintptr_t first = reinterpret_cast<uintptr_t>(window.bytes);
  const size_t places = window.readable >= kSlack ? window.readable - kSlack + 1 : 0;
  for (uint32_t row = 0; row < rows; row++) {
    const CsvText &text = texts[row];
    if (text.size <= kSlack && reinterpret_cast<uintptr_t>(text.data) - first < places) {
      std::memcpy(to, text.data, kSlack);
    } else if (text.size != 0) {
      std::memcpy(to, text.data, text.size);
    }
    to += text.size;
    before += text.size;
    put_place(ends, row, before);
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
  if (options_.event_rows) events_ = std::make_unique<CsvEventRows>(options_.max_text_bytes);
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!options_.columns[id]) continue;
    const bool keyed = options_.texts != nullptr && is_long_text(id);
    const std::string name = kCsvColumns[id].name;
    if (keyed)
      add_column(id, name + "_key", COL_INT8, true);
    else if (events_ != nullptr && (id == CSV_COL_database || id == CSV_COL_username))
      add_column(id, id == CSV_COL_database ? "database_name" : "user_name", COL_TEXT, false);
    else
      add_column(id, name, kCsvColumns[id].type, false);
  }
  if (events_ != nullptr) {
    add_column(kFingerprint, "fingerprint", COL_INT8, false);
    add_column(kZeros, "zeros", COL_INT4, false);
  }
  if (options_.row_places) add_column(kRowAt, "row_at", COL_INT8, false);
  fresh_offsets_.append_zeros(4);
}

void CsvBlockWriter::add_column(uint32_t id, std::string name, col_type type, bool keyed) {
  Column column;
  column.id = id;
  column.name = std::move(name);
  column.type = type;
  column.keyed = keyed;
  column.width = col_width(type);
  keyed_ += keyed;
  row_bytes_ += column.width != 0 ? column.width : 4;
  head_bytes_ += kTableBytes + column.name.size();
  columns_.push_back(std::move(column));
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
      if (column.id >= CSV_COLUMN_COUNT || (column.width != 0 && !column.keyed)) continue;
      const uint32_t size = window.columns[column.id].texts[row].size;
      (column.keyed ? fresh : texts) += size;
    }
    if (rows_ + row != 0 && (size_of(rows_ + row + 1, texts) > options_.max_bytes || fresh > options_.max_bytes)) return row;
  }
  return most;
}

void CsvBlockWriter::expect(const CsvWindow &window, uint64_t bytes) {
  if (rows_ != 0 || window.rows == 0 || bytes < 4 * window.used) return;
  const uint64_t rows = std::min<uint64_t>((bytes / window.used + 1) * window.rows, options_.max_rows);
  const uint64_t size = rows * row_bytes_ + (rows / window.rows + 1) * window.used;
  if (size <= options_.max_bytes) staged_.reserve_more(static_cast<size_t>(size + kSlack));
}

// nullptr: row_at.
const CsvWindowColumn *CsvBlockWriter::source_of(const Column &column, const CsvWindow &window) const {
  if (column.id < CSV_COLUMN_COUNT) return &window.columns[column.id];
  if (column.id == kRowAt) return nullptr;
  return column.id == kFingerprint ? &events_->fingerprint() : &events_->zeros();
}

uint32_t CsvBlockWriter::append(const CsvWindow &given) {
  const uint32_t rows = fitting(given);
  const CsvWindow &window = events_ != nullptr && rows != 0 ? events_->shape(given, rows) : given;
  if (rows != 0) {
    part_rows_.push_back(rows);
    for (Column &column : columns_) {
      const CsvWindowColumn *source = source_of(column, window);
      places_.push_back({staged_.size(), source != nullptr && source->constant});
      if (source == nullptr) {
        staged_.append(reinterpret_cast<const uint8_t *>(window.row_at), rows * 8);
        continue;
      }
      append_nulls(&column, source->nulls, rows);
      if (column.keyed) {
        append_keys(*source, source->constant ? 1 : rows);
      } else if (column.width != 0) {
        append_values(column, *source, source->constant ? 1 : rows);
      } else if (source->constant) {
        append_text(&column, source->texts[0], rows);
      } else {
        append_texts(&column, window, rows);
      }
    }
    rows_ += rows;
  }
  if (rows < window.rows || rows_ == options_.max_rows) full_ = true;
  return rows;
}

void CsvBlockWriter::append_nulls(Column *column, const uint8_t *nulls, uint32_t rows) {
  if (nulls != nullptr) {
    append_bits(&column->nulls, rows_, nulls, rows);
  } else if (column->nulls.size() != 0) {
    extend(&column->nulls, (static_cast<size_t>(rows_) + rows + 7) / 8);
  }
}

void CsvBlockWriter::append_values(const Column &column, const CsvWindowColumn &source, uint32_t rows) {
  const size_t size = static_cast<size_t>(rows) * column.width;
  staged_.reserve_more(size);
  uint8_t *to = staged_.data() + staged_.size();
  if (column.width == 8) {
    std::memcpy(to, source.values, size);
  } else {
    for (uint32_t row = 0; row < rows; row++) {
      const uint32_t value = static_cast<uint32_t>(source.values[row]);
      std::memcpy(to + 4 * static_cast<size_t>(row), &value, 4);
    }
  }
  staged_.resize(staged_.size() + size);
}

void CsvBlockWriter::append_texts(Column *column, const CsvWindow &window, uint32_t rows) {
  const CsvText *texts = window.columns[column->id].texts;
  uint64_t total = 0;
  for (uint32_t row = 0; row < rows; row++) total += texts[row].size;
  staged_.reserve_more(rows * 4 + total + kSlack);
  uint8_t *ends = staged_.data() + staged_.size(), *to = ends + rows * 4;
  copy_texts(window, texts, rows, column->bytes, ends, to);
  staged_.resize(staged_.size() + rows * 4 + total);
  column->bytes += static_cast<uint32_t>(total);
  text_bytes_ += total;
}

// One text for all rows.
void CsvBlockWriter::append_text(Column *column, const CsvText &text, uint32_t rows) {
  staged_.append(reinterpret_cast<const uint8_t *>(&text.size), 4);
  staged_.append(text.data, text.size);
  const uint64_t total = static_cast<uint64_t>(text.size) * rows;
  column->bytes += static_cast<uint32_t>(total);
  text_bytes_ += total;
}

void CsvBlockWriter::append_keys(const CsvWindowColumn &source, uint32_t rows) {
  staged_.reserve_more(rows * 8);
  uint8_t *to = staged_.data() + staged_.size();
  std::lock_guard<std::mutex> guard(options_.texts->lock());
  for (uint32_t row = 0; row < rows; row++) {
    int64_t key = 0;
    if (!source.is_null(row)) {
      bool fresh = false;
      key = options_.texts->add(source.texts[row].data, source.texts[row].size, &fresh);
      if (fresh) add_text(source.texts[row], key);
    }
    std::memcpy(to + 8 * row, &key, 8);
  }
  staged_.resize(staged_.size() + rows * 8);
}

void CsvBlockWriter::add_text(const CsvText &text, int64_t key) {
  fresh_.push_back(key);
  fresh_bytes_.append(text.data, text.size);
  const uint32_t end = static_cast<uint32_t>(fresh_bytes_.size());
  fresh_offsets_.append(reinterpret_cast<const uint8_t *>(&end), 4);
}

// The staged columns, as write_block asks for them.
class CsvBlockWriter::Parts : public ColumnParts {
 public:
  // columns: places of the block's columns among the writer's
  Parts(const CsvBlockWriter &writer, std::vector<size_t> columns) : writer_(writer), columns_(std::move(columns)) {}
  uint32_t bytes_of(size_t i) const override { return writer_.columns_[columns_[i]].bytes; }
  void put_data(size_t place_in_block, uint8_t *to) const override {
    const size_t i = columns_[place_in_block];
    const uint32_t width = writer_.columns_[i].width;
    uint32_t before = 0;  // texts: where the part's begin
    for (size_t part = 0; part < writer_.part_rows_.size(); part++) {
      const uint32_t rows = writer_.part_rows_[part];
      const Place &place = place_of(part, i);
      const uint8_t *from = writer_.staged_.data() + place.at;
      size_t size = width;
      if (width == 0) {
        // The length of the one text, or the last of the places.
        const uint32_t word = load(place.once ? from : from + 4 * (rows - 1));
        from += place.once ? 4 : 4 * static_cast<size_t>(rows);
        size = place.once ? word : word - before;
        before = place.once ? before + rows * word : word;
      } else if (!place.once) {
        size *= rows;
      }
      if (place.once) {
        repeat(from, size, rows, to);
        to += size * rows;
      } else {
        std::memcpy(to, from, size);
        to += size;
      }
    }
  }
  void put_offsets(size_t place_in_block, uint32_t *to) const override {
    const size_t i = columns_[place_in_block];
    *to = 0;
    for (size_t part = 0; part < writer_.part_rows_.size(); part++) {
      const uint32_t rows = writer_.part_rows_[part];
      const Place &place = place_of(part, i);
      const uint8_t *from = writer_.staged_.data() + place.at;
      if (place.once) {
        const uint32_t size = load(from), before = *to;
        for (uint32_t row = 1; row <= rows; row++) to[row] = before + row * size;
      } else {
        std::memcpy(to + 1, from, 4 * static_cast<size_t>(rows));
      }
      to += rows;
    }
  }

 private:
  static uint32_t load(const uint8_t *p) {
    uint32_t word;
    std::memcpy(&word, p, 4);
    return word;
  }
  const Place &place_of(size_t part, size_t i) const { return writer_.places_[part * writer_.columns_.size() + i]; }
  const CsvBlockWriter &writer_;
  const std::vector<size_t> columns_;
};

// No row has a value.
bool CsvBlockWriter::is_empty(const Column &column) const {
  if (column.nulls.size() == 0) return false;
  const uint8_t *nulls = column.nulls.data();
  for (uint32_t byte = 0; byte < rows_ / 8; byte++)
    if (nulls[byte] != 255) return false;
  return rows_ % 8 == 0 || nulls[rows_ / 8] == (1u << rows_ % 8) - 1;
}

bool CsvBlockWriter::finish(const BlockMeta &meta, BlockMemory into, Bytes *block, CodecError *error) {
  std::vector<ColumnData> data;
  data.reserve(columns_.size());
  std::vector<size_t> places;
  for (size_t i = 0; i < columns_.size(); i++) {
    const Column &column = columns_[i];
    if (events_ != nullptr && is_empty(column)) continue;
    places.push_back(i);
    data.push_back({column.name.data(), column.name.size(), column.type,
                    column.nulls.size() != 0 ? column.nulls.data() : nullptr, nullptr, nullptr, nullptr});
  }
  const Parts parts(*this, std::move(places));
  return write_block(meta, rows_, 0, data, block, error, &parts, into);
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
