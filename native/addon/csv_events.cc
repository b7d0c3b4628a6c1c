// Rows as they travel one by one; see csv_events.h.
#include "csv_events.h"

#include <algorithm>
#include <cstring>

#include "../core/utf8.h"

namespace pem {
namespace {

// Statements of one block; those beyond are normalised again.
constexpr uint32_t kCachedTexts = 1024;

bool is_text(uint32_t id) { return kCsvColumns[id].type == COL_TEXT; }

}  // namespace

CsvEventRows::CsvEventRows(uint32_t max_text_bytes)
    : max_text_bytes_(max_text_bytes),
      work_(new fpr_work),
      cache_memory_(new uint8_t[fpr_cache_bytes(kCachedTexts) + 64]) {
  uint8_t *aligned = cache_memory_.get();
  aligned += (64 - reinterpret_cast<uintptr_t>(aligned) % 64) % 64;
  cache_ = fpr_cache_open(aligned, kCachedTexts);
}

// The column's NULLs, to be changed.
uint8_t *CsvEventRows::own_nulls(uint32_t id) {
  CsvWindowColumn &column = window_.columns[id];
  if (column.nulls == nullptr)
    std::memset(nulls_[id], 0, kNullBytes);
  else if (column.nulls != nulls_[id])
    std::memcpy(nulls_[id], column.nulls, kNullBytes);
  column.nulls = nulls_[id];
  return nulls_[id];
}

const CsvWindow &CsvEventRows::shape(const CsvWindow &window, uint32_t rows) {
  window_ = window;
  rows_ = rows;
  CsvWindowColumn &flags = window_.columns[CSV_COL_flags];
  std::copy_n(flags.values, rows, flags_values_);
  flags.values = flags_values_;
  name_statements();
  cut_texts();
  leave_texts();
  leave_zeros();
  return window_;
}

// As the aggregate names them (trace_aggregate.cc): a row without a text is known by its command.
void CsvEventRows::name_statements() {
  const CsvWindowColumn &query = window_.columns[CSV_COL_query], &tag = window_.columns[CSV_COL_tag];
  const bool once = query.constant && tag.constant && window_.columns[CSV_COL_flags].constant;
  for (uint32_t row = 0; row < (once ? 1 : rows_); row++) {
    const CsvText &text = query.texts[row].size != 0 ? query.texts[row] : tag.texts[row];
    const int cut = (flags_values_[row] & (CSV_FLAG_QUERY_CUT | kCsvFlagCut)) != 0;
    fingerprint_values_[row] =
        static_cast<int64_t>(fpr_cached(cache_, work_.get(), text.data, text.size, cut, nullptr));
  }
  if (once) std::fill_n(fingerprint_values_, rows_, fingerprint_values_[0]);
  fingerprint_ = {fingerprint_values_, nullptr, nullptr, once};
}

void CsvEventRows::cut_texts() {
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    CsvWindowColumn &column = window_.columns[id];
    if (column.texts == nullptr || !is_text(id)) continue;
    const uint32_t looked = column.constant ? 1 : rows_;
    uint32_t longest = 0;
    for (uint32_t row = 0; row < looked; row++) longest = std::max(longest, column.texts[row].size);
    if (longest <= max_text_bytes_) continue;
    cut_[id].assign(column.texts, column.texts + rows_);
    for (uint32_t row = 0; row < rows_; row++) {
      CsvText &text = cut_[id][row];
      if (text.size <= max_text_bytes_) continue;
      text.size = static_cast<uint32_t>(col_utf8_cut(text.data, text.size, max_text_bytes_));
      flags_values_[row] |= kCsvFlagCut;
      cut_values_++;
    }
    column.texts = cut_[id].data();
  }
}

void CsvEventRows::leave_texts() {
  CsvWindowColumn &query = window_.columns[CSV_COL_query];
  const CsvText *texts = query.texts;
  uint8_t *nulls = own_nulls(CSV_COL_query);
  uint64_t last = 0;
  const std::string *sample = nullptr;
  for (uint32_t row = 0; row < rows_; row++) {
    query_texts_[row] = texts[row];
    if (query.is_null(row)) {
      flags_values_[row] |= kCsvFlagNoText;
      continue;
    }
    const uint64_t fingerprint = static_cast<uint64_t>(fingerprint_values_[row]);
    const char *data = reinterpret_cast<const char *>(texts[row].data);
    if (sample == nullptr || fingerprint != last) {
      const auto [found, is_first] = samples_.try_emplace(fingerprint, data, texts[row].size);
      last = fingerprint;
      sample = &found->second;
      if (is_first) {
        flags_values_[row] |= kCsvFlagSample;
        continue;
      }
    }
    if (sample->size() != texts[row].size || std::memcmp(sample->data(), data, texts[row].size) != 0) continue;
    nulls[row >> 3] |= static_cast<uint8_t>(1u << (row & 7));
    query_texts_[row].size = 0;
  }
  query.texts = query_texts_;
  query.constant = false;
  window_.columns[CSV_COL_flags].constant = false;
}

void CsvEventRows::leave_zeros() {
  std::fill_n(zeros_values_, rows_, 0);
  // Flags that a file has not got are known by now.
  std::memset(own_nulls(CSV_COL_flags), 0, kNullBytes);
  for (uint32_t bit = 0; bit < kZeroColumnCount; bit++) {
    CsvWindowColumn &column = window_.columns[kZeroColumns[bit]];
    if (column.values == nullptr) continue;
    if (column.constant && (column.values[0] != 0 || column.is_null(0))) continue;
    uint8_t *nulls = own_nulls(kZeroColumns[bit]);
    for (uint32_t row = 0; row < rows_; row++) {
      const uint32_t is_zero = column.values[row] == 0 && ((nulls[row >> 3] >> (row & 7)) & 1) == 0;
      nulls[row >> 3] |= static_cast<uint8_t>(is_zero << (row & 7));
      zeros_values_[row] |= static_cast<int64_t>(is_zero) << bit;
    }
  }
  zeros_ = {zeros_values_, nullptr, nullptr, false};
}

}  // namespace pem
