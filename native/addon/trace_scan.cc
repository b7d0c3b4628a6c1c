// Files of a trace -> the aggregate and the tables beside it; see trace_scan.h. What comes out is made in trace_result.cc.
#include "trace_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace pem {
namespace {

constexpr uint32_t kErrorStates = 64;
constexpr uint32_t kErrorSamples = 5;

constexpr uint32_t kDimensionColumns[kTraceDimensions] = {CSV_COL_database, CSV_COL_username, CSV_COL_application,
                                                          CSV_COL_client, CSV_COL_tag};

CsvReadOptions read_options(const TraceFilter &filter) {
  CsvReadOptions options;
  options.columns = TraceAggregate::columns();
  for (const uint32_t id : kDimensionColumns) options.columns.set(id);
  for (const uint32_t id : {CSV_COL_trace, CSV_COL_line, CSV_COL_slot}) options.columns.set(id);
  options.columns |= filter.columns();
  options.skip_bad_rows = true;
  return options;
}

TraceAggregateOptions table_options(const TraceScanOptions &options) {
  TraceAggregateOptions made;
  made.table.entries = options.entries;
  made.table.names = 8192;
  made.table.text_bytes = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{options.entries} * 2048, 32u << 20));
  made.table.text_bytes_each = FPR_TEXT_BYTES;
  made.table.samples = options.samples;
  made.table.spans = options.spans;
  made.table.span_us = 1'000'000;
  made.table.states = 250;
  return made;
}

}  // namespace

TraceScan::TraceScan(const TraceScanOptions &options) : options_(options), aggregate_(table_options(options)) {
  for (int i = 0; i < kTraceDimensions; i++) groups_.emplace_back(options.names);
  buffer_.resize(std::max<size_t>(options.read_bytes, 1));
}

void TraceScan::add(const TraceSource &source, TraceAdded *added) {
  int fd = -1;
  if (!source.path.empty()) {
    struct stat about;
    fd = open(source.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) != 0) {
      added->failure_errno = errno;
      added->failure = std::strerror(errno);
      if (fd >= 0) close(fd);
      return;
    }
    if (!S_ISREG(about.st_mode)) {
      added->failure = "it is no file";
      close(fd);
      return;
    }
  }
  read_pieces(source, fd, added);
  if (fd >= 0) close(fd);
  totals_.bytes += added->bytes;
}

// Reads the source through the buffer: what is left of a piece (a row that is not whole yet) moves to the buffer's
// beginning, and the next bytes go behind it.
void TraceScan::read_pieces(const TraceSource &source, int fd, TraceAdded *added) {
  std::string header(reinterpret_cast<const char *>(source.header.data), source.header.size);
  uint64_t file_at = 0;      // read of the file so far
  size_t tail_at = 0;        // taken of the tail so far
  uint64_t begins = source.path.empty() ? source.from : 0;  // where the buffer's first byte stands
  size_t have = 0;
  bool ended = false;
  // One for each source, so that its counts are the source's.
  CsvReader reader(read_options(options_.filter));
  while (!ended && !cancelled_.load(std::memory_order_relaxed)) {
    if (have == buffer_.size()) buffer_.resize(buffer_.size() * 2);  // a row longer than the buffer
    const size_t room = buffer_.size() - have;
    size_t got = 0;
    if (fd >= 0 && file_at < source.to) {
      const ssize_t count = pread(fd, buffer_.data() + have, std::min<uint64_t>(room, source.to - file_at),
                                  static_cast<off_t>(file_at));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        added->failure_errno = errno;
        added->failure = std::strerror(errno);
        added->failure_at = file_at;
        break;
      }
      got = static_cast<size_t>(count);
      file_at += got;
      if (got == 0 && source.to != UINT64_MAX && source.tail.size != 0) {
        added->failure = "the file is shorter than its ring says: the ring's rows cannot be joined to it";
        added->failure_at = file_at;
        ended = true;
      } else if (got == 0) {
        ended = true;
      }
    } else {
      got = std::min(room, source.tail.size - tail_at);
      if (got != 0) std::memcpy(buffer_.data() + have, source.tail.data + tail_at, got);
      tail_at += got;
    }
    if (tail_at == source.tail.size && (fd < 0 || file_at == source.to)) ended = true;
    have += got;
    added->bytes += got;
    bytes_done_.fetch_add(got, std::memory_order_relaxed);

    CodecError error;
    if (!reader.open(buffer_.data(), have, reinterpret_cast<const uint8_t *>(header.data()), header.size(), begins,
                       ended && source.complete, &error)) {
      added->failure = error.message;
      added->failure_at = reader.bad_at();
      break;
    }
    if (header.empty() && reader.used_bytes() != 0) {
      // All of it: a name in quotes may hold line feeds.
      header.assign(reinterpret_cast<const char *>(buffer_.data()), reader.used_bytes());
      added->unknown_columns = reader.unknown_columns().size();
    }
    CsvWindow window;
    // Bad rows are skipped, so next() does not fail.
    while (reader.next(kCsvWindowRows, &window, &error) && window.rows != 0) use(window, source);
    const size_t used = reader.used_bytes();
    added->used += used;
    begins += used;
    have -= used;
    if (have != 0 && used != 0) std::memmove(buffer_.data(), buffer_.data() + used, have);
    rows_done_.store(totals_.rows, std::memory_order_relaxed);
  }
  // A row that was longer than usual does not keep its memory.
  if (buffer_.size() > 4 * options_.read_bytes) buffer_ = std::vector<uint8_t>(std::max<size_t>(options_.read_bytes, 1));
  const CsvCounts &counts = reader.counts();
  added->rows = counts.rows;
  added->bad_rows = counts.bad_rows;
  added->bad_at = counts.first_bad_at;
  added->bad = counts.first_bad.message;
  totals_.bad_text += counts.bad_text;
  totals_.cut_values += counts.cut_values;
}

