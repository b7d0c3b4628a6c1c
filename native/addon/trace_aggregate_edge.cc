// TraceAggregate as a class of JavaScript; see native/trace.ts for what each function promises. Rows are read and blocks are
// written off the main thread, one job of an aggregate at a time; what JavaScript looks at is handed out as columns.
// Owner: the JavaScript object; its memory dies with it.
#include "trace_aggregate_edge.h"

#include <algorithm>
#include <cmath>

#include "codec.h"
#include "codec_job.h"
#include "csv_edge.h"
#include "trace_aggregate.h"

namespace pem {
namespace {

constexpr double kMostExact = 9007199254740991.0;

const char *const kSumNames[AGG_SUM_COUNT] = {
#define PEM_SUM_NAME(name) #name,
    AGG_SUMS(PEM_SUM_NAME)
#undef PEM_SUM_NAME
};

// What a statement's row of numbers begins with; the sums follow. native/trace.ts reads them by these names.
const char *const kFigures[] = {"flags",    "calls",    "timed",        "planned",   "errors", "cancelled",
                                "execUs",   "minUs",    "maxUs",        "firstUs",   "lastUs", "missedCalls",
                                "missedUs", "p50Us",    "p90Us",        "p95Us",     "p99Us"};
constexpr size_t kFigureCount = sizeof kFigures / sizeof kFigures[0];
constexpr size_t kSampleFigures = 6;  // execUs, endUs, file, offset, pid, failed
constexpr double kQuantiles[] = {0.5, 0.9, 0.95, 0.99};

Napi::String Text(Napi::Env env, const char *p, size_t n) { return Napi::String::New(env, p, n); }

double Time(int64_t us, bool known) { return known ? static_cast<double>(us) : NAN; }

// Values of entries, as JavaScript's numbers; NaN: not known.
void PutValues(const agg_values &v, const uint64_t *counts, double *figures) {
  const bool timed = v.timed != 0, dated = v.first_us <= v.last_us;
  const double all[] = {static_cast<double>(v.calls),
                        static_cast<double>(v.timed),
                        static_cast<double>(v.planned),
                        static_cast<double>(v.errors),
                        static_cast<double>(v.cancelled),
                        timed ? static_cast<double>(v.exec_us) : NAN,
                        timed ? static_cast<double>(v.min_us) : NAN,
                        timed ? static_cast<double>(v.max_us) : NAN,
                        Time(v.first_us, dated),
                        Time(v.last_us, dated)};
  std::copy(std::begin(all), std::end(all), figures + 1);
  for (size_t i = 0; i < 4; i++)
    figures[13 + i] =
        timed ? static_cast<double>(std::min(hist_quantile_us(counts, kQuantiles[i]), v.max_us)) : NAN;
  for (uint32_t i = 0; i < AGG_SUM_COUNT; i++)
    figures[kFigureCount + i] = (v.known >> i & 1) != 0 ? static_cast<double>(v.sums[i]) : NAN;
}

// The figure that statements are put in order by; a place in kFigures, or behind it in the sums, or the mean.
constexpr uint32_t kByMean = kFigureCount + AGG_SUM_COUNT;

double Measure(const agg_entry &e, uint32_t by) {
  const agg_values &v = e.values;
  if (by == kByMean) return v.timed == 0 ? 0 : static_cast<double>(v.exec_us) / static_cast<double>(v.timed);
  if (by >= kFigureCount) return static_cast<double>(v.sums[by - kFigureCount]);
  const uint64_t figures[] = {0, v.calls, v.timed, v.planned, v.errors, v.cancelled, v.exec_us, v.min_us, v.max_us};
  return by < sizeof figures / sizeof figures[0] ? static_cast<double>(figures[by]) : 0;
}

class TraceAggregateObject : public Napi::ObjectWrap<TraceAggregateObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "TraceAggregate",
        {InstanceMethod<&TraceAggregateObject::Add>("add"), InstanceMethod<&TraceAggregateObject::Merge>("merge"),
         InstanceMethod<&TraceAggregateObject::Reset>("reset"),
         InstanceMethod<&TraceAggregateObject::StatementBlocks>("statementBlocks"),
         InstanceMethod<&TraceAggregateObject::TextBlocks>("textBlocks"),
         InstanceMethod<&TraceAggregateObject::Fingerprints>("fingerprints"),
         InstanceMethod<&TraceAggregateObject::Statements>("statements"),
         InstanceMethod<&TraceAggregateObject::Spans>("spans"), InstanceMethod<&TraceAggregateObject::Errors>("errors"),
         InstanceMethod<&TraceAggregateObject::Counts>("counts")});
  }

  explicit TraceAggregateObject(const Napi::CallbackInfo &info) : Napi::ObjectWrap<TraceAggregateObject>(info) {
    if (!info[0].IsObject()) {
      ThrowArgument(info.Env(), "options must be an object");
      return;
    }
    const Napi::Object object = info[0].As<Napi::Object>();
    TraceAggregateOptions options;
    agg_options &table = options.table;
    Napi::Value key = object.Get("key");
    if (!key.IsUndefined() && !(key.IsString() && (key.As<Napi::String>().Utf8Value() == "query_id" ||
                                                   key.As<Napi::String>().Utf8Value() == "fingerprint"))) {
      ThrowArgument(info.Env(), "key must be 'query_id' or 'fingerprint'");
      return;
    }
    options.by_query_id = key.IsUndefined() || key.As<Napi::String>().Utf8Value() == "query_id";
    if (!ReadWhole(object, "entries", 1, 65536, &table.entries) || !ReadWhole(object, "names", 1, 65536, &table.names) ||
        !ReadWhole(object, "textBytes", 0, 1u << 30, &table.text_bytes) ||
        !ReadWhole(object, "textBytesEach", 16, AGG_TEXT_BYTES, &table.text_bytes_each) ||
        !ReadWhole(object, "samples", 0, AGG_SAMPLES_MAX, &table.samples) ||
        !ReadWhole(object, "spans", 0, 4096, &table.spans) ||
        !ReadWhole(object, "spanUs", 1, static_cast<double>(1ll << 40), &table.span_us) ||
        !ReadWhole(object, "states", 0, AGG_STATES_MAX, &table.states))
      return;
    auto made = std::make_shared<TraceAggregate>(options);
    if (made->ready())
      aggregate_ = std::move(made);
    else
      ThrowArgument(info.Env(), made->memory_bytes() == 0 ? "spans must be 0 or a power of two from 2 to 4096"
                                                  : "there is no memory for an aggregate of that size");
  }

 private:
  // Says that the aggregate is at work, until end() or its own end.
  struct Busy {
    explicit Busy(std::shared_ptr<bool> flag) : flag(std::move(flag)) { *this->flag = true; }
    ~Busy() { end(); }
    Busy(const Busy &) = delete;
    Busy &operator=(const Busy &) = delete;
    void end() {
      if (flag != nullptr) *flag = false;
      flag = nullptr;
    }
    std::shared_ptr<bool> flag;
  };

  // False after throwing: the object was not made, or a job of it runs.
  bool Idle(Napi::Env env) const {
    if (aggregate_ != nullptr && !*busy_) return true;
    ThrowArgument(env, aggregate_ == nullptr ? "the aggregate was not made" : "the aggregate is at work: wait for its promise");
    return false;
  }

  struct AddJob {
    std::vector<CsvPiece> pieces;
    std::vector<uint32_t> files;
    std::vector<size_t> used;
    TimeRange range;
    TraceAggregateAdded added;
    CsvCounts counts;
    CsvFault stopped, first_bad;
    std::vector<std::string> unknown;
  };

  static bool RunAdd(AddJob *job, TraceAggregate *aggregate) {
    CsvReadOptions options;
    options.columns = TraceAggregate::columns();
    options.skip_bad_rows = true;
    CsvReader reader(options);
    job->used.resize(job->pieces.size());
    for (uint32_t i = 0; i < job->pieces.size() && !job->stopped.error; i++) {
      const CsvPiece &piece = job->pieces[i];
      const uint64_t bad_rows = reader.counts().bad_rows;
      if (reader.open(piece.bytes.data, piece.bytes.size, piece.header.data, piece.header.size, piece.from_bytes, piece.end,
                      &job->stopped.error)) {
        for (const std::string &name : reader.unknown_columns())
          if (std::find(job->unknown.begin(), job->unknown.end(), name) == job->unknown.end()) job->unknown.push_back(name);
        CsvWindow window;
        while (reader.next(kCsvWindowRows, &window, &job->stopped.error) && window.rows != 0)
          aggregate->add(window, job->files[i], job->range, &job->added);
        job->used[i] = reader.used_bytes();
      }
      if (bad_rows == 0 && reader.counts().bad_rows != 0)
        job->first_bad = {reader.counts().first_bad, reader.counts().first_bad_at, i};
      if (job->stopped.error) {
        job->stopped.offset = reader.bad_at();
        job->stopped.piece = i;
      }
    }
    job->counts = reader.counts();
    return true;
  }

  static Napi::Value ToAdded(Napi::Env env, const AddJob &job) {
    Napi::Object result = Napi::Object::New(env);
    Napi::Array used = Napi::Array::New(env, job.used.size());
    double sum = 0;
    for (uint32_t i = 0; i < job.used.size(); i++) {
      used.Set(i, static_cast<double>(job.used[i]));
      sum += static_cast<double>(job.used[i]);
    }
    Napi::Array unknown = Napi::Array::New(env, job.unknown.size());
    for (uint32_t i = 0; i < job.unknown.size(); i++) unknown.Set(i, job.unknown[i]);
    result.Set("rows", static_cast<double>(job.added.rows));
    result.Set("workers", static_cast<double>(job.added.workers));
    result.Set("before", static_cast<double>(job.added.before));
    result.Set("behind", static_cast<double>(job.added.behind));
    if (job.added.first_us <= job.added.last_us) {
      result.Set("firstUs", static_cast<double>(job.added.first_us));
      result.Set("lastUs", static_cast<double>(job.added.last_us));
    }
    result.Set("usedBytes", sum);
    result.Set("used", used);
    result.Set("badRows", static_cast<double>(job.counts.bad_rows));
    result.Set("badText", static_cast<double>(job.counts.bad_text));
    result.Set("unknownColumns", unknown);
    if (job.first_bad.error) result.Set("firstBad", ToCsvFault(env, job.first_bad));
    if (job.stopped.error) result.Set("stopped", ToCsvFault(env, job.stopped));
    return result;
  }

  // ([{bytes, header?, fromBytes?, end?, file?}], {fromUs?, toUs?}) -> promise of what became of them
  Napi::Value Add(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    auto job = std::make_shared<AddJob>();
    Napi::Array keep;
    if (!Idle(env) || !ReadCsvPieces(info[0], &job->pieces, &keep)) return env.Undefined();
    if (!info[1].IsObject()) return ThrowArgument(env, "options must be an object");
    if (!ReadWhole(info[1].As<Napi::Object>(), "fromUs", -kMostExact, kMostExact, &job->range.from_us) ||
        !ReadWhole(info[1].As<Napi::Object>(), "toUs", -kMostExact, kMostExact, &job->range.to_us))
      return env.Undefined();
    for (uint32_t i = 0; i < job->pieces.size(); i++) {
      uint32_t file = 0;
      if (!ReadWhole(info[0].As<Napi::Array>().Get(i).As<Napi::Object>(), "file", 0, UINT32_MAX, &file))
        return env.Undefined();
      job->files.push_back(file);
    }
    auto busy = std::make_shared<Busy>(busy_);
    return Job::Start(
        env, keep, [job, busy, aggregate = aggregate_](CodecError *) { return RunAdd(job.get(), aggregate.get()); },
        [job, busy](Napi::Env e, Napi::Array) {
          busy->end();
          return ToAdded(e, *job);
        });
  }

  // (other)
  Napi::Value Merge(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    TraceAggregateObject *other = Unwrap(info[0].As<Napi::Object>());
    if (!Idle(env) || !other->Idle(env)) return env.Undefined();
    if (other == this || !aggregate_->merge(*other->aggregate_))
      return ThrowArgument(env, "aggregates are merged with others that have a time line of the same first width, or none too");
    return env.Undefined();
  }

  Napi::Value Reset(const Napi::CallbackInfo &info) {
    if (Idle(info.Env())) aggregate_->reset();
    return info.Env().Undefined();
  }

  static Napi::Value ToBuffers(Napi::Env env, std::vector<Bytes> *blocks) {
    Napi::Array list = Napi::Array::New(env, blocks->size());
    for (uint32_t i = 0; i < blocks->size(); i++) list.Set(i, ToBuffer(env, std::move((*blocks)[i])));
    return list;
  }

  // (meta, trace, maxBytes) -> promise of [block]
  Napi::Value StatementBlocks(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    auto meta = std::make_shared<BlockMeta>();
    if (!Idle(env) || !ReadMeta(info[0], meta.get())) return env.Undefined();
    const double trace = info[1].As<Napi::Number>().DoubleValue(), most = info[2].As<Napi::Number>().DoubleValue();
    if (!(trace >= INT32_MIN && trace <= INT32_MAX && trace == std::floor(trace)) || !(most >= 1 && most <= kMostExact))
      return ThrowArgument(env, "trace is an int4, maxBytes at least 1");
    auto blocks = std::make_shared<std::vector<Bytes>>();
    auto busy = std::make_shared<Busy>(busy_);
    return Job::Start(
        env, Napi::Array::New(env),
        [=, aggregate = aggregate_](CodecError *error) {
          return aggregate->write_statements(*meta, static_cast<int32_t>(trace), static_cast<uint64_t>(most), blocks.get(),
                                             error);
        },
        [blocks, busy](Napi::Env e, Napi::Array) {
          busy->end();
          return ToBuffers(e, blocks.get());
        });
  }

  // (meta, fingerprints as BigInt64Array, maxBytes) -> promise of [block]
  Napi::Value TextBlocks(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    auto meta = std::make_shared<BlockMeta>();
    if (!Idle(env) || !ReadMeta(info[0], meta.get())) return env.Undefined();
    const double most = info[2].As<Napi::Number>().DoubleValue();
    if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_bigint64_array ||
        !(most >= 1 && most <= kMostExact))
      return ThrowArgument(env, "fingerprints are a BigInt64Array, maxBytes is at least 1");
    Napi::BigInt64Array list = info[1].As<Napi::BigInt64Array>();
    auto wanted = std::make_shared<std::vector<int64_t>>(list.Data(), list.Data() + list.ElementLength());
    auto blocks = std::make_shared<std::vector<Bytes>>();
    auto busy = std::make_shared<Busy>(busy_);
    return Job::Start(
        env, Napi::Array::New(env),
        [=, aggregate = aggregate_](CodecError *error) {
          return aggregate->write_texts(*meta, *wanted, static_cast<uint64_t>(most), blocks.get(), error);
        },
        [blocks, busy](Napi::Env e, Napi::Array) {
          busy->end();
          return ToBuffers(e, blocks.get());
        });
  }

  Napi::String Name(Napi::Env env, uint32_t number) const {
    size_t n = 0;
    const char *text = agg_name_text(aggregate_->get(), number, &n);
    return Text(env, text, n);
  }

  // () -> BigInt64Array of all statements' fingerprints
  Napi::Value Fingerprints(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!Idle(env)) return env.Undefined();
    const uint32_t entries = agg_count(aggregate_->get());
    Napi::BigInt64Array list = Napi::BigInt64Array::New(env, entries, napi_bigint64_array);
    for (uint32_t i = 0; i < entries; i++) list[i] = static_cast<int64_t>(agg_at(aggregate_->get(), i)->fingerprint);
    return list;
  }

  // (order, limit) -> columns of the first `limit` statements in that order, greatest first, and of "others" behind them
  Napi::Value Statements(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!Idle(env)) return env.Undefined();
    const agg *a = aggregate_->get();
    const uint32_t by = info[0].As<Napi::Number>().Uint32Value(), entries = agg_count(a);
    const size_t limit = std::min<size_t>(entries, info[1].As<Napi::Number>().Uint32Value());
    std::vector<std::pair<double, uint32_t>> order(entries);
    for (uint32_t i = 0; i < entries; i++) order[i] = {-Measure(*agg_at(a, i), by), i};
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(limit), order.end());
    std::vector<uint32_t> chosen;
    for (size_t i = 0; i < limit; i++) chosen.push_back(order[i].second);
    for (uint32_t nested = 0; nested < 2; nested++)
      if (agg_others(a, static_cast<int>(nested))->values.calls != 0) chosen.push_back(entries + nested);

    const size_t width = kFigureCount + AGG_SUM_COUNT;
    const uint32_t samples = agg_options_of(a)->samples;
    Napi::Float64Array figures = Napi::Float64Array::New(env, chosen.size() * width);
    Napi::Float64Array places = Napi::Float64Array::New(env, chosen.size() * samples * kSampleFigures);
    Napi::BigInt64Array ids = Napi::BigInt64Array::New(env, chosen.size() * 2, napi_bigint64_array);
    Napi::Array texts = Napi::Array::New(env, chosen.size() * 6);
    std::fill(places.Data(), places.Data() + places.ElementLength(), NAN);
    std::vector<uint64_t> counts(HIST_BUCKETS);
    std::vector<char> text(std::max<size_t>(HIST_TEXT_BYTES, agg_options_of(a)->text_bytes_each));
    for (uint32_t i = 0; i < chosen.size(); i++) {
      const bool others = chosen[i] >= entries;
      const int nested = chosen[i] == entries + 1;
      const agg_entry &e = others ? *agg_others(a, nested) : *agg_at(a, chosen[i]);
      if (others)
        agg_others_histogram(a, nested, counts.data());
      else
        agg_histogram(a, chosen[i], counts.data());
      double *row = figures.Data() + i * width;
      row[0] = e.flags;
      PutValues(e.values, counts.data(), row);
      row[11] = static_cast<double>(e.missed_calls);
      row[12] = static_cast<double>(e.missed_us);
      ids[i * 2] = static_cast<int64_t>((e.flags & AGG_QUERY_ID) != 0 ? e.key : 0);
      ids[i * 2 + 1] = static_cast<int64_t>(e.fingerprint);
      agg_sample slowest[AGG_SAMPLES_MAX];
      const uint32_t found = others ? agg_others_samples(a, nested, slowest) : agg_samples(a, chosen[i], slowest);
      for (uint32_t k = 0; k < found; k++) {
        const agg_sample &s = slowest[k];
        const double all[kSampleFigures] = {static_cast<double>(s.exec_us),      Time(s.end_us, s.end_us != AGG_NO_TIME),
                                            static_cast<double>(s.place.file),   static_cast<double>(s.place.offset),
                                            static_cast<double>(s.place.pid), static_cast<double>(s.failed)};
        std::copy(std::begin(all), std::end(all), places.Data() + (i * samples + k) * kSampleFigures);
      }
      texts.Set(i * 6, Name(env, e.database));
      texts.Set(i * 6 + 1, Name(env, e.username));
      texts.Set(i * 6 + 2, Name(env, e.tag));
      texts.Set(i * 6 + 3, Text(env, e.last_state, strnlen(e.last_state, sizeof e.last_state)));
      texts.Set(i * 6 + 4, Text(env, text.data(), others ? 0 : agg_text(a, chosen[i], text.data(), text.size())));
      texts.Set(i * 6 + 5, Text(env, text.data(), hist_to_text(counts.data(), text.data(), text.size())));
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("figures", figures);
    result.Set("ids", ids);
    result.Set("texts", texts);
    result.Set("places", places);
    result.Set("samples", samples);
    return result;
  }

  // () -> {firstUs, widthUs, figures, nested, histograms}: a row of figures for each span
  Napi::Value Spans(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!Idle(env)) return env.Undefined();
    const agg *a = aggregate_->get();
    int64_t first_us = 0, width_us = 0;
    const uint32_t spans = agg_span_count(a, &first_us, &width_us);
    const size_t width = kFigureCount + AGG_SUM_COUNT;
    Napi::Float64Array figures = Napi::Float64Array::New(env, spans * width);
    Napi::Float64Array nested = Napi::Float64Array::New(env, spans);
    Napi::Array histograms = Napi::Array::New(env, spans);
    std::vector<char> text(HIST_TEXT_BYTES);
    agg_values nothing = {};
    nothing.first_us = INT64_MAX;
    nothing.last_us = INT64_MIN;
    for (uint32_t i = 0; i < spans; i++) {
      const agg_span *span = agg_span_at(a, i);
      static const uint64_t empty[HIST_BUCKETS] = {0};
      const uint64_t *counts = span == nullptr ? empty : span->counts;
      PutValues(span == nullptr ? nothing : span->values, counts, figures.Data() + i * width);
      nested[i] = span == nullptr ? 0 : static_cast<double>(span->nested_calls);
      histograms.Set(i, Text(env, text.data(), hist_to_text(counts, text.data(), text.size())));
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("firstUs", static_cast<double>(first_us));
    result.Set("widthUs", static_cast<double>(width_us));
    result.Set("figures", figures);
    result.Set("nested", nested);
    result.Set("histograms", histograms);
    return result;
  }

  // () -> [{sqlstate, errors, cancelled, firstUs, lastUs, message, file, offset, pid}]
  Napi::Value Errors(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!Idle(env)) return env.Undefined();
    const agg *a = aggregate_->get();
    Napi::Array list = Napi::Array::New(env, agg_state_count(a));
    for (uint32_t i = 0; i < agg_state_count(a); i++) {
      const agg_state &s = *agg_state_at(a, i);
      const bool dated = s.first_us <= s.last_us;
      Napi::Object state = Napi::Object::New(env);
      state.Set("sqlstate", Text(env, s.state, strnlen(s.state, sizeof s.state)));
      state.Set("errors", static_cast<double>(s.errors));
      state.Set("cancelled", static_cast<double>(s.cancelled));
      state.Set("firstUs", dated ? Napi::Number::New(env, static_cast<double>(s.first_us)) : env.Null());
      state.Set("lastUs", dated ? Napi::Number::New(env, static_cast<double>(s.last_us)) : env.Null());
      state.Set("message", Text(env, s.message, s.message_bytes));
      state.Set("file", s.place.file);
      state.Set("offset", static_cast<double>(s.place.offset));
      state.Set("pid", s.place.pid);
      list.Set(i, state);
    }
    return list;
  }

  Napi::Value Counts(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!Idle(env)) return env.Undefined();
    const agg_counts counts = agg_counts_of(aggregate_->get());
    uint64_t missed_calls = 0, missed_us = 0;
    agg_bound(aggregate_->get(), &missed_calls, &missed_us);
    Napi::Object result = Napi::Object::New(env);
    result.Set("rows", static_cast<double>(counts.rows));
    result.Set("statements", agg_count(aggregate_->get()));
    result.Set("replaced", static_cast<double>(counts.replaced));
    result.Set("namesLost", static_cast<double>(counts.names_lost));
    result.Set("badValues", static_cast<double>(counts.bad_values));
    result.Set("outside", static_cast<double>(counts.outside));
    result.Set("textsCut", static_cast<double>(counts.texts_cut));
    result.Set("missedCalls", static_cast<double>(missed_calls));
    result.Set("missedUs", static_cast<double>(missed_us));
    return result;
  }

  std::shared_ptr<TraceAggregate> aggregate_;
  std::shared_ptr<bool> busy_ = std::make_shared<bool>(false);
};

