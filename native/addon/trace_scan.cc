// Files of a trace -> the aggregate and the tables beside it; see trace_scan.h. What comes out is made in trace_result.cc.
#include "trace_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "../core/hash64.h"

namespace pem {
namespace {

constexpr size_t kReadBytes = 512u << 10;
constexpr uint32_t kCacheTexts = 1u << 16;
// Texts after which it is asked whether the cache of texts pays, and for how many it then rests when it does not.
constexpr uint32_t kCacheTrial = 2048;
constexpr uint32_t kCachePause = 32768;
constexpr uint32_t kErrorStates = 64;
constexpr uint32_t kErrorSamples = 5;

// The columns that are summed, in the aggregate's order.
constexpr uint32_t kSumColumns[AGG_SUM_COUNT] = {
#define PEM_SUM_COLUMN(name) CSV_COL_##name,
    AGG_SUMS(PEM_SUM_COLUMN)
#undef PEM_SUM_COLUMN
};

constexpr uint32_t kDimensionColumns[kTraceDimensions] = {CSV_COL_database, CSV_COL_username, CSV_COL_application,
                                                          CSV_COL_client, CSV_COL_tag};

CsvReadOptions read_options(const TraceFilter &filter) {
  CsvReadOptions options;
  for (const uint32_t id : kSumColumns) options.columns.set(id);
  for (const uint32_t id : kDimensionColumns) options.columns.set(id);
  for (const uint32_t id : {CSV_COL_trace, CSV_COL_line, CSV_COL_slot, CSV_COL_end_time, CSV_COL_exec_us, CSV_COL_level,
                            CSV_COL_pid, CSV_COL_query_id, CSV_COL_sqlstate, CSV_COL_error, CSV_COL_flags, CSV_COL_query})
    options.columns.set(id);
  options.columns |= filter.columns();
  options.skip_bad_rows = true;
  return options;
}

bool is_cut(const CsvWindow &w, uint32_t row) {
  return (w.columns[CSV_COL_flags].values[row] & (CSV_FLAG_QUERY_CUT | kCsvFlagCut)) != 0;
}

}  // namespace

TraceScan::TraceScan(const TraceScanOptions &options) : options_(options) {
  agg_options made = {};
  made.entries = options.entries;
  made.names = 8192;
  made.text_bytes = std::min<uint64_t>(uint64_t{options.entries} * 2048, 32u << 20);
  made.text_bytes_each = FPR_TEXT_BYTES;
  made.samples = options.samples;
  made.spans = options.spans;
  made.span_us = 1'000'000;
  made.states = 250;
  memory_bytes_ = agg_bytes(&made);
  if (memory_bytes_ == 0) return;
  // Pages that nobody writes to cost nothing.
  memory_ = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory_ == MAP_FAILED) {
    memory_ = nullptr;
    return;
  }
  cache_memory_ = ::operator new(fpr_cache_bytes(kCacheTexts), std::align_val_t{64});
  cache_ = fpr_cache_open(cache_memory_, kCacheTexts);
  work_ = std::make_unique<fpr_work>();
  for (int i = 0; i < kTraceDimensions; i++) groups_.emplace_back(options.names);
  buffer_.resize(kReadBytes);
  aggregate_ = agg_open(memory_, &made);
}

