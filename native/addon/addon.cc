// The addon's door: the codec and the connection to monitored servers. native/codec.ts and native/pgconn.ts are its
// only callers.
#include <napi.h>

#include "codec.h"
#if __has_include("pgconn.h")
#include "pgconn.h"
#define HAVE_PGCONN
#endif

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  pem::InitCodec(env, exports);
#ifdef HAVE_PGCONN
  pem::InitPgConn(env, exports);
#endif
  return exports;
}

NODE_API_MODULE(pem, Init)
