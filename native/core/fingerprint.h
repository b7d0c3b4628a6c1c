/*
 * The normal form of an SQL text and its 64-bit fingerprint: what differs only in literals, parameters, white space,
 * comments, case, or the length of a list of constants is one statement. The rules stand in AGGREGATE.md.
 *
 * In: any bytes whatever (a server encoding, in which a byte below 0x80 is always that ASCII character). Out: a number and
 * the first FPR_TEXT_BYTES of the normal form, valid UTF-8 without NUL where the text was. Owner: the caller gives a
 * fpr_work of 34 kB, which needs no preparation and holds nothing between two calls but the last text. Time is linear in
 * the text; nothing is allocated and no text is refused. The cache of texts seen before is the caller's memory too; when it
 * is full, the text of a set of four that was not used for longest goes; where texts hardly come again it rests for a while.
 */
#ifndef FINGERPRINT_H
#define FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Another number: fingerprints cannot be compared with those of before. */
#define FPR_RULES_VERSION 1

/* As much of the normal form as is kept as text. The fingerprint is of all of it. */
#define FPR_TEXT_BYTES 8192u
/* Of a text that was cut, the fingerprint is of this much of the normal form. */
#define FPR_CUT_BYTES 1024u
#define FPR_WORK_BYTES 32768u
#define FPR_DEPTH 64u

enum fpr_flag {
  FPR_UNTERMINATED = 1, /* the text ends inside a literal, quoted name or comment */
  FPR_CUT = 2           /* by the caller's word */
};

typedef struct fpr_result {
  uint64_t fingerprint; /* never 0 */
  uint64_t text_bytes;  /* length of the whole normal form */
  size_t kept_bytes;    /* of which stand in work->bytes */
  uint32_t flags;
} fpr_result;

/* An open bracket or VALUES list; places are in fpr_work.bytes, UINT32_MAX: none. */
typedef struct fpr_level {
  uint32_t kind;
  uint32_t element;                     /* where the present element begins */
  uint32_t before, before_end;          /* the element before it */
} fpr_level;

typedef struct fpr_work {
  uint8_t bytes[FPR_WORK_BYTES + 64];
  fpr_level levels[FPR_DEPTH];
  uint64_t lanes[2];  /* the hash of what was flushed */
  uint64_t flushed;   /* bytes hashed so far */
  uint32_t from;      /* the first byte not hashed */
  uint32_t depth;
  fpr_result last;    /* of the text whose form stands in bytes */
} fpr_work;

/* Normal form and fingerprint of sql[0..n). cut: the text goes on, but not here. */
void fpr_normalise(fpr_work *work, const void *sql, size_t n, int cut, fpr_result *result);

/* Texts seen before, by their hash. */
typedef struct fpr_cache fpr_cache;

/* Bytes that a cache of `texts` texts (rounded up to a power of two, at least 4) needs, aligned to 64. */
size_t fpr_cache_bytes(uint32_t texts);
fpr_cache *fpr_cache_open(void *memory, uint32_t texts);

/*
 * The fingerprint of sql[0..n): the cache's, or made and kept there. *known (may be NULL) is set to whether it was there; if
 * not, work->bytes and work->last are this text's.
 */
uint64_t fpr_cached(fpr_cache *cache, fpr_work *work, const void *sql, size_t n, int cut, int *known);

#ifdef __cplusplus
}
#endif
#endif
