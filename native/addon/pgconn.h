/* PgConn's native half for JavaScript: class NativeConnection over Wire (pg_wire.h) and CancelTicket (pg_cancel.h). */
#pragma once

#include <napi.h>

namespace pem {

void InitPgConn(Napi::Env env, Napi::Object exports);

}  // namespace pem
