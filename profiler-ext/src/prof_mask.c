/*
 * The lexer that finds secrets. In, out and rules: prof_mask.h.
 *
 * A span is a run of SQL: the whole text, the inside of a literal, of a dollar-quoted body or of a comment. In the
 * inside of a literal every quote is written twice as often as outside, so a span knows how many bytes make one quote
 * there (width); this finds PASSWORD ''x'' inside EXECUTE '..' without decoding anything. What a span leaves unfinished
 * (a literal that ends with PASSWORD, or is a pattern for format()) makes the literals behind it secrets, up to ';'.
 */
#include "prof_mask.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define DEPTH_MAX 6
#define REPEATS_MESSAGE_MAX 2048
#define REPEATS_SECRETS_MAX 65536

typedef enum Expect {
  EXPECT_NOTHING,
  EXPECT_NEXT,   /* the next literal, if only operators stand before it */
  EXPECT_LISTED, /* the same, behind a comma too */
  EXPECT_REST    /* all literals up to ';' */
} Expect;

typedef enum Word {
  WORD_OTHER,
  WORD_ALTER,
  WORD_CONNECTION,
  WORD_CREATE,
  WORD_DATA,
  WORD_GROUP,
  WORD_MAPPING,
  WORD_NULL,
  WORD_OPTIONS,
  WORD_PASSWORD,
  WORD_PUBLICATION,
  WORD_RESET,
  WORD_ROLE,
  WORD_SERVER,
  WORD_SET,
  WORD_SETTING,
  WORD_SUBSCRIPTION,
  WORD_TO,
  WORD_UNTIL,
  WORD_USER,
  WORD_WITH,
  WORD_WRAPPER
} Word;

typedef struct Search {
  const char *text;
  size_t n;
  ProfSecrets *secrets;
  unsigned mode;
  bool full; /* no room for another secret */
} Search;

typedef struct Span {
  Expect expect;
  Word last;
  bool role;     /* in CREATE or ALTER ROLE, USER, GROUP */
  bool options;  /* OPTIONS here are those of a server, mapping or wrapper */
  bool carry;    /* a pattern whose values come later */
  bool conninfo; /* inside of a literal: may be a connection string or a URI */
} Span;

static void search_span(Search *search, Span *span, size_t at, size_t end, unsigned width, int depth);

static inline unsigned char lower(char c) {
  return (c >= 'A' && c <= 'Z') ? (unsigned char)(c + 32) : (unsigned char)c;
}

static inline bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool is_word_start(char c) {
  unsigned char l = lower(c);

  return (l >= 'a' && l <= 'z') || l == '_' || l >= 0x80;
}

static inline bool is_word(char c) {
  return is_word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

/* Does text begin with word, in any case? word is in lower case. */
static bool begins(const char *text, size_t n, const char *word) {
  size_t i = 0;

  for (; word[i] != 0; i++)
    if (i >= n || lower(text[i]) != (unsigned char)word[i]) return false;
  return true;
}

static bool contains(const char *text, size_t n, const char *word) {
  for (size_t i = 0; i < n; i++)
    if (begins(text + i, n - i, word)) return true;
  return false;
}

static Word find_word(const char *text, size_t n) {
  static const struct {
    const char *name;
    Word word;
  } words[] = {
      {"alter", WORD_ALTER},
      {"connection", WORD_CONNECTION},
      {"create", WORD_CREATE},
      {"data", WORD_DATA},
      {"group", WORD_GROUP},
      {"mapping", WORD_MAPPING},
      {"null", WORD_NULL},
      {"options", WORD_OPTIONS},
      {"publication", WORD_PUBLICATION},
      {"reset", WORD_RESET},
      {"role", WORD_ROLE},
      {"server", WORD_SERVER},
      {"set", WORD_SET},
      {"primary_conninfo", WORD_SETTING},
      {"ssl_passphrase_command", WORD_SETTING},
      {"subscription", WORD_SUBSCRIPTION},
      {"to", WORD_TO},
      {"until", WORD_UNTIL},
      {"user", WORD_USER},
      {"with", WORD_WITH},
      {"wrapper", WORD_WRAPPER},
  };

  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strlen(words[i].name) == n && begins(text, n, words[i].name)) return words[i].word;
  if (contains(text, n, "passw") && !(n == 19 && begins(text, n, "password_encryption"))) return WORD_PASSWORD;
  return WORD_OTHER;
}

