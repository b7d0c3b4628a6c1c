/*
 * NativeConnection: Wire for JavaScript; native/pgconn.ts is its only caller and checks arguments, queues calls and keeps
 * the clock. In: connection keywords, SQL, parameters, pieces. Out: calls of the object's own property `on(kind, a, b)`,
 * kinds 'connected', 'failed', 'done', 'lost', 'notice', 'stopped', 'cancelled', never from inside one of its methods.
 *
 * 1. While it connects or a call runs, the object holds itself; idle it holds neither itself nor the process, and the
 *    garbage collector closes it.
 * 2. The end of the environment closes the connection before libuv's handles are counted.
 * 3. What a COPY gives goes into the block or the buffer here; JavaScript sees no row of it.
 */
#include "pgconn.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../core/pgcopy.h"
#include "codec.h"
#include "memory.h"
#include "pg_cancel.h"
#include "pg_wire.h"

namespace pem {
namespace {

/**
 * The whole stream in one piece of the pool's memory, handed to JavaScript without another copy. With `align_at` the rows
 * of a binary COPY are set apart so that this byte of each lies at a multiple of 8: what is verified in place there need
 * not be copied first. libpq gives a row at a time.
 */
class RawSink : public RowSink {
 public:
  RawSink(size_t most, size_t expected, int64_t align_at) : most_(most), align_at_(align_at) {
    if (expected != 0) data_.reserve_more(expected < most ? expected : most);
  }

  bool Take(const char* data, size_t length) override {
    size_t gap = 0;
    if (align_at_ >= 0) {
      // The stream's header comes with the first row.
      const size_t head = rows_.empty() ? HeaderBytes(data, length) : 0;
      gap = -(data_.size() + head + static_cast<size_t>(align_at_)) & 7;
      rows_.push_back(static_cast<uint32_t>(data_.size() + gap + head));
    }
    if (length > most_ - data_.size() || gap > most_ - data_.size() - length) return false;
    data_.append_zeros(gap);
    data_.append(reinterpret_cast<const uint8_t*>(data), length);
    return true;
  }

  Napi::Value Give(Napi::Env env) {
    const size_t size = data_.size();
    return ToStream(env, data_.take(), size);
  }

  /** Where each row begins, the end of the stream included. */
  Napi::Value Rows(Napi::Env env) {
    Napi::Uint32Array rows = Napi::Uint32Array::New(env, rows_.size());
    if (!rows.IsEmpty() && !rows_.empty()) memcpy(rows.Data(), rows_.data(), rows_.size() * sizeof rows_[0]);
    return rows;
  }

  bool aligned() const { return align_at_ >= 0; }

 private:
  static size_t HeaderBytes(const char* data, size_t length) {
    size_t used = 0;
    return pgc_read_header(reinterpret_cast<const uint8_t*>(data), length, &used) == PGC_OK ? used : 0;
  }

  const size_t most_;
  const int64_t align_at_;
  Buffer data_;
  std::vector<uint32_t> rows_;
};

class BlockSink : public RowSink {
 public:
  BlockSink(std::vector<ColumnSpec> columns, BlockMeta meta, BlockLimits limits)
      : builder(std::move(columns), std::move(meta), limits) {}
  bool Take(const char* data, size_t length) override {
    return builder.feed(reinterpret_cast<const uint8_t*>(data), length);
  }
  BlockBuilder builder;
};

/** An array of Buffers, read again at each slice: JavaScript may have detached one meanwhile. */
class BufferPieces : public PieceSource {
 public:
  explicit BufferPieces(Napi::Array pieces) : pieces_(Napi::Persistent(pieces)), count_(pieces.Length()) {}

  bool Next(size_t most, const char** data, size_t* length) override {
    Napi::HandleScope scope(pieces_.Env());
    for (; index_ < count_; index_++, offset_ = 0) {
      void* bytes = nullptr;
      size_t size = 0;
      Napi::Value piece = pieces_.Value().Get(index_);
      if (!piece.IsBuffer() || napi_get_buffer_info(pieces_.Env(), piece, &bytes, &size) != napi_ok || size < offset_)
        return *length = 0, false;
      if (size == offset_) continue;
      *data = static_cast<const char*>(bytes) + offset_;
      *length = size - offset_ < most ? size - offset_ : most;
      offset_ += *length;
      return true;
    }
    *length = 0;
    return true;
  }

