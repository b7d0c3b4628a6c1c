/*
 * The normal form of SQL texts; see fingerprint.h for what is promised and AGGREGATE.md for the rules.
 *
 * One pass over the text (sql_lexer.h knows its pieces) writes the normal form into work->bytes. An element of a list that
 * is the same as the one before it is taken back by moving the end of the output. A form that does not fit is hashed and
 * moved out in pieces behind its first FPR_TEXT_BYTES, which stay; what open lists may still take back stays too.
 */
#include "fingerprint.h"

#include "hash64.h"
#include "sql_lexer.h"

#define NONE UINT32_MAX
/* A token writes at most this much before it looks for room again. */
#define ROOM 128u

/* ---- the output ---- */

enum token {
  T_START,
  T_WORD,
  T_LEAD, /* a word that an operand follows */
  T_VALUE,
  T_OPERATOR,
  T_OPEN,
  T_CLOSE,
  T_SQUARE,
  T_UNSQUARE,
  T_DOT,
  T_COMMA,
  T_SEMI, /* written when something follows it */
  T_CAST,
  T_COLON
};

#define BIT(token) (1u << (token))
#define NO_SPACE_BEHIND (BIT(T_START) | BIT(T_OPEN) | BIT(T_SQUARE) | BIT(T_DOT) | BIT(T_CAST) | BIT(T_COLON))
/* Behind these a minus is a sign. */
#define SIGN_BEHIND                                                                                              \
  (BIT(T_START) | BIT(T_LEAD) | BIT(T_OPERATOR) | BIT(T_OPEN) | BIT(T_SQUARE) | BIT(T_COMMA) | BIT(T_SEMI) | BIT(T_COLON))

/* For each token the tokens behind which it stands without a space. */
static const uint32_t joined[] = {
    [T_START] = ~0u,
    [T_WORD] = NO_SPACE_BEHIND,
    [T_LEAD] = NO_SPACE_BEHIND,
    [T_VALUE] = NO_SPACE_BEHIND,
    [T_OPERATOR] = NO_SPACE_BEHIND,
    [T_OPEN] = NO_SPACE_BEHIND | BIT(T_WORD),
    [T_CLOSE] = ~0u,
    [T_SQUARE] = ~(BIT(T_OPERATOR) | BIT(T_COMMA) | BIT(T_SEMI)),
    [T_UNSQUARE] = ~0u,
    [T_DOT] = ~0u,
    [T_COMMA] = ~0u,
    [T_SEMI] = ~0u,
    [T_CAST] = ~0u,
    [T_COLON] = ~0u,
};

/* LEVEL_LIST and LEVEL_VALUES: elements like the one before are taken back. LEVEL_VALUES has no bracket of its own. */
enum level { LEVEL_NONE, LEVEL_PLAIN, LEVEL_LIST, LEVEL_VALUES };

/* Hashes and moves out what no open list can take back; the new end of the output. */
static uint8_t *flush(fpr_work *w, uint8_t *o) {
  uint32_t end = (uint32_t)(o - w->bytes), hold = end;
  uint32_t levels = w->depth < FPR_DEPTH ? w->depth : FPR_DEPTH;
  for (uint32_t i = 0; i < levels; i++) {
    if (w->levels[i].element < hold) hold = w->levels[i].element;
    if (w->levels[i].before < hold) hold = w->levels[i].before;
  }
  uint32_t whole = hold > w->from ? (hold - w->from) & ~31u : 0;
  if (w->from + whole < FPR_TEXT_BYTES + 4096) {
    /* An element too long to be compared with its neighbour. */
    for (uint32_t i = 0; i < levels; i++) w->levels[i].element = w->levels[i].before = NONE;
    whole = (end - w->from) & ~31u;
  }
  if (w->flushed == 0) h64_begin(w->lanes, FPR_RULES_VERSION);
  for (uint32_t i = 0; i < whole; i += 32) h64_absorb(w->lanes, w->bytes + w->from + i);
  w->flushed += whole;
  uint32_t kept = w->from + whole, back = kept - FPR_TEXT_BYTES;
  memmove(w->bytes + FPR_TEXT_BYTES, w->bytes + kept, end - kept);
  w->from = FPR_TEXT_BYTES;
  for (uint32_t i = 0; i < levels; i++) {
    if (w->levels[i].element != NONE) w->levels[i].element -= back;
    if (w->levels[i].before != NONE) w->levels[i].before -= back, w->levels[i].before_end -= back;
  }
  return o - back;
}

