// What a scan has found, as JSON text; native/trace_scan.ts has its form as types. Made off the main thread, read there by
// the engine's own parser: a few hundred statements, whatever the number of rows.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "trace_scan.h"

namespace pem {
namespace {

// Commas and braces of a JSON text.
class Json {
 public:
  Json &open(char bracket) {
    separate();
    text_ += bracket;
    first_ = true;
    return *this;
  }
  Json &close(char bracket) {
    text_ += bracket;
    first_ = false;
    return *this;
  }
  Json &key(const char *name) {
    separate();
    text_ += '"';
    text_ += name;
    text_ += "\":";
    first_ = true;
    return *this;
  }
  Json &number(uint64_t value) { return raw(std::to_string(value)); }
  Json &integer(int64_t value) { return raw(std::to_string(value)); }
  Json &flag(bool value) { return raw(value ? "true" : "false"); }
  Json &null() { return raw("null"); }
  Json &string(const void *p, size_t n) {
    separate();
    const char *text = static_cast<const char *>(p);
    text_ += '"';
    for (size_t i = 0; i < n; i++) {
      const unsigned char byte = static_cast<unsigned char>(text[i]);
      if (byte == '"' || byte == '\\') text_ += '\\';
      if (byte >= 0x20) {
        text_ += static_cast<char>(byte);
        continue;
      }
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      text_ += escape;
    }
    text_ += '"';
    return *this;
  }
  Json &string(const std::string &value) { return string(value.data(), value.size()); }
  // A field of an object.
  Json &field(const char *name, uint64_t value) { return key(name).number(value); }
  std::string take() { return std::move(text_); }

 private:
  Json &raw(const std::string &value) {
    separate();
    text_ += value;
    return *this;
  }
  void separate() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  std::string text_;
  bool first_ = true;
};

using Counts = std::vector<uint64_t>;

const char *const kSumNames[AGG_SUM_COUNT] = {
#define PEM_SUM_NAME(name) #name,
    AGG_SUMS(PEM_SUM_NAME)
#undef PEM_SUM_NAME
};

const char *const kDimensionNames[kTraceDimensions] = {"database", "user", "application", "client", "tag"};

constexpr double kQuantiles[] = {0.5, 0.9, 0.95, 0.99};
const char *const kQuantileNames[] = {"p50_us", "p90_us", "p95_us", "p99_us"};

void put_time(Json *json, const char *name, int64_t us) {
  json->key(name);
  if (us == AGG_NO_TIME || us == INT64_MAX)
    json->null();
  else
    json->integer(us);
}

void put_quantiles(Json *json, const Counts &counts, uint64_t max_us) {
  for (int i = 0; i < 4; i++)
    // The middle of the last bucket may lie beyond what was seen.
    json->field(kQuantileNames[i], std::min(hist_quantile_us(counts.data(), kQuantiles[i]), max_us));
}

// [[lowest us, width us, calls], ..] of the buckets that have any.
void put_buckets(Json *json, const Counts &counts) {
  json->key("buckets").open('[');
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
    if (counts[i] == 0) continue;
    json->open('[').number(hist_low_us(i)).number(hist_width_us(i)).number(counts[i]).close(']');
  }
  json->close(']');
}

void put_values(Json *json, const agg_values &v) {
  json->field("calls", v.calls).field("timed", v.timed).field("planned", v.planned).field("errors", v.errors);
  json->field("cancelled", v.cancelled).field("exec_us", v.exec_us).field("max_us", v.max_us);
  json->field("min_us", v.timed == 0 ? 0 : v.min_us);
  put_time(json, "first_us", v.first_us);
  put_time(json, "last_us", v.last_us == INT64_MIN ? INT64_MAX : v.last_us);
  json->key("sums").open('{');
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++)
    if (v.known >> i & 1) json->field(kSumNames[i], v.sums[i]);
  json->close('}');
}

void put_place(Json *json, const agg_place &place, uint64_t exec_us, int64_t end_us) {
  json->open('{').field("file", place.file).field("offset", place.offset).field("exec_us", exec_us);
  put_time(json, "end_us", end_us);
  json->key("pid").integer(place.pid).close('}');
}

void put_samples(Json *json, const agg_sample *samples, uint32_t count) {
  json->key("samples").open('[');
  for (uint32_t i = 0; i < count; i++) put_place(json, samples[i].place, samples[i].exec_us, samples[i].end_us);
  json->close(']');
}

