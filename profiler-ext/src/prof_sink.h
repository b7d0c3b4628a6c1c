/*
 * The sink: rows go in, files of this backend's slot come out (README.md says which). In: whole CSV rows. Out: bytes in
 * the slot's mapped ring, and from there in its CSV file. Owner of rings and files: prof_sink.c.
 *
 * Nothing here throws, allocates backend memory, logs or takes a lock; it may be called in any hook, from a memory
 * context's reset callback, from the emit_log_hook, outside of transactions and while the backend ends (until
 * on_shmem_exit). What cannot be written is counted as lost and leaves a gap in the line numbers. The caller's query never
 * learns of it.
 */
#ifndef PROF_SINK_H
#define PROF_SINK_H

#include "prof_trace.h"

#pragma GCC visibility push(hidden)

/*
 * Appends one row to each trace of mask that is still running: "<trace>,<line>," and body, which begins with the third
 * column and ends with '\n'. end_us: the row's end time, microseconds since 1970 UTC; a trace whose duration ended before
 * it is stopped instead.
 */
extern void prof_sink_row(uint32 mask, int64 end_us, const char *body, size_t length);

/* Counts a row that could not be made, in each trace of mask: the line number advances. */
extern void prof_sink_lost(uint32 mask);

#pragma GCC visibility pop

#endif