/* Copies p[0..n) as it is, however long. */
static uint8_t *copy(fpr_work *w, uint8_t *o, const uint8_t *p, size_t n) {
  while (n > 0) {
    size_t some = n < 64 ? n : 64;
    if (o > w->bytes + FPR_WORK_BYTES - ROOM) o = flush(w, o);
    memcpy(o, p, some);
    o += some;
    p += some;
    n -= some;
  }
  return o;
}

static inline enum level top_level(const fpr_work *w) {
  return w->depth == 0 ? LEVEL_NONE : w->depth > FPR_DEPTH ? LEVEL_PLAIN : (enum level)w->levels[w->depth - 1].kind;
}

static enum level push(fpr_work *w, const uint8_t *o, enum level kind) {
  if (w->depth++ >= FPR_DEPTH) return LEVEL_PLAIN;
  fpr_level *level = &w->levels[w->depth - 1];
  level->kind = kind;
  level->element = kind == LEVEL_PLAIN ? NONE : (uint32_t)(o - w->bytes);
  level->before = level->before_end = NONE;
  return kind;
}

static enum level pop(fpr_work *w) {
  if (w->depth > 0) w->depth--;
  return top_level(w);
}

/* An element of the innermost list ends at o. The end of the output without it, where it is like the one before. */
static uint8_t *end_element(fpr_work *w, uint8_t *o) {
  fpr_level *level = &w->levels[w->depth - 1];
  uint32_t end = (uint32_t)(o - w->bytes), from = level->element;
  if (from == NONE) {
    level->before = NONE;
    return o;
  }
  if (from < end && w->bytes[from] == ' ') from++;
  if (level->before != NONE && level->before_end - level->before == end - from &&
      memcmp(w->bytes + level->before, w->bytes + from, end - from) == 0)
    return w->bytes + level->before_end;
  level->before = from;
  level->before_end = end;
  return o;
}

