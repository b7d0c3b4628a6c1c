// A window of a trace file's rows -> the same rows as they travel one by one: each statement's fingerprint, figures that are
// 0 left out, and a text that another row of the block has already left out too.
//
// In: windows of one block, in its order. Out: a window whose columns point into the one given, into its rows' texts and
// into this object, good until the next call. Owner: this object keeps the first text of each statement of the block, so no
// more than the block itself holds, and 60 kB. Full: never. Stop: drop it at any time. Not thread-safe.
//
// What is left out can be told from what is unknown: bit i of `zeros` says that column i of kZeroColumns is 0; a row without
// a text has that of the row of its block with its fingerprint and kCsvFlagSample, unless it has kCsvFlagNoText.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "csv_window.h"

extern "C" {
#include "../core/fingerprint.h"
}

namespace pem {

constexpr int64_t kCsvFlagSample = 1 << 18;  // its text is that of the block's rows with its fingerprint and without a text
constexpr int64_t kCsvFlagNoText = 1 << 19;  // the statement came without a text

// Figures that are left out where they are 0, by their bit. src/wire/events.ts has the same list; bits are never reused.
constexpr uint32_t kZeroColumns[] = {
    CSV_COL_flags,          CSV_COL_parent,          CSV_COL_level,           CSV_COL_rows,
    CSV_COL_plan_us,        CSV_COL_shared_hit,      CSV_COL_shared_read,     CSV_COL_shared_dirtied,
    CSV_COL_shared_written, CSV_COL_local_hit,       CSV_COL_local_read,      CSV_COL_local_dirtied,
    CSV_COL_local_written,  CSV_COL_temp_read,       CSV_COL_temp_written,    CSV_COL_shared_read_us,
    CSV_COL_shared_write_us, CSV_COL_temp_read_us,   CSV_COL_temp_write_us,   CSV_COL_wal_records,
    CSV_COL_wal_fpi,        CSV_COL_wal_bytes,       CSV_COL_jit_us,          CSV_COL_workers_planned,
    CSV_COL_workers_launched, CSV_COL_cpu_user_us,   CSV_COL_cpu_system_us,   CSV_COL_major_faults,
    CSV_COL_voluntary_switches, CSV_COL_involuntary_switches};
constexpr uint32_t kZeroColumnCount = sizeof kZeroColumns / sizeof kZeroColumns[0];
static_assert(kZeroColumnCount <= 31, "bits of an int4 that is not negative");

class CsvEventRows {
 public:
  // Texts longer than max_text_bytes are cut between characters, after the fingerprint was taken.
  explicit CsvEventRows(uint32_t max_text_bytes);
  CsvEventRows(const CsvEventRows &) = delete;
  CsvEventRows &operator=(const CsvEventRows &) = delete;

  // The first `rows` rows of a window that has query, tag and flags among its columns.
  const CsvWindow &shape(const CsvWindow &window, uint32_t rows);
  // Of the last shape().
  const CsvWindowColumn &fingerprint() const { return fingerprint_; }
  const CsvWindowColumn &zeros() const { return zeros_; }
  // Texts cut here, of all windows.
  uint64_t cut_values() const { return cut_values_; }

 private:
  static constexpr uint32_t kNullBytes = kCsvWindowRows / 8;

  void cut_texts();
  void name_statements();
  void leave_texts();
  void leave_zeros();
  uint8_t *own_nulls(uint32_t id);

  const uint32_t max_text_bytes_;
  std::unique_ptr<fpr_work> work_;
  std::unique_ptr<uint8_t[]> cache_memory_;
  fpr_cache *cache_;
  std::unordered_map<uint64_t, std::string> samples_;
  uint64_t cut_values_ = 0;

  CsvWindow window_;
  uint32_t rows_ = 0;
  CsvWindowColumn fingerprint_, zeros_;
  int64_t fingerprint_values_[kCsvWindowRows], zeros_values_[kCsvWindowRows], flags_values_[kCsvWindowRows];
  CsvText query_texts_[kCsvWindowRows];
  alignas(8) uint8_t nulls_[CSV_COLUMN_COUNT][kNullBytes];
  std::vector<CsvText> cut_[CSV_COLUMN_COUNT];
};

}  // namespace pem