TraceScan::~TraceScan() {
  if (memory_ != nullptr) munmap(memory_, memory_bytes_);
  if (cache_memory_ != nullptr) ::operator delete(cache_memory_, std::align_val_t{64});
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
    CsvWindow window;
    // Bad rows are skipped, so next() does not fail.
    while (reader.next(kCsvWindowRows, &window, &error) && window.rows != 0) use(window, source);
    const size_t used = reader.used_bytes();
    if (header.empty() && used != 0) {
      added->unknown_columns = reader.unknown_columns().size();
      const void *feed = std::memchr(buffer_.data(), '\n', used);
      const size_t line = feed == nullptr ? used : static_cast<size_t>(static_cast<const uint8_t *>(feed) - buffer_.data()) + 1;
      header.assign(reinterpret_cast<const char *>(buffer_.data()), line);
    }
    added->used += used;
    begins += used;
    have -= used;
    if (have != 0 && used != 0) std::memmove(buffer_.data(), buffer_.data() + used, have);
    rows_done_.store(totals_.rows, std::memory_order_relaxed);
  }
  // A row that was longer than usual does not keep its memory.
  if (buffer_.size() > 4 * kReadBytes) buffer_ = std::vector<uint8_t>(kReadBytes);
  const CsvCounts &counts = reader.counts();
  added->rows = counts.rows;
  added->bad_rows = counts.bad_rows;
  added->bad_at = counts.first_bad_at;
  added->bad = counts.first_bad.message;
  totals_.bad_text += counts.bad_text;
  totals_.cut_values += counts.cut_values;
}

// The aggregate's number of a group's name.
uint32_t TraceScan::number_of(TraceGroup *group) {
  if (group->number == UINT32_MAX) group->number = agg_name(aggregate_, group->name.data(), group->name.size());
  return group->number;
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
      l.lost += static_cast<uint64_t>(number - l.last - 1);
    } else {
      l.backwards++;
    }
    l.last = number;
  }
}

// The statement's key: the server's query id where there is one, else the text's fingerprint.
uint64_t TraceScan::key_of(const CsvWindow &w, uint32_t row, agg_row *made) {
  normal_made_ = false;
  const int64_t query_id = w.columns[CSV_COL_query_id].values[row];
  if (query_id != 0) {
    made->flags |= AGG_ROW_QUERY_ID;
    return static_cast<uint64_t>(query_id);
  }
  if (looked_up_++ == (cache_pays_ ? kCacheTrial : kCachePause)) {
    cache_pays_ = !cache_pays_ || cache_hits_ * 4 >= kCacheTrial;
    looked_up_ = cache_hits_ = 0;
  }
  if (!cache_pays_) return normalise(w, row);
  const CsvText &text = w.columns[CSV_COL_query].texts[row];
  int known = 0;
  const uint64_t fingerprint = fpr_cached(cache_, work_.get(), text.data, text.size, is_cut(w, row), &known);
  cache_hits_ += known != 0;
  return fingerprint;
}

uint64_t TraceScan::normalise(const CsvWindow &w, uint32_t row) {
  const CsvText &text = w.columns[CSV_COL_query].texts[row];
  fpr_normalise(work_.get(), text.data, text.size, is_cut(w, row), &normal_);
  normal_made_ = true;
  return normal_.fingerprint;
}

