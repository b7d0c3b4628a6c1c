// The edge between JavaScript and the codec: arguments in, results out. Used by codec.cc and pgconn.cc.
//
// Functions that read an argument throw a JavaScript Error with a `code` (codec_argument, codec_columns) and answer
// false when it is not of its form. Bytes handed out belong to JavaScript and go back to the pool when it collects them.
#pragma once

#include <napi.h>

#include <cmath>
#include <string>

#include "block_builder.h"
#include "block_types.h"
#include "memory.h"

namespace pem {

// [{name, type}] -> columns.
bool ReadColumns(Napi::Value value, std::vector<ColumnSpec> *columns);
// {target, probe, probeVersion, kind, scope?, recordedAtUs, intervalUs} -> meta.
bool ReadMeta(Napi::Value value, BlockMeta *meta);
// {maxValueBytes?, maxRows?} or undefined -> limits, never above the format's own.
bool ReadLimits(Napi::Value value, BlockLimits *limits);

// An Error object with .code; for rejecting promises and for throwing.
Napi::Error MakeError(Napi::Env env, const CodecError &error);
// Throws it, or codec_argument with this message, and answers undefined.
Napi::Value Throw(Napi::Env env, const CodecError &error);
Napi::Value ThrowArgument(Napi::Env env, const std::string &message);
// The same, answering false.
bool Refuse(Napi::Env env, const CodecError &error);
bool Refuse(Napi::Env env, const std::string &message);

// Options of an object: left as they are where the property is not there.
bool ReadBool(Napi::Object object, const char *name, bool *out);

template <typename Number>
bool ReadWhole(Napi::Object object, const char *name, double least, double most, Number *out) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= least && number <= most && number == std::floor(number)))
    return Refuse(object.Env(), std::string(name) + " must be a whole number from " +
                                    std::to_string(static_cast<int64_t>(least)) + " to " +
                                    std::to_string(static_cast<int64_t>(most)));
  *out = static_cast<Number>(number);
  return true;
}
// A Buffer over the bytes, or the first `size` of them; no copy.
Napi::Value ToBuffer(Napi::Env env, Bytes &&bytes, size_t size = SIZE_MAX);
// The same with a mark, by which releaseStream knows that nobody else's bytes are in it.
extern const napi_type_tag kStreamTag;
Napi::Value ToStream(Napi::Env env, Bytes &&bytes, size_t size);
// {block, rows, cutValues, badText}; `block` is what builder.finish() gave.
Napi::Value ToBlockResult(Napi::Env env, const BlockBuilder &builder, Bytes &&block);

// The class DeltaState (codec_delta.cc).
Napi::Function DefineDeltaState(Napi::Env env);

void InitCodec(Napi::Env env, Napi::Object exports);

}  // namespace pem
