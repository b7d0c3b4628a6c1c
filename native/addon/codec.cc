// The codec's functions for JavaScript: blocks <-> PGCOPY, batches, checks. See native/codec.ts for what each promises.
// Arguments are read on the main thread, the work is done off it (Job), sync functions are for small inputs.
#include "codec.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "../core/crc32c.h"
#include "batch.h"
#include "block_encode.h"
#include "block_verify.h"
#include "codec_job.h"

namespace pem {

bool ReadBuffers(Napi::Value value, const char *name, std::vector<Piece> *pieces, Napi::Array *keep) {
  Napi::Env env = value.Env();
  bool fine = value.IsArray();
  *keep = Napi::Array::New(env);
  pieces->clear();
  const uint32_t count = fine ? value.As<Napi::Array>().Length() : 0;
  pieces->reserve(count);
  for (uint32_t i = 0; fine && i < count; i++) {
    Napi::Value item = value.As<Napi::Array>().Get(i);
    fine = item.IsBuffer();
    if (!fine) break;
    Napi::Buffer<uint8_t> buffer = item.As<Napi::Buffer<uint8_t>>();
    pieces->push_back({buffer.Data(), buffer.Length()});
    keep->Set(i, item);
  }
  if (fine) return true;
  ThrowArgument(env, std::string(name) + " must be an array of Buffers");
  return false;
}

namespace {

Napi::String Text(Napi::Env env, std::string_view s) { return Napi::String::New(env, s.data(), s.size()); }

// Columns that have a NULL in a row that is no tombstone: what may not be among the keys.
bool HasNull(const ColumnView &column, uint32_t rows) {
  for (uint32_t row = 0; row < rows; row++)
    if (column.is_null(row)) return true;
  return false;
}

// What blocks of one probe share: {probe, scope?, columns, nullColumns}. In one answer each is made once, for making
// objects costs more than checking a small block.
class Shapes {
 public:
  Napi::Value Get(Napi::Env env, const BlockView &view) {
    // Names have no NUL in them: each ends with one, and what has a fixed width stands before it.
    std::string key(1, view.has_scope ? '\1' : '\0');
    key.append(view.probe).push_back('\0');
    key.append(view.scope).push_back('\0');
    for (const ColumnView &column : view.columns) {
      key += static_cast<char>(column.type);
      key += column.nulls != nullptr && HasNull(column, view.rows - view.tombstones) ? '\1' : '\0';
      key.append(column.name).push_back('\0');
    }
    auto found = shapes_.find(key);
    if (found != shapes_.end()) return found->second;
    Napi::Object shape = Napi::Object::New(env);
    Napi::Array columns = Napi::Array::New(env, view.columns.size()), nulls = Napi::Array::New(env);
    for (uint32_t i = 0; i < view.columns.size(); i++) {
      const ColumnView &view_column = view.columns[i];
      Napi::Object column = Napi::Object::New(env);
      column.Set("name", Text(env, view_column.name));
      column.Set("type", col_type_name(view_column.type));
      columns.Set(i, column);
      if (view_column.nulls != nullptr && HasNull(view_column, view.rows - view.tombstones)) nulls.Set(nulls.Length(), i);
    }
    shape.Set("probe", Text(env, view.probe));
    if (view.has_scope) shape.Set("scope", Text(env, view.scope));
    shape.Set("columns", columns);
    shape.Set("nullColumns", nulls);
    shapes_.emplace(std::move(key), shape);
    return shape;
  }

