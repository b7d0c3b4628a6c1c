// Work off the main thread with a promise at its end.
//
// In: buffers of JavaScript (kept alive until the end; nobody may write into them meanwhile) and two functions: `work`
// runs on a thread of libuv's pool and touches no JavaScript, `done` makes the result on the main thread. Stop: the
// promise of a job that an ending process or thread cuts off is never settled. (A thread that is being ended takes no more
// JavaScript; binding.gyp says that errors which nobody can be told of then do not abort the process.)
#pragma once

#include <napi.h>

#include <functional>

#include "batch.h"
#include "codec.h"

namespace pem {

// An array of Buffers -> their places; false after throwing codec_argument. `keep` is an array that holds them.
bool ReadBuffers(Napi::Value value, const char *name, std::vector<Piece> *pieces, Napi::Array *keep);

class Job : public Napi::AsyncWorker {
 public:
  using Work = std::function<bool(CodecError *)>;
  using Done = std::function<Napi::Value(Napi::Env, Napi::Array)>;

  // Queues it; the job deletes itself at its end.
  static Napi::Value Start(Napi::Env env, Napi::Array keep, Work work, Done done) {
    Job *job = new Job(env, keep, std::move(work), std::move(done));
    Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

  void Execute() override {
    if (!work_(&error_) && !error_) error_.set("codec_argument", "the job failed");
    if (error_) SetError(error_.message);
  }
  void OnOK() override { deferred_.Resolve(done_(Env(), keep_.Value().As<Napi::Array>())); }
  void OnError(const Napi::Error &) override { deferred_.Reject(MakeError(Env(), error_).Value()); }

 private:
  Job(Napi::Env env, Napi::Array keep, Work work, Done done)
      : Napi::AsyncWorker(env),
        deferred_(env),
        keep_(Napi::Persistent(keep.As<Napi::Object>())),
        work_(std::move(work)),
        done_(std::move(done)) {}

  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference keep_;
  Work work_;
  Done done_;
  CodecError error_;
};

}  // namespace pem
