/*
 * Ends of transactions: the cost of an explicit COMMIT or ROLLBACK, which comes after its command, and rows for commits
 * and rollbacks that no statement asked for.
 *
 * In: the frame of a command that ends the transaction, PostgreSQL's transaction events. Out: rows. Owner of the memory:
 * static storage, and the pool's frame of the command in between. A transaction without an xid that does not fail costs
 * two calls and gives no row.
 */
#ifndef PROF_XACT_H
#define PROF_XACT_H

#include "postgres.h"

#include "prof_frame.h"

/* Local half of the last virtual transaction id that a statement ran in. */
extern LocalTransactionId prof_xact_lxid;

/* The command of frame, which runs and is entered, was COMMIT, ROLLBACK or PREPARE: its work is still to come. */
extern void prof_xact_defer(ProfFrame *frame);

/* Does such a command wait? */
extern bool prof_xact_deferred(void);

/* Ends a deferred command whose transaction's end did not come within its message. True: there was one. */
extern bool prof_xact_settle_stale(void);

/* The process ends: no row of a deferred command is to be written any more. */
extern void prof_xact_forget(void);

/*
 * Is this transaction one that somebody asked for: of a client, or one that a statement ran in? Those of background
 * processes (autovacuum, what logical replication applies) are not: their commits and errors are no rows.
 */
extern bool prof_xact_asked(void);

/* A root statement begins: one of a deferred trigger belongs to the commit that fires it. */
extern void prof_xact_begin_root(ProfFrame *frame);

/* When the message arrived whose root statement was complete last. */
extern TimestampTz prof_xact_completed;

/* Is an error that comes now one of the commit? */
extern bool prof_xact_committing(void);

/* It is one: writes the row of the commit that failed. The rollback's comes with the transaction's end. */
extern void prof_xact_failed(const ErrorData *edata);

/* An error ends the transaction from here. */
extern void prof_xact_note(void);

extern void prof_xact_install(void);

#endif
