// CSV -> block for JavaScript; see native/csv.ts for what each function promises. Arguments are read on the main thread, the
// work is done off it.
#include "csv_edge.h"

#include <algorithm>
#include <cmath>

#include "../core/csv_reader.h"
#include "codec.h"
#include "codec_job.h"
#include "csv_block.h"

namespace pem {
namespace {

bool ReadNames(Napi::Object object, const char *name, CsvColumnSet *out) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  if (!value.IsArray()) return Refuse(object.Env(), std::string(name) + " must be an array of columns' names");
  out->reset();
  const Napi::Array names = value.As<Napi::Array>();
  for (uint32_t i = 0; i < names.Length(); i++) {
    Napi::Value item = names.Get(i);
    const std::string wanted = item.IsString() ? item.As<Napi::String>().Utf8Value() : "";
    uint32_t id = 0;
    while (id < CSV_COLUMN_COUNT && wanted != kCsvColumns[id].name) id++;
    if (id == CSV_COLUMN_COUNT)
      return Refuse(object.Env(), std::string(name) + ": \"" + wanted + "\" is no column of trace files");
    out->set(id);
  }
  return true;
}

bool ReadPiece(Napi::Value value, Piece *piece, Napi::Array *keep) {
  if (!value.IsBuffer()) return false;
  Napi::Buffer<uint8_t> buffer = value.As<Napi::Buffer<uint8_t>>();
  *piece = {buffer.Data(), buffer.Length()};
  keep->Set(keep->Length(), value);
  return true;
}

}  // namespace

bool ReadCsvPieces(Napi::Value value, std::vector<CsvPiece> *pieces, Napi::Array *keep) {
  Napi::Env env = value.Env();
  *keep = Napi::Array::New(env);
  if (!value.IsArray()) return Refuse(env, "pieces must be an array");
  const Napi::Array list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list.Get(i);
    if (!item.IsObject()) return Refuse(env, "a piece is an object with bytes");
    const Napi::Object object = item.As<Napi::Object>();
    CsvPiece piece = {{nullptr, 0}, {nullptr, 0}, 0, false};
    Napi::Value header = object.Get("header");
    if (!ReadPiece(object.Get("bytes"), &piece.bytes, keep)) return Refuse(env, "a piece's bytes must be a Buffer");
    if (!header.IsUndefined() && (!ReadPiece(header, &piece.header, keep) || piece.header.size == 0))
      return Refuse(env, "a piece's header must be a Buffer with its file's header line");
    if (!ReadWhole(object, "fromBytes", 0, 9007199254740991.0, &piece.from_bytes) || !ReadBool(object, "end", &piece.end))
      return false;
    pieces->push_back(piece);
  }
  return true;
}

bool ReadCsvOptions(Napi::Object object, CsvReadOptions *options) {
  uint64_t text_bytes = options->max_text_bytes;
  options->columns.set();
  if (!ReadNames(object, "columns", &options->columns) || !ReadNames(object, "keyColumns", &options->keys) ||
      !ReadWhole(object, "maxTextBytes", 0, kMaxValueBytes, &text_bytes) ||
      !ReadBool(object, "skipBadRows", &options->skip_bad_rows))
    return false;
  options->columns |= options->keys;
  options->max_text_bytes = static_cast<uint32_t>(text_bytes);
  return options->columns.any() || Refuse(object.Env(), "columns: at least one");
}

Napi::Object ToCsvFault(Napi::Env env, const CsvFault &fault) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", fault.error.code);
  object.Set("message", fault.error.message);
  object.Set("offset", static_cast<double>(fault.offset));
  object.Set("piece", fault.piece);
  return object;
}

namespace {

// Keys of texts handed out before, as JavaScript holds them.
class CsvTextSet : public Napi::ObjectWrap<CsvTextSet> {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "CsvTextSet", {}); }

  // (capacity, seed)
  explicit CsvTextSet(const Napi::CallbackInfo &info) : Napi::ObjectWrap<CsvTextSet>(info) {
    bool exact = false;
    const double capacity = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
    const uint64_t seed = info[1].IsBigInt() ? info[1].As<Napi::BigInt>().Uint64Value(&exact) : 0;
    if (!(capacity >= 1 && capacity <= (1u << 26)) || !exact) {
      Refuse(info.Env(), "capacity is a number from 1 to 67108864, seed a bigint of 64 bits");
      return;
    }
    set = std::make_shared<TextSet>(static_cast<uint32_t>(capacity), seed);
  }

  std::shared_ptr<TextSet> set;
};

