/* See pg_wire.h. */
#include "pg_wire.h"

#include <cstring>

// The definition that libpq itself is bound to (its own libssl, or Node's where Node exports it); absent without TLS.
extern "C" int SSL_pending(const void* ssl) __attribute__((weak));

namespace pem {

namespace {

constexpr size_t kSliceBytes = 64 * 1024;
constexpr size_t kTurnBytes = 1024 * 1024;
constexpr Oid kByteaOid = 17;

std::string Trimmed(const char* message) {
  std::string text = message == nullptr ? "" : message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

std::string Wire::Connect(const std::vector<std::string>& keys, const std::vector<std::string>& values) {
  if (phase_ != Phase::New) return "already connected";
  std::vector<const char*> key_pointers, value_pointers;
  for (size_t i = 0; i < keys.size(); i++) {
    key_pointers.push_back(keys[i].c_str());
    value_pointers.push_back(values[i].c_str());
  }
  key_pointers.push_back(nullptr);
  value_pointers.push_back(nullptr);
  connection_ = PQconnectStartParams(key_pointers.data(), value_pointers.data(), 0);
  if (connection_ == nullptr) return "out of memory";
  if (PQstatus(connection_) == CONNECTION_BAD) {
    std::string message = Trimmed(PQerrorMessage(connection_));
    Close();
    return message;
  }
  PQsetNoticeProcessor(connection_, OnNotice, this);
  phase_ = Phase::Connecting;
  if (!Watch(UV_WRITABLE)) {
    Close();
    return "the socket cannot be watched";
  }
  return "";
}

void Wire::StepConnect() {
  StopPoll();
  PostgresPollingStatusType next = PQconnectPoll(connection_);
  if (next == PGRES_POLLING_OK) {
    PQsetnonblocking(connection_, 1);
    phase_ = Phase::Ready;
    if (Watch(UV_READABLE)) return events_->Connected();
  } else if (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
    if (Watch(next == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE)) return;
  }
  std::string message = Trimmed(PQerrorMessage(connection_));
  Close();
  events_->Failed(message);
}

std::string Wire::Ready() const {
  if (phase_ != Phase::Ready) return "the connection is closed";
  if (call_ != Call::None) return "another call is running";
  return "";
}

std::string Wire::Start(Call call, int sent) {
  if (sent == 0) {
    Clear();
    return Trimmed(PQerrorMessage(connection_));
  }
  call_ = call;
  stage_ = Stage::Results;
  Watch(UV_READABLE | (PQflush(connection_) == 1 ? UV_WRITABLE : 0));
  return "";
}

std::string Wire::Query(const std::string& sql, const std::vector<Parameter>& parameters) {
  std::string reason = Ready();
  if (!reason.empty()) return reason;
  Clear();
  if (parameters.empty()) return Start(Call::Query, PQsendQuery(connection_, sql.c_str()));
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths, formats;
  for (const Parameter& parameter : parameters) {
    types.push_back(parameter.binary ? kByteaOid : 0);
    values.push_back(parameter.value ? parameter.value->data() : nullptr);
    lengths.push_back(parameter.value ? static_cast<int>(parameter.value->size()) : 0);
    formats.push_back(parameter.binary ? 1 : 0);
  }
  return Start(Call::Query, PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(parameters.size()), types.data(),
                                              values.data(), lengths.data(), formats.data(), 0));
}

std::string Wire::Describe(const std::string& sql) {
  std::string reason = Ready();
  if (!reason.empty()) return reason;
  Clear();
  // The unnamed statement: nothing to deallocate, the next Parse replaces it.
  return Start(Call::Describe, PQsendPrepare(connection_, "", sql.c_str(), 0, nullptr));
}

std::string Wire::CopyOut(const std::string& sql, RowSink* sink) {
  std::string reason = Ready();
  if (!reason.empty()) return reason;
  Clear();
  sink_ = sink;
  return Start(Call::CopyOut, PQsendQuery(connection_, sql.c_str()));
}

std::string Wire::CopyIn(const std::string& sql, PieceSource* source) {
  std::string reason = Ready();
  if (!reason.empty()) return reason;
  Clear();
  source_ = source;
  return Start(Call::CopyIn, PQsendQuery(connection_, sql.c_str()));
}

void Wire::OnNotice(void* self, const char* message) {
  static_cast<Wire*>(self)->notices_.push_back(Trimmed(message));
}

void Wire::OnPoll(uv_poll_t* poll, int status, int) {
  auto* self = static_cast<Wire*>(poll->data);
  // A socket error makes libuv stop the handle; what the error was, libpq finds out by using the socket.
  if (status < 0) self->watched_ = 0;
  WireEvents* events = self->events_;
  if (!events->Enter()) return self->Close();
  if (self->phase_ == Phase::Connecting)
    self->StepConnect();
  else
    self->Progress();
  events->Leave();
}

bool Wire::Decrypted() const {
  void* ssl = PQsslInUse(connection_) != 0 ? PQsslStruct(connection_, "OpenSSL") : nullptr;
  return ssl != nullptr && SSL_pending != nullptr && SSL_pending(ssl) > 0;
}

void Wire::Progress() {
  bool stopped_before = stopped_;
  bool finished = false;
  do {
    PQconsumeInput(connection_);
    if (call_ != Call::None)
      finished = Receive();
    else
      PQisBusy(connection_);  // parses what came: notices, the server's last words
    while (PGnotify* notify = PQnotifies(connection_)) PQfreemem(notify);
  } while (!finished && PQstatus(connection_) == CONNECTION_OK && Decrypted());
  if (!finished && call_ != Call::None && PQstatus(connection_) == CONNECTION_OK) {
    bool sending = stage_ == Stage::CopyInData;
    Send();
    // The server's answer may have been read already while data was still going out (an error in an early row).
    if ((sending && stage_ == Stage::Results) || PQstatus(connection_) == CONNECTION_BAD) finished = Receive();
  }
  bool stops = stopped_ && !stopped_before && !finished;
  Settle(finished);
  if (stops && phase_ == Phase::Ready) events_->SinkStopped();
}

bool Wire::Receive() {
  for (;;) {
    bool bad = PQstatus(connection_) == CONNECTION_BAD;
    if (stage_ == Stage::CopyOutData) {
      char* data = nullptr;
      int length = PQgetCopyData(connection_, &data, 1);
      if (length > 0) {
        if (sink_ != nullptr && !stopped_ && !sink_->Take(data, static_cast<size_t>(length))) {
          stopped_ = true;
          // Also where the server is done before a cancel request reaches it: half a stream is no result.
          misuse_ = "more data than the call takes";
        }
        PQfreemem(data);
        continue;
      }
      if (length == 0 && !bad) return false;
      stage_ = Stage::Results;
      continue;
    }
    if (!bad && (stage_ == Stage::CopyInData || PQisBusy(connection_) != 0)) return false;
    PGresult* result = PQgetResult(connection_);
    if (result != nullptr) {
      Keep(result);
      continue;
    }
    if (call_ != Call::Describe || prepared_ || error_ != nullptr) return true;
    prepared_ = true;
    if (PQsendDescribePrepared(connection_, "") == 0) return true;
  }
}

void Wire::Keep(PGresult* result) {
  PGresult** place = &result_;
  switch (PQresultStatus(result)) {
    case PGRES_COPY_OUT:
      stage_ = Stage::CopyOutData;
      if (call_ != Call::CopyOut) misuse_ = "COPY TO STDOUT where no data is awaited";
      copied_ = true;
      PQclear(result);
      return;
    case PGRES_COPY_IN:
      if (call_ == Call::CopyIn && !copied_) {
        stage_ = Stage::CopyInData;
        copied_ = true;
      } else {
        misuse_ = "COPY FROM STDIN where there is no data to send";
        PQputCopyEnd(connection_, "no data is sent by this call");
      }
      PQclear(result);
      return;
    case PGRES_COPY_BOTH:
      misuse_ = "replication commands are not supported";
      stage_ = Stage::CopyOutData;
      PQputCopyEnd(connection_, nullptr);
      PQclear(result);
      return;
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
      if (error_ != nullptr) {
        // The first is the cause; libpq adds its own "connection lost" after a FATAL.
        PQclear(result);
        return;
      }
      place = &error_;
      break;
    default:
      break;
  }
  if (*place != nullptr) PQclear(*place);
  *place = result;
}

void Wire::Send() {
  size_t turn = 0;
  while (stage_ == Stage::CopyInData) {
    if (turn >= kTurnBytes || PQflush(connection_) != 0) break;
    const char* data = nullptr;
    size_t length = 0;
    bool readable = source_->Next(kSliceBytes, &data, &length);
    if (length > 0) {
      // libpq takes it whole: its buffer was empty, and grows to a slice at most.
      if (PQputCopyData(connection_, data, static_cast<int>(length)) != 1) break;
      turn += length;
      continue;
    }
    if (!readable) misuse_ = "a piece was detached while it was sent";
    if (PQputCopyEnd(connection_, readable ? nullptr : "the client's data is gone") != 1) break;
    stage_ = Stage::Results;
  }
}

void Wire::Settle(bool finished) {
  bool lost = PQstatus(connection_) == CONNECTION_BAD;
  std::vector<std::string> notices;
  notices.swap(notices_);
  std::string message;
  if (lost) {
    if (error_ != nullptr) message = Trimmed(PQresultErrorMessage(error_));
    if (message.empty()) message = notices.empty() ? last_words_ : notices.back();
    if (message.empty()) message = Trimmed(PQerrorMessage(connection_));
    Close();
  } else {
    if (finished) {
      call_ = Call::None;
      if (misuse_.empty() && error_ == nullptr && !copied_) {
        if (sink_ != nullptr) misuse_ = "not a COPY TO STDOUT";
        if (source_ != nullptr) misuse_ = "not a COPY FROM STDIN";
      }
      sink_ = nullptr;
      source_ = nullptr;
    }
    bool more = PQflush(connection_) == 1 || stage_ == Stage::CopyInData;
    Watch(UV_READABLE | (call_ != Call::None && more ? UV_WRITABLE : 0));
  }
  // What a server says to an idle client comes as a notice, and its end in a later turn.
  if (call_ == Call::None && !notices.empty()) last_words_ = notices.back();
  for (const std::string& notice : notices) events_->Notice(notice);
  if (lost) return events_->Lost(message);
  if (finished && phase_ == Phase::Ready) events_->Done();
}

void Wire::Clear() {
  if (result_ != nullptr) PQclear(result_);
  if (error_ != nullptr) PQclear(error_);
  result_ = error_ = nullptr;
  misuse_.clear();
  last_words_.clear();
  sink_ = nullptr;
  source_ = nullptr;
  stage_ = Stage::Results;
  copied_ = stopped_ = prepared_ = false;
}

void Wire::Close() {
  DropPoll();
  Clear();
  call_ = Call::None;
  phase_ = Phase::Closed;
  if (connection_ != nullptr) PQfinish(connection_);
  connection_ = nullptr;
}

bool Wire::Watch(int events) {
  int fd = PQsocket(connection_);
  if (fd < 0) return false;
  if (poll_ != nullptr && fd != poll_fd_) DropPoll();
  if (poll_ == nullptr) {
    auto* poll = new uv_poll_t;
    if (uv_poll_init(loop_, poll, fd) != 0) {
      delete poll;
      return false;
    }
    poll->data = this;
    poll_ = poll;
    poll_fd_ = fd;
    watched_ = 0;
  }
  auto* handle = reinterpret_cast<uv_handle_t*>(poll_);
  if (busy())
    uv_ref(handle);
  else
    uv_unref(handle);
  if (watched_ == events) return true;
  watched_ = events;
  return uv_poll_start(poll_, events, OnPoll) == 0;
}

void Wire::StopPoll() {
  if (poll_ != nullptr) uv_poll_stop(poll_);
  watched_ = 0;
}

void Wire::DropPoll() {
  if (poll_ == nullptr) return;
  uv_poll_stop(poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  poll_ = nullptr;
  watched_ = 0;
}

}  // namespace pem
