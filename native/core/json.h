/*
 * JSON syntax as PostgreSQL's json and jsonb input take it (checked against a server by a test).
 *
 * In: valid UTF-8 without NUL, owned by the caller. Out: a verdict. No memory but a bit stack on the C stack.
 * json:  numbers and escapes by form alone. jsonb: also no \u0000, surrogates in pairs, numbers that numeric can hold.
 * Nesting deeper than COL_JSON_DEPTH is refused: PostgreSQL's own limit is its stack, and this is well inside it.
 */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COL_JSON_DEPTH 1024

/* NULL when p[0..n) is valid, else why not (static text). */
const char *col_check_json(const uint8_t *p, size_t n, int jsonb);

#ifdef __cplusplus
}
#endif
#endif
