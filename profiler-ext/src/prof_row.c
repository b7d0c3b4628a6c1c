/*
 * Rows of CSV. In, out, owner of the memory: prof_row.h; what the columns mean: COLUMNS.md.
 *
 * This is most of the cost of a traced statement, so what does not change from row to row is kept as text: the session's
 * columns, the seconds of the time, query ids. Most counters of most statements are 0, and are written as runs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "csv_columns.h"
#include "csv_writer.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "prof_hold.h"
#include "prof_mask.h"
#include "prof_row.h"
#include "prof_sink.h"
#include "prof_tail.h"
#include "prof_tell.h"
#include "prof_text.h"
#include "prof_xact.h"
#include "utils/memutils.h"

/* All columns but the long texts; the session's are the longest of them. */
#define FIXED_BYTES 2048
#define FIRST_BYTES (16 * 1024)
#define KEPT_BYTES (256 * 1024)

#define QUERY_IDS 16

/* A text of the row, as it is to be written. */
typedef struct Piece {
  const char *text; /* NULL: none */
  size_t n;
} Piece;

typedef struct Room {
  char *bytes;
  size_t capacity;
} Room;

int64 prof_wall_offset_us = 0;
int64 prof_wall_read_ns = PG_INT64_MIN / 2;

static char first_row[FIRST_BYTES];
static Room row = {first_row, sizeof first_row};
static Room masked = {0}; /* texts without their secrets, one behind the other */
static ProfSecrets secrets;

void prof_wall_read(void) {
  struct timespec wall;
  int64 now_ns;

  clock_gettime(CLOCK_REALTIME, &wall);
  now_ns = prof_now_ns();
  prof_wall_offset_us = (int64)wall.tv_sec * 1000000 + wall.tv_nsec / 1000 - now_ns / 1000;
  prof_wall_read_ns = now_ns;
}