static void add(Search *search, size_t start, size_t end) {
  ProfSecrets *secrets = search->secrets;

  if (start >= end || search->full) return;
  if (secrets->count == PROF_MASK_SPANS) {
    search->full = true;
    return;
  }
  secrets->at[secrets->count].start = (uint32_t)start;
  secrets->at[secrets->count].end = (uint32_t)end;
  secrets->count++;
  if (memchr(search->text + start, '\\', end - start) != NULL) secrets->escaped = true;
}

/*
 * The value of password= that begins at at, in the inside of a literal; returns where the text goes on. Quoted values are
 * literals like others.
 */
static size_t bare_value(Search *search, Span *span, size_t at, size_t end) {
  const char *text = search->text;
  size_t value = at;

  while (value < end && is_space(text[value])) value++;
  if (value == end || text[value] != '=') return at;
  for (value++; value < end && is_space(text[value]);) value++;
  if (value == end || text[value] == '\'' || (text[value] == '\\' && value + 1 < end && text[value + 1] == '\''))
    return at;
  for (at = value; at < end && !is_space(text[at]) && text[at] != '&';) at++;
  add(search, value, at);
  span->expect = EXPECT_NOTHING;
  return at;
}

/* The password of a URI whose "//" stands at at; returns where the text goes on. */
static size_t authority(Search *search, size_t at, size_t end) {
  const char *text = search->text;
  size_t next = at + 2;
  size_t colon = 0;
  size_t sign = 0; /* the last one: a password may hold one that was not escaped */

  for (; next < end && text[next] != '/' && !is_space(text[next]); next++) {
    if (text[next] == ':' && colon == 0) colon = next;
    if (text[next] == '@') sign = next;
  }
  /* Where the text was cut, the '@' may be in the part that is not here. */
  if (colon != 0 && next == search->n && sign < colon) sign = next;
  if (colon != 0 && sign > colon) add(search, colon + 1, sign);
  return next;
}

/* The inside of a literal that is no secret as a whole. */
static void search_inside(Search *search, Span *outer, size_t start, size_t end, unsigned width, bool is_value,
                          int depth) {
  const char *inside = search->text + start;
  size_t n = end - start;
  /* Bodies of functions compare with "=" what is called password. */
  Span span = {.conninfo = is_value || memchr(inside, ';', n) == NULL};

  if (find_word(inside, n) == WORD_SETTING) {
    outer->expect = EXPECT_LISTED; /* set_config('primary_conninfo', '..') */
    return;
  }
  if (depth >= DEPTH_MAX) {
    if (prof_mask_suspect(inside, n)) add(search, start, end);
    return;
  }
  search_span(search, &span, start, end, width, depth + 1);
  if (span.expect != EXPECT_NOTHING || span.carry) outer->expect = EXPECT_REST;
}

/* A literal whose inside is [start, end); is_value: written with quotes. */
static void literal(Search *search, Span *span, size_t start, size_t end, bool closed, unsigned width, bool is_value,
                    int depth) {
  if (span->expect != EXPECT_NOTHING && span->last != WORD_UNTIL) {
    add(search, start, end);
    if (!closed) span->carry = true; /* its other half may come behind this literal */
    if (span->expect != EXPECT_REST) span->expect = EXPECT_NOTHING;
  } else
    search_inside(search, span, start, end, width, is_value, depth);
  span->last = WORD_OTHER;
}