void TraceScan::describe(uint32_t entry, const CsvWindow &w, uint32_t row) {
  if (!normal_made_) normalise(w, row);
  agg_describe(aggregate_, entry, normal_.fingerprint, work_->bytes, normal_.kept_bytes,
               is_cut(w, row) || normal_.kept_bytes < normal_.text_bytes);
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

void TraceScan::use_row(const CsvWindow &w, uint32_t row, const TraceSource &source, agg_row *made) {
  const CsvWindowColumn *columns = w.columns;
  const int64_t flags = columns[CSV_COL_flags].values[row];
  if (flags & CSV_FLAG_WORKER) {
    totals_.workers++;
    return;
  }
  totals_.masked += (flags & CSV_FLAG_MASKED) != 0;
  totals_.cut_by_server += (flags & (CSV_FLAG_QUERY_CUT | CSV_FLAG_PARAMS_CUT | CSV_FLAG_PLAN_CUT | CSV_FLAG_ERROR_CUT)) != 0;
  const bool timed = !columns[CSV_COL_exec_us].is_null(row), nested = columns[CSV_COL_level].values[row] > 0;
  made->flags = (timed ? AGG_ROW_TIMED : 0) | (nested ? AGG_ROW_NESTED : 0);
  made->exec_us = columns[CSV_COL_exec_us].values[row];
  made->end_us = columns[CSV_COL_end_time].is_null(row) ? AGG_NO_TIME : columns[CSV_COL_end_time].values[row];
  made->known = all_known_;
  for (const uint32_t sum : with_nulls_)
    if (!columns[kSumColumns[sum]].is_null(row)) made->known |= 1ull << sum;
  for (uint32_t sum = 0; sum < AGG_SUM_COUNT; sum++) made->sums[sum] = columns[kSumColumns[sum]].values[row];
  made->place.offset = w.row_at[row];
  made->place.file = source.file;
  made->place.pid = static_cast<int32_t>(columns[CSV_COL_pid].values[row]);
  const CsvText &state = columns[CSV_COL_sqlstate].texts[row];
  const bool failed = state.size != 0;
  if (failed) {
    made->flags |= AGG_ROW_FAILED | ((flags & CSV_FLAG_CANCELLED) != 0 ? AGG_ROW_CANCELLED : 0) |
                   ((flags & CSV_FLAG_PROPAGATED) != 0 ? AGG_ROW_PROPAGATED : 0);
    std::memset(made->state, 0, sizeof made->state);
    std::memcpy(made->state, state.data, std::min<size_t>(state.size, 5));
    made->message = reinterpret_cast<const char *>(columns[CSV_COL_error].texts[row].data);
    made->message_bytes = columns[CSV_COL_error].texts[row].size;
  }
  TraceGroup *groups[kTraceDimensions];
  for (int i = 0; i < kTraceDimensions; i++) {
    const CsvWindowColumn &column = columns[kDimensionColumns[i]];
    groups[i] = groups_[i].of(column.texts[row], !column.is_null(row));
  }
  made->database = number_of(groups[kByDatabase]);
  made->username = number_of(groups[kByUser]);
  made->tag = number_of(groups[kByTag]);
  made->key = key_of(w, row, made);
  int fresh = 0;
  const uint32_t entry = agg_add(aggregate_, made, &fresh);
  if (fresh) describe(entry, w, row);

  const auto sum = [made](uint32_t which) { return static_cast<uint64_t>(std::max<int64_t>(made->sums[which], 0)); };
  const uint64_t exec_us = static_cast<uint64_t>(std::max<int64_t>(made->exec_us, 0));
  const uint64_t read = sum(AGG_SUM_shared_read) + sum(AGG_SUM_local_read) + sum(AGG_SUM_temp_read);
  for (TraceGroup *group : groups)
    AddToGroup(group, nested, failed, timed, exec_us, sum(AGG_SUM_rows), read, sum(AGG_SUM_wal_bytes));
  if (timed && !nested) keep_slowest(*made);
  if (failed && (flags & CSV_FLAG_PROPAGATED) == 0) keep_error(*made);
  if (made->end_us != AGG_NO_TIME) {
    totals_.first_us = std::min(totals_.first_us, made->end_us);
    totals_.last_us = std::max(totals_.last_us, made->end_us);
  }
}

void TraceScan::use(const CsvWindow &window, const TraceSource &source) {
  uint8_t rows[kCsvWindowRows];
  totals_.rows += window.rows;
  if (source.lines) count_lines(window);
  const uint32_t picked = options_.filter.pick(window, rows);
  totals_.picked += picked;
  all_known_ = 0;
  with_nulls_.clear();
  for (uint32_t sum = 0; sum < AGG_SUM_COUNT; sum++) {
    if (window.columns[kSumColumns[sum]].nulls == nullptr)
      all_known_ |= 1ull << sum;
    else
      with_nulls_.push_back(sum);
  }
  agg_row made = {};
  for (uint32_t i = 0; i < picked; i++) use_row(window, rows[i], source, &made);
}

}  // namespace pem
