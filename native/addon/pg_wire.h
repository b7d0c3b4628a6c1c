/*
 * One libpq connection on the event loop: connect, one call at a time, COPY in both directions. In: SQL, pieces to send.
 * Out: the last PGresult, COPY data into a RowSink, events. Knows nothing of JavaScript. Owns the PGconn and its results;
 * sinks and sources belong to the caller and live as long as the call. Nothing here waits: libpq's non-blocking API and
 * one uv_poll_t only.
 *
 * 1. The host's name is resolved before Connect() (`hostaddr` is given), so that PQconnectStart asks no name server.
 * 2. While it connects libpq may change sockets, also to one of the same number: the poll is stopped before each
 *    PQconnectPoll and armed anew after it.
 * 3. An idle connection stays readable in the poll: its end and its notices are seen at once. It does not hold the loop.
 * 4. Events are the last thing a handler does: the listener may start the next call, or close, from inside them.
 * 5. Data that OpenSSL has decrypted already makes no socket readable: it is asked for after each read.
 * 6. Not more than kTurnBytes of a COPY are sent in one turn of the loop, and no more is given to libpq before it has
 *    flushed what it has.
 */
#pragma once

#include <libpq-fe.h>
#include <uv.h>

#include <optional>
#include <string>
#include <vector>

namespace pem {

/** Takes the data of a COPY TO STDOUT, one CopyData message at a time. */
class RowSink {
 public:
  virtual ~RowSink() = default;
  /** False: no more of it; what still comes is thrown away and WireEvents::SinkStopped follows. */
  virtual bool Take(const char* data, size_t length) = 0;
};

/** Gives the data of a COPY FROM STDIN. */
class PieceSource {
 public:
  virtual ~PieceSource() = default;
  /** At most `most` bytes, valid until the next call; length 0 at the end. False: the data is not readable. */
  virtual bool Next(size_t most, const char** data, size_t* length) = 0;
};

class WireEvents {
 public:
  virtual ~WireEvents() = default;
  /** Around the events of one turn: the listener, and the Wire in it, live until Leave(). False: nobody listens. */
  virtual bool Enter() = 0;
  virtual void Leave() = 0;
  virtual void Connected() = 0;
  virtual void Failed(const std::string& message) = 0;
  /** The call has ended: see error(), result(), misuse(). */
  virtual void Done() = 0;
  virtual void Lost(const std::string& message) = 0;
  virtual void Notice(const std::string& message) = 0;
  virtual void SinkStopped() = 0;
};

/** A parameter of a query: no value is NULL. */
struct Parameter {
  std::optional<std::string> value;
  bool binary = false;  // a bytea as it is
};

class Wire {
 public:
  Wire(uv_loop_t* loop, WireEvents* events) : loop_(loop), events_(events) {}
  ~Wire() { Close(); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  /** Each returns the reason for which nothing was started, or "". */
  std::string Connect(const std::vector<std::string>& keys, const std::vector<std::string>& values);
  std::string Query(const std::string& sql, const std::vector<Parameter>& parameters);
  std::string Describe(const std::string& sql);
  std::string CopyOut(const std::string& sql, RowSink* sink);
  std::string CopyIn(const std::string& sql, PieceSource* source);

  /** Closes at once, without an event. */
  void Close();

  bool open() const { return phase_ == Phase::Ready; }
  bool closed() const { return phase_ == Phase::Closed; }
  bool busy() const { return call_ != Call::None || phase_ == Phase::Connecting; }
  PGconn* connection() const { return connection_; }
  uv_loop_t* loop() const { return loop_; }
  /** Of the last call, until the next. */
  const PGresult* result() const { return result_; }
  const PGresult* error() const { return error_; }
  const std::string& misuse() const { return misuse_; }

 private:
  enum class Phase { New, Connecting, Ready, Closed };
  enum class Call { None, Query, Describe, CopyOut, CopyIn };
  enum class Stage { Results, CopyOutData, CopyInData };

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnNotice(void* self, const char* message);
  void StepConnect();
  void Progress();
  bool Receive();
  void Keep(PGresult* result);
  void Send();
  void Settle(bool finished);
  std::string Start(Call call, int sent);
  std::string Ready() const;
  void Clear();
  bool Watch(int events);
  void StopPoll();
  void DropPoll();
  bool Decrypted() const;

  uv_loop_t* loop_;
  WireEvents* events_;
  PGconn* connection_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  int poll_fd_ = -1;
  int watched_ = 0;
  Phase phase_ = Phase::New;
  Call call_ = Call::None;
  Stage stage_ = Stage::Results;
  RowSink* sink_ = nullptr;
  PieceSource* source_ = nullptr;
  bool copied_ = false;    // the call's COPY has begun
  bool stopped_ = false;   // the sink wants no more
  bool prepared_ = false;  // Describe: the second half has been sent
  PGresult* result_ = nullptr;
  PGresult* error_ = nullptr;
  std::string misuse_;
  std::vector<std::string> notices_;
  std::string last_words_;
};

}  // namespace pem
