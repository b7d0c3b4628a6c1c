// The edge between JavaScript and the aggregate of traces. Used by addon.cc.
#pragma once

#include <napi.h>

namespace pem {

// Exports TraceAggregate, normaliseSql and the lists of what is in them.
void InitTraceAggregate(Napi::Env env, Napi::Object exports);

}  // namespace pem
