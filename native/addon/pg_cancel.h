/*
 * A cancel request on a thread of its own: PQcancel connects and waits for the server to hang up, which a silent server
 * never does. In: a PGcancel, taken over. Out: `done` on the loop's thread, once, unless the ticket is dropped first.
 *
 * 1. Neither the loop nor libuv's pool ever waits for a server.
 * 2. At most kMostUnanswered threads stand at one time in the process; beyond that Start() refuses and the caller closes
 *    its connection, which ends the call just as well.
 * 3. A thread whose ticket is gone touches nothing but its own job.
 */
#pragma once

#include <libpq-fe.h>
#include <uv.h>

#include <functional>
#include <memory>
#include <string>

namespace pem {

class CancelTicket {
 public:
  static constexpr int kMostUnanswered = 16;
  using Done = std::function<void(const std::string& error)>;

  /** Null: too many requests are unanswered, or no thread is to be had. `request` is freed in every case. */
  static std::unique_ptr<CancelTicket> Start(uv_loop_t* loop, PGcancel* request, Done done);
  /** Forgets the request: `done` is not called any more. */
  ~CancelTicket();

  struct Job;

 private:
  explicit CancelTicket(std::shared_ptr<Job> job) : job_(std::move(job)) {}
  std::shared_ptr<Job> job_;
};

}  // namespace pem