uint64_t blocks_read(const agg_values &v) {
  return v.sums[AGG_SUM_shared_read] + v.sums[AGG_SUM_local_read] + v.sums[AGG_SUM_temp_read];
}

// What statements can be ordered by.
enum Measure {
  kTotal, kCalls, kMean, kMax, kP95, kP99, kRows, kBlocksRead, kTempWritten, kWal, kErrors, kPlan, kMeasures
};
const char *const kMeasureNames[kMeasures] = {"total", "calls", "mean",         "max", "p95",    "p99",
                                              "rows",  "reads", "temp_written", "wal", "errors", "plan"};

// Below 2^64, where a double has no exact neighbour.
constexpr double kLargestMean = 1.8e19;

struct Ranked {
  uint32_t entry;
  uint64_t values[kMeasures];
};

Ranked rank_values(const agg *a, uint32_t entry, Counts *counts) {
  const agg_values &v = agg_at(a, entry)->values;
  agg_histogram(a, entry, counts->data());
  Ranked made = {entry, {0}};
  made.values[kTotal] = v.exec_us;
  made.values[kCalls] = v.calls;
  // In thousandths, so that whole numbers tell them apart; a file may claim times that leave no room for them.
  const double mean = v.timed == 0 ? 0.0 : static_cast<double>(v.exec_us) * 1000.0 / static_cast<double>(v.timed);
  made.values[kMean] = mean < kLargestMean ? static_cast<uint64_t>(mean) : static_cast<uint64_t>(kLargestMean);
  made.values[kMax] = v.max_us;
  made.values[kP95] = std::min(hist_quantile_us(counts->data(), 0.95), v.max_us);
  made.values[kP99] = std::min(hist_quantile_us(counts->data(), 0.99), v.max_us);
  made.values[kRows] = v.sums[AGG_SUM_rows];
  made.values[kBlocksRead] = blocks_read(v);
  made.values[kTempWritten] = v.sums[AGG_SUM_temp_written];
  made.values[kWal] = v.sums[AGG_SUM_wal_bytes];
  made.values[kErrors] = v.errors;
  made.values[kPlan] = v.sums[AGG_SUM_plan_us];
  return made;
}

void put_name(Json *json, const char *key, const agg *a, uint32_t name) {
  size_t n = 0;
  const char *text = agg_name_text(a, name, &n);
  json->key(key);
  if (name == AGG_NAME_NONE)
    json->null();
  else if (name == AGG_NAME_OTHERS)
    json->string("(others)", 8);
  else
    json->string(text, n);
}

void put_group(Json *json, const TraceGroup &group, bool others) {
  json->open('{').key("name");
  if (group.known || others)
    json->string(others ? "(others)" : group.name);
  else
    json->null();
  json->field("calls", group.calls).field("nested", group.nested).field("errors", group.errors);
  json->field("exec_us", group.exec_us).field("max_us", group.max_us).field("rows", group.rows);
  json->field("blocks_read", group.blocks_read).field("wal_bytes", group.wal_bytes);
  const Counts counts(group.counts.get(), group.counts.get() + HIST_BUCKETS);
  put_quantiles(json, counts, group.max_us);
  json->close('}');
}

// Entries in the first `top` of any measure, in the order of total time; ranks holds their place in each, from 1, 0: not in it.
std::vector<uint32_t> choose(std::vector<Ranked> *all, uint32_t top, std::vector<std::vector<uint32_t>> *ranks) {
  ranks->assign(all->size(), std::vector<uint32_t>(kMeasures));
  std::vector<uint32_t> order(all->size());
  for (uint32_t measure = 0; measure < kMeasures; measure++) {
    std::iota(order.begin(), order.end(), 0);
    const size_t most = std::min<size_t>(top, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(), [&](uint32_t a, uint32_t b) {
      const Ranked &left = (*all)[a], &right = (*all)[b];
      if (left.values[measure] != right.values[measure]) return left.values[measure] > right.values[measure];
      if (left.values[kTotal] != right.values[kTotal]) return left.values[kTotal] > right.values[kTotal];
      return left.entry < right.entry;
    });
    for (uint32_t i = 0; i < most && (*all)[order[i]].values[measure] != 0; i++) (*ranks)[order[i]][measure] = i + 1;
  }
  std::vector<uint32_t> chosen;
  for (uint32_t i = 0; i < all->size(); i++) {
    const std::vector<uint32_t> &of = (*ranks)[i];
    if (std::any_of(of.begin(), of.end(), [](uint32_t rank) { return rank != 0; })) chosen.push_back(i);
  }
  std::sort(chosen.begin(), chosen.end(), [&](uint32_t a, uint32_t b) {
    if ((*all)[a].values[kTotal] != (*all)[b].values[kTotal]) return (*all)[a].values[kTotal] > (*all)[b].values[kTotal];
    return (*all)[a].entry < (*all)[b].entry;
  });
  return chosen;
}

