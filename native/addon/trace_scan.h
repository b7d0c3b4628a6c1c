// Files of a trace -> everything that `pem trace report` tells: statements, time line, errors, names, the slowest calls, and
// what the trace itself came to. Rows never become JavaScript objects.
//
// In: one source after the other, the files of a slot in their order: a file up to a byte, and behind it bytes that are not
// in the file yet (a ring); or bytes alone. Out: the result as JSON text (result_json; its reader is native/trace_scan.ts).
// Owner: the scan keeps the aggregate (agg_bytes, about 100 MB at most touched), one read buffer of 512 KiB (as long as the
// longest row) and the tables of names. Full: as aggregate.h and trace_groups.h say; nothing grows with the number of rows.
// Stop: cancel() ends add() at its next read; drop the scan when no add() runs. One thread at a time, but progress and
// cancel may be used from any.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "batch.h"
#include "csv_window.h"
#include "trace_aggregate.h"
#include "trace_filter.h"
#include "trace_groups.h"

namespace pem {

// The names by which statements are grouped, in the order of TraceScan's tables.
enum TraceDimension { kByDatabase, kByUser, kByApplication, kByClient, kByTag, kTraceDimensions };

struct TraceScanOptions {
  TraceFilter filter;
  uint32_t entries = 8192;   // statements
  uint32_t names = 256;      // of each dimension
  uint32_t samples = 3;      // slowest calls of each statement
  uint32_t slowest = 20;     // of all
  uint32_t spans = 512;      // of the time line
  size_t read_bytes = 512u << 10;  // of the buffer, more for a row that is longer
};

struct TraceSource {
  uint32_t file = 0;         // the caller's number, for places
  std::string path;          // empty: no file
  uint64_t to = UINT64_MAX;  // bytes of the file that are rows; what lies behind is not looked at
  Piece tail = {nullptr, 0}; // bytes behind `to`, or all there is where there is no file
  Piece header = {nullptr, 0};  // where tail alone does not begin with it
  uint64_t from = 0;         // where in its file `tail` begins when there is no path
  bool complete = false;     // the last row needs no line end (a file that is no profiler's)
  bool lines = true;         // line numbers are those of the profiler: gaps are rows lost
};

struct TraceAdded {
  uint64_t bytes = 0;      // read
  uint64_t used = 0;       // of them header and rows, damaged ones included
  uint64_t rows = 0;       // whole and sound
  uint64_t bad_rows = 0;   // damaged, left out
  uint64_t bad_at = 0;     // the first of them
  std::string bad;
  std::string failure;     // the file could not be read, or is no trace file; what was read before it counts
  int failure_errno = 0;
  uint64_t failure_at = 0;
  uint64_t unknown_columns = 0;
};

class TraceScan {
 public:
  // options.entries, names, samples, spans must be within aggregate.h's bounds: false from ready() else.
  explicit TraceScan(const TraceScanOptions &options);
  TraceScan(const TraceScan &) = delete;
  TraceScan &operator=(const TraceScan &) = delete;
  bool ready() const { return aggregate_.ready(); }

  void add(const TraceSource &source, TraceAdded *added);
  // top: how many statements of each measure.
  std::string result_json(uint32_t top) const;

  uint64_t bytes_done() const { return bytes_done_.load(std::memory_order_relaxed); }
  uint64_t rows_done() const { return rows_done_.load(std::memory_order_relaxed); }
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  struct Lines {
    int64_t first = 0, last = 0;
    uint64_t rows = 0, lost = 0, backwards = 0;
  };
  struct Call {
    uint64_t exec_us;
    int64_t end_us;
    agg_place place;
  };
  struct ErrorPlaces {
    std::vector<uint64_t> keys;
    std::vector<Call> calls;
  };
  struct Totals {
    uint64_t rows = 0, picked = 0, workers = 0, bad_text = 0, cut_values = 0, masked = 0, cut_by_server = 0;
    int64_t first_us = INT64_MAX, last_us = INT64_MIN;
    uint64_t bytes = 0;
  };

  void read_pieces(const TraceSource &source, int fd, TraceAdded *added);
  void use(const CsvWindow &window, const TraceSource &source);
  void use_row(const CsvWindow &window, uint32_t row, agg_row *made);
  void count_lines(const CsvWindow &window);
  void keep_slowest(const agg_row &row);
  void keep_error(const agg_row &row);

  const TraceScanOptions options_;
  TraceAggregate aggregate_;
  std::vector<uint8_t> buffer_;
  std::vector<TraceGroups> groups_;
  std::map<uint64_t, Lines> lines_;
  Lines *last_lines_ = nullptr;
  uint64_t last_lines_key_ = 0;
  std::vector<Call> slowest_;  // a heap, the fastest first
  std::map<std::string, ErrorPlaces> errors_;
  Totals totals_;
  std::atomic<uint64_t> bytes_done_{0}, rows_done_{0};
  std::atomic<bool> cancelled_{false};
};

}  // namespace pem