struct BlockJob {
  CsvReadOptions read;
  CsvBlockOptions build;
  BlockMeta meta, texts_meta;
  BlockMemory into;
  std::vector<CsvPiece> pieces;

  std::unique_ptr<CsvReader> reader;
  std::vector<size_t> used;
  CsvFault stopped, first_bad;
  std::vector<std::string> unknown;
  bool full = false;
  uint32_t rows = 0;
  uint64_t cut_values = 0;  // by the writer
  Bytes block, texts;

  bool run(CodecError *error);
  bool read_piece(uint32_t index, CsvBlockWriter *writer);
};

// False: no piece behind this one is to be read.
bool BlockJob::read_piece(uint32_t index, CsvBlockWriter *writer) {
  const CsvPiece &piece = pieces[index];
  const uint64_t bad_rows = reader->counts().bad_rows;
  if (reader->open(piece.bytes.data, piece.bytes.size, piece.header.data, piece.header.size, piece.from_bytes, piece.end,
                   &stopped.error)) {
    for (const std::string &name : reader->unknown_columns())
      if (std::find(unknown.begin(), unknown.end(), name) == unknown.end()) unknown.push_back(name);
    CsvWindow window;
    while (!writer->full() && reader->next(kCsvWindowRows, &window, &stopped.error) && window.rows != 0) {
      writer->expect(window, piece.bytes.size);
      reader->give_back(window.rows - writer->append(window));
    }
    used[index] = reader->used_bytes();
  }
  if (bad_rows == 0 && reader->counts().bad_rows != 0)
    first_bad = {reader->counts().first_bad, reader->counts().first_bad_at, index};
  if (stopped.error) {
    stopped.offset = reader->bad_at();
    stopped.piece = index;
  }
  full = writer->full();
  return !stopped.error && !full;
}

bool BlockJob::run(CodecError *error) {
  reader = std::make_unique<CsvReader>(read);
  CsvBlockWriter writer(build);
  used.resize(pieces.size());
  for (uint32_t i = 0; i < pieces.size() && read_piece(i, &writer); i++) continue;
  rows = writer.rows();
  cut_values = writer.cut_values();
  // What was read before the fault is handed out; the fault is found again where the caller goes on.
  if (stopped.error && rows == 0) return true;
  if (!writer.finish(meta, into, &block, error)) return false;
  return writer.fresh_texts() == 0 || writer.finish_texts(texts_meta, &texts, error);
}

Napi::Value ToCsvResult(Napi::Env env, BlockJob *job) {
  Napi::Object result = Napi::Object::New(env);
  if (job->stopped.error) {
    result.Set("stopped", ToCsvFault(env, job->stopped));
    if (job->rows == 0) return result;
  }
  Napi::Array used = Napi::Array::New(env, job->used.size());
  double sum = 0;
  for (uint32_t i = 0; i < job->used.size(); i++) {
    used.Set(i, static_cast<double>(job->used[i]));
    sum += static_cast<double>(job->used[i]);
  }
  Napi::Array unknown = Napi::Array::New(env, job->unknown.size());
  for (uint32_t i = 0; i < job->unknown.size(); i++)
    unknown.Set(i, Napi::String::New(env, job->unknown[i].data(), job->unknown[i].size()));
  const CsvCounts &counts = job->reader->counts();
  // A number: the block is at that place in `into`.
  const uint8_t *data = job->block.data();
  if (data >= job->into.data && data < job->into.data + job->into.size) {
    result.Set("block", static_cast<double>(data - job->into.data));
    result.Set("blockBytes", static_cast<double>(job->block.size()));
  } else {
    result.Set("block", ToBuffer(env, std::move(job->block)));
  }
  result.Set("rows", job->rows);
  result.Set("usedBytes", sum);
  result.Set("used", used);
  result.Set("full", job->full);
  result.Set("badText", static_cast<double>(counts.bad_text));
  result.Set("cutValues", static_cast<double>(counts.cut_values + job->cut_values));
  result.Set("badRows", static_cast<double>(counts.bad_rows));
  if (job->first_bad.error) result.Set("firstBad", ToCsvFault(env, job->first_bad));
  result.Set("unknownColumns", unknown);
  if (job->texts.size() != 0) result.Set("texts", ToBuffer(env, std::move(job->texts)));
  return result;
}

