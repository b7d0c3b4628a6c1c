// The edge between JavaScript and the readers of whole traces: scan for reports, rows as text. Used by addon.cc.
#pragma once

#include <napi.h>

namespace pem {

// Exports TraceScan and traceRows.
void InitTrace(Napi::Env env, Napi::Object exports);

}  // namespace pem
