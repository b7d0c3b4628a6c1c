/*
 * A frame is what is known of one statement that runs or waits to run on: one per QueryDesc, one per utility command.
 *
 * In: calls of the hooks. Out: frames, whose rows prof_row.c writes. Frames come from a pool in TopMemoryContext that only
 * grows and is asked for without throwing: where there is none, the statement's row is lost and counted. A frame of a
 * QueryDesc hangs on a reset callback of its es_query_cxt, which finds it (prof_frame_of) and ends it when ExecutorEnd
 * never comes; frames of utility commands belong to the hook that opened them.
 */
#ifndef PROF_FRAME_H
#define PROF_FRAME_H

#include "postgres.h"

#include <sys/resource.h>

#include "compat.h"
#include "prof_clock.h"
#include "prof_trace.h"
#include "utils/palloc.h"
#include "utils/timestamp.h"

#define PROF_BLOCK_COUNTERS 10
#define PROF_WAL_COUNTERS 3

/* Two counters, computed with at once. */
typedef int64 ProfPair __attribute__((vector_size(16), aligned(8), may_alias));

#define PROF_COUNTER_PAIRS 7

/* Counters of this process: blocks in the order of the columns (and of BufferUsage), then WAL records, images, bytes. */
typedef union ProfCounters {
  int64 value[2 * PROF_COUNTER_PAIRS]; /* the last is not used */
  ProfPair pair[PROF_COUNTER_PAIRS];
} ProfCounters;

/* How a text is searched for secrets before it is written. */
typedef enum ProfSearch {
  PROF_SEARCH_SUSPECT, /* planned statements: where a quick look says so */
  PROF_SEARCH_ALWAYS,
  PROF_SEARCH_NEVER /* commands that hold no literal */
} ProfSearch;

typedef struct ProfFrame {
  struct ProfFrame *outer; /* while it runs: the frame around it; in the pool: the next free one */
  uint32 mask;             /* traces that get its row; 0: it only keeps the nesting */
  uint32 inner;            /* traces that get the rows of statements nested in it */
  uint32 options;          /* PROF_OPT_* of any of them */
  LocalTransactionId lxid;
  int64 serial;

  /* From here to the comment below: zeroed at the start. */
  int64 parent;
  int32 level;
  uint32 flags;      /* CSV_FLAG_* known so far */
  bool from_message; /* not nested: elapsed runs from the message's arrival */
  bool executor;     /* has a QueryDesc */
  bool measured;     /* times and counters are known */
  bool ran;          /* ExecutorRun was called: it is a row */
  bool done;         /* its row is written, or will not be */
  bool hung;         /* hangs on a QueryDesc and is counted in prof_live */
  bool ending;       /* in ExecutorEnd: the reset callback leaves it alone */
  bool silent;       /* gives a row only when it fails */
  bool rare;         /* JIT or workers are to be looked at */
  bool io_known;     /* track_io_timing was on in all its pieces */
  bool text_kept;    /* the text lasts as long as the executor state */
  uint8 search;      /* ProfSearch */
  uint8 tag_length;
  int sqlstate;     /* 0: none */
  const char *text; /* NULL: none */
  int64 query_id;
  const char *error;       /* the message; whoever sets it writes the row while it lasts. NULL: none */
  const char *error_query; /* text of the internal statement that failed. NULL: none */
  const char *plan_text;   /* until the row is written. NULL: none */
  const char *plan_json;
  int64 exec_ns; /* all pieces; -1: unknown */
  int64 jit_us;
  int32 workers_planned;
  int32 workers_launched;
  /* Zeroed up to here. */

  const char *tag; /* at least 16 readable bytes where it is an executor's */
  int text_location;
  int text_length; /* 0: up to the NUL */
  int64 plan_ns;   /* -1: not planned */
  int64 rows;      /* -1: unknown */
  TimestampTz arrived;
  int64 started_ns;
  int64 piece_ns;     /* start of the piece that runs */
  int64 last_ns;      /* end of the last piece */
  ProfCounters base;  /* readings at the start, moved on by what others did between the pieces */
  ProfCounters pause; /* readings at the end of the last piece */
  int64 io_base[PROF_IO_TIMES];
  int64 io_pause[PROF_IO_TIMES];
  struct rusage usage_base;
  struct rusage usage; /* used by all pieces so far */

  char *params;      /* belongs to the frame, kept for the next statement. NULL: none yet */
  int params_length; /* -1: none */
  int params_capacity;

  MemoryContextCallback callback;
} ProfFrame;

/* The innermost and the outermost statement that run now. */
extern ProfFrame *prof_active;
extern ProfFrame *prof_outermost;

/* Frames that hang on a QueryDesc and are not done. */
extern int prof_live;

/* This extension renders parameters or a plan: statements that this runs are not traced. */
extern bool prof_rendering;

/* Fills a frame for a statement of this kind (PROF_KIND_*) that begins now. False: nobody wants to know of it. */
extern bool prof_frame_begin(ProfFrame *frame, uint32 kind);

/* The same with a frame from the pool. NULL: nobody wants to know of it, or its row is lost and counted. */
extern ProfFrame *prof_frame_open(uint32 kind);
extern void prof_frame_free(ProfFrame *frame);

/* Gives the frame to queryDesc, whose executor state is there; it is then freed by the reset callback. */
extern void prof_frame_hang(ProfFrame *frame, QueryDesc *queryDesc);
extern ProfFrame *prof_frame_of(QueryDesc *queryDesc);

/* ExecutorEnd is over: writes nothing, frees. */
extern void prof_frame_release(ProfFrame *frame);

/* Copies the text to where it lasts as long as the executor state. */
extern void prof_frame_keep_text(ProfFrame *frame, QueryDesc *queryDesc);

extern void prof_frame_measure(ProfFrame *frame); /* first piece begins */
extern void prof_frame_resume(ProfFrame *frame);  /* another piece begins */
extern void prof_frame_pause(ProfFrame *frame);   /* a piece ends */

/* PROF_KIND_* of a planned statement; the first operations have the same numbers in all versions. */
static inline uint32 prof_kind_of(CmdType operation) {
  static const uint16 kinds[] = {PROF_KIND_UTILITY, PROF_KIND_SELECT, PROF_KIND_UPDATE, PROF_KIND_INSERT,
                                 PROF_KIND_DELETE};

  if (likely(operation < lengthof(kinds))) return kinds[operation];
#if PG_VERSION_NUM >= 150000
  if (operation == CMD_MERGE) return PROF_KIND_MERGE;
#endif
  return PROF_KIND_UTILITY;
}

/*
 * A statement that is no row unless it fails: what runs in it belongs to the statement around it. prof_frame_speak gives it
 * a number and makes it a row after all.
 */
extern void prof_frame_silence(ProfFrame *frame);
extern void prof_frame_speak(ProfFrame *frame);

/* The row is written, or will not be. */
static inline void prof_frame_done(ProfFrame *frame) {
  frame->done = true;
  if (frame->hung) prof_live--;
  frame->hung = false;
}

/* The next statement's serial number. */
extern int64 prof_next_serial(void);

/* frame runs from here to prof_frame_leave; nested statements are its children. */
static inline void prof_frame_enter(ProfFrame *frame) {
  frame->outer = prof_active;
  if (prof_active == NULL) prof_outermost = frame;
  prof_active = frame;
}

static inline void prof_frame_leave(ProfFrame *frame) {
  prof_active = frame->outer;
  if (prof_active == NULL) prof_outermost = NULL;
}

#endif