// (meta, pieces, options) -> promise of a result, or of {stopped} alone; csv.ts makes views of `into`
Napi::Value CsvToBlock(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  auto job = std::make_shared<BlockJob>();
  Napi::Array keep;
  if (!ReadMeta(info[0], &job->meta) || !ReadCsvPieces(info[1], &job->pieces, &keep)) return env.Undefined();
  if (!info[2].IsObject()) {
    Refuse(env, "options must be an object");
    return env.Undefined();
  }
  const Napi::Object options = info[2].As<Napi::Object>();
  uint64_t max_rows = kMaxRows, max_bytes = job->build.max_bytes;
  if (!ReadCsvOptions(options, &job->read) || !ReadWhole(options, "maxRows", 0, kMaxRows, &max_rows) ||
      !ReadWhole(options, "maxBytes", 0, static_cast<double>(max_bytes), &max_bytes) ||
      !ReadBool(options, "rowPlaces", &job->build.row_places) ||
      !ReadBool(options, "eventRows", &job->build.event_rows))
    return env.Undefined();
  if (job->build.event_rows) {
    // Fingerprints are of whole texts, so the writer cuts.
    job->build.max_text_bytes = job->read.max_text_bytes;
    job->read.max_text_bytes = kMaxValueBytes;
    for (const uint32_t column : {CSV_COL_query, CSV_COL_tag, CSV_COL_flags}) job->read.columns.set(column);
  }
  Napi::Value into = options.Get("into");
  if (!into.IsUndefined()) {
    Piece piece;
    if (!ReadPiece(into, &piece, &keep)) {
      Refuse(env, "into must be a Buffer");
      return env.Undefined();
    }
    job->into = {const_cast<uint8_t *>(piece.data), piece.size};
  }
  Napi::Value texts = options.Get("textSet"), texts_meta = options.Get("textsMeta");
  if (!texts.IsUndefined()) {
    if (!ReadMeta(texts_meta, &job->texts_meta)) return env.Undefined();
    job->build.texts = CsvTextSet::Unwrap(texts.As<Napi::Object>())->set;
  }
  job->build.columns = job->read.columns;
  job->build.max_rows = static_cast<uint32_t>(std::max<uint64_t>(max_rows, 1));
  job->build.max_bytes = max_bytes;
  return Job::Start(
      env, keep, [job](CodecError *error) { return job->run(error); },
      [job](Napi::Env e, Napi::Array) { return ToCsvResult(e, job.get()); });
}

// (bytes) -> length of the header line they begin with, 0 while it is not whole; or its fault
Napi::Value CsvHeaderBytes(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsBuffer()) {
    Refuse(env, "bytes must be a Buffer");
    return env.Undefined();
  }
  const Napi::Buffer<uint8_t> bytes = info[0].As<Napi::Buffer<uint8_t>>();
  CsvReader reader((CsvReadOptions()));
  CsvFault fault;
  if (!reader.open(bytes.Data(), bytes.Length(), nullptr, 0, 0, false, &fault.error)) {
    fault.offset = reader.bad_at();
    return ToCsvFault(env, fault);
  }
  return Napi::Number::New(env, static_cast<double>(reader.used_bytes()));
}

Napi::Array ZeroColumnList(Napi::Env env) {
  Napi::Array list = Napi::Array::New(env, kZeroColumnCount);
  for (uint32_t bit = 0; bit < kZeroColumnCount; bit++) list.Set(bit, kCsvColumns[kZeroColumns[bit]].name);
  return list;
}

Napi::Array ColumnList(Napi::Env env) {
  Napi::Array list = Napi::Array::New(env, CSV_COLUMN_COUNT);
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    Napi::Object column = Napi::Object::New(env);
    column.Set("name", kCsvColumns[id].name);
    column.Set("type", col_type_name(kCsvColumns[id].type));
    column.Set("unit", kCsvColumns[id].unit);
    column.Set("minServerVersion", kCsvColumns[id].min_server_version);
    list.Set(id, column);
  }
  return list;
}

}  // namespace

void InitCsv(Napi::Env env, Napi::Object exports) {
  exports.Set("csvToBlock", Napi::Function::New<CsvToBlock>(env));
  exports.Set("csvHeaderBytes", Napi::Function::New<CsvHeaderBytes>(env));
  exports.Set("csvColumns", ColumnList(env));
  exports.Set("csvZeroColumns", ZeroColumnList(env));
  exports.Set("CsvTextSet", CsvTextSet::Define(env));
}

}  // namespace pem
