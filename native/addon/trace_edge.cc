// Traces for JavaScript; see native/trace_scan.ts for what each function promises. Arguments are read on the main thread, the
// work is done off it.
#include "trace_edge.h"

#include <cmath>

#include "codec.h"
#include "codec_job.h"
#include "csv_edge.h"
#include "trace_filter.h"
#include "trace_rows.h"
#include "trace_scan.h"

namespace pem {
namespace {

constexpr double kWhole = 9007199254740991.0;

bool ReadStrings(Napi::Object object, const char *name, std::vector<std::string> *out) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  if (!value.IsArray()) return Refuse(object.Env(), std::string(name) + " must be an array of strings");
  const Napi::Array list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list.Get(i);
    if (!item.IsString()) return Refuse(object.Env(), std::string(name) + " must be an array of strings");
    out->push_back(item.As<Napi::String>().Utf8Value());
  }
  return true;
}

bool ReadFilter(Napi::Value value, TraceFilter *filter) {
  if (value.IsUndefined()) return true;
  if (!value.IsObject()) return Refuse(value.Env(), "filter must be an object");
  const Napi::Object object = value.As<Napi::Object>();
  std::vector<std::string> kinds;
  if (!ReadWhole(object, "fromUs", -kWhole, kWhole, &filter->from_us) ||
      !ReadWhole(object, "toUs", -kWhole, kWhole, &filter->to_us) || !ReadWhole(object, "minUs", 0, kWhole, &filter->min_us) ||
      !ReadStrings(object, "databases", &filter->databases) || !ReadStrings(object, "users", &filter->usernames) ||
      !ReadStrings(object, "applications", &filter->applications) || !ReadStrings(object, "clients", &filter->clients) ||
      !ReadStrings(object, "kinds", &kinds) || !ReadBool(object, "errors", &filter->errors) ||
      !ReadBool(object, "top", &filter->top))
    return false;
  if (!kinds.empty()) filter->kinds = 0;
  for (const std::string &kind : kinds) {
    uint32_t found = 0;
    for (const TraceKindName &known : kTraceKinds)
      if (kind == known.name) found = known.kind;
    if (found == 0) return Refuse(value.Env(), "\"" + kind + "\" is no kind of commands");
    filter->kinds |= found;
  }
  Napi::Value pattern = object.Get("pattern");
  if (pattern.IsUndefined()) return true;
  std::string why;
  if (!pattern.IsString()) return Refuse(value.Env(), "pattern must be a string");
  return filter->set_pattern(pattern.As<Napi::String>().Utf8Value(), &why) || Refuse(value.Env(), "pattern: " + why);
}

bool ReadBytes(Napi::Object object, const char *name, Piece *piece, Napi::Array keep) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  if (!value.IsBuffer()) return Refuse(object.Env(), std::string(name) + " must be a Buffer");
  Napi::Buffer<uint8_t> buffer = value.As<Napi::Buffer<uint8_t>>();
  *piece = {buffer.Data(), buffer.Length()};
  keep.Set(keep.Length(), value);
  return true;
}

bool ReadSource(Napi::Value value, TraceSource *source, Napi::Array keep) {
  if (!value.IsObject()) return Refuse(value.Env(), "a source is an object");
  const Napi::Object object = value.As<Napi::Object>();
  Napi::Value path = object.Get("path");
  if (path.IsString()) source->path = path.As<Napi::String>().Utf8Value();
  return ReadWhole(object, "file", 0, UINT32_MAX, &source->file) && ReadWhole(object, "to", 0, kWhole, &source->to) &&
         ReadWhole(object, "from", 0, kWhole, &source->from) && ReadBytes(object, "tail", &source->tail, keep) &&
         ReadBytes(object, "header", &source->header, keep) && ReadBool(object, "complete", &source->complete) &&
         ReadBool(object, "lines", &source->lines);
}

Napi::Value ToAdded(Napi::Env env, const TraceAdded &added) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("bytes", static_cast<double>(added.bytes));
  object.Set("used", static_cast<double>(added.used));
  object.Set("rows", static_cast<double>(added.rows));
  object.Set("badRows", static_cast<double>(added.bad_rows));
  object.Set("unknownColumns", static_cast<double>(added.unknown_columns));
  if (added.bad_rows != 0) {
    object.Set("badAt", static_cast<double>(added.bad_at));
    object.Set("bad", added.bad);
  }
  if (added.failure.empty()) return object;
  object.Set("failure", added.failure);
  object.Set("failureAt", static_cast<double>(added.failure_at));
  return object;
}