void put_statements(Json *json, const agg *a, uint32_t top) {
  Counts counts(HIST_BUCKETS);
  std::vector<Ranked> all;
  for (uint32_t i = 0; i < agg_count(a); i++) all.push_back(rank_values(a, i, &counts));
  std::vector<std::vector<uint32_t>> ranks;
  const std::vector<uint32_t> chosen = choose(&all, top, &ranks);
  std::vector<uint8_t> text(FPR_TEXT_BYTES);
  agg_sample samples[AGG_SAMPLES_MAX];
  json->key("statements").open('[');
  for (const uint32_t at : chosen) {
    const uint32_t entry = all[at].entry;
    const agg_entry &e = *agg_at(a, entry);
    char key[24];
    const bool query_id = (e.flags & AGG_QUERY_ID) != 0;
    json->open('{').key("key");
    if (query_id)
      json->string(key, static_cast<size_t>(std::snprintf(key, sizeof key, "%" PRId64, static_cast<int64_t>(e.key))));
    else
      json->string(key, static_cast<size_t>(std::snprintf(key, sizeof key, "%016" PRIx64, e.key)));
    json->key("query_id").flag(query_id).key("nested").flag((e.flags & AGG_NESTED) != 0);
    put_name(json, "database", a, e.database);
    put_name(json, "user", a, e.username);
    put_name(json, "tag", a, e.tag);
    json->key("text").string(text.data(), agg_text(a, entry, text.data(), text.size()));
    json->key("text_cut").flag((e.flags & AGG_TEXT_CUT) != 0);
    put_values(json, e.values);
    agg_histogram(a, entry, counts.data());
    put_quantiles(json, counts, e.values.max_us);
    put_buckets(json, counts);
    json->field("missed_calls", e.missed_calls).field("missed_us", e.missed_us);
    json->key("state").string(e.last_state, strnlen(e.last_state, sizeof e.last_state));
    json->key("ranks").open('{');
    for (uint32_t measure = 0; measure < kMeasures; measure++)
      if (ranks[at][measure] != 0) json->field(kMeasureNames[measure], ranks[at][measure]);
    json->close('}');
    put_samples(json, samples, agg_samples(a, entry, samples));
    json->close('}');
  }
  json->close(']');
}

// All statements together, nested ones apart: their time is contained in the others'.
void put_totals(Json *json, const agg *a) {
  Counts counts(HIST_BUCKETS), one(HIST_BUCKETS);
  agg_values sums[2];
  for (int nested = 0; nested < 2; nested++) sums[nested] = agg_others(a, nested)->values;
  agg_others_histogram(a, 0, counts.data());
  const auto add = [](agg_values *into, const agg_values &v) {
    into->calls += v.calls;
    into->timed += v.timed;
    into->planned += v.planned;
    into->errors += v.errors;
    into->cancelled += v.cancelled;
    into->exec_us += v.exec_us;
    into->min_us = std::min(into->min_us, v.min_us);
    into->max_us = std::max(into->max_us, v.max_us);
    into->first_us = std::min(into->first_us, v.first_us);
    into->last_us = std::max(into->last_us, v.last_us);
    into->known |= v.known;
    for (uint32_t i = 0; i < AGG_SUM_COUNT; i++) into->sums[i] += v.sums[i];
  };
  for (uint32_t i = 0; i < agg_count(a); i++) {
    const agg_entry &e = *agg_at(a, i);
    const bool nested = (e.flags & AGG_NESTED) != 0;
    add(&sums[nested], e.values);
    if (nested) continue;
    agg_histogram(a, i, one.data());
    hist_merge(counts.data(), one.data());
  }
  json->key("top").open('{');
  put_values(json, sums[0]);
  put_quantiles(json, counts, sums[0].max_us);
  put_buckets(json, counts);
  json->close('}').key("nested").open('{');
  put_values(json, sums[1]);
  json->close('}').key("others").open('[');
  for (int nested = 0; nested < 2; nested++) {
    const agg_entry *e = agg_others(a, nested);
    if (e->values.calls == 0) continue;
    agg_others_histogram(a, nested, one.data());
    json->open('{').key("nested").flag(nested != 0);
    put_values(json, e->values);
    put_quantiles(json, one, e->values.max_us);
    json->close('}');
  }
  json->close(']');
}

