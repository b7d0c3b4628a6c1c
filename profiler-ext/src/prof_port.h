/*
 * The server's Port (who the client is), without the headers of OpenSSL and GSSAPI, which the server's own header asks
 * for and which are no part of PostgreSQL's development package. The struct is made for that: fields whose type they
 * give keep their place or stand last. To be included instead of libpq/libpq-be.h; in and out: nothing.
 */
#ifndef PROF_PORT_H
#define PROF_PORT_H

#include "postgres.h"

#pragma push_macro("ENABLE_GSS")
#pragma push_macro("USE_OPENSSL")
#pragma push_macro("USE_SSL")
#undef ENABLE_GSS
#undef USE_OPENSSL
#undef USE_SSL
#include "libpq/libpq-be.h"
#pragma pop_macro("USE_SSL")
#pragma pop_macro("USE_OPENSSL")
#pragma pop_macro("ENABLE_GSS")

#endif
