// The aggregate -> blocks of sql_trace_statements and sql_trace_texts; see trace_aggregate.h. A block's columns are built
// side by side, row by row: there are a few thousand rows, made once an interval.
#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "block_write.h"
#include "trace_aggregate.h"

namespace pem {
namespace {

const char *const kSumNames[AGG_SUM_COUNT] = {
#define PEM_SUM_NAME(name) #name,
    AGG_SUMS(PEM_SUM_NAME)
#undef PEM_SUM_NAME
};

int64_t whole(uint64_t value) { return value > INT64_MAX ? INT64_MAX : static_cast<int64_t>(value); }

// Rows of a block: values go in column by column, in the columns' order, then end_row().
class Rows {
 public:
  explicit Rows(const std::vector<ColumnSpec> &specs) : specs_(specs), columns_(specs.size()) {
    for (Column &column : columns_) column.offsets.push_back(0);
  }

  uint32_t rows() const { return rows_; }
  uint64_t bytes() const { return bytes_; }

  void number(int64_t value, bool known = true) {
    const uint32_t width = col_width(specs_[at_].type);
    if (!known) value = 0;
    Column &column = columns_[at_];
    const uint8_t *p = reinterpret_cast<const uint8_t *>(&value);
    column.data.insert(column.data.end(), p, p + width);
    end_value(width, known);
  }

  void text(const void *p, size_t n, bool known = true) {
    Column &column = columns_[at_];
    if (known) column.data.insert(column.data.end(), static_cast<const uint8_t *>(p), static_cast<const uint8_t *>(p) + n);
    column.offsets.push_back(static_cast<uint32_t>(column.data.size()));
    end_value(n + 4, known);
  }

  void end_row() {
    at_ = 0;
    rows_++;
  }

  // The block of all rows so far, which are then gone.
  bool take(const BlockMeta &meta, std::vector<Bytes> *blocks, CodecError *error) {
    std::vector<ColumnData> data;
    for (size_t i = 0; i < columns_.size(); i++) {
      const Column &column = columns_[i];
      const bool fixed = col_width(specs_[i].type) != 0;
      data.push_back({specs_[i].name.data(), specs_[i].name.size(), specs_[i].type,
                      column.has_nulls ? column.nulls.data() : nullptr, fixed ? column.data.data() : nullptr,
                      fixed ? nullptr : column.offsets.data(), fixed ? nullptr : column.data.data()});
    }
    blocks->emplace_back();
    if (!write_block(meta, rows_, 0, data, &blocks->back(), error)) return false;
    *this = Rows(specs_);
    return true;
  }

  Rows &operator=(Rows &&other) noexcept {
    columns_ = std::move(other.columns_);
    at_ = other.at_;
    rows_ = other.rows_;
    bytes_ = other.bytes_;
    return *this;
  }

 private:
  struct Column {
    std::vector<uint8_t> data, nulls;
    std::vector<uint32_t> offsets;
    bool has_nulls = false;
  };

  void end_value(size_t n, bool known) {
    Column &column = columns_[at_++];
    if (rows_ % 8 == 0) column.nulls.push_back(0);
    if (!known) {
      column.nulls[rows_ / 8] |= static_cast<uint8_t>(1u << rows_ % 8);
      column.has_nulls = true;
    }
    bytes_ += n;
  }

  const std::vector<ColumnSpec> &specs_;
  std::vector<Column> columns_;
  size_t at_ = 0;
  uint32_t rows_ = 0;
  uint64_t bytes_ = 0;
};

class StatementRows {
 public:
  StatementRows(const agg *aggregate, int32_t trace) : aggregate_(aggregate), trace_(trace), rows_(TraceStatementColumns()) {}

  Rows *rows() { return &rows_; }

  void add(const agg_entry &e, const uint64_t *counts) {
    const agg_values &v = e.values;
    const bool others = (e.flags & AGG_OTHERS) != 0, timed = v.timed != 0;
    rows_.number(trace_);
    name(e.database, true);
    name(e.username, true);
    rows_.number((e.flags & AGG_NESTED) != 0);
    rows_.number((e.flags & AGG_QUERY_ID) != 0 ? static_cast<int64_t>(e.key) : 0);
    rows_.number(others ? 0 : static_cast<int64_t>(e.fingerprint));
    name(e.tag, false);
    rows_.number(v.first_us, v.first_us <= v.last_us);
    rows_.number(v.last_us, v.first_us <= v.last_us);
    for (const uint64_t count : {v.calls, v.timed, v.planned, v.errors, v.cancelled}) rows_.number(whole(count));
    rows_.text(e.last_state, strnlen(e.last_state, sizeof e.last_state), e.last_state[0] != 0);
    rows_.number(whole(v.exec_us), timed);
    rows_.number(whole(v.min_us), timed);
    rows_.number(whole(v.max_us), timed);
    rows_.text(text_, timed ? hist_to_text(counts, text_, sizeof text_) : 0, timed);
    for (uint32_t i = 0; i < AGG_SUM_COUNT; i++) rows_.number(whole(v.sums[i]), (v.known >> i & 1) != 0);
    rows_.number(whole(e.missed_calls));
    rows_.number(whole(e.missed_us));
    rows_.end_row();
  }

