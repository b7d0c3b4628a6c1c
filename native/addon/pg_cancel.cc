/* See pg_cancel.h. */
#include "pg_cancel.h"

#include <pthread.h>

#include <atomic>
#include <mutex>

namespace pem {

struct CancelTicket::Job {
  std::mutex mutex;
  uv_async_t* wake = nullptr;  // null once the ticket is gone; guarded by mutex
  PGcancel* request = nullptr;
  std::string error;
  Done done;
};

namespace {

using Shared = std::shared_ptr<CancelTicket::Job>;

constexpr size_t kStackBytes = 256 * 1024;
std::atomic<int> unanswered{0};

void* Run(void* argument) {
  std::unique_ptr<Shared> holder(static_cast<Shared*>(argument));
  CancelTicket::Job& job = **holder;
  char message[256] = "";
  int sent = PQcancel(job.request, message, sizeof message);
  PQfreeCancel(job.request);
  unanswered.fetch_sub(1);
  std::lock_guard<std::mutex> lock(job.mutex);
  if (sent == 0) job.error = message[0] != '\0' ? message : "cancel request failed";
  if (job.wake != nullptr) uv_async_send(job.wake);
  return nullptr;
}

void CloseWake(uv_async_t* wake) {
  uv_close(reinterpret_cast<uv_handle_t*>(wake), [](uv_handle_t* handle) {
    delete static_cast<Shared*>(handle->data);
    delete reinterpret_cast<uv_async_t*>(handle);
  });
}

void Woken(uv_async_t* wake) {
  Shared job = *static_cast<Shared*>(wake->data);
  CancelTicket::Done done;
  std::string error;
  {
    std::lock_guard<std::mutex> lock(job->mutex);
    if (job->wake == nullptr) return;
    job->wake = nullptr;
    done.swap(job->done);
    error = job->error;
  }
  CloseWake(wake);
  done(error);
}

}  // namespace

std::unique_ptr<CancelTicket> CancelTicket::Start(uv_loop_t* loop, PGcancel* request, Done done) {
  if (request == nullptr) return nullptr;
  if (unanswered.fetch_add(1) >= kMostUnanswered) {
    unanswered.fetch_sub(1);
    PQfreeCancel(request);
    return nullptr;
  }
  auto job = std::make_shared<Job>();
  job->request = request;
  job->done = std::move(done);
  auto* wake = new uv_async_t;
  if (uv_async_init(loop, wake, Woken) != 0) {
    delete wake;
    unanswered.fetch_sub(1);
    PQfreeCancel(request);
    return nullptr;
  }
  wake->data = new Shared(job);
  job->wake = wake;

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  auto* argument = new Shared(job);
  pthread_t thread;
  int failed = pthread_create(&thread, &attributes, Run, argument);
  pthread_attr_destroy(&attributes);
  std::unique_ptr<CancelTicket> ticket(new CancelTicket(job));
  if (failed != 0) {
    delete argument;
    unanswered.fetch_sub(1);
    PQfreeCancel(request);
    return nullptr;  // the ticket's end closes the wake handle
  }
  return ticket;
}

CancelTicket::~CancelTicket() {
  uv_async_t* wake;
  {
    std::lock_guard<std::mutex> lock(job_->mutex);
    wake = job_->wake;
    job_->wake = nullptr;
    job_->done = nullptr;
  }
  if (wake != nullptr) CloseWake(wake);
}

}  // namespace pem