/* Makes the room n bytes long, if it is shorter; the first kept bytes stay. */
static bool reserve(Room *room, size_t n, size_t kept) {
  char *bytes;

  if (likely(n <= room->capacity)) return true;
  n = Max(n, FIRST_BYTES);
  bytes = MemoryContextAllocExtended(TopMemoryContext, n, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
  if (bytes == NULL) return false;
  if (kept > 0) memcpy(bytes, room->bytes, kept);
  if (room->bytes != NULL && room->bytes != first_row) pfree(room->bytes);
  room->bytes = bytes;
  room->capacity = n;
  return true;
}

/* A long text's buffer is not kept. */
static void give_back(Room *room) {
  if (likely(room->capacity <= KEPT_BYTES)) return;
  pfree(room->bytes);
  *room = room == &row ? (Room){first_row, sizeof first_row} : (Room){NULL, 0};
}

/*
 * Finds the secrets of a piece and puts a masked copy in its place, at used bytes of the buffer; all secrets where there
 * is no memory for a copy. False: there are none.
 */
static bool mask(Piece *piece, size_t *used, unsigned mode) {
  if (!standard_conforming_strings) mode |= PROF_MASK_BACKSLASH;
  if (!prof_mask_find(&secrets, piece->text, piece->n, mode)) return false;
  if (*used + piece->n > masked.capacity) {
    piece->text = "***";
    piece->n = 3;
    return true;
  }
  piece->n = prof_mask_write(masked.bytes + *used, piece->text, piece->n, &secrets);
  piece->text = masked.bytes + *used;
  *used += piece->n;
  return true;
}

/* What the error says, unless it may repeat a secret of the statement or of one that a function made. */
static Piece error_piece(const ProfFrame *frame, const Piece *query, bool query_masked, size_t *used, uint32 *flags) {
  static const char withheld[] = "(message withheld: it may repeat a secret of the statement)";
  Piece piece = {frame->error, frame->error == NULL ? 0 : strlen(frame->error)};
  bool repeats;

  if (piece.text == NULL) return piece;
  repeats = query_masked && prof_mask_repeats(piece.text, piece.n, query->text, &secrets);
  if (!repeats && frame->error_query != NULL)
    repeats = prof_mask_find(&secrets, frame->error_query, strlen(frame->error_query), 0) &&
              prof_mask_repeats(piece.text, piece.n, frame->error_query, &secrets);
  if (repeats) {
    *flags |= CSV_FLAG_MASKED;
    return (Piece){withheld, sizeof withheld - 1};
  }
  if (prof_mask_suspect(piece.text, piece.n) && reserve(&masked, *used + piece.n, 0) &&
      mask(&piece, used, PROF_MASK_PLAN | PROF_MASK_MESSAGE))
    *flags |= CSV_FLAG_MASKED;
  return piece;
}

static inline Piece cut(const char *text, size_t n, int32 limit, uint32 flag, uint32 *flags) {
  if (unlikely(n > (size_t)limit)) {
    n = prof_text_cut(text, n, limit);
    *flags |= flag;
  }
  return (Piece){text, n};
}

/* The texts of the row as this trace gets them. query: in, as the statement has it. */
static void prepare(const ProfFrame *frame, const ProfTrace *trace, Piece *query, Piece *params, Piece *plan,
                    Piece *error, uint32 *flags) {
  size_t used = 0;
  bool look;
  bool query_masked = false;
  Piece unmasked;

  *params = *plan = *error = (Piece){NULL, 0};
  if (query->text != NULL) *query = cut(query->text, query->n, trace->max_query_bytes, CSV_FLAG_QUERY_CUT, flags);
  if (unlikely(frame->params_length >= 0) && (trace->options & PROF_OPT_PARAMS) != 0) {
    *params = cut(frame->params, frame->params_length, trace->max_params_bytes, CSV_FLAG_PARAMS_CUT, flags);
    *flags |= frame->flags & CSV_FLAG_PARAMS_CUT;
  }
  if (unlikely(frame->plan_text != NULL || frame->plan_json != NULL) && frame->exec_ns / 1000 >= trace->plan_min_us) {
    const char *rendered = (trace->options & PROF_OPT_PLAN_JSON)   ? frame->plan_json
                           : (trace->options & PROF_OPT_PLAN_TEXT) ? frame->plan_text
                                                                   : NULL;

    if (rendered != NULL) *plan = cut(rendered, strlen(rendered), trace->max_plan_bytes, CSV_FLAG_PLAN_CUT, flags);
  }

  look = query->text != NULL && (frame->search == PROF_SEARCH_ALWAYS ||
                                 (frame->search == PROF_SEARCH_SUSPECT && prof_mask_suspect(query->text, query->n)));
  look = look || (params->text != NULL && prof_mask_suspect(params->text, params->n)) ||
         (plan->text != NULL && prof_mask_suspect(plan->text, plan->n));
  unmasked = *query;
  if (unlikely(look)) {
    bool found = false;

    /* Where there is no room, mask() leaves nothing of the text. */
    (void)reserve(&masked, query->n + params->n + plan->n + (frame->error == NULL ? 0 : strlen(frame->error)), 0);
    if (params->text != NULL) found = mask(params, &used, 0) || found;
    if (plan->text != NULL) found = mask(plan, &used, PROF_MASK_PLAN) || found;
    if (query->text != NULL && frame->search != PROF_SEARCH_NEVER) query_masked = mask(query, &used, 0);
    if (found || query_masked) *flags |= CSV_FLAG_MASKED;
  }
  if (unlikely(frame->error != NULL)) {
    *error = error_piece(frame, &unmasked, query_masked, &used, flags);
    *error = cut(error->text, error->n, trace->max_error_bytes, CSV_FLAG_ERROR_CUT, flags);
  }
}

/* The texts do not fit: less of the query, nothing of the others. */
static void shrink(Piece *query, Piece *params, Piece *plan, Piece *error, uint32 *flags) {
  size_t room = (row.capacity - FIXED_BYTES - 8) / 2;

  if (query->n > room) {
    query->n = prof_text_cut(query->text, query->n, room);
    *flags |= CSV_FLAG_QUERY_CUT;
  }
  if (params->text != NULL) *flags |= CSV_FLAG_PARAMS_CUT;
  if (plan->text != NULL) *flags |= CSV_FLAG_PLAN_CUT;
  if (error->text != NULL) *flags |= CSV_FLAG_ERROR_CUT;
  *params = *plan = *error = (Piece){NULL, 0};
}

/* One copy of it: most rows write all their numbers, and each in place would be another line of code to fetch. */
static pg_noinline char *put(char *p, int64 value) {
  p = csvw_i64(p, value);
  *p++ = ',';
  return p;
}

/* The same, but -1: unknown. */
static inline char *put_known(char *p, int64 value) {
  if (likely(value >= 0)) return put(p, value);
  *p = ',';
  return p + 1;
}

static inline char *put_text(char *p, const Piece *piece) {
  return piece->text == NULL ? p : csvw_text(p, piece->text, piece->n);
}

/* Seconds change rarely. */
static inline char *put_time(char *p, int64 us) {
  static int64 second = -1;
  static char digits[CSVW_NUMBER_BYTES];
  static int length = 10;
  int64 now = us / 1000000;

  if (unlikely(now != second)) {
    second = now;
    length = (int)(csvw_i64(digits, now) - digits);
  }
  memcpy(p, digits, 10);
  if (unlikely(length != 10)) memcpy(p, digits, length);
  p = csvw_six(p + length, (uint32)(us - now * 1000000));
  *p++ = ',';
  return p;
}

/* Query ids are long and come again. */
static inline char *put_query_id(char *p, int64 id) {
  static struct {
    int64 id;
    uint8 length;
    char digits[23];
  } ids[QUERY_IDS];
  int i = (int)((uint64)id % QUERY_IDS);

  if (unlikely(ids[i].id != id)) {
    ids[i].id = id;
    ids[i].length = (uint8)(csvw_i64(ids[i].digits, id) - ids[i].digits);
  }
  memcpy(p, ids[i].digits, 20);
  return p + ids[i].length;
}

/* The I/O times, where all pieces were timed. */
static char *put_io(char *p, const ProfFrame *frame) {
  for (int i = 0; i < PROF_IO_TIMES; i++) {
    if (PROF_IO_KNOWN & (1 << i)) p = csvw_i64(p, (frame->io_pause[i] - frame->io_base[i]) / 1000);
    *p++ = ',';
  }
  return p;
}

static char *put_usage(char *p, const struct rusage *usage) {
  p = put(p, (int64)usage->ru_utime.tv_sec * 1000000 + usage->ru_utime.tv_usec);
  p = put(p, (int64)usage->ru_stime.tv_sec * 1000000 + usage->ru_stime.tv_usec);
  p = put(p, usage->ru_minflt);
  p = put(p, usage->ru_majflt);
  p = put(p, usage->ru_nvcsw);
  return put(p, usage->ru_nivcsw);
}

/* A run of the same short text, of a length that is known to the compiler. */
#define PUT_RUN(p, run) (memcpy((p), (run), sizeof(run) - 1), (p) + sizeof(run) - 1)

/* From shared_hit to wal_bytes. behind_read: what follows the first two of them. */
static inline char *put_counters(char *p, const ProfFrame *frame, char **behind_read) {
  ProfCounters used;
  const int64 *v = used.value;

  *behind_read = p;
  if (unlikely(!frame->measured)) return PUT_RUN(p, ",,,,,,,,,,,,,,,,,,,");
#pragma GCC unroll 7
  for (int i = 0; i < PROF_COUNTER_PAIRS; i++) used.pair[i] = frame->pause.pair[i] - frame->base.pair[i];
  p = put(p, v[0]);
  p = *behind_read = put(p, v[1]);
  if ((v[2] | v[3] | v[4] | v[5] | v[6] | v[7] | v[8] | v[9]) == 0)
    p = PUT_RUN(p, "0,0,0,0,0,0,0,0,");
  else
    for (int i = 2; i < PROF_BLOCK_COUNTERS; i++) p = put(p, v[i]);
  if (likely(!frame->io_known))
    p = PUT_RUN(p, ",,,,,,");
  else
    p = put_io(p, frame);
  if ((v[10] | v[11] | v[12]) == 0) return PUT_RUN(p, "0,0,0,");
  p = put(p, v[10]);
  p = put(p, v[11]);
  return put(p, v[12]);
}

static char *put_state(char *p, int code) {
  for (int i = 0; i < 5; i++, code >>= 6) *p++ = PGUNSIXBIT(code);
  return p;
}

/* From jit_us to flags. */
static inline char *put_rest(char *p, const ProfFrame *frame, const ProfTrace *trace, const Piece *error,
                             uint32 flags) {
  bool usage = frame->measured && (trace->options & PROF_OPT_RUSAGE) != 0;

  if (likely(frame->executor && !frame->rare && frame->sqlstate == 0 && !usage && flags == 0))
    return PUT_RUN(p, "0,0,0,,,,,,,,,0,");
  if (frame->executor && frame->measured) {
    p = put(p, frame->jit_us);
    p = put(p, frame->workers_planned);
    p = put(p, frame->workers_launched);
  } else
    p = PUT_RUN(p, ",,,");
  if (frame->sqlstate != 0) p = put_state(p, frame->sqlstate);
  *p++ = ',';
  p = put_text(p, error);
  *p++ = ',';
  p = usage ? put_usage(p, &frame->usage) : PUT_RUN(p, ",,,,,,");
  return put(p, flags);
}

/* From the beginning to the session's columns: less than FIXED_BYTES, so that there always is room. */
static inline char *put_head(char *p, const ProfFrame *frame, int64 end_us, int64 elapsed_us) {
  TransactionId xid = GetTopTransactionIdIfAny();

  p = put_time(p, end_us);
  p = put_known(p, frame->exec_ns >= 0 ? frame->exec_ns / 1000 : -1);
  p = put_known(p, elapsed_us);
  p = put(p, frame->serial);
  p = put(p, frame->parent);
  p = put(p, frame->level);
  p = prof_tell_vxid(p);
  p = put(p, frame->lxid);
  p = put_known(p, TransactionIdIsValid(xid) ? (int64)xid : -1);
  return prof_tell_session(p);
}

/*
 * Does the row say nothing behind its session but the statement, rows and blocks hit and read? Then its end may be one that
 * was kept (prof_tail.h).
 */
static inline bool is_plain(const ProfFrame *frame, const ProfTrace *trace) {
  ProfPair rest;

  if (!frame->executor || !frame->measured || frame->rare || frame->io_known || frame->search != PROF_SEARCH_SUSPECT ||
      (frame->flags | (uint32)frame->sqlstate) != 0 || frame->plan_ns >= 0 || frame->rows < 0 || frame->error != NULL ||
      frame->plan_text != NULL || frame->plan_json != NULL || frame->params_length >= 0 ||
      (trace->options & PROF_OPT_RUSAGE) != 0)
    return false;
  rest = frame->pause.pair[1] - frame->base.pair[1];
#pragma GCC unroll 1
  for (int i = 2; i < PROF_COUNTER_PAIRS - 1; i++) rest |= frame->pause.pair[i] - frame->base.pair[i];
  return (rest[0] | rest[1] | (frame->pause.value[12] - frame->base.value[12])) == 0;
}

/* The rest of a row whose first head bytes are there. tail: where it may be kept for the next; NULL: nowhere. */
static pg_noinline size_t put_end(const ProfFrame *frame, const ProfTrace *trace, Piece query, size_t head,
                                  ProfTail *tail) {
  uint32 flags = frame->flags & ~CSV_FLAG_PARAMS_CUT;
  const Piece text = query;
  Piece params;
  Piece plan;
  Piece error;
  char *front;
  char *back;
  size_t front_length;
  char *p;

  prepare(frame, trace, &query, &params, &plan, &error, &flags);
  if (unlikely(!reserve(&row, FIXED_BYTES + CSVW_TEXT_BYTES(query.n + params.n + plan.n + error.n) + 6, head)))
    shrink(&query, &params, &plan, &error, &flags);
  front = p = row.bytes + head;
  if (frame->query_id != 0) p = put_query_id(p, frame->query_id);
  *p++ = ',';
  if (likely(frame->executor))
    memcpy(p, frame->tag, 16);
  else if (frame->tag_length > 0)
    memcpy(p, frame->tag, frame->tag_length);
  p += frame->tag_length;
  *p++ = ',';
  p = put_known(p, frame->plan_ns >= 0 ? frame->plan_ns / 1000 : -1);
  front_length = p - front;
  p = put_known(p, frame->rows);
  p = put_counters(p, frame, &back);
  p = put_rest(p, frame, trace, &error, flags);
  p = put_text(p, &query);
  *p++ = ',';
  p = put_text(p, &params);
  *p++ = ',';
  p = put_text(p, &plan);
  *p++ = '\n';
  if (tail != NULL && flags == 0)
    prof_tail_keep(tail, text.text, text.n, frame->query_id, frame->tag, front, front_length, back, p - back);
  return p - row.bytes;
}

#ifdef PROF_CHECK_TAILS
/* A row with a kept end is the row that would have been made without it. */
static void check_tail(const ProfFrame *frame, const ProfTrace *trace, Piece query, size_t head, size_t length) {
  static char kept[FIRST_BYTES];

  memcpy(kept, row.bytes, length);
  if (put_end(frame, trace, query, head, NULL) != length || memcmp(kept, row.bytes, length) != 0) abort();
}
#else
#define check_tail(frame, trace, query, head, length) ((void)0)
#endif

/* The row for traces that ask for what trace asks for. Returns its length. */
static inline size_t format(const ProfFrame *frame, const ProfTrace *trace, int64 end_us, int64 elapsed_us) {
  char *p = put_head(row.bytes, frame, end_us, elapsed_us);
  size_t head = p - row.bytes;
  ProfTail *tail = NULL;
  Piece query = {NULL, 0};

  query.text = prof_text_of(frame, &query.n);
  if (likely(query.text != NULL && query.n <= (size_t)trace->max_query_bytes && is_plain(frame, trace))) {
    tail = prof_tail_place(query.n, frame->query_id);
    if (likely(prof_tail_is(tail, query.text, query.n, frame->query_id, frame->tag))) {
      if (tail->credit < PROF_TAIL_CREDIT) tail->credit++;
      memcpy(p, tail->front, PROF_TAIL_FRONT_BYTES);
      p = put(p + tail->front_length, frame->rows);
      p = put(p, frame->pause.value[0] - frame->base.value[0]);
      p = put(p, frame->pause.value[1] - frame->base.value[1]);
      p = prof_tell_copy(p, tail->back, tail->length);
      check_tail(frame, trace, query, head, p - row.bytes);
      return p - row.bytes;
    }
  }
  return put_end(frame, trace, query, head, tail);
}

/* Do these traces get the same bytes? */
static bool same_format(const ProfTrace *a, const ProfTrace *b) {
  const uint32 matter = PROF_OPT_PARAMS | PROF_OPT_PLAN_TEXT | PROF_OPT_PLAN_JSON | PROF_OPT_RUSAGE;

  return ((a->options ^ b->options) & matter) == 0 && a->plan_min_us == b->plan_min_us &&
         a->max_query_bytes == b->max_query_bytes && a->max_params_bytes == b->max_params_bytes &&
         a->max_plan_bytes == b->max_plan_bytes && a->max_error_bytes == b->max_error_bytes;
}

/* Microseconds that the outermost statement has run for at the end of frame, which is nested in it; -1: it is not. */
static int64 root_us(const ProfFrame *frame) {
  const ProfFrame *root = prof_outermost;

  if (root == NULL || root == frame || !root->measured) return -1;
  return (root->exec_ns + frame->last_ns - root->piece_ns) / 1000;
}

/* Filters by duration: traces that get the row now; those that decide at the root's end are put into waiting. */
static uint32 taken(const ProfFrame *frame, int64 elapsed_us, uint32 *waiting) {
  uint32 result = 0;
  int64 us = frame->exec_ns >= 0 ? frame->exec_ns / 1000 : Max(elapsed_us, 0);

  *waiting = 0;
  for (uint32 bits = frame->mask; bits != 0; bits &= bits - 1) {
    const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];
    uint32 bit = bits & -bits;

    if (unlikely(trace->id == 0)) continue;
    if (likely(us >= trace->min_us) || root_us(frame) >= trace->min_us)
      result |= bit;
    else if (root_us(frame) >= 0)
      *waiting |= bit;
  }
  return result;
}

