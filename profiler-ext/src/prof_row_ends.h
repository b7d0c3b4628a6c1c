/*
 * Where CSV rows end. In: bytes that begin with a row. Out: how many of them are whole rows. RFC 4180 with "\n" as line
 * end, as native/core/csv_writer makes them; bytes after a NUL are never rows. Reads what it is given, keeps nothing.
 */
#ifndef PROF_ROW_ENDS_H
#define PROF_ROW_ENDS_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Bytes of the whole rows at the start of bytes; 0 where not even one is there. */
extern size_t prof_rows_whole(const char *bytes, size_t length);

/*
 * The same for bytes that a machine that went down may have torn: ends where a row does not begin with this trace and a
 * line number higher than the one before (and than after). rows: how many, NULL where nobody asks.
 */
extern size_t prof_rows_salvage(const char *bytes, size_t length, int32_t trace, uint64_t after, uint64_t *rows);

#pragma GCC visibility pop

#endif