// A scan as JavaScript holds it. While a promise is open, no other is made.
class ScanObject : public Napi::ObjectWrap<ScanObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "TraceScan",
                       {InstanceMethod("add", &ScanObject::Add), InstanceMethod("result", &ScanObject::Result),
                        InstanceMethod("cancel", &ScanObject::Cancel),
                        InstanceAccessor("bytesDone", &ScanObject::BytesDone, nullptr),
                        InstanceAccessor("rowsDone", &ScanObject::RowsDone, nullptr)});
  }

  // (options)
  explicit ScanObject(const Napi::CallbackInfo &info) : Napi::ObjectWrap<ScanObject>(info) {
    TraceScanOptions options;
    if (info[0].IsObject()) {
      const Napi::Object object = info[0].As<Napi::Object>();
      if (!ReadFilter(object.Get("filter"), &options.filter) || !ReadWhole(object, "entries", 1, 65536, &options.entries) ||
          !ReadWhole(object, "names", 2, 65536, &options.names) ||
          !ReadWhole(object, "samples", 0, AGG_SAMPLES_MAX, &options.samples) ||
          !ReadWhole(object, "slowest", 0, 10000, &options.slowest) || !ReadWhole(object, "spans", 2, 4096, &options.spans))
        return;
    }
    scan_ = std::make_shared<TraceScan>(options);
    if (!scan_->ready()) Refuse(info.Env(), "no memory for the scan, or spans is no power of two");
  }

 private:
  bool Begin(Napi::Env env) {
    if (busy_) return Refuse(env, "the scan is at work");
    busy_ = true;
    return true;
  }

  Napi::Value Add(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    auto source = std::make_shared<TraceSource>();
    auto added = std::make_shared<TraceAdded>();
    Napi::Array keep = Napi::Array::New(env);
    keep.Set(0u, info.This());
    if (!ReadSource(info[0], source.get(), keep) || !Begin(env)) return env.Undefined();
    return Job::Start(
        env, keep,
        [scan = scan_, source, added](CodecError *) {
          scan->add(*source, added.get());
          return true;
        },
        [this, added](Napi::Env e, Napi::Array) {
          busy_ = false;
          return ToAdded(e, *added);
        });
  }

  Napi::Value Result(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    const uint32_t top = info[0].IsNumber() ? info[0].As<Napi::Number>().Uint32Value() : 20;
    auto text = std::make_shared<std::string>();
    Napi::Array keep = Napi::Array::New(env);
    keep.Set(0u, info.This());
    if (!Begin(env)) return env.Undefined();
    return Job::Start(
        env, keep,
        [scan = scan_, text, top](CodecError *) {
          *text = scan->result_json(top);
          return true;
        },
        [this, text](Napi::Env e, Napi::Array) -> Napi::Value {
          busy_ = false;
          return Napi::String::New(e, *text);
        });
  }

  void Cancel(const Napi::CallbackInfo &) { scan_->cancel(); }
  Napi::Value BytesDone(const Napi::CallbackInfo &info) {
    return Napi::Number::New(info.Env(), static_cast<double>(scan_->bytes_done()));
  }
  Napi::Value RowsDone(const Napi::CallbackInfo &info) {
    return Napi::Number::New(info.Env(), static_cast<double>(scan_->rows_done()));
  }

  std::shared_ptr<TraceScan> scan_;
  bool busy_ = false;
};

struct RowsJob {
  CsvReadOptions read;
  CsvColumnSet columns;  // of the text
  TraceFilter filter;
  TraceForm form = TraceForm::Json;
  bool header = false;
  uint32_t max_rows = UINT32_MAX;
  std::vector<CsvPiece> pieces;

  Buffer text;
  std::vector<uint32_t> ends;   // of each row, in text
  std::vector<double> times;    // its end time, us; NaN: unknown
  std::vector<double> used;     // of each piece
  std::vector<uint32_t> rows_to;  // rows of it and of the pieces before it
  CsvCounts counts;
  std::vector<CsvFault> faults;

  void run();
  void run_piece(uint32_t index);
};