Napi::Array ToNames(Napi::Env env, const char *const *names, size_t count) {
  Napi::Array list = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; i++) list.Set(i, names[i]);
  return list;
}

Napi::Array ToColumns(Napi::Env env, const std::vector<ColumnSpec> &columns) {
  Napi::Array list = Napi::Array::New(env, columns.size());
  for (uint32_t i = 0; i < columns.size(); i++) {
    Napi::Object column = Napi::Object::New(env);
    column.Set("name", columns[i].name);
    column.Set("type", col_type_name(columns[i].type));
    list.Set(i, column);
  }
  return list;
}

// (text) -> {form, fingerprint, keptWhole}
Napi::Value NormaliseSql(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsBoolean()) return ThrowArgument(env, "a text and a flag are needed");
  const std::string text = info[0].As<Napi::String>().Utf8Value();
  auto work = std::make_unique<fpr_work>();
  fpr_result form;
  fpr_normalise(work.get(), text.data(), text.size(), info[1].As<Napi::Boolean>().Value(), &form);
  Napi::Object result = Napi::Object::New(env);
  result.Set("form", Text(env, reinterpret_cast<const char *>(work->bytes), form.kept_bytes));
  result.Set("fingerprint", Napi::BigInt::New(env, static_cast<int64_t>(form.fingerprint)));
  result.Set("whole", form.kept_bytes == form.text_bytes);
  return result;
}

}  // namespace

void InitTraceAggregate(Napi::Env env, Napi::Object exports) {
  exports.Set("TraceAggregate", TraceAggregateObject::Define(env));
  exports.Set("aggregateFigures", ToNames(env, kFigures, kFigureCount));
  exports.Set("aggregateSums", ToNames(env, kSumNames, AGG_SUM_COUNT));
  exports.Set("statementColumns", ToColumns(env, TraceStatementColumns()));
  exports.Set("textColumns", ToColumns(env, TraceTextColumns()));
  exports.Set("normaliseSql", Napi::Function::New<NormaliseSql>(env));
}

}  // namespace pem