/* Bytes at the end of p[0..n) that belong to a UTF-8 character which is not whole. */
static size_t broken_end(const uint8_t *p, size_t n) {
  for (size_t back = 1; back <= 3 && back <= n; back++) {
    uint8_t c = p[n - back];
    if ((c & 0xc0) == 0x80) continue;
    size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

static void finish(fpr_work *w, const uint8_t *o, int cut, fpr_result *result) {
  size_t left = (size_t)(o - (w->bytes + w->from));
  result->text_bytes = w->flushed + left;
  result->kept_bytes = result->text_bytes < FPR_TEXT_BYTES ? (size_t)result->text_bytes : FPR_TEXT_BYTES;
  if (result->kept_bytes < result->text_bytes) result->kept_bytes -= broken_end(w->bytes, result->kept_bytes);
  uint64_t hash;
  if (cut && result->text_bytes > FPR_CUT_BYTES)
    hash = h64(w->bytes, FPR_CUT_BYTES, FPR_RULES_VERSION);
  else if (w->flushed == 0)
    hash = h64(w->bytes, left, FPR_RULES_VERSION);
  else
    hash = h64_end(w->lanes, w->bytes + w->from, left, result->text_bytes);
  result->fingerprint = hash == 0 ? 1 : hash;
  w->last = *result;
}

/* ---- the pass ---- */

/* Room and space for a token; ends a VALUES list before what does not belong to it. */
#define BEGIN(token)                                                                     \
  do {                                                                                   \
    if (UNLIKELY(o > limit)) o = flush(work, o);                                         \
    if (UNLIKELY(top == LEVEL_VALUES || before == T_SEMI)) {                             \
      while (top == LEVEL_VALUES && !((token) == T_COMMA && before == T_CLOSE) &&        \
             !((token) == T_OPEN && (before == T_COMMA || last == WORD_VALUES))) {       \
        o = end_element(work, o);                                                        \
        top = pop(work);                                                                 \
      }                                                                                  \
      if (before == T_SEMI) *o++ = ';';                                                  \
    }                                                                                    \
    *o = ' ';                                                                            \
    o += !(joined[token] >> before & 1);                                                 \
    before = (token);                                                                    \
    last_but_one = last;                                                                 \
    last = WORD_ANY;                                                                     \
  } while (0)

#define SINGLE(token, c) \
  do {                   \
    BEGIN(token);        \
    *o++ = (c);          \
    p++;                 \
  } while (0)

#define VALUE()     \
  do {              \
    BEGIN(T_VALUE); \
    *o++ = '?';     \
  } while (0)

void fpr_normalise(fpr_work *work, const void *sql, size_t n, int cut, fpr_result *result) {
  const uint8_t *p = sql, *end = p + n;
  uint8_t *o = work->bytes, *const limit = work->bytes + FPR_WORK_BYTES - ROOM;
  uint8_t *cut_word = NULL;             /* a word that ends where a cut text does */
  const uint8_t *behind_body = NULL, *text_end = NULL; /* inside a dollar-quoted body: where to go on, up to where */
  enum token before = T_START;
  enum level top = LEVEL_NONE;
  uint32_t last = WORD_ANY, last_but_one = WORD_ANY;
  enum names names = NAMES_KEPT;
  int bodies = 0;
  result->flags = cut ? FPR_CUT : 0;
  work->depth = work->from = 0;
  work->flushed = 0;

  for (;;) {
    if (UNLIKELY(p >= end)) {
      if (behind_body == NULL) break;
      BEGIN(T_WORD);
      *o++ = '$';
      *o++ = '$';
      p = behind_body;
      end = text_end;
      behind_body = NULL;
      continue;
    }
    if (*p == ' ' && end - p >= 2) p++;
    switch ((enum character)sql_class[*p]) {
      case C_SPACE:
        while (p < end && sql_class[*p] == C_SPACE) p++;
        continue;

      case C_WORD: {
        if (UNLIKELY(end - p >= 2 && (p[1] == '\'' || p[1] == '&'))) {
          uint8_t prefix = *p | 0x20;
          if (p[1] == '\'' && (prefix == 'e' || prefix == 'b' || prefix == 'x' || prefix == 'n')) {
            p = sql_skip_literal(p + 2, end, prefix == 'e');
            VALUE();
            if (p == NULL) goto unterminated;
            continue;
          }
          if (prefix == 'u' && p[1] == '&' && end - p >= 3 && p[2] == '\'') {
            p = sql_skip_literal(p + 3, end, 0);
            VALUE();
            last = WORD_UNICODE;
            if (p == NULL) goto unterminated;
            continue;
          }
          if (prefix == 'u' && p[1] == '&' && end - p >= 3 && p[2] == '"') {
            BEGIN(T_WORD);
            *o++ = 'u';
            *o++ = '&';
            p += 2;
            goto quoted_name;
          }
        }
        const enum token stood_before = before;
        const uint32_t two_before = last_but_one;
        BEGIN(T_WORD);
        uint8_t *word = o;
        const uint64_t flushed = work->flushed;
        /* Room is looked for after each 16 bytes, and only by words of more than 64. */
        for (uint32_t some = 16; some == 16;) {
#ifdef SQL_VECTORS
          if (LIKELY(end - p >= 16)) {
            some = sql_fold16(p, o);
            p += some;
            o += some;
          } else
#endif
            for (some = 0; some < 16 && p < end && sql_in_word[*p]; some++) *o++ = sql_fold(*p++);
          if (UNLIKELY(o > limit + 64)) o = flush(work, o);
        }
        if (UNLIKELY(flushed != work->flushed)) continue; /* a word of more than 64 bytes */
        size_t length = (size_t)(o - word);
        if (UNLIKELY(p == end)) cut_word = word;
        if (UNLIKELY(stood_before == T_START || stood_before == T_SEMI)) {
          names = sql_names_after(word, length);
          bodies = sql_bodies_after(word, length);
          if (names != NAMES_KEPT) continue;
        }
        uint8_t what = sql_word(h64_load(word), length);
        before = what & WORD_LEADS ? T_LEAD : T_WORD;
        last = what & ~WORD_LEADS;
        if (UNLIKELY(last >= WORD_ACTS)) {
          if (last == WORD_UESCAPE) {
            if (last_but_one != WORD_UNICODE) continue;
            /* The escape character of a U&'' literal: part of it. */
            o = word - 1;
            before = T_VALUE;
            while (p < end && sql_class[*p] == C_SPACE) p++;
            if (p < end && *p == '\'' && (p = sql_skip_literal(p + 1, end, 0)) == NULL) goto unterminated;
          } else if (stood_before != T_DOT && last_but_one != WORD_IS &&
                     !(last_but_one == WORD_NOT && (last == WORD_NULL || two_before == WORD_IS))) {
            o = word;
            *o++ = '?';
            before = T_VALUE;
          }
          last = WORD_ANY;
        } else if (UNLIKELY(last == WORD_VALUES)) {
          top = push(work, o, LEVEL_VALUES);
        } else if (UNLIKELY(names != NAMES_KEPT) && what == 0 && !sql_is_plain(word, length)) {
          o = word;
          *o++ = '?';
          before = T_VALUE;
          if (names == NAMES_ONE) names = NAMES_KEPT;
        }
        continue;
      }

      case C_DIGIT:
        VALUE();
        p = sql_skip_number(p, end);
        continue;

      case C_QUOTE:
        VALUE();
        if ((p = sql_skip_literal(p + 1, end, 0)) == NULL) goto unterminated;
        continue;

      case C_NAME: {
        BEGIN(T_WORD);
      quoted_name:;
        const uint8_t *from = p++;
        for (;;) {
          p = memchr(p, '"', (size_t)(end - p));
          if (p == NULL || ++p == end || *p != '"') break;
          p++;
        }
        size_t length = (size_t)((p == NULL ? end : p) - from);
        if (UNLIKELY(names != NAMES_KEPT)) {
          *o++ = '?';
          if (names == NAMES_ONE) names = NAMES_KEPT;
        } else {
          const uint64_t flushed = work->flushed;
          uint8_t *name = o;
          o = copy(work, o, from, length);
          if (p == NULL && flushed == work->flushed) cut_word = name;
        }
        if (p == NULL) goto unterminated;
        continue;
      }

      case C_DOLLAR: {
        if (end - p >= 2 && sql_class[p[1]] == C_DIGIT) {
          VALUE();
          p = sql_skip_digits(p + 1, end);
          continue;
        }
        const uint8_t *inside = NULL, *inside_end = NULL, *behind = sql_skip_dollars(p, end, &inside, &inside_end);
        if (behind == NULL) {
          SINGLE(T_OPERATOR, '$');
          continue;
        }
        if (!bodies || behind_body != NULL) {
          VALUE();
          p = behind;
          if (inside_end == end) goto unterminated;
          continue;
        }
        /* The body of DO and CREATE FUNCTION is a text in the text. */
        bodies = 0;
        BEGIN(T_WORD);
        *o++ = '$';
        *o++ = '$';
        before = T_LEAD;
        p = inside;
        if (inside_end == end) {
          result->flags |= FPR_UNTERMINATED;
        } else {
          behind_body = behind;
          text_end = end;
          end = inside_end;
        }
        continue;
      }

      case C_DOT:
        if (end - p >= 2 && p[1] == '.') {
          BEGIN(T_DOT);
          *o++ = '.';
          *o++ = '.';
          p += 2;
        } else if (end - p >= 2 && sql_class[p[1]] == C_DIGIT &&
                   !(BIT(before) & (BIT(T_WORD) | BIT(T_VALUE) | BIT(T_CLOSE) | BIT(T_UNSQUARE)))) {
          VALUE();
          p = sql_skip_number(p, end);
        } else {
          SINGLE(T_DOT, '.');
        }
        continue;

      case C_COMMA:
        BEGIN(T_COMMA);
        if (top >= LEVEL_LIST) {
          o = end_element(work, o);
          *o++ = ',';
          work->levels[work->depth - 1].element = (uint32_t)(o - work->bytes);
        } else {
          *o++ = ',';
        }
        p++;
        continue;

      case C_OPEN:
        SINGLE(T_OPEN, '(');
        top = push(work, o, last_but_one == WORD_IN ? LEVEL_LIST : LEVEL_PLAIN);
        continue;

      case C_SQUARE: {
        int inner = top == LEVEL_LIST && (before == T_SQUARE || before == T_COMMA);
        SINGLE(T_SQUARE, '[');
        top = push(work, o, inner || last_but_one == WORD_ARRAY ? LEVEL_LIST : LEVEL_PLAIN);
        continue;
      }

      case C_CLOSE:
      case C_UNSQUARE:
        BEGIN(*p == ')' ? T_CLOSE : T_UNSQUARE);
        if (top == LEVEL_LIST) o = end_element(work, o);
        *o++ = *p++;
        top = pop(work);
        continue;

      case C_SEMI:
        p++;
        if (before == T_START) continue;
        before = T_SEMI;
        last = last_but_one = WORD_ANY;
        names = NAMES_KEPT;
        continue;

      case C_COLON:
        if (end - p >= 2 && p[1] == ':') {
          BEGIN(T_CAST);
          *o++ = ':';
          *o++ = ':';
          p += 2;
        } else if (end - p >= 2 && p[1] == '=') {
          BEGIN(T_OPERATOR);
          *o++ = ':';
          *o++ = '=';
          p += 2;
        } else {
          SINGLE(T_COLON, ':');
        }
        continue;

      case C_OPERATOR: {
        if (end - p >= 2 && p[0] == '-' && p[1] == '-') {
          while (p < end && *p != '\n' && *p != '\r') p++;
          continue;
        }
        if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
          if ((p = sql_skip_comment(p + 2, end)) == NULL) goto unterminated;
          continue;
        }
        const uint8_t *from = p;
        p = sql_skip_operator(p, end);
        if (*from == '-' && p - from == 1 && (SIGN_BEHIND >> before & 1)) {
          const uint8_t *behind = sql_skip_signed(p, end);
          if (behind != NULL) {
            VALUE();
            p = behind;
            continue;
          }
        }
        BEGIN(T_OPERATOR);
        if (p - from == 2 && from[0] == '!' && from[1] == '=') {
          *o++ = '<';
          *o++ = '>';
        } else {
          o = copy(work, o, from, (size_t)(p - from));
        }
        continue;
      }
    }
    __builtin_unreachable();

  unterminated:
    result->flags |= FPR_UNTERMINATED;
    p = end;
  }

  if (cut) {
    if (cut_word != NULL) o = cut_word;
    /* Of a list that goes on behind the cut the elements so far stand for all. */
    uint32_t levels = work->depth < FPR_DEPTH ? work->depth : FPR_DEPTH;
    for (uint32_t i = 0; i < levels; i++) {
      if (work->levels[i].kind < LEVEL_LIST || work->levels[i].before == NONE) continue;
      o = work->bytes + work->levels[i].before_end;
      break;
    }
  } else {
    for (; top == LEVEL_VALUES; top = pop(work)) o = end_element(work, o);
  }
  if (o > work->bytes && o[-1] == ' ') o--;
  finish(work, o, cut, result);
}

/* ---- texts seen before ---- */

/* Of so many texts at least an eighth must have been seen before, or the next ones are not looked for. */
#define CACHE_TRIAL 4096u
#define CACHE_REST 32768u

struct fpr_cache {
  uint64_t sets; /* a power of two */
  uint64_t asked, found, rest;
  uint64_t unused[4];
  struct {
    uint64_t text, fingerprint;
  } ways[][4]; /* of each set the latest first; fingerprint 0: empty */
};

static uint64_t sets_for(uint32_t texts) {
  uint64_t sets = 1;
  while (sets * 4 < texts) sets *= 2;
  return sets;
}

size_t fpr_cache_bytes(uint32_t texts) { return sizeof(fpr_cache) + sets_for(texts) * sizeof(((fpr_cache *)0)->ways[0]); }

fpr_cache *fpr_cache_open(void *memory, uint32_t texts) {
  fpr_cache *cache = memory;
  memset(memory, 0, fpr_cache_bytes(texts));
  cache->sets = sets_for(texts);
  return cache;
}

uint64_t fpr_cached(fpr_cache *cache, fpr_work *work, const void *sql, size_t n, int cut, int *known) {
  if (UNLIKELY(cache->rest > 0)) {
    fpr_result result;
    cache->rest--;
    if (known != NULL) *known = 0;
    fpr_normalise(work, sql, n, cut, &result);
    return result.fingerprint;
  }
  const uint64_t text = h64(sql, n, cut ? H64_K3 : H64_K0);
  __typeof__(&cache->ways[0][0]) way = cache->ways[text & (cache->sets - 1)];
  uint32_t i = 0;
  while (i < 4 && (way[i].text != text || way[i].fingerprint == 0)) i++;
  if (known != NULL) *known = i < 4;
  cache->found += i < 4;
  if (++cache->asked == CACHE_TRIAL) {
    if (cache->found < CACHE_TRIAL / 8) cache->rest = CACHE_REST;
    cache->asked = cache->found = 0;
  }
  uint64_t fingerprint;
  if (i < 4) {
    fingerprint = way[i].fingerprint;
  } else {
    fpr_result result;
    fpr_normalise(work, sql, n, cut, &result);
    fingerprint = result.fingerprint;
    i = 3;
  }
  for (; i > 0; i--) way[i] = way[i - 1];
  way[0].text = text;
  way[0].fingerprint = fingerprint;
  return fingerprint;
}
