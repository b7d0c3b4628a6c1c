// Arguments and results of the codec; see codec.h.
#include <algorithm>
#include <cmath>

#include "codec.h"

namespace pem {
namespace {

bool ReadInt64(Napi::Object object, const char *name, int64_t *out) {
  Napi::Value value = object.Get(name);
  if (value.IsBigInt()) {
    bool lossless = false;
    *out = value.As<Napi::BigInt>().Int64Value(&lossless);
    if (lossless) return true;
  }
  return Refuse(object.Env(), std::string(name) + " must be a bigint of 64 bits");
}

bool ReadUint32(Napi::Object object, const char *name, uint32_t most, uint32_t *out) {
  Napi::Value value = object.Get(name);
  if (value.IsNumber()) {
    double number = value.As<Napi::Number>().DoubleValue();
    if (number >= 0 && number <= most && number == std::floor(number)) {
      *out = static_cast<uint32_t>(number);
      return true;
    }
  }
  return Refuse(object.Env(),
                std::string(name) + " must be a whole number from 0 to " + std::to_string(most));
}

bool IsPresent(Napi::Value value) { return !value.IsUndefined() && !value.IsNull(); }

}  // namespace

bool ReadColumns(Napi::Value value, std::vector<ColumnSpec> *columns) {
  Napi::Env env = value.Env();
  if (!value.IsArray()) return Refuse(env, "columns must be an array of {name, type}");
  Napi::Array list = value.As<Napi::Array>();
  columns->clear();
  for (uint32_t i = 0; i < list.Length() && i <= kMaxColumns; i++) {
    Napi::Value item = list.Get(i);
    if (!item.IsObject()) return Refuse(env, "columns must be an array of {name, type}");
    Napi::Value name = item.As<Napi::Object>().Get("name"), type = item.As<Napi::Object>().Get("type");
    if (!name.IsString() || !type.IsString())
      return Refuse(env, "a column's name and type are strings");
    std::string type_name = type.As<Napi::String>().Utf8Value();
    unsigned number = col_type_by_name(type_name.data(), type_name.size());
    std::string column_name = name.As<Napi::String>().Utf8Value();
    if (number == 0) {
      CodecError error;
      error.set("codec_columns", "column \"" + column_name + "\" has type " + type_name + ", which blocks do not have");
      return Refuse(env, error);
    }
    columns->push_back({std::move(column_name), static_cast<col_type>(number)});
  }
  CodecError error;
  if (check_spec(*columns, &error)) return true;
  return Refuse(env, error);
}

bool ReadMeta(Napi::Value value, BlockMeta *meta) {
  Napi::Env env = value.Env();
  if (!value.IsObject()) return Refuse(env, "meta must be an object");
  Napi::Object object = value.As<Napi::Object>();
  Napi::Value probe = object.Get("probe"), kind = object.Get("kind"), scope = object.Get("scope");
  if (!probe.IsString() || !kind.IsString()) return Refuse(env, "meta.probe and meta.kind are strings");
  meta->probe = probe.As<Napi::String>().Utf8Value();
  std::string kind_name = kind.As<Napi::String>().Utf8Value();
  meta->kind = kind_name == "full"     ? BlockKind::Full
               : kind_name == "delta"  ? BlockKind::Delta
               : kind_name == "append" ? BlockKind::Append
                                       : static_cast<BlockKind>(0);
  meta->has_scope = IsPresent(scope);
  if (meta->has_scope) {
    if (!scope.IsString()) return Refuse(env, "meta.scope must be a string");
    meta->scope = scope.As<Napi::String>().Utf8Value();
  }
  if (!ReadInt64(object, "target", &meta->target) || !ReadInt64(object, "recordedAtUs", &meta->recorded_at_us) ||
      !ReadInt64(object, "intervalUs", &meta->interval_us) ||
      !ReadUint32(object, "probeVersion", 0xffffffffu, &meta->probe_version))
    return false;
  CodecError error;
  if (check_meta(*meta, &error)) return true;
  return Refuse(env, error);
}

bool ReadLimits(Napi::Value value, BlockLimits *limits) {
  if (!IsPresent(value)) return true;
  if (!value.IsObject()) return Refuse(value.Env(), "limits must be an object");
  Napi::Object object = value.As<Napi::Object>();
  if (IsPresent(object.Get("maxValueBytes")) &&
      !ReadUint32(object, "maxValueBytes", kMaxValueBytes, &limits->max_value_bytes))
    return false;
  return !IsPresent(object.Get("maxRows")) || ReadUint32(object, "maxRows", kMaxRows, &limits->max_rows);
}

Napi::Error MakeError(Napi::Env env, const CodecError &error) {
  Napi::Error made = Napi::Error::New(env, error.message);
  made.Set("code", Napi::String::New(env, error.code));
  return made;
}

Napi::Value ToBuffer(Napi::Env env, Bytes &&bytes, size_t size) {
  uint8_t *data = bytes.data();
  size = std::min(size, bytes.size());
  if (size == 0) return Napi::Buffer<uint8_t>::New(env, 0);
  uint8_t *memory = bytes.release();
  return Napi::Buffer<uint8_t>::New(
      env, data, size, [](Napi::BasicEnv, uint8_t *, uint8_t *owned) { pool_give(owned); }, memory);
}

Napi::Value Throw(Napi::Env env, const CodecError &error) {
  MakeError(env, error).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value ThrowArgument(Napi::Env env, const std::string &message) {
  CodecError error;
  error.set("codec_argument", message);
  return Throw(env, error);
}

bool Refuse(Napi::Env env, const CodecError &error) {
  Throw(env, error);
  return false;
}

bool Refuse(Napi::Env env, const std::string &message) {
  ThrowArgument(env, message);
  return false;
}

bool ReadBool(Napi::Object object, const char *name, bool *out) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  if (!value.IsBoolean()) return Refuse(object.Env(), std::string(name) + " must be true or false");
  *out = value.As<Napi::Boolean>().Value();
  return true;
}

const napi_type_tag kStreamTag = {0x70656d2073747265, 0x616d206f66206279};

Napi::Value ToStream(Napi::Env env, Bytes &&bytes, size_t size) {
  Napi::Value stream = ToBuffer(env, std::move(bytes), size);
  if (!stream.IsEmpty()) napi_type_tag_object(env, stream, &kStreamTag);  // fails where the thread is being ended
  return stream;
}

Napi::Value ToBlockResult(Napi::Env env, const BlockBuilder &builder, Bytes &&block) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("block", ToBuffer(env, std::move(block)));
  result.Set("rows", builder.rows());
  result.Set("cutValues", builder.cut_values());
  result.Set("badText", builder.bad_text());
  return result;
}

}  // namespace pem
