// Windows of a trace's rows -> the bounded aggregate of core/aggregate.h -> blocks that travel, or figures to read.
//
// In: windows of csv_window.h with at least columns(), and where their file stands in the caller's count. Out: blocks of the
// probes sql_trace_statements and sql_trace_texts, and the aggregate itself to read. Owner: one piece of memory, taken at
// the start (options say how much; what is not touched costs nothing), a cache of texts of 256 kB, query ids of 128 kB. Full: as aggregate.h
// says. Stop: drop it at any time. Not thread-safe; any one thread may use it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../core/aggregate.h"
#include "../core/fingerprint.h"
#include "csv_window.h"
#include "memory.h"

namespace pem {

struct TraceAggregateOptions {
  agg_options table = {2000, 512, 0, 4096, 3, 256, 1000000, 64};  // text_bytes 0: 1 kB for each entry
  // Planned statements are known by their query id, if any of the same text has one; else the fingerprint is the key of all.
  bool by_query_id = true;
};

// The times of end that count; of a row without one, all do.
struct TimeRange {
  int64_t from_us = INT64_MIN, to_us = INT64_MAX;  // up to, not including
};

// What became of the rows of windows.
struct TraceAggregateAdded {
  uint64_t rows = 0;
  uint64_t workers = 0;         // rows of parallel workers, whose leaders' rows have their figures
  uint64_t before = 0, behind = 0;  // rows that ended before and behind the range
  int64_t first_us = INT64_MAX, last_us = INT64_MIN;  // of all rows with a time
};

class TraceAggregate {
 public:
  // The options' table must be one that agg_bytes takes: ready() says whether it is and the memory was there.
  explicit TraceAggregate(const TraceAggregateOptions &options);
  ~TraceAggregate();
  TraceAggregate(const TraceAggregate &) = delete;
  TraceAggregate &operator=(const TraceAggregate &) = delete;
  bool ready() const { return aggregate_ != nullptr; }
  size_t memory_bytes() const { return memory_bytes_; }

  // What add() reads of a window.
  static CsvColumnSet columns();
  void add(const CsvWindow &window, uint32_t file, const TimeRange &range, TraceAggregateAdded *added);
  // The same for callers who choose rows: begin() for each window, then add_row() for any of them but those of parallel
  // workers. made is what was counted of the row; made->place.file is the caller's to set, all else is written here.
  void begin(const CsvWindow &window);
  void add_row(const CsvWindow &window, uint32_t row, agg_row *made);
  // False: the time lines do not fit together; nothing is changed.
  bool merge(const TraceAggregate &other);
  // Forgets all rows.
  void reset();

  // All entries, and a row of fingerprint 0 for "others" where there is one, as blocks of at most about max_bytes.
  bool write_statements(const BlockMeta &meta, int32_t trace, uint64_t max_bytes, std::vector<Bytes> *blocks,
                        CodecError *error) const;
  // The texts of those of these fingerprints that are here, each once, likewise.
  bool write_texts(const BlockMeta &meta, const std::vector<int64_t> &fingerprints, uint64_t max_bytes,
                   std::vector<Bytes> *blocks, CodecError *error) const;

  const agg *get() const { return aggregate_; }
  const TraceAggregateOptions &options() const { return options_; }

 private:
  struct LastName {
    uint8_t text[AGG_NAME_BYTES];
    uint32_t size = 0, number = AGG_NAME_NONE;
  };

  // The query id that a text had last. Full: the place goes to the next text, whose calls without an id find theirs then.
  struct Learned {
    uint64_t fingerprint = 0, query_id = 0;
    uint32_t database = 0, username = 0, nested = 0;
    bool is(const agg_row &row, uint64_t wanted) const {
      return query_id != 0 && fingerprint == wanted && database == row.database && username == row.username &&
             nested == (row.flags & AGG_NESTED);
    }
  };
  static constexpr size_t kLearned = 4096;

  Learned *place_of(const agg_row &row, uint64_t fingerprint) const;
  uint32_t name_of(const CsvText &text, LastName *last);

  const TraceAggregateOptions options_;
  size_t memory_bytes_ = 0;
  void *memory_ = nullptr;
  agg *aggregate_ = nullptr;
  std::unique_ptr<fpr_work> work_;
  std::unique_ptr<uint8_t[]> cache_memory_;
  fpr_cache *cache_ = nullptr;
  LastName database_, username_, tag_;
  std::unique_ptr<Learned[]> learned_{new Learned[kLearned]};  // outlives reset()
  uint64_t known_ = 0;                 // columns without a NULL in this window, as agg_row.known
  std::vector<uint32_t> with_nulls_;   // the others
};

// Names and types of the columns of write_statements and write_texts.
const std::vector<ColumnSpec> &TraceStatementColumns();
const std::vector<ColumnSpec> &TraceTextColumns();

}  // namespace pem
