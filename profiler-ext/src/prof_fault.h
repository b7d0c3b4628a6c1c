/*
 * Faults in mapped rings: a file that was truncated, or a page that the file system has no room to write back, is a
 * SIGBUS in whoever writes to the mapping next. In: mappings. Out: a flag per mapping. The handler puts anonymous memory
 * in the mapping's place, so that the write that faulted goes on and the query never learns of it; faults anywhere else go
 * to the handler that was there before. The table of mappings is the process's own.
 */
#ifndef PROF_FAULT_H
#define PROF_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Guards a mapping: flag is set once memory was put in its place. False: no handler, or too many; then do not use it. */
extern bool prof_fault_guard(void *start, size_t bytes, volatile sig_atomic_t *flag);

/* To be called before the mapping is unmapped. */
extern void prof_fault_release(const void *start);

#pragma GCC visibility pop

#endif
