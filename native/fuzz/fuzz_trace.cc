// libFuzzer target: bytes as a trace's file, for what reads whole traces. The first bytes choose a filter and whether the last
// row needs a line end, the size of reads, and where the file ends and the ring behind it begins. Read at once from memory, and
// in small pieces from file and ring, a scan must find the same; its result and each row must be JSON that PostgreSQL takes;
// rows written as CSV must be the same when read again.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../addon/trace_rows.h"
#include "../addon/trace_scan.h"
#include "../core/json.h"
#include "../core/utf8.h"

using namespace pem;

static void require_at(bool what, int line) {
  if (what) return;
  std::fprintf(stderr, "fuzz_trace.cc:%d does not hold\n", line);
  std::abort();
}
#define require(what) require_at((what), __LINE__)

namespace {

void require_json(const std::string &text) {
  const uint8_t *p = reinterpret_cast<const uint8_t *>(text.data());
  require(col_utf8_prefix(p, text.size()) == text.size());
  require(col_check_json(p, text.size(), 0) == nullptr);
}

TraceFilter make_filter(uint8_t bits) {
  TraceFilter filter;
  std::string why;
  if (bits & 1) filter.min_us = 50;
  if (bits & 2) filter.kinds = kTraceSelect | kTraceTxn | kTraceDdl;
  if (bits & 4) filter.errors = true;
  if (bits & 8) filter.top = true;
  if (bits & 16) require(filter.set_pattern("sel.*[a-f]|x{2,3}", &why));
  if (bits & 32) filter.databases = {"shop", "postgres"};
  if (bits & 64) filter.to_us = 1'790'000'000'000'000;
  return filter;
}

TraceScanOptions make_options(const TraceFilter &filter, size_t read_bytes) {
  TraceScanOptions options;
  options.filter = filter;
  options.entries = 6;
  options.names = 3;
  options.spans = 4;
  options.slowest = 3;
  options.read_bytes = read_bytes;
  return options;
}

// The rows that a filter takes, as JSON, and as CSV behind their header.
struct Rows {
  std::string json;
  Buffer csv;
};

// The rows of the piece at `at`; says how many of its bytes were used.
size_t read_piece(const uint8_t *data, size_t at, size_t size, size_t header, bool end, const TraceFilter &filter, Rows *rows) {
  CsvColumnSet columns;
  columns.set();
  // What a row's encoding was is the one thing that CSV in UTF-8 does not keep.
  CsvColumnSet shown = columns;
  shown.reset(CSV_COL_encoding);
  CsvReadOptions options;
  options.columns = columns;
  options.skip_bad_rows = true;
  CsvReader reader(options);
  CodecError error;
  // Memory of its own: not a byte behind the piece may be read.
  const std::vector<uint8_t> piece(data + at, data + at + size);
  require(reader.open(piece.data(), size, data, header, at, end, &error));
  uint8_t picked[kCsvWindowRows];
  for (CsvWindow window; reader.next(kCsvWindowRows, &window, &error) && window.rows != 0;) {
    const uint32_t count = filter.pick(window, picked);
    for (uint32_t i = 0; i < count; i++) {
      Buffer line;
      AppendTraceRow(window, picked[i], shown, TraceForm::Json, &line);
      const std::string text(reinterpret_cast<const char *>(line.data()), line.size());
      require_json(text);
      require(text.find('\n') == text.size() - 1);
      rows->json += text;
      AppendTraceRow(window, picked[i], columns, TraceForm::Csv, &rows->csv);
    }
  }
  return reader.used_bytes();
}

// Reads as an export does: pieces of `ask` bytes, larger ones where a row is longer.
void read_rows(const uint8_t *data, size_t size, bool complete, size_t ask, const TraceFilter &filter, Rows *rows) {
  CsvColumnSet columns;
  columns.set();
  AppendTraceHeader(columns, &rows->csv);
  CsvReader reader((CsvReadOptions()));
  CodecError error;
  if (!reader.open(data, size, nullptr, 0, 0, false, &error)) return;
  const size_t header = reader.used_bytes();
  if (header == 0) return;
  for (size_t at = header; at < size;) {
    const size_t bytes = std::min(ask, size - at);
    const size_t used = read_piece(data, at, bytes, header, complete && at + bytes == size, filter, rows);
    require(used <= bytes);
    at += used;
    if (used != 0) continue;
    if (at + bytes == size) return;
    ask *= 4;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 3) return 0;
  const TraceFilter filter = make_filter(data[0]);
  const size_t step = 1 + data[1];
  const uint8_t *file = data + 3;
  const size_t bytes = size - 3, base = bytes * data[2] / 255;

  TraceScan whole(make_options(filter, size)), parts(make_options(filter, step));
  require(whole.ready() && parts.ready());
  TraceSource source;
  source.tail = {file, bytes};
  source.complete = (data[0] & 128) != 0;
  TraceAdded at_once, in_parts;
  whole.add(source, &at_once);

  const int fd = memfd_create("trace", MFD_CLOEXEC);
  require(fd >= 0 && write(fd, file, base) == static_cast<ssize_t>(base));
  source.path = "/proc/self/fd/" + std::to_string(fd);
  source.to = base;
  source.tail = {file + base, bytes - base};
  parts.add(source, &in_parts);
  close(fd);

  require(at_once.failure == in_parts.failure && at_once.rows == in_parts.rows && at_once.bad_rows == in_parts.bad_rows);
  require(at_once.used == in_parts.used && at_once.bad_at == in_parts.bad_at && at_once.used <= bytes);
  if (at_once.failure.empty()) {
    const std::string result = whole.result_json(5);
    require_json(result);
    require(result == parts.result_json(5));
  }

  Rows first, pieces, again;
  read_rows(file, bytes, source.complete, bytes + 1, filter, &first);
  read_rows(file, bytes, source.complete, 8 * step, filter, &pieces);
  require(first.json == pieces.json && first.csv.size() == pieces.csv.size());
  require(std::memcmp(first.csv.data(), pieces.csv.data(), first.csv.size()) == 0);
  read_rows(first.csv.data(), first.csv.size(), false, 1u << 20, TraceFilter(), &again);
  require(first.json == again.json);
  return 0;
}