/* How many quotes stand at text[at]. */
static size_t quotes(const char *text, size_t at, size_t end) {
  size_t n = 0;

  while (at + n < end && text[at + n] == '\'') n++;
  return n;
}

/* Reads a literal whose opening quote, width bytes wide, stands at at; returns where the text goes on. */
static size_t quoted(Search *search, Span *span, size_t at, size_t end, unsigned width, bool backslash, int depth) {
  const char *text = search->text;
  size_t opening = quotes(text, at, end);
  size_t start;
  size_t next;

  /* Fewer quotes than there should be: no SQL, but perhaps a secret. */
  if (opening < width) width = (unsigned)opening;
  start = next = at + width;

  while (next < end) {
    if (text[next] == '\\' && backslash)
      next += 2;
    else if (text[next] == '\'') {
      size_t n = quotes(text, next, end);

      /* Pairs are quotes of the inside; what is left over closes. */
      if (n % (2 * width) != 0) {
        size_t close = next + n - n % (2 * width);

        literal(search, span, start, close, true, 2 * width, true, depth);
        return close + (n % (2 * width) < width ? n % (2 * width) : width);
      }
      next += n;
    } else
      next++;
  }
  literal(search, span, start, end, false, 2 * width, true, depth);
  return end;
}

/* Reads a literal within E'..' whose quotes are written \' and the first of which stands at at. */
static size_t escape_quoted(Search *search, Span *span, size_t at, size_t end, unsigned width, int depth) {
  const char *text = search->text;
  size_t start = at + 2;

  for (size_t next = start; next + 1 < end; next++)
    if (text[next] == '\\' && text[next + 1] == '\'') {
      literal(search, span, start, next, true, width, true, depth);
      return next + 2;
    }
  literal(search, span, start, end, false, width, true, depth);
  return end;
}

/* Reads a dollar-quoted literal at at; 0: there is none. */
static size_t dollar_quoted(Search *search, Span *span, size_t at, size_t end, unsigned width, int depth) {
  const char *text = search->text;
  size_t tag = at + 1;
  size_t length;

  if (tag < end && is_word_start(text[tag]))
    while (tag < end && is_word(text[tag]) && text[tag] != '$') tag++;
  if (tag >= end || text[tag] != '$') return 0;
  tag++;
  length = tag - at;
  for (size_t next = tag; next + length <= end; next++) {
    const char *found = memchr(text + next, '$', end - next);

    if (found == NULL) break;
    next = (size_t)(found - text);
    if (next + length <= end && memcmp(found, text + at, length) == 0) {
      literal(search, span, tag, next, true, width, false, depth);
      return next + length;
    }
  }
  literal(search, span, tag, end, false, width, false, depth);
  return end;
}

/* Reads a comment at at; 0: there is none. */
static size_t comment(Search *search, const Span *outer, size_t at, size_t end, unsigned width, int depth) {
  const char *text = search->text;
  size_t next = at + 2;
  Span span = {.conninfo = outer->conninfo};

  if (at + 1 >= end) return 0;
  if (text[at] == '-' && text[at + 1] == '-')
    while (next < end && text[next] != '\n' && text[next] != '\r') next++;
  else if (text[at] == '/' && text[at + 1] == '*') {
    int open = 1;

    while (next < end && open > 0) {
      if (next + 1 < end && text[next] == '*' && text[next + 1] == '/') {
        open--;
        next += 2;
      } else if (next + 1 < end && text[next] == '/' && text[next + 1] == '*') {
        open++;
        next += 2;
      } else
        next++;
    }
  } else
    return 0;
  if (depth >= DEPTH_MAX) {
    if (prof_mask_suspect(text + at, next - at)) add(search, at, next);
  } else
    search_span(search, &span, at + 2, next, width, depth + 1);
  return next;
}