void put_line(Json *json, const agg *a) {
  int64_t first_us = 0, width_us = 0;
  const uint32_t spans = agg_span_count(a, &first_us, &width_us);
  json->key("line").open('{').key("first_us").integer(first_us).key("span_us").integer(width_us).key("spans").open('[');
  for (uint32_t i = 0; i < spans; i++) {
    const agg_span *span = agg_span_at(a, i);
    if (span == nullptr) {
      json->null();
      continue;
    }
    const agg_values &v = span->values;
    json->open('{').field("calls", v.calls).field("nested", span->nested_calls).field("errors", v.errors);
    json->field("exec_us", v.exec_us).field("max_us", v.max_us).field("rows", v.sums[AGG_SUM_rows]);
    json->field("blocks_read", blocks_read(v)).field("wal_bytes", v.sums[AGG_SUM_wal_bytes]);
    put_quantiles(json, Counts(span->counts, span->counts + HIST_BUCKETS), v.max_us);
    json->close('}');
  }
  json->close(']').close('}');
}

}  // namespace

std::string TraceScan::result_json(uint32_t top) const {
  Json json;
  const agg *a = aggregate_.get();
  const agg_counts counts = agg_counts_of(a);
  json.open('{').key("rows").open('{').field("read", totals_.rows).field("picked", totals_.picked);
  json.field("workers", totals_.workers).field("counted", counts.rows).field("bytes", totals_.bytes);
  json.field("bad_text", totals_.bad_text).field("cut_values", totals_.cut_values).field("masked", totals_.masked);
  json.field("cut_by_server", totals_.cut_by_server).field("bad_values", counts.bad_values);
  json.field("outside_line", counts.outside).field("names_lost", counts.names_lost).field("texts_cut", counts.texts_cut);
  put_time(&json, "first_us", totals_.first_us);
  put_time(&json, "last_us", totals_.last_us == INT64_MIN ? INT64_MAX : totals_.last_us);
  json.close('}').key("table").open('{').field("statements", agg_count(a)).field("most", options_.entries);
  uint64_t missed_calls = 0, missed_us = 0;
  agg_bound(a, &missed_calls, &missed_us);
  json.field("replaced", counts.replaced).field("missed_calls", missed_calls).field("missed_us", missed_us).close('}');
  put_totals(&json, a);
  put_statements(&json, a, top);
  put_line(&json, a);

  json.key("groups").open('{');
  for (int i = 0; i < kTraceDimensions; i++) {
    json.key(kDimensionNames[i]).open('{').field("dropped", groups_[i].dropped()).key("groups").open('[');
    for (const TraceGroup *group : groups_[i].sorted()) put_group(&json, *group, false);
    if (groups_[i].dropped() != 0) put_group(&json, groups_[i].others(), true);
    json.close(']').close('}');
  }
  json.close('}').key("errors").open('[');
  for (uint32_t i = 0; i < agg_state_count(a); i++) {
    const agg_state &state = *agg_state_at(a, i);
    json.open('{').key("state").string(state.state, strnlen(state.state, sizeof state.state));
    json.field("errors", state.errors).field("cancelled", state.cancelled);
    put_time(&json, "first_us", state.first_us);
    put_time(&json, "last_us", state.last_us == INT64_MIN ? INT64_MAX : state.last_us);
    json.key("message").string(state.message, state.message_bytes).key("samples").open('[');
    const auto found = errors_.find(state.state);
    if (found != errors_.end())
      for (const Call &call : found->second.calls) put_place(&json, call.place, call.exec_us, call.end_us);
    json.close(']').close('}');
  }
  json.close(']').key("slowest").open('[');
  std::vector<Call> slowest = slowest_;
  std::sort(slowest.begin(), slowest.end(), [](const Call &a, const Call &b) { return a.exec_us > b.exec_us; });
  for (const Call &call : slowest) put_place(&json, call.place, call.exec_us, call.end_us);
  json.close(']').key("lines").open('[');
  for (const auto &[key, lines] : lines_) {
    json.open('{').field("trace", key >> 32).field("slot", key & UINT32_MAX).field("rows", lines.rows);
    json.key("first").integer(lines.first).key("last").integer(lines.last);
    json.field("lost", lines.lost).field("backwards", lines.backwards).close('}');
  }
  return json.close(']').close('}').take();
}

}  // namespace pem