 private:
  std::unordered_map<std::string, Napi::Value> shapes_;
};

// The numbers of a block's info, in the order that codec.ts reads them.
constexpr size_t kWords = 9;

void PutWords(const BlockView &view, size_t offset, int64_t *words) {
  const int64_t all[kWords] = {static_cast<int64_t>(offset), static_cast<int64_t>(view.size), view.target,
                               view.recorded_at_us, view.interval_us, view.rows, view.tombstones, view.probe_version,
                               static_cast<int64_t>(view.kind)};
  std::memcpy(words, all, sizeof all);
}

Napi::Object ToErrorInfo(Napi::Env env, const CodecError &error) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", error.code);
  object.Set("message", error.message);
  return object;
}

bool Build(BlockBuilder *builder, const std::vector<Piece> &pieces, Bytes *block, CodecError *error) {
  bool fine = true;
  for (size_t i = 0; fine && i < pieces.size(); i++) fine = builder->feed(pieces[i].data, pieces[i].size);
  if (fine) fine = builder->finish(block);
  if (!fine) *error = builder->error();
  return fine;
}

bool ReadBuild(const Napi::CallbackInfo &info, std::shared_ptr<BlockBuilder> *builder) {
  BlockMeta meta;
  std::vector<ColumnSpec> columns;
  BlockLimits limits;
  if (!ReadMeta(info[0], &meta) || !ReadColumns(info[1], &columns) || !ReadLimits(info[3], &limits)) return false;
  *builder = std::make_shared<BlockBuilder>(std::move(columns), std::move(meta), limits);
  return true;
}

// (meta, columns, pieces, limits) -> promise of a BlockResult
Napi::Value PgcopyToBlock(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::shared_ptr<BlockBuilder> builder;
  std::vector<Piece> pieces;
  Napi::Array keep;
  if (!ReadBuild(info, &builder) || !ReadBuffers(info[2], "pgcopy", &pieces, &keep)) return env.Undefined();
  auto block = std::make_shared<Bytes>();
  return Job::Start(
      env, keep,
      [builder, pieces, block](CodecError *error) { return Build(builder.get(), pieces, block.get(), error); },
      [builder, block](Napi::Env e, Napi::Array) { return ToBlockResult(e, *builder, std::move(*block)); });
}

// (meta, columns, pieces, limits) -> BlockResult, at once
Napi::Value PgcopyToBlockSync(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::shared_ptr<BlockBuilder> builder;
  std::vector<Piece> pieces;
  Napi::Array keep;
  if (!ReadBuild(info, &builder) || !ReadBuffers(info[2], "pgcopy", &pieces, &keep)) return env.Undefined();
  Bytes block;
  CodecError error;
  if (!Build(builder.get(), pieces, &block, &error)) return Throw(env, error);
  return ToBlockResult(env, *builder, std::move(block));
}

bool ReadExtras(Napi::Value value, size_t blocks, std::vector<ExtraField> *fields) {
  Napi::Env env = value.Env();
  if (value.IsUndefined()) return true;
  bool fine = value.IsArray();
  const uint32_t count = fine ? value.As<Napi::Array>().Length() : 0;
  for (uint32_t i = 0; fine && i < count && i <= 32; i++) {
    Napi::Value item = value.As<Napi::Array>().Get(i);
    fine = item.IsObject() && item.As<Napi::Object>().Get("kind").IsString();
    if (!fine) break;
    std::string kind = item.As<Napi::Object>().Get("kind").As<Napi::String>().Utf8Value();
    ExtraField field;
    if (kind == "recorded_at") {
      field.kind = ExtraField::Kind::RecordedAt;
    } else if (kind == "target") {
      field.kind = ExtraField::Kind::Target;
    } else if (kind == "gone") {
      field.kind = ExtraField::Kind::Gone;
    } else {
      Napi::Value values = item.As<Napi::Object>().Get("values");
      fine = kind == "int8" && values.IsTypedArray() &&
             values.As<Napi::TypedArray>().TypedArrayType() == napi_bigint64_array &&
             values.As<Napi::TypedArray>().ElementLength() == blocks;
      if (!fine) break;
      const int64_t *data = values.As<Napi::BigInt64Array>().Data();
      field.kind = ExtraField::Kind::Int8;
      field.values.assign(data, data + blocks);
    }
    fields->push_back(std::move(field));
  }
  if (!fine)
    ThrowArgument(env, "prefix and suffix are arrays of {kind: 'recorded_at' | 'target' | 'gone'} or {kind: 'int8', "
                       "values: BigInt64Array with one number for each block}");
  return fine;
}

bool ReadFlag(Napi::Object object, const char *name, bool fallback) {
  Napi::Value value = object.Get(name);
  return value.IsBoolean() ? value.As<Napi::Boolean>().Value() : fallback;
}

// (blocks, options) -> promise of the stream
Napi::Value BlocksToPgcopy(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::vector<Piece> blocks;
  Napi::Array keep;
  if (!ReadBuffers(info[0], "blocks", &blocks, &keep)) return env.Undefined();
  if (!info[1].IsObject()) return ThrowArgument(env, "options must be an object");
  Napi::Object options = info[1].As<Napi::Object>();
  auto request = std::make_shared<EncodeRequest>();
  if (!ReadColumns(options.Get("columns"), &request->columns) ||
      !ReadExtras(options.Get("prefix"), blocks.size(), &request->prefix) ||
      !ReadExtras(options.Get("suffix"), blocks.size(), &request->suffix))
    return env.Undefined();
  Napi::Value tombstones = options.Get("tombstones");
  request->tombstones = !tombstones.IsString() || tombstones.As<Napi::String>().Utf8Value() != "skip";
  request->header = ReadFlag(options, "header", true);
  request->trailer = ReadFlag(options, "trailer", true);
  auto out = std::make_shared<Bytes>();
  auto size = std::make_shared<size_t>(0);
  return Job::Start(
      env, keep,
      [blocks, request, out, size](CodecError *error) {
        std::vector<AlignedBlock> aligned;
        std::vector<BlockView> views(blocks.size());
        aligned.reserve(blocks.size());
        for (size_t i = 0; i < blocks.size(); i++) {
          aligned.emplace_back(blocks[i].data, blocks[i].size);
          if (open_block(aligned[i].data(), blocks[i].size, &views[i], error)) continue;
          error->message = "block " + std::to_string(i) + ": " + error->message;
          return false;
        }
        return encode_blocks(views, *request, out.get(), size.get(), error);
      },
      [out, size](Napi::Env e, Napi::Array) { return ToStream(e, std::move(*out), *size); });
}

// (agentId, boot as 16 bytes, seq, createdAtUs, blocks) -> batch
Napi::Value EncodeBatch(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Envelope envelope = {};
  bool exact = false, exact_time = false;
  if (!info[0].IsNumber() || !info[1].IsBuffer() || info[1].As<Napi::Buffer<uint8_t>>().Length() != 16 ||
      !info[2].IsBigInt() || !info[3].IsBigInt())
    return ThrowArgument(env, "a batch has an agent id, a boot, a seq and a time");
  const double agent = info[0].As<Napi::Number>().DoubleValue();
  envelope.seq = static_cast<uint64_t>(info[2].As<Napi::BigInt>().Int64Value(&exact));
  envelope.created_at_us = info[3].As<Napi::BigInt>().Int64Value(&exact_time);
  if (!(agent >= 1 && agent <= INT32_MAX && agent == std::floor(agent)) || !exact || !exact_time ||
      envelope.seq == 0 || envelope.seq > INT64_MAX)
    return ThrowArgument(env, "agent id is a positive int4, seq begins with 1, the time is an int8");
  envelope.agent_id = static_cast<uint32_t>(agent);
  std::memcpy(envelope.boot, info[1].As<Napi::Buffer<uint8_t>>().Data(), 16);
  std::vector<Piece> blocks;
  Napi::Array keep;
  if (!ReadBuffers(info[4], "blocks", &blocks, &keep)) return env.Undefined();
  Bytes batch;
  CodecError error;
  if (!write_batch(envelope, blocks, &batch, &error)) return Throw(env, error);
  return ToBuffer(env, std::move(batch));
}

struct CheckedBlock {
  size_t offset = 0, size = 0;
  BlockView view = {};
  CodecError error;
};

struct CheckedBatch {
  Bytes aligned;  // where the batch itself is not: views look into it
  Envelope envelope = {};
  uint32_t crc = 0;
  CodecError error;
  std::vector<CheckedBlock> blocks;
};

void Check(const Piece &batch, CheckedBatch *out) {
  const uint8_t *data = batch.data;
  if (reinterpret_cast<uintptr_t>(data) % 8 != 0 && batch.size <= kMaxBatchBytes) {
    out->aligned = Bytes(batch.size);
    std::memcpy(out->aligned.data(), data, batch.size);
    data = out->aligned.data();
  }
  std::vector<Piece> blocks;
  if (!open_batch(data, batch.size, &out->envelope, &out->crc, &blocks, &out->error)) return;
  out->blocks.resize(blocks.size());
  for (size_t i = 0; i < blocks.size(); i++) {
    CheckedBlock &block = out->blocks[i];
    block.offset = static_cast<size_t>(blocks[i].data - data);
    block.size = blocks[i].size;
    if (open_block(blocks[i].data, blocks[i].size, &block.view, &block.error)) check_values(block.view, &block.error);
  }
}

// The numbers of a batch, in the order that codec.ts reads them: agent id, seq, created at, checksum, count of blocks.
constexpr size_t kHeadWords = 5;

// A uuid as PostgreSQL writes it.
Napi::String UuidText(Napi::Env env, const uint8_t *boot) {
  static const char digits[] = "0123456789abcdef";
  char text[36];
  size_t at = 0;
  for (size_t i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
    text[at++] = digits[boot[i] >> 4];
    text[at++] = digits[boot[i] & 15];
  }
  return Napi::String::New(env, text, at);
}

// {heads, boots, words, found}: numbers of all batches and of all their blocks in two arrays, because an array for each
// batch costs more than checking it. A bad envelope's error stands in `boots`, a bad block's in `found`.
Napi::Value ToBatchInfos(Napi::Env env, const std::vector<CheckedBatch> &batches) {
  size_t blocks = 0;
  for (const CheckedBatch &batch : batches) blocks += batch.error ? 0 : batch.blocks.size();
  Napi::BigInt64Array heads = Napi::BigInt64Array::New(env, batches.size() * kHeadWords, napi_bigint64_array);
  Napi::BigInt64Array words = Napi::BigInt64Array::New(env, blocks * kWords, napi_bigint64_array);
  Napi::Array boots = Napi::Array::New(env, batches.size()), found = Napi::Array::New(env, blocks);
  if (heads.IsEmpty() || words.IsEmpty() || (blocks != 0 && words.Data() == nullptr)) return env.Undefined();
  Shapes shapes;
  uint32_t at = 0;
  for (uint32_t b = 0; b < batches.size(); b++) {
    const CheckedBatch &batch = batches[b];
    if (batch.error) {
      boots.Set(b, ToErrorInfo(env, batch.error));
      continue;
    }
    const int64_t head[kHeadWords] = {batch.envelope.agent_id, static_cast<int64_t>(batch.envelope.seq),
                                      batch.envelope.created_at_us, batch.crc,
                                      static_cast<int64_t>(batch.blocks.size())};
    std::memcpy(heads.Data() + b * kHeadWords, head, sizeof head);
    boots.Set(b, UuidText(env, batch.envelope.boot));
    for (const CheckedBlock &block : batch.blocks) {
      int64_t *to = words.Data() + at * kWords;
      if (block.error) {
        to[0] = static_cast<int64_t>(block.offset);
        to[1] = static_cast<int64_t>(block.size);
        found.Set(at, ToErrorInfo(env, block.error));
      } else {
        PutWords(block.view, block.offset, to);
        found.Set(at, shapes.Get(env, block.view));
      }
      at++;
    }
  }
  Napi::Object info = Napi::Object::New(env);
  info.Set("heads", heads);
  info.Set("boots", boots);
  info.Set("words", words);
  info.Set("found", found);
  return info;
}

// (batches) -> promise of what is in them; codec.ts makes BatchInfo of it
Napi::Value VerifyBatches(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::vector<Piece> batches;
  Napi::Array keep;
  if (!ReadBuffers(info[0], "batches", &batches, &keep)) return env.Undefined();
  auto checked = std::make_shared<std::vector<CheckedBatch>>(batches.size());
  return Job::Start(
      env, keep,
      [batches, checked](CodecError *) {
        for (size_t i = 0; i < batches.size(); i++) Check(batches[i], &(*checked)[i]);
        return true;
      },
      [checked](Napi::Env e, Napi::Array) { return ToBatchInfos(e, *checked); });
}

// (block) -> {words, found: [shape]}
Napi::Value GetBlockInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsBuffer()) return ThrowArgument(env, "block must be a Buffer");
  Napi::Buffer<uint8_t> block = info[0].As<Napi::Buffer<uint8_t>>();
  AlignedBlock aligned(block.Data(), block.Length());
  BlockView view;
  CodecError error;
  if (!open_block(aligned.data(), block.Length(), &view, &error)) return Throw(env, error);
  Shapes shapes;
  Napi::Object result = Napi::Object::New(env);
  Napi::BigInt64Array words = Napi::BigInt64Array::New(env, kWords, napi_bigint64_array);
  PutWords(view, 0, words.Data());
  Napi::Array found = Napi::Array::New(env, 1);
  found.Set(0u, shapes.Get(env, view));
  result.Set("words", words);
  result.Set("found", found);
  return result;
}

