/* Ends of rows that come again. In, out, owner of the memory: prof_tail.h. */
#include "postgres.h"

#include "prof_mask.h"
#include "prof_tail.h"
#include "prof_tell.h"

ProfTail prof_tails[1 << PROF_TAILS_LOG];

StaticAssertDecl(PROF_TAIL_BACK_BYTES % PROF_STEP == 0, "back is copied in whole steps");

/* Where the text's own bytes stand: behind it are ",,\n", and its quote where it is quoted. NULL: its quotes were doubled. */
static const char *raw_in(const char *back, size_t length, const char *text, size_t n) {
  for (size_t behind = 3; behind <= 4; behind++) {
    const char *raw = back + length - behind - n;

    if (length > n + behind && memcmp(raw, text, n) == 0) return raw;
  }
  return NULL;
}

void prof_tail_keep(ProfTail *tail, const char *text, size_t n, int64 query_id, const char *tag, const char *front,
                    size_t front_length, const char *back, size_t length) {
  const char *raw;

  if (tail->credit > 0) {
    tail->credit--;
    return;
  }
  if (front_length > PROF_TAIL_FRONT_BYTES || length > PROF_TAIL_BACK_BYTES) return;
  raw = raw_in(back, length, text, n);
  /* Secrets are looked for each time. */
  if ((raw == NULL && length + n > PROF_TAIL_BACK_BYTES) || prof_mask_suspect(text, n)) return;
  tail->tag = tag;
  tail->query_id = query_id;
  tail->n = (uint16)n;
  tail->raw_at = (uint16)(raw == NULL ? length : raw - back);
  tail->length = (uint16)length;
  tail->front_length = (uint8)front_length;
  tail->credit = 1;
  memcpy(tail->front, front, front_length);
  memcpy(tail->back, back, length);
  if (raw == NULL) memcpy(tail->back + length, text, n);
}
