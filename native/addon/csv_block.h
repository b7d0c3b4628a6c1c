// Windows of a trace file's rows -> one block, and the long texts of those rows once each in a second one.
//
// In: windows of csv_window.h, copied. Out: the bytes of a block with the columns asked for, by their names in the file;
// where long texts are kept apart, query, params and plan are query_key, params_key and plan_key (int8) instead, and the
// second block has a row (key, text) for each text that the TextSet had not seen. Owner: the writer, until finish(). Full: at
// max_rows or max_bytes the rest of a window is refused; a block of one row may be larger than max_bytes. Stop: drop it at
// any time; the texts it was first to see are forgotten again. Not thread-safe, the TextSet is.
#pragma once

#include <memory>
#include <mutex>

#include "block_write.h"
#include "csv_events.h"

namespace pem {

// Keys of texts handed out before. Full: a new key takes the place of an old one, whose text then comes once more.
class TextSet {
 public:
  // Room for `capacity` keys, rounded up to a power of two, 8 bytes each.
  TextSet(uint32_t capacity, uint64_t seed);
  // The text's key. *fresh: it was not in the set, and is now.
  int64_t add(const uint8_t *p, size_t n, bool *fresh);
  void remove(int64_t key);
  std::mutex &lock() { return lock_; }

 private:
  std::vector<uint64_t> keys_;  // 0: free
  uint64_t mask_;
  const uint64_t seed_;
  std::mutex lock_;
};

struct CsvBlockOptions {
  CsvColumnSet columns;
  bool row_places = false;          // a column row_at: where each row begins in its file, bytes
  std::shared_ptr<TextSet> texts;   // long texts apart; nullptr: in the block
  // Rows as csv_events.h makes them, with columns fingerprint and zeros, database and username as text under the names
  // database_name and user_name, and without the columns of which no row has a value. Needs query, tag and flags.
  bool event_rows = false;
  uint32_t max_text_bytes = kMaxValueBytes;  // of event rows, whose reader must not have cut them
  uint32_t max_rows = kMaxRows;
  uint64_t max_bytes = kMaxBlockBytes / 2;  // of either block
};

class CsvBlockWriter {
 public:
  explicit CsvBlockWriter(const CsvBlockOptions &options);
  ~CsvBlockWriter();
  CsvBlockWriter(const CsvBlockWriter &) = delete;
  CsvBlockWriter &operator=(const CsvBlockWriter &) = delete;

  // Takes a window's rows from its first on; answers how many. Fewer than all: the block is full.
  uint32_t append(const CsvWindow &window);
  // Asks for memory for all rows that `bytes` bytes like this window's hold, so that it does not grow step by step.
  void expect(const CsvWindow &window, uint64_t bytes);
  uint32_t rows() const { return rows_; }
  bool full() const { return full_; }
  uint64_t cut_values() const { return events_ != nullptr ? events_->cut_values() : 0; }
  uint32_t fresh_texts() const { return static_cast<uint32_t>(fresh_.size()); }
  // The block, in `into` where it fits there. Columns were checked at the start, meta is the caller's to check.
  bool finish(const BlockMeta &meta, BlockMemory into, Bytes *block, CodecError *error);
  // The block of texts: columns key, text. From here on the set keeps what it has seen.
  bool finish_texts(const BlockMeta &meta, Bytes *block, CodecError *error);

 private:
  struct Column {
    uint32_t id;  // or one of the next
    std::string name;
    col_type type;
    uint32_t width;  // of a value, 0: text
    bool keyed;
    uint32_t bytes = 0;  // of all texts so far
    Buffer nulls;        // empty until the first NULL
  };
  static constexpr uint32_t kRowAt = CSV_COLUMN_COUNT, kFingerprint = kRowAt + 1, kZeros = kRowAt + 2;
  class Parts;

  void add_column(uint32_t id, std::string name, col_type type, bool keyed);
  bool is_empty(const Column &column) const;
  const CsvWindowColumn *source_of(const Column &column, const CsvWindow &window) const;
  uint32_t fitting(const CsvWindow &window);
  void append_nulls(Column *column, const uint8_t *nulls, uint32_t rows);
  void append_values(const Column &column, const CsvWindowColumn &source, uint32_t rows);
  void append_texts(Column *column, const CsvWindow &window, uint32_t rows);
  void append_text(Column *column, const CsvText &text, uint32_t rows);
  void append_keys(const CsvWindowColumn &source, uint32_t rows);
  void add_text(const CsvText &text, int64_t key);

  const CsvBlockOptions options_;
  std::vector<Column> columns_;
  std::unique_ptr<CsvEventRows> events_;
  // What each call of append() took: its columns lie one behind the other, values as they will be in the block, texts as the
  // places where they end and then their bytes; of a column that holds the same in all rows its value, or its text with the
  // length in front, once. A buffer for each column would be dozens of places that grow at once, all of them at the same
  // distance from a page's start, which the processor's first cache cannot hold together.
  struct Place {
    size_t at;  // in staged_
    bool once;
  };
  Buffer staged_;
  std::vector<uint32_t> part_rows_;
  std::vector<Place> places_;  // of each column of each part
  uint32_t keyed_ = 0;       // columns whose texts go to the other block
  uint64_t row_bytes_ = 0;   // of fixed parts and offsets
  uint64_t head_bytes_ = 0;  // of names and tables, no less than what they will be
  uint64_t text_bytes_ = 0;
  uint32_t rows_ = 0;
  bool full_ = false;
  std::vector<int64_t> fresh_;
  Buffer fresh_offsets_, fresh_bytes_;
};

}  // namespace pem
