// BlockDelta as a class of JavaScript. In: full blocks as Buffers; out: the same Buffer, a delta of its own, or null. Runs
// on the calling thread: 100,000 rows take milliseconds. Owner: the JavaScript object; its state dies with it.
#include <cmath>
#include <memory>

#include "block_delta.h"
#include "block_verify.h"
#include "codec.h"

namespace pem {
namespace {

class DeltaState : public Napi::ObjectWrap<DeltaState> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "DeltaState",
                       {InstanceMethod<&DeltaState::Diff>("diff"), InstanceMethod<&DeltaState::Reset>("reset"),
                        InstanceAccessor<&DeltaState::Keys>("keys")});
  }

  // (columns, places of key columns)
  explicit DeltaState(const Napi::CallbackInfo &info) : Napi::ObjectWrap<DeltaState>(info) {
    std::vector<ColumnSpec> columns;
    if (!ReadColumns(info[0], &columns)) return;
    std::vector<uint32_t> keys;
    bool fine = info[1].IsArray();
    for (uint32_t i = 0; fine && i < info[1].As<Napi::Array>().Length(); i++) {
      Napi::Value key = info[1].As<Napi::Array>().Get(i);
      const double place = key.IsNumber() ? key.As<Napi::Number>().DoubleValue() : -1;
      fine = place >= 0 && place < static_cast<double>(columns.size()) && place == std::floor(place);
      if (fine) keys.push_back(static_cast<uint32_t>(place));
    }
    if (fine)
      delta_ = std::make_unique<BlockDelta>(std::move(columns), std::move(keys));
    else
      ThrowArgument(info.Env(), "keyColumns are places of columns");
  }

 private:
  // (block, forceFull) -> the block itself, a delta or null
  Napi::Value Diff(const Napi::CallbackInfo &info) {
    Napi::Env env = info.Env();
    if (!info[0].IsBuffer() || !info[1].IsBoolean()) return ThrowArgument(env, "diff takes a Buffer and a flag");
    Napi::Buffer<uint8_t> block = info[0].As<Napi::Buffer<uint8_t>>();
    AlignedBlock aligned(block.Data(), block.Length());
    BlockView view;
    CodecError error;
    Bytes delta;
    if (!open_block(aligned.data(), block.Length(), &view, &error)) return Throw(env, error);
    switch (delta_->diff(view, info[1].As<Napi::Boolean>().Value(), &delta, &error)) {
      case BlockDelta::Answer::Same:
        return env.Null();
      case BlockDelta::Answer::Full:
        return info[0];
      case BlockDelta::Answer::Delta:
        return ToBuffer(env, std::move(delta));
      default:
        return Throw(env, error);
    }
  }
  void Reset(const Napi::CallbackInfo &) { delta_->reset(); }
  Napi::Value Keys(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), delta_->keys()); }

  std::unique_ptr<BlockDelta> delta_;
};

}  // namespace

Napi::Function DefineDeltaState(Napi::Env env) { return DeltaState::Define(env); }

}  // namespace pem