void RowsJob::run_piece(uint32_t index) {
  const CsvPiece &piece = pieces[index];
  CsvReader reader(read);
  CodecError error;
  if (!reader.open(piece.bytes.data, piece.bytes.size, piece.header.data, piece.header.size, piece.from_bytes, piece.end, &error)) {
    faults.push_back({error, reader.bad_at(), index});
    return;
  }
  CsvWindow window;
  uint8_t rows[kCsvWindowRows];
  while (ends.size() < max_rows && reader.next(kCsvWindowRows, &window, &error) && window.rows != 0) {
    const uint32_t picked = filter.pick(window, rows);
    const CsvWindowColumn &time = window.columns[CSV_COL_end_time];
    for (uint32_t i = 0; i < picked && ends.size() < max_rows; i++) {
      AppendTraceRow(window, rows[i], columns, form, &text);
      ends.push_back(static_cast<uint32_t>(text.size()));
      times.push_back(time.is_null(rows[i]) ? NAN : static_cast<double>(time.values[rows[i]]));
    }
  }
  used[index] = static_cast<double>(reader.used_bytes());
  const CsvCounts &of = reader.counts();
  counts.rows += of.rows;
  counts.bad_text += of.bad_text;
  counts.bad_rows += of.bad_rows;
  if (of.bad_rows != 0) faults.push_back({of.first_bad, of.first_bad_at, index});
}

void RowsJob::run() {
  if (header) AppendTraceHeader(columns, &text);
  used.resize(pieces.size());
  for (uint32_t i = 0; i < pieces.size(); i++) {
    run_piece(i);
    rows_to.push_back(static_cast<uint32_t>(ends.size()));
  }
}

Napi::Value ToRows(Napi::Env env, RowsJob *job) {
  Napi::Object result = Napi::Object::New(env);
  Napi::Uint32Array ends = Napi::Uint32Array::New(env, job->ends.size());
  Napi::Float64Array times = Napi::Float64Array::New(env, job->times.size());
  Napi::Array used = Napi::Array::New(env, job->used.size()), rows_to = Napi::Array::New(env, job->rows_to.size());
  for (size_t i = 0; i < job->ends.size(); i++) {
    ends[i] = job->ends[i];
    times[i] = job->times[i];
  }
  for (uint32_t i = 0; i < job->used.size(); i++) {
    used.Set(i, job->used[i]);
    rows_to.Set(i, job->rows_to[i]);
  }
  Napi::Array faults = Napi::Array::New(env, job->faults.size());
  for (uint32_t i = 0; i < job->faults.size(); i++) faults.Set(i, ToCsvFault(env, job->faults[i]));
  const size_t bytes = job->text.size();
  result.Set("bytes", bytes == 0 ? Napi::Buffer<uint8_t>::New(env, 0).As<Napi::Value>() : ToBuffer(env, job->text.take(), bytes));
  result.Set("ends", ends);
  result.Set("times", times);
  result.Set("used", used);
  result.Set("rowsTo", rows_to);
  result.Set("read", static_cast<double>(job->counts.rows));
  result.Set("badText", static_cast<double>(job->counts.bad_text));
  result.Set("badRows", static_cast<double>(job->counts.bad_rows));
  result.Set("faults", faults);
  return result;
}

// (pieces, options) -> promise of rows
Napi::Value TraceRows(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  auto job = std::make_shared<RowsJob>();
  Napi::Array keep;
  if (!ReadCsvPieces(info[0], &job->pieces, &keep)) return env.Undefined();
  if (!info[1].IsObject()) {
    Refuse(env, "options must be an object");
    return env.Undefined();
  }
  const Napi::Object options = info[1].As<Napi::Object>();
  bool json = true;
  if (!ReadCsvOptions(options, &job->read) || !ReadFilter(options.Get("filter"), &job->filter) ||
      !ReadBool(options, "json", &json) || !ReadBool(options, "header", &job->header) ||
      !ReadWhole(options, "maxRows", 0, UINT32_MAX, &job->max_rows))
    return env.Undefined();
  job->form = json ? TraceForm::Json : TraceForm::Csv;
  job->columns = job->read.columns;
  job->read.columns |= job->filter.columns();
  job->read.columns.set(CSV_COL_end_time);
  job->read.skip_bad_rows = true;
  return Job::Start(
      env, keep,
      [job](CodecError *) {
        job->run();
        return true;
      },
      [job](Napi::Env e, Napi::Array) { return ToRows(e, job.get()); });
}

}  // namespace

void InitTrace(Napi::Env env, Napi::Object exports) {
  exports.Set("TraceScan", ScanObject::Define(env));
  exports.Set("traceRows", Napi::Function::New(env, TraceRows));
  Napi::Array kinds = Napi::Array::New(env);
  for (const TraceKindName &kind : kTraceKinds) kinds.Set(kinds.Length(), kind.name);
  exports.Set("traceKinds", kinds);
  exports.Set("histogramBucketCount", HIST_BUCKETS);
}

}  // namespace pem