 private:
  // Keys are never NULL: a name that is unknown or had no room is empty.
  void name(uint32_t number, bool key) {
    size_t n = 0;
    const char *text = agg_name_text(aggregate_, number, &n);
    rows_.text(text, n, key || n != 0);
  }

  const agg *aggregate_;
  const int32_t trace_;
  Rows rows_;
  char text_[HIST_TEXT_BYTES];
};

}  // namespace

const std::vector<ColumnSpec> &TraceStatementColumns() {
  static const std::vector<ColumnSpec> *const columns = [] {
    auto *list = new std::vector<ColumnSpec>{
        {"trace", COL_INT4},          {"database", COL_NAME},        {"username", COL_NAME},   {"nested", COL_BOOL},
        {"query_id", COL_INT8},       {"fingerprint", COL_INT8},     {"tag", COL_TEXT},        {"first_at", COL_TIMESTAMPTZ},
        {"last_at", COL_TIMESTAMPTZ}, {"calls", COL_INT8},           {"timed", COL_INT8},      {"planned", COL_INT8},
        {"errors", COL_INT8},         {"cancelled", COL_INT8},       {"last_sqlstate", COL_TEXT}, {"exec_us", COL_INT8},
        {"min_us", COL_INT8},         {"max_us", COL_INT8},          {"histogram", COL_TEXT}};
    for (const char *name : kSumNames) list->push_back({name, COL_INT8});
    list->push_back({"missed_calls", COL_INT8});
    list->push_back({"missed_us", COL_INT8});
    return list;
  }();
  return *columns;
}

const std::vector<ColumnSpec> &TraceTextColumns() {
  static const std::vector<ColumnSpec> *const columns =
      new std::vector<ColumnSpec>{{"fingerprint", COL_INT8}, {"text", COL_TEXT}};
  return *columns;
}

bool TraceAggregate::write_statements(const BlockMeta &meta, int32_t trace, uint64_t max_bytes,
                                      std::vector<Bytes> *blocks, CodecError *error) const {
  StatementRows statements(aggregate_, trace);
  std::vector<uint64_t> counts(HIST_BUCKETS);
  const uint32_t entries = agg_count(aggregate_);
  for (uint32_t i = 0; i < entries + 2; i++) {
    const agg_entry *e = i < entries ? agg_at(aggregate_, i) : agg_others(aggregate_, i - entries == 1);
    if (e->values.calls == 0) continue;
    if (i < entries)
      agg_histogram(aggregate_, i, counts.data());
    else
      agg_others_histogram(aggregate_, i - entries == 1, counts.data());
    statements.add(*e, counts.data());
    if (statements.rows()->bytes() < max_bytes && statements.rows()->rows() < kMaxRows) continue;
    if (!statements.rows()->take(meta, blocks, error)) return false;
  }
  return statements.rows()->rows() == 0 || statements.rows()->take(meta, blocks, error);
}

bool TraceAggregate::write_texts(const BlockMeta &meta, const std::vector<int64_t> &fingerprints, uint64_t max_bytes,
                                 std::vector<Bytes> *blocks, CodecError *error) const {
  std::unordered_set<int64_t> wanted(fingerprints.begin(), fingerprints.end());
  Rows rows(TraceTextColumns());
  std::vector<uint8_t> text(options_.table.text_bytes_each);
  const uint32_t entries = agg_count(aggregate_);
  for (uint32_t i = 0; i < entries && !wanted.empty(); i++) {
    const int64_t fingerprint = static_cast<int64_t>(agg_at(aggregate_, i)->fingerprint);
    if (wanted.erase(fingerprint) == 0) continue;
    rows.number(fingerprint);
    rows.text(text.data(), agg_text(aggregate_, i, text.data(), text.size()));
    rows.end_row();
    if (rows.bytes() >= max_bytes && !rows.take(meta, blocks, error)) return false;
  }
  return rows.rows() == 0 || rows.take(meta, blocks, error);
}

}  // namespace pem