static void word_seen(Search *search, Span *span, size_t at, size_t end) {
  Word word = find_word(search->text + at, end - at);
  Word last = span->last;
  bool defining = last == WORD_CREATE || last == WORD_ALTER;

  span->last = word;
  if (last == WORD_PASSWORD && span->role && word != WORD_NULL && word != WORD_TO) {
    /* A password without quotes is a syntax error, and its text a secret all the same. */
    add(search, at, end);
    return;
  }
  switch (word) {
  case WORD_PASSWORD:
  case WORD_CONNECTION:
  case WORD_SETTING:
    if (span->expect != EXPECT_REST) span->expect = EXPECT_NEXT;
    return;
  case WORD_ROLE:
  case WORD_GROUP:
  case WORD_USER:
    if (defining) {
      span->role = true;
      span->expect = EXPECT_REST;
    }
    return;
  case WORD_SUBSCRIPTION:
    if (defining) span->expect = EXPECT_REST;
    return;
  case WORD_MAPPING:
    if (last == WORD_USER) {
      span->role = false;
      span->options = true;
    }
    return;
  case WORD_SERVER:
    span->options = span->options || defining;
    return;
  case WORD_WRAPPER:
    span->options = span->options || last == WORD_DATA;
    return;
  case WORD_OPTIONS:
    if (span->options) span->expect = EXPECT_REST;
    return;
  case WORD_SET:
  case WORD_RESET:
  case WORD_PUBLICATION:
    span->role = false;
    if (!span->options) span->expect = EXPECT_NOTHING;
    return;
  case WORD_WITH:
    /* CREATE ROLE x WITH PASSWORD .. goes on. */
    if (!span->role && !span->options) span->expect = EXPECT_NOTHING;
    return;
  case WORD_UNTIL:
  case WORD_TO:
    return;
  default:
    if (span->expect != EXPECT_REST) span->expect = EXPECT_NOTHING;
    return;
  }
}

static void sign_seen(Span *span, char c) {
  switch (c) {
  case ';':
    *span = (Span){.carry = span->carry, .conninfo = span->conninfo};
    break;
  case '%':
    span->carry = span->carry || span->expect == EXPECT_NEXT;
    span->last = WORD_OTHER;
    break;
  case ',':
    if (span->expect == EXPECT_NEXT) span->expect = EXPECT_NOTHING;
    break;
  case ')':
    if (span->expect != EXPECT_REST) span->expect = EXPECT_NOTHING;
    break;
  default:
    break;
  }
}

static void search_span(Search *search, Span *span, size_t at, size_t end, unsigned width, int depth) {
  const char *text = search->text;

  while (at < end && !search->full) {
    char c = text[at];
    size_t next = 0;

    if (c == '\'')
      next = quoted(search, span, at, end, width, (search->mode & PROF_MASK_BACKSLASH) != 0, depth);
    else if (c == '\\' && depth > 0 && at + 1 < end && text[at + 1] == '\'')
      next = escape_quoted(search, span, at, end, width, depth);
    else if (c == '/' && span->conninfo && at > 0 && text[at - 1] == ':' && at + 1 < end && text[at + 1] == '/')
      next = authority(search, at, end);
    else if (c == '$')
      next = dollar_quoted(search, span, at, end, width, depth);
    else if (c == '-' || c == '/')
      next = comment(search, span, at, end, width, depth);
    else if (c == '"' && (search->mode & PROF_MASK_PLAN) == 0) {
      const char *close = memchr(text + at + 1, '"', end - at - 1);

      next = close == NULL ? end : (size_t)(close - text) + 1;
      word_seen(search, span, at + 1, close == NULL ? end : next - 1);
    } else if (is_word_start(c)) {
      for (next = at + 1; next < end && is_word(text[next]);) next++;
      /* E'..', B'..', N'..', X'..', U&'..' */
      if (next == at + 1 && lower(c) == 'u' && next + 1 < end && text[next] == '&' && text[next + 1] == '\'') next++;
      if (next <= at + 2 && next < end && text[next] == '\'')
        next = quoted(search, span, next, end, width, lower(c) == 'e', depth);
      else {
        word_seen(search, span, at, next);
        if (span->conninfo && span->last == WORD_PASSWORD) next = bare_value(search, span, next, end);
      }
    } else if (!is_space(c))
      sign_seen(span, c);
    at = next > at ? next : at + 1;
  }
}

