// libFuzzer target: bytes as a trace file for two aggregates, which are then merged. The first bytes choose their sizes. Sums
// over all entries are those over all rows, histograms count what was timed, and blocks pass verification.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../addon/block_verify.h"
#include "../addon/trace_aggregate.h"

using namespace pem;

static void require(bool what) {
  if (!what) std::abort();
}

static void check_block(const Bytes &block) {
  BlockView view;
  CodecError error;
  require(open_block(block.data(), block.size(), &view, &error) && check_values(view, &error) && view.rows > 0);
}

// Calls of all entries, nested ones apart; each one's figures fit together.
static void check(const TraceAggregate &aggregate, const uint64_t expected[2]) {
  const agg *a = aggregate.get();
  std::vector<uint64_t> counts(HIST_BUCKETS), back(HIST_BUCKETS);
  std::vector<char> text(HIST_TEXT_BYTES);
  std::vector<int64_t> fingerprints;
  uint64_t calls[2] = {0, 0};
  for (uint32_t i = 0; i < agg_count(a) + 2; i++) {
    const bool others = i >= agg_count(a);
    const int nested = i == agg_count(a) + 1;
    const agg_entry &e = others ? *agg_others(a, nested) : *agg_at(a, i);
    if (others)
      agg_others_histogram(a, nested, counts.data());
    else
      agg_histogram(a, i, counts.data());
    calls[(e.flags & AGG_NESTED) != 0] += e.values.calls;
    require(hist_total(counts.data()) == e.values.timed && e.values.timed <= e.values.calls);
    require(e.values.cancelled <= e.values.errors && e.values.errors <= e.values.calls);
    const size_t n = hist_to_text(counts.data(), text.data(), text.size());
    std::fill(back.begin(), back.end(), 0);
    require(n != 0 && hist_from_text(text.data(), n, back.data()) && back == counts);
    if (!others) fingerprints.push_back(static_cast<int64_t>(e.fingerprint));
  }
  require(calls[0] == expected[0] && calls[1] == expected[1]);
  int64_t first = 0, width = 0;
  uint64_t in_line = agg_counts_of(a).outside;
  const uint32_t spans = agg_span_count(a, &first, &width);
  for (uint32_t i = 0; i < spans; i++) {
    const agg_span *span = agg_span_at(a, i);
    if (span != nullptr) in_line += span->values.calls + span->nested_calls;
  }
  if (aggregate.options().table.spans != 0) require(in_line == calls[0] + calls[1]);

  BlockMeta meta;
  meta.probe = "fuzz";
  std::vector<Bytes> blocks;
  CodecError error;
  require(aggregate.write_statements(meta, 1, 5000, &blocks, &error));
  require(aggregate.write_texts(meta, fingerprints, 5000, &blocks, &error));
  for (const Bytes &block : blocks) check_block(block);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4) return 0;
  TraceAggregateOptions options;
  options.table.names = data[1] % 9 + 1;
  options.table.text_bytes = data[1] * 40u;
  options.table.text_bytes_each = data[2];
  options.table.samples = data[2] % 4;
  options.table.spans = (data[3] & 7) == 0 ? 0 : 2u << (data[3] & 7);
  options.table.states = data[3] % 3;
  options.by_query_id = (data[3] & 8) != 0;
  options.table.entries = data[0] % 16 + 1;
  TraceAggregate one(options);
  options.table.entries = data[0] / 16 + 1;
  TraceAggregate two(options);
  require(one.ready() && two.ready());
  data += 4;
  size -= 4;

  CsvReadOptions read;
  read.columns = TraceAggregate::columns();
  read.skip_bad_rows = true;
  CsvReader reader(read);
  CodecError error;
  std::vector<uint8_t> copy(data, data + size);
  if (!reader.open(copy.data(), copy.size(), nullptr, 0, 0, true, &error)) return 0;
  TraceAggregateAdded added[2];
  uint64_t expected[2][2] = {{0, 0}, {0, 0}}, rows = 0;
  CsvWindow window;
  for (uint32_t turn = 0; reader.next(turn % 5 * 30 + 1, &window, &error) && window.rows != 0; turn++) {
    const uint32_t which = turn % 2;
    TimeRange range;
    if (turn % 3 == 2) range = {1000, 1790000000000000};
    for (uint32_t row = 0; row < window.rows; row++) {
      const int64_t end_us = window.columns[CSV_COL_end_time].values[row];
      const bool timeless = window.columns[CSV_COL_end_time].is_null(row);
      if (turn % 3 == 2 && (timeless || end_us < range.from_us || end_us >= range.to_us)) continue;
      if (window.columns[CSV_COL_flags].values[row] & CSV_FLAG_WORKER) continue;
      expected[which][window.columns[CSV_COL_level].values[row] > 0]++;
    }
    (which == 0 ? one : two).add(window, turn, range, &added[which]);
    rows += window.rows;
  }
  require(!error);
  require(added[0].rows == expected[0][0] + expected[0][1] && added[1].rows == expected[1][0] + expected[1][1]);
  require(added[0].rows + added[0].workers + added[0].before + added[0].behind + added[1].rows + added[1].workers +
              added[1].before + added[1].behind == rows);
  check(one, expected[0]);
  check(two, expected[1]);
  require(one.merge(two));
  for (int nested = 0; nested < 2; nested++) expected[0][nested] += expected[1][nested];
  check(one, expected[0]);
  one.reset();
  const uint64_t nothing[2] = {0, 0};
  check(one, nothing);
  return 0;
}
