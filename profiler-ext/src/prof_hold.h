/*
 * Rows of nested statements that wait for their root: whether a root statement lasted long enough for a trace is known
 * only at its end, when its children's rows are long made.
 *
 * In: rows. Out: the same rows in the same order to the sink, or nothing. One buffer that grows without throwing up to
 * PROF_HOLD_BYTES and is given back when a root ends; rows that find no room are counted as lost if their root is taken.
 */
#ifndef PROF_HOLD_H
#define PROF_HOLD_H

#include "postgres.h"

#define PROF_HOLD_BYTES (4 * 1024 * 1024)

/* Traces that rows wait for. */
extern uint32 prof_held;

extern void prof_hold_row(uint32 mask, int64 end_us, const char *body, size_t length);

/* The root is decided on for the traces of mask: writes what waits for those of taken, forgets the others. */
extern void prof_hold_settle(uint32 mask, uint32 taken);

#endif