bool prof_mask_find(ProfSecrets *secrets, const char *text, size_t n, unsigned mode) {
  Search search = {.text = text, .n = n, .secrets = secrets, .mode = mode};
  Span span = {.conninfo = (mode & PROF_MASK_MESSAGE) != 0};

  secrets->count = 0;
  secrets->escaped = false;
  search_span(&search, &span, 0, n, 1, 0);
  if (search.full) secrets->at[PROF_MASK_SPANS - 1].end = (uint32_t)n;
  return secrets->count > 0;
}

size_t prof_mask_write(char *out, const char *text, size_t n, const ProfSecrets *secrets) {
  size_t at = 0;
  size_t written = 0;

  for (int i = 0; i < secrets->count; i++) {
    size_t start = secrets->at[i].start;
    size_t length = secrets->at[i].end - start;

    memcpy(out + written, text + at, start - at);
    written += start - at;
    if (length > 3) length = 3;
    memset(out + written, '*', length);
    written += length;
    at = secrets->at[i].end;
  }
  memcpy(out + written, text + at, n - at);
  return written + n - at;
}

static inline bool is_letter(char c) {
  return is_word(c) && c != '$' && c != '_';
}

bool prof_mask_repeats(const char *message, size_t n, const char *text, const ProfSecrets *secrets) {
  size_t total = 0;

  for (int i = 0; i < secrets->count; i++) total += secrets->at[i].end - secrets->at[i].start;
  /* Not worth the time of comparing. */
  if (secrets->escaped || n > REPEATS_MESSAGE_MAX || total > REPEATS_SECRETS_MAX) return secrets->count > 0;
  for (int i = 0; i < secrets->count; i++) {
    const char *secret = text + secrets->at[i].start;
    size_t length = secrets->at[i].end - secrets->at[i].start;

    /* The secret as it is, short or made of signs. */
    for (size_t at = 0; at + length <= n; at++)
      if (memcmp(message + at, secret, length) == 0) return true;
    /* Any word of three or more letters that both have. */
    for (size_t at = 0; at < n;) {
      size_t next = at;

      while (next < n && is_letter(message[next])) next++;
      if (next - at >= 3)
        for (size_t other = 0; other + (next - at) <= length; other++) {
          size_t same = 0;

          while (same < next - at && lower(secret[other + same]) == lower(message[at + same])) same++;
          if (same == next - at) return true;
        }
      at = next + 1;
    }
  }
  return false;
}

/* "ss" (password, passwd) in any case, or "//": rare in statements and quick to look for. */
bool prof_mask_suspect(const char *text, size_t n) {
  size_t at = 0;

#if defined(__SSE2__)
  if (n > 16) {
    const __m128i s = _mm_set1_epi8('s');
    const __m128i fold = _mm_set1_epi8(0x20);
    const __m128i slash = _mm_set1_epi8('/');

    /* Blocks overlap by a byte, so that each pair lies in one of them. */
    for (;; at = at + 31 <= n ? at + 15 : n - 16) {
      __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(text + at));
      __m128i either = _mm_or_si128(_mm_cmpeq_epi8(_mm_or_si128(bytes, fold), s), _mm_cmpeq_epi8(bytes, slash));
      unsigned found = (unsigned)_mm_movemask_epi8(either);

      if (found & (found >> 1)) break;
      if (at + 16 >= n) return false;
    }
    /* "s/" is no pair. */
  }
#endif
  for (; at + 1 < n; at++)
    if (((text[at] | 0x20) == 's' && (text[at + 1] | 0x20) == 's') || (text[at] == '/' && text[at + 1] == '/'))
      return true;
  return false;
}
