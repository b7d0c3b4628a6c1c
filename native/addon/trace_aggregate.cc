// The aggregate fed with windows; see trace_aggregate.h. What travels is made in trace_aggregate_block.cc.
#include "trace_aggregate.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "../core/hash64.h"

namespace pem {
namespace {

constexpr uint32_t kCachedTexts = 16384;

// The columns that are summed, in the aggregate's order.
constexpr uint32_t kSumColumns[AGG_SUM_COUNT] = {
#define PEM_SUM_COLUMN(name) CSV_COL_##name,
    AGG_SUMS(PEM_SUM_COLUMN)
#undef PEM_SUM_COLUMN
};

TraceAggregateOptions complete(TraceAggregateOptions options) {
  if (options.table.text_bytes == 0) options.table.text_bytes = std::min<uint64_t>(options.table.entries, 1u << 20) * 1024;
  return options;
}

// A file may say anything: what is no letter or digit would not be text when it is cut.
void put_state(const CsvText &text, char state[6]) {
  std::memset(state, 0, 6);
  for (uint32_t i = 0; i < text.size && i < 5; i++) {
    const char c = static_cast<char>(text.data[i]);
    state[i] = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ? c : '?';
  }
}

// Has the row a query id that is the same for all literals? Before PostgreSQL 16 a command's is of its text as it stands.
bool is_planned(const CsvText &tag) {
  const char *text = reinterpret_cast<const char *>(tag.data);
  if (tag.size == 5) return std::memcmp(text, "MERGE", 5) == 0;
  if (tag.size != 6) return false;
  for (const char *name : {"SELECT", "UPDATE", "INSERT", "DELETE"})
    if (std::memcmp(text, name, 6) == 0) return true;
  return false;
}

}  // namespace

TraceAggregate::TraceAggregate(const TraceAggregateOptions &options) : options_(complete(options)) {
  memory_bytes_ = agg_bytes(&options_.table);
  if (memory_bytes_ == 0) return;
  // Mapped, so that pages nobody writes to cost nothing: most entries never need their whole histogram.
  void *memory = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  memory_ = memory;
  aggregate_ = agg_open(memory_, &options_.table);
  work_ = std::make_unique<fpr_work>();
  cache_memory_.reset(new uint8_t[fpr_cache_bytes(kCachedTexts) + 64]);
  uint8_t *aligned = cache_memory_.get();
  aligned += (64 - reinterpret_cast<uintptr_t>(aligned) % 64) % 64;
  cache_ = fpr_cache_open(aligned, kCachedTexts);
}

TraceAggregate::~TraceAggregate() {
  if (memory_ != nullptr) munmap(memory_, memory_bytes_);
}

CsvColumnSet TraceAggregate::columns() {
  CsvColumnSet set;
  for (const uint32_t column : kSumColumns) set.set(column);
  for (const uint32_t column : {CSV_COL_end_time, CSV_COL_exec_us, CSV_COL_level, CSV_COL_pid, CSV_COL_database,
                                CSV_COL_username, CSV_COL_query_id, CSV_COL_tag, CSV_COL_sqlstate, CSV_COL_error,
                                CSV_COL_flags, CSV_COL_query})
    set.set(column);
  return set;
}

uint32_t TraceAggregate::name_of(const CsvText &text, LastName *last) {
  if (text.size == 0) return AGG_NAME_NONE;
  if (text.size == last->size && std::memcmp(text.data, last->text, text.size) == 0) return last->number;
  const uint32_t number = agg_name(aggregate_, text.data, text.size);
  if (text.size <= sizeof last->text) {
    std::memcpy(last->text, text.data, text.size);
    last->size = text.size;
    last->number = number;
  }
  return number;
}

void TraceAggregate::add_row(const CsvWindow &window, uint32_t row, agg_row *made) {
  const CsvWindowColumn *columns = window.columns;
  const int64_t flags = columns[CSV_COL_flags].values[row];
  // A row without a text is known by its command: an implicit COMMIT.
  CsvText text = columns[CSV_COL_query].texts[row];
  const bool cut = (flags & (CSV_FLAG_QUERY_CUT | kCsvFlagCut)) != 0;
  if (text.size == 0) text = columns[CSV_COL_tag].texts[row];

  made->flags = 0;
  made->exec_us = 0;
  if (!columns[CSV_COL_exec_us].is_null(row)) {
    made->flags |= AGG_ROW_TIMED;
    made->exec_us = columns[CSV_COL_exec_us].values[row];
  }
  if (columns[CSV_COL_level].values[row] > 0) made->flags |= AGG_ROW_NESTED;
  const CsvText &state = columns[CSV_COL_sqlstate].texts[row];
  if (state.size != 0) {
    made->flags |= AGG_ROW_FAILED;
    if (flags & CSV_FLAG_CANCELLED) made->flags |= AGG_ROW_CANCELLED;
    if (flags & CSV_FLAG_PROPAGATED) made->flags |= AGG_ROW_PROPAGATED;
    put_state(state, made->state);
    made->message = reinterpret_cast<const char *>(columns[CSV_COL_error].texts[row].data);
    made->message_bytes = columns[CSV_COL_error].texts[row].size;
  }
  made->end_us = columns[CSV_COL_end_time].is_null(row) ? AGG_NO_TIME : columns[CSV_COL_end_time].values[row];
  made->known = known_;
  for (const uint32_t sum : with_nulls_)
    if (!columns[kSumColumns[sum]].is_null(row)) made->known |= 1ull << sum;
  for (uint32_t sum = 0; sum < AGG_SUM_COUNT; sum++) made->sums[sum] = columns[kSumColumns[sum]].values[row];
  made->database = name_of(columns[CSV_COL_database].texts[row], &database_);
  made->username = name_of(columns[CSV_COL_username].texts[row], &username_);
  made->tag = name_of(columns[CSV_COL_tag].texts[row], &tag_);
  made->place.offset = window.row_at[row];
  made->place.pid = static_cast<int32_t>(columns[CSV_COL_pid].values[row]);

  int known = 1;
  const int64_t query_id = columns[CSV_COL_query_id].values[row];
  if (options_.by_query_id && query_id != 0 && is_planned(columns[CSV_COL_tag].texts[row])) {
    made->flags |= AGG_ROW_QUERY_ID;
    made->key = static_cast<uint64_t>(query_id);
  } else {
    made->key = fpr_cached(cache_, work_.get(), text.data, text.size, cut, &known);
    const Learned &learned = *place_of(*made, made->key);
    if (query_id == 0 && learned.is(*made, made->key)) {
      made->flags |= AGG_ROW_QUERY_ID;
      made->key = learned.query_id;
    }
  }
  int fresh = 0;
  const uint32_t entry = agg_add(aggregate_, made, &fresh);
  if (!fresh) return;
  fpr_result form;
  if (known)
    fpr_normalise(work_.get(), text.data, text.size, cut, &form);
  else
    form = work_->last;
  agg_describe(aggregate_, entry, form.fingerprint, work_->bytes, form.kept_bytes,
               cut || form.kept_bytes < form.text_bytes);
  if (made->flags & AGG_ROW_QUERY_ID)
    *place_of(*made, form.fingerprint) = {form.fingerprint, made->key, made->database, made->username,
                                          made->flags & AGG_NESTED};
}

TraceAggregate::Learned *TraceAggregate::place_of(const agg_row &row, uint64_t fingerprint) const {
  return &learned_[h64_pair(fingerprint, static_cast<uint64_t>(row.database) << 32 | row.username << 1 |
                                             ((row.flags & AGG_NESTED) != 0)) %
                   kLearned];
}

void TraceAggregate::begin(const CsvWindow &window) {
  known_ = 0;
  with_nulls_.clear();
  for (uint32_t sum = 0; sum < AGG_SUM_COUNT; sum++) {
    if (window.columns[kSumColumns[sum]].nulls == nullptr)
      known_ |= 1ull << sum;
    else
      with_nulls_.push_back(sum);
  }
}

void TraceAggregate::add(const CsvWindow &window, uint32_t file, const TimeRange &range, TraceAggregateAdded *added) {
  begin(window);
  agg_row made = {};
  made.place.file = file;
  const CsvWindowColumn &times = window.columns[CSV_COL_end_time], &flags = window.columns[CSV_COL_flags];
  const bool all = range.from_us == INT64_MIN && range.to_us == INT64_MAX;
  for (uint32_t row = 0; row < window.rows; row++) {
    const int64_t end_us = times.values[row];
    if (!times.is_null(row)) {
      added->first_us = std::min(added->first_us, end_us);
      added->last_us = std::max(added->last_us, end_us);
    }
    if (!all) {
      const bool before = times.is_null(row) || end_us < range.from_us, behind = !before && end_us >= range.to_us;
      added->before += before;
      added->behind += behind;
      if (before || behind) continue;
    }
    if (flags.values[row] & CSV_FLAG_WORKER) {
      added->workers++;
      continue;
    }
    added->rows++;
    add_row(window, row, &made);
  }
}

bool TraceAggregate::merge(const TraceAggregate &other) {
  return &other != this && agg_merge(aggregate_, other.aggregate_) != 0;
}

void TraceAggregate::reset() { agg_reset(aggregate_); }

}  // namespace pem
