/*
 * Calls of PostgreSQL that may throw, made so that the statement they are about does not learn of it.
 *
 * In: a function that reads and renders. Out: whether it came to its end. It runs in a subtransaction of its own, since an
 * error may leave locks, pins and references behind that only an abort gives back; interrupts wait until it is over, so
 * that a cancel request is not taken for its failure. Not called at all where a subtransaction cannot be: in parallel mode
 * and outside of a good transaction.
 */
#ifndef PROF_GUARD_H
#define PROF_GUARD_H

#include "postgres.h"

/* Calls work(arg). False: it was not called, or threw. */
extern bool prof_guarded(void (*work)(void *), void *arg);

/*
 * The same without a subtransaction, for lookups of a process that has just begun: what an error leaves behind is given back
 * at the end of its transaction.
 */
extern bool prof_guarded_lightly(void (*work)(void *), void *arg);

#endif