void TraceScan::count_lines(const CsvWindow &w) {
  const CsvWindowColumn &trace = w.columns[CSV_COL_trace], &slot = w.columns[CSV_COL_slot], &line = w.columns[CSV_COL_line];
  for (uint32_t row = 0; row < w.rows; row++) {
    if (line.is_null(row)) continue;
    const uint64_t key = static_cast<uint64_t>(trace.values[row]) << 32 | static_cast<uint32_t>(slot.values[row]);
    if (last_lines_ == nullptr || key != last_lines_key_) {
      last_lines_ = &lines_[key];
      last_lines_key_ = key;
    }
    Lines &l = *last_lines_;
    const int64_t number = line.values[row];
    if (l.rows++ == 0) {
      l.first = number;
    } else if (number > l.last) {
      // Without a sign: a file may claim numbers at both ends of 64 bits.
      l.lost += static_cast<uint64_t>(number) - static_cast<uint64_t>(l.last) - 1;
    } else {
      l.backwards++;
    }
    l.last = number;
  }
}

void TraceScan::keep_slowest(const agg_row &row) {
  const auto slower = [](const Call &a, const Call &b) { return a.exec_us > b.exec_us; };
  const uint64_t exec_us = static_cast<uint64_t>(std::max<int64_t>(row.exec_us, 0));
  if (slowest_.size() == options_.slowest) {
    if (options_.slowest == 0 || exec_us <= slowest_.front().exec_us) return;
    std::pop_heap(slowest_.begin(), slowest_.end(), slower);
    slowest_.pop_back();
  }
  slowest_.push_back({exec_us, row.end_us, row.place});
  std::push_heap(slowest_.begin(), slowest_.end(), slower);
}

// Of each SQLSTATE the first errors of different statements.
void TraceScan::keep_error(const agg_row &row) {
  auto found = errors_.find(row.state);
  if (found == errors_.end()) {
    if (errors_.size() == kErrorStates) return;
    found = errors_.emplace(row.state, ErrorPlaces()).first;
  }
  ErrorPlaces &places = found->second;
  if (places.keys.size() == kErrorSamples || std::find(places.keys.begin(), places.keys.end(), row.key) != places.keys.end())
    return;
  places.keys.push_back(row.key);
  places.calls.push_back({static_cast<uint64_t>(std::max<int64_t>(row.exec_us, 0)), row.end_us, row.place});
}

void TraceScan::use_row(const CsvWindow &w, uint32_t row, agg_row *made) {
  const CsvWindowColumn *columns = w.columns;
  const int64_t flags = columns[CSV_COL_flags].values[row];
  if (flags & CSV_FLAG_WORKER) {
    totals_.workers++;
    return;
  }
  totals_.masked += (flags & CSV_FLAG_MASKED) != 0;
  totals_.cut_by_server += (flags & (CSV_FLAG_QUERY_CUT | CSV_FLAG_PARAMS_CUT | CSV_FLAG_PLAN_CUT | CSV_FLAG_ERROR_CUT)) != 0;
  aggregate_.add_row(w, row, made);

  const bool timed = (made->flags & AGG_ROW_TIMED) != 0, nested = (made->flags & AGG_ROW_NESTED) != 0;
  const bool failed = (made->flags & AGG_ROW_FAILED) != 0;
  const auto sum = [made](uint32_t which) { return static_cast<uint64_t>(std::max<int64_t>(made->sums[which], 0)); };
  const uint64_t exec_us = static_cast<uint64_t>(std::max<int64_t>(made->exec_us, 0));
  const uint64_t read = sum(AGG_SUM_shared_read) + sum(AGG_SUM_local_read) + sum(AGG_SUM_temp_read);
  for (int i = 0; i < kTraceDimensions; i++) {
    const CsvWindowColumn &column = columns[kDimensionColumns[i]];
    AddToGroup(groups_[i].of(column.texts[row], !column.is_null(row)), nested, failed, timed, exec_us, sum(AGG_SUM_rows), read,
               sum(AGG_SUM_wal_bytes));
  }
  if (timed && !nested) keep_slowest(*made);
  if (failed && (made->flags & AGG_ROW_PROPAGATED) == 0) keep_error(*made);
  if (made->end_us == AGG_NO_TIME) return;
  totals_.first_us = std::min(totals_.first_us, made->end_us);
  totals_.last_us = std::max(totals_.last_us, made->end_us);
}

void TraceScan::use(const CsvWindow &window, const TraceSource &source) {
  uint8_t rows[kCsvWindowRows];
  totals_.rows += window.rows;
  if (source.lines) count_lines(window);
  const uint32_t picked = options_.filter.pick(window, rows);
  totals_.picked += picked;
  aggregate_.begin(window);
  agg_row made = {};
  made.place.file = source.file;
  for (uint32_t i = 0; i < picked; i++) use_row(window, rows[i], &made);
}

}  // namespace pem
