/*
 * Errors: what failed statements' rows say, and rows for errors that no statement's hooks saw.
 *
 * In: PostgreSQL's error state, where it lies or copied to a context of ours. Out: fields of frames, rows.
 */
#ifndef PROF_ERROR_H
#define PROF_ERROR_H

#include "postgres.h"

#include "prof_frame.h"

/* Identity of the error that a row has shown last: code 0, none. */
typedef struct ProfErrorSeen {
  int code;
  uint32 hash;
} ProfErrorSeen;

extern ProfErrorSeen prof_error_seen;

/* The transaction has met an error that reached the client or left the outermost statement. */
extern bool prof_error_in_transaction;

/* Within PG_CATCH: gives frame, which is paused, the error and writes its row. Does nothing where it has no traces. */
extern void prof_error_caught(ProfFrame *frame);

/* The same for a frame that is entered: an error ends the piece that runs. */
extern void prof_error_ends_piece(ProfFrame *frame);

/* Puts the error into frame; its row shows the message if none did before. */
extern void prof_error_describe(ProfFrame *frame, const ErrorData *edata);

/* A new root statement: what happens from here is another error. */
static inline void prof_error_forget(void) {
  prof_error_seen.code = 0;
}

extern void prof_error_install(void);

#endif