void prof_row_settle_slow(const ProfFrame *frame) {
  uint32 taken = 0;

  for (uint32 bits = prof_held; bits != 0; bits &= bits - 1) {
    const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];

    if (trace->id != 0 && frame->exec_ns / 1000 >= trace->min_us) taken |= bits & -bits;
  }
  prof_hold_settle(prof_held, taken);
}

/* Sends the row to the traces of group, all of which ask for the same. */
static void send_row(const ProfFrame *frame, uint32 group, uint32 waiting, int64 end_us, int64 elapsed_us) {
  size_t length = format(frame, &prof_traces[__builtin_ctz(group)], end_us, elapsed_us);

  if (likely((group & ~waiting) != 0)) prof_sink_row(group & ~waiting, end_us, row.bytes, length);
  if (unlikely((group & waiting) != 0)) prof_hold_row(group & waiting, end_us, row.bytes, length);
}

void prof_row_write(ProfFrame *frame) {
  static int64 last_end_us = 0;
  int64 end_us = prof_wall_us(frame->last_ns);
  int64 elapsed_us = -1;
  uint32 waiting;
  uint32 mask;

  prof_frame_done(frame);
  if (frame->silent) return;
  /* Rows of a slot are in the order of their ends, also where wall time was moved back a little. */
  if (unlikely(end_us < last_end_us && last_end_us - end_us < 1000000)) end_us = last_end_us;
  last_end_us = end_us;
  if (frame->from_message) {
    elapsed_us = Max(end_us - (frame->arrived + PROF_EPOCH_US), frame->exec_ns / 1000);
    if (frame->sqlstate == 0) prof_xact_completed = frame->arrived;
  } else if (frame->started_ns >= 0)
    elapsed_us = (frame->last_ns - frame->started_ns) / 1000;

  mask = taken(frame, elapsed_us, &waiting);
  if (unlikely((prof_held & mask) != 0)) prof_hold_settle(prof_held & mask, prof_held & mask);
  mask |= waiting;
  while (mask != 0) {
    uint32 group = mask & -mask;

    for (uint32 bits = mask & (mask - 1); bits != 0; bits &= bits - 1)
      if (same_format(&prof_traces[__builtin_ctz(mask)], &prof_traces[__builtin_ctz(bits)])) group |= bits & -bits;
    send_row(frame, group, waiting, end_us, elapsed_us);
    mask &= ~group;
  }
  give_back(&row);
  give_back(&masked);
}