 private:
  Napi::Reference<Napi::Array> pieces_;
  uint32_t count_;
  uint32_t index_ = 0;
  size_t offset_ = 0;
};

std::vector<std::string> Strings(Napi::Value value) {
  Napi::Array array = value.As<Napi::Array>();
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < array.Length(); i++) strings.push_back(array.Get(i).ToString().Utf8Value());
  return strings;
}

class Connection : public Napi::ObjectWrap<Connection>, private WireEvents {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeConnection",
                       {InstanceMethod<&Connection::Connect>("connect"), InstanceMethod<&Connection::Query>("query"),
                        InstanceMethod<&Connection::Describe>("describe"),
                        InstanceMethod<&Connection::CopyOutRaw>("copyOutRaw"),
                        InstanceMethod<&Connection::CopyOutBlock>("copyOutBlock"),
                        InstanceMethod<&Connection::CopyIn>("copyIn"), InstanceMethod<&Connection::Cancel>("cancel"),
                        InstanceMethod<&Connection::Finish>("finish"),
                        InstanceAccessor<&Connection::ServerVersion>("serverVersion"),
                        InstanceAccessor<&Connection::BackendPid>("backendPid"),
                        InstanceAccessor<&Connection::UsedPassword>("usedPassword")});
  }

  explicit Connection(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Connection>(info), env_(info.Env()), wire_(Loop(info.Env()), this) {
    napi_add_env_cleanup_hook(env_, EnvironmentEnds, this);
  }

  ~Connection() override {
    napi_remove_env_cleanup_hook(env_, EnvironmentEnds, this);
    Shut();
  }

 private:
  static uv_loop_t* Loop(napi_env env) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    return loop;
  }

  static void EnvironmentEnds(void* self) { static_cast<Connection*>(self)->Shut(); }

  void Shut() {
    cancel_.reset();
    wire_.Close();
    sink_.reset();
    block_ = nullptr;
    raw_ = nullptr;
    pieces_.reset();
  }

  /** Holds the object as long as something runs. */
  void Hold() {
    bool wanted = wire_.busy() || cancel_ != nullptr;
    if (wanted == held_) return;
    held_ = wanted;
    if (held_)
      Ref();
    else
      Unref();
  }

  Napi::Value Started(const std::string& reason) {
    Hold();
    return Napi::String::New(env_, reason);
  }

  // ---- methods: each returns why nothing was started, or '' ----

  Napi::Value Connect(const Napi::CallbackInfo& info) { return Started(wire_.Connect(Strings(info[0]), Strings(info[1]))); }

  Napi::Value Query(const Napi::CallbackInfo& info) {
    std::vector<Parameter> parameters;
    Napi::Array values = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < values.Length(); i++) {
      Napi::Value value = values.Get(i);
      if (value.IsNull()) {
        parameters.push_back({});
      } else if (value.IsBuffer()) {
        auto buffer = value.As<Napi::Buffer<char>>();
        parameters.push_back({std::string(buffer.Data(), buffer.Length()), true});
      } else {
        parameters.push_back({value.ToString().Utf8Value(), false});
      }
    }
    return Started(wire_.Query(info[0].ToString().Utf8Value(), parameters));
  }

  Napi::Value Describe(const Napi::CallbackInfo& info) { return Started(wire_.Describe(info[0].ToString().Utf8Value())); }

  /** (sql, most bytes, expected bytes, byte of a row to align or -1) */
  Napi::Value CopyOutRaw(const Napi::CallbackInfo& info) {
    auto sink = std::make_unique<RawSink>(static_cast<size_t>(info[1].ToNumber().Int64Value()),
                                          static_cast<size_t>(info[2].ToNumber().Int64Value()),
                                          info[3].ToNumber().Int64Value());
    std::string reason = wire_.CopyOut(info[0].ToString().Utf8Value(), sink.get());
    if (reason.empty()) {
      raw_ = sink.get();
      sink_ = std::move(sink);
    }
    return Started(reason);
  }

  /** (sql, columns, meta, limits); throws where the codec refuses one of them. */
  Napi::Value CopyOutBlock(const Napi::CallbackInfo& info) {
    std::vector<ColumnSpec> columns;
    BlockMeta meta;
    BlockLimits limits;
    if (!ReadColumns(info[1], &columns) || !ReadMeta(info[2], &meta) || !ReadLimits(info[3], &limits))
      return env_.Undefined();
    auto sink = std::make_unique<BlockSink>(std::move(columns), std::move(meta), limits);
    std::string reason = wire_.CopyOut(info[0].ToString().Utf8Value(), sink.get());
    if (reason.empty()) {
      block_ = sink.get();
      sink_ = std::move(sink);
    }
    return Started(reason);
  }

  Napi::Value CopyIn(const Napi::CallbackInfo& info) {
    auto pieces = std::make_unique<BufferPieces>(info[1].As<Napi::Array>());
    std::string reason = wire_.CopyIn(info[0].ToString().Utf8Value(), pieces.get());
    if (reason.empty()) pieces_ = std::move(pieces);
    return Started(reason);
  }

  Napi::Value Cancel(const Napi::CallbackInfo&) {
    if (!wire_.open()) return Napi::String::New(env_, "the connection is closed");
    cancel_ = CancelTicket::Start(wire_.loop(), PQgetCancel(wire_.connection()),
                                  [this](const std::string& error) { Cancelled(error); });
    return Started(cancel_ ? "" : "too many unanswered cancel requests");
  }

  void Finish(const Napi::CallbackInfo&) {
    Shut();
    Hold();
  }

  Napi::Value ServerVersion(const Napi::CallbackInfo&) {
    return Napi::Number::New(env_, wire_.open() ? PQserverVersion(wire_.connection()) : 0);
  }

  Napi::Value BackendPid(const Napi::CallbackInfo&) {
    return Napi::Number::New(env_, wire_.open() ? PQbackendPID(wire_.connection()) : 0);
  }

  Napi::Value UsedPassword(const Napi::CallbackInfo&) {
    return Napi::Boolean::New(env_, wire_.open() && PQconnectionUsedPassword(wire_.connection()) != 0);
  }

  // ---- events ----

  bool Enter() override {
    Napi::HandleScope scope(env_);
    if (Value().IsEmpty()) return false;  // collected; its finalizer is on the way
    Ref();
    return true;
  }

  void Leave() override { Unref(); }

  /** Calls on(kind, a, b); between Enter() and Leave(). */
  void Emit(const char* kind, napi_value a = nullptr, napi_value b = nullptr) {
    Napi::Object self = Value();
    Napi::Value listener = self.Get("on");
    if (!listener.IsFunction()) return;
    napi_value none = env_.Undefined();
    napi_value arguments[3] = {Napi::String::New(env_, kind), a == nullptr ? none : a, b == nullptr ? none : b};
    if (napi_make_callback(env_, nullptr, self, listener, 3, arguments, nullptr) == napi_pending_exception) {
      napi_value thrown;
      if (napi_get_and_clear_last_exception(env_, &thrown) == napi_ok) napi_fatal_exception(env_, thrown);
    }
  }

  void EmitText(const char* kind, const std::string& text) {
    Napi::HandleScope scope(env_);
    Emit(kind, Napi::String::New(env_, text));
  }

  void Connected() override {
    Napi::HandleScope scope(env_);
    Hold();
    Emit("connected");
  }

  void Failed(const std::string& message) override {
    Hold();
    EmitText("failed", message);
  }

  void Lost(const std::string& message) override {
    Shut();
    Hold();
    EmitText("lost", message);
  }

  void Notice(const std::string& message) override { EmitText("notice", message); }
  void SinkStopped() override { EmitText("stopped", ""); }

  void Cancelled(const std::string& error) {
    Enter();
    cancel_.reset();
    Hold();
    EmitText("cancelled", error);
    Leave();
  }

  void Done() override {
    Napi::HandleScope scope(env_);
    Bytes block;
    // The builder's own error, if any, comes before the server's: the call was cancelled because of it.
    if (block_ != nullptr && wire_.error() == nullptr && wire_.misuse().empty() && !block_->builder.error())
      block_->builder.finish(&block);
    Napi::Value error = Error();
    Napi::Value result = env_.Null();
    if (error.IsNull())
      result = block_ != nullptr ? ToBlockResult(env_, block_->builder, std::move(block)) : Result();
    sink_.reset();
    block_ = nullptr;
    raw_ = nullptr;
    pieces_.reset();
    Hold();
    Emit("done", error, result);
  }

  // ---- results ----

  void Put(Napi::Object object, const char* name, const char* text) {
    if (text != nullptr && *text != '\0') object.Set(name, Napi::String::New(env_, text));
  }

  Napi::Value Error() {
    Napi::Object object = Napi::Object::New(env_);
    if (const PGresult* error = wire_.error()) {
      const char* message = PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
      Put(object, "code", PQresultErrorField(error, PG_DIAG_SQLSTATE));
      Put(object, "message", message != nullptr ? message : PQresultErrorMessage(error));
      Put(object, "severity", PQresultErrorField(error, PG_DIAG_SEVERITY_NONLOCALIZED));
      Put(object, "detail", PQresultErrorField(error, PG_DIAG_MESSAGE_DETAIL));
      Put(object, "hint", PQresultErrorField(error, PG_DIAG_MESSAGE_HINT));
    }
    if (block_ != nullptr && block_->builder.error()) {
      object.Set("code", block_->builder.error().code);
      object.Set("message", block_->builder.error().message);
      object.Set("codec", true);
    } else if (!wire_.misuse().empty()) {
      object.Set("code", "wrong_call");
      object.Set("message", wire_.misuse());
    } else if (wire_.error() == nullptr) {
      return env_.Null();
    }
    return object;
  }

  Napi::Value Result() {
    Napi::Object object = Napi::Object::New(env_);
    const PGresult* result = wire_.result();
    int columns = result == nullptr ? 0 : PQnfields(result);
    int rows = result == nullptr ? 0 : PQntuples(result);
    Napi::Array fields = Napi::Array::New(env_, static_cast<size_t>(columns));
    std::vector<napi_value> names;
    for (int i = 0; i < columns; i++) {
      names.push_back(Napi::String::New(env_, PQfname(result, i)));
      Napi::Object field = Napi::Object::New(env_);
      field.Set("name", names.back());
      field.Set("typeOid", Napi::Number::New(env_, PQftype(result, i)));
      fields.Set(static_cast<uint32_t>(i), field);
    }
    Napi::Array list = Napi::Array::New(env_, static_cast<size_t>(rows));
    for (int row = 0; row < rows; row++) {
      Napi::HandleScope scope(env_);
      Napi::Object values = Napi::Object::New(env_);
      for (int i = 0; i < columns; i++) {
        napi_value value = env_.Null();
        if (PQgetisnull(result, row, i) == 0)
          napi_create_string_utf8(env_, PQgetvalue(result, row, i), static_cast<size_t>(PQgetlength(result, row, i)), &value);
        napi_set_property(env_, values, names[static_cast<size_t>(i)], value);
      }
      list.Set(static_cast<uint32_t>(row), values);
    }
    object.Set("fields", fields);
    object.Set("rows", list);
    object.Set("command", result == nullptr ? "" : PQcmdStatus(const_cast<PGresult*>(result)));
    object.Set("affected", result == nullptr ? 0.0 : atof(PQcmdTuples(const_cast<PGresult*>(result))));
    if (raw_ != nullptr) {
      if (raw_->aligned()) object.Set("starts", raw_->Rows(env_));
      object.Set("data", raw_->Give(env_));
    }
    return object;
  }

  Napi::Env env_;
  Wire wire_;
  bool held_ = false;
  std::unique_ptr<CancelTicket> cancel_;
  std::unique_ptr<RowSink> sink_;
  BlockSink* block_ = nullptr;  // sink_, where it is one
  RawSink* raw_ = nullptr;      // sink_, where it is one
  std::unique_ptr<BufferPieces> pieces_;
};

}  // namespace

void InitPgConn(Napi::Env env, Napi::Object exports) { exports.Set("NativeConnection", Connection::Define(env)); }

}  // namespace pem