// (stream): its memory goes back to the pool now. Only what ToStream made: another Buffer may share its memory.
Napi::Value ReleaseStream(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsBuffer() || !info[0].As<Napi::Object>().CheckTypeTag(&kStreamTag))
    return ThrowArgument(env, "only a stream that blocksToPgcopy or a COPY made can be released");
  info[0].As<Napi::Buffer<uint8_t>>().ArrayBuffer().Detach();
  return env.Undefined();
}

// (data, seed) -> number
Napi::Value Crc32c(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsBuffer() || !info[1].IsNumber()) return ThrowArgument(env, "crc32c takes a Buffer and a number");
  Napi::Buffer<uint8_t> data = info[0].As<Napi::Buffer<uint8_t>>();
  return Napi::Number::New(env, crc32c(data.Data(), data.Length(), info[1].As<Napi::Number>().Uint32Value()));
}

}  // namespace

void InitCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("pgcopyToBlock", Napi::Function::New<PgcopyToBlock>(env));
  exports.Set("pgcopyToBlockSync", Napi::Function::New<PgcopyToBlockSync>(env));
  exports.Set("blocksToPgcopy", Napi::Function::New<BlocksToPgcopy>(env));
  exports.Set("encodeBatch", Napi::Function::New<EncodeBatch>(env));
  exports.Set("verifyBatches", Napi::Function::New<VerifyBatches>(env));
  exports.Set("blockInfo", Napi::Function::New<GetBlockInfo>(env));
  exports.Set("releaseStream", Napi::Function::New<ReleaseStream>(env));
  exports.Set("crc32c", Napi::Function::New<Crc32c>(env));
  exports.Set("DeltaState", DefineDeltaState(env));
}

}  // namespace pem
