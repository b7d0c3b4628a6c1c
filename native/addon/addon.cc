// The addon's door: the codec, the reader of trace files and the connection to monitored servers. native/codec.ts,
// native/csv.ts, native/trace.ts, native/trace_scan.ts and native/pgconn.ts are its callers.
#include <napi.h>

#include "codec.h"
#include "csv_edge.h"
#include "trace_aggregate_edge.h"
#include "trace_edge.h"
#if __has_include("pgconn.h")
#include "pgconn.h"
#define HAVE_PGCONN
#endif

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  pem::InitCodec(env, exports);
  pem::InitCsv(env, exports);
  pem::InitTrace(env, exports);
  pem::InitTraceAggregate(env, exports);
#ifdef HAVE_PGCONN
  pem::InitPgConn(env, exports);
#endif
  return exports;
}

NODE_API_MODULE(pem, Init)
