/*
 * PostgreSQL's lexical rules; see sql_lexer.h. The tables are filled before main (or at load of the library), so that no
 * caller races to fill them.
 */
#include "sql_lexer.h"

/* ---- characters ---- */

uint8_t sql_class[256];
uint8_t sql_in_word[256];
uint8_t sql_in_operator[256];

__attribute__((constructor)) static void fill_classes(void) {
  for (int c = 0; c < 256; c++) {
    int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
    sql_class[c] = letter ? C_WORD : c >= '0' && c <= '9' ? C_DIGIT : c <= ' ' || c == 0x7f ? C_SPACE : C_OPERATOR;
    sql_in_word[c] = letter || (c >= '0' && c <= '9') || c == '$';
  }
  for (const char *p = "+-*/<>=~!@#%^&|`?"; *p != 0; p++) sql_in_operator[(uint8_t)*p] = 1;
  static const struct {
    char c;
    uint8_t class;
  } single[] = {{'\'', C_QUOTE}, {'"', C_NAME},    {'$', C_DOLLAR},   {'.', C_DOT},  {',', C_COMMA}, {'(', C_OPEN},
                {')', C_CLOSE},  {'[', C_SQUARE},  {']', C_UNSQUARE}, {';', C_SEMI}, {':', C_COLON}};
  for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) sql_class[(uint8_t)single[i].c] = single[i].class;
}

/* ---- words ---- */

uint64_t sql_word_key[256];
uint8_t sql_word_what[256];

static const struct {
  char text[9];
  uint8_t what;
} words[] = {
    {"in", WORD_IN | WORD_LEADS},
    {"values", WORD_VALUES | WORD_LEADS},
    {"array", WORD_ARRAY | WORD_LEADS},
    {"is", WORD_IS | WORD_LEADS},
    {"not", WORD_NOT | WORD_LEADS},
    {"true", WORD_TRUE},
    {"false", WORD_FALSE},
    {"null", WORD_NULL},
    {"uescape", WORD_UESCAPE},
    {"select", WORD_LEADS},
    {"where", WORD_LEADS},
    {"and", WORD_LEADS},
    {"or", WORD_LEADS},
    {"between", WORD_LEADS},
    {"case", WORD_LEADS},
    {"when", WORD_LEADS},
    {"then", WORD_LEADS},
    {"else", WORD_LEADS},
    {"limit", WORD_LEADS},
    {"offset", WORD_LEADS},
    {"like", WORD_LEADS},
    {"ilike", WORD_LEADS},
    {"return", WORD_LEADS},
    {"by", WORD_LEADS},
    {"on", WORD_LEADS},
    {"as", WORD_LEADS},
    {"from", WORD_LEADS},
    {"to", WORD_LEADS},
    {"join", WORD_LEADS},
    {"using", WORD_LEADS},
    {"set", WORD_LEADS},
    {"any", WORD_LEADS},
    {"all", WORD_LEADS},
    {"some", WORD_LEADS},
    {"exists", WORD_LEADS},
    {"distinct", WORD_LEADS},
    {"union", WORD_LEADS},
    {"except", WORD_LEADS},
    {"having", WORD_LEADS},
    {"with", WORD_LEADS},
    {"over", WORD_LEADS},
    {"filter", WORD_LEADS},
    {"within", WORD_LEADS},
    {"default", WORD_LEADS},
    {"check", WORD_LEADS},
    {"fetch", WORD_LEADS},
    {"forward", WORD_LEADS},
    {"backward", WORD_LEADS},
    {"absolute", WORD_LEADS},
    {"relative", WORD_LEADS},
    {"if", WORD_LEADS},
    {"elsif", WORD_LEADS},
    {"while", WORD_LEADS},
    {"lateral", WORD_LEADS},
    {"only", WORD_LEADS},
};

__attribute__((constructor)) static void fill_words(void) {
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    uint64_t key = 0;
    memcpy(&key, words[i].text, strlen(words[i].text));
    uint32_t slot = (uint32_t)((key * SQL_WORD_FACTOR) >> 56);
    if (sql_word_key[slot] != 0) __builtin_trap();
    sql_word_key[slot] = key;
    sql_word_what[slot] = words[i].what;
  }
}

static int is_one_of(const uint8_t *p, size_t n, const char *const *list) {
  for (; *list != NULL; list++)
    if (strlen(*list) == n && memcmp(*list, p, n) == 0) return 1;
  return 0;
}

enum names sql_names_after(const uint8_t *p, size_t n) {
  static const char *const all[] = {"savepoint", "release", "rollback", "deallocate", "close", "fetch", "move", NULL};
  if (n == 7 && memcmp(p, "declare", 7) == 0) return NAMES_ONE;
  return is_one_of(p, n, all) ? NAMES_ALL : NAMES_KEPT;
}

int sql_bodies_after(const uint8_t *p, size_t n) {
  static const char *const with_bodies[] = {"do", "create", NULL};
  return is_one_of(p, n, with_bodies);
}

int sql_is_plain(const uint8_t *p, size_t n) {
  static const char *const plain[] = {"work",     "transaction", "chain", "no",    "prepare", "prepared",
                                      "savepoint", "next",        "prior", "first", "last",    NULL};
  return is_one_of(p, n, plain);
}

/* ---- pieces of the text ---- */

/* The first quote (or, in an E'' literal, backslash) from p on; end when there is none. */
static inline const uint8_t *find_quote(const uint8_t *p, const uint8_t *end, int escapes) {
#ifdef SQL_VECTORS
  for (; end - p >= 16; p += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i hit = _mm_cmpeq_epi8(v, _mm_set1_epi8('\''));
    if (escapes) hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    int mask = _mm_movemask_epi8(hit);
    if (mask != 0) return p + __builtin_ctz((uint32_t)mask);
  }
#endif
  while (p < end && *p != '\'' && (!escapes || *p != '\\')) p++;
  return p;
}

const uint8_t *sql_skip_literal(const uint8_t *p, const uint8_t *end, int escapes) {
  for (;;) {
    p = find_quote(p, end, escapes);
    if (p == end) return NULL;
    if (*p == '\\') {
      if (end - p < 2) return NULL;
      p += 2;
      continue;
    }
    if (++p < end && *p == '\'') {
      p++;
      continue;
    }
    if (LIKELY(p == end || (sql_class[*p] != C_SPACE && *p != '-'))) return p;
    const uint8_t *next = p;
    int line_ended = 0;
    while (next < end) {
      if (sql_class[*next] == C_SPACE) {
        line_ended |= *next == '\n' || *next == '\r';
        next++;
      } else if (*next == '-' && end - next >= 2 && next[1] == '-') {
        while (next < end && *next != '\n' && *next != '\r') next++;
      } else {
        break;
      }
    }
    if (!line_ended || next == end || *next != '\'') return p;
    p = next + 1;
  }
}

const uint8_t *sql_skip_comment(const uint8_t *p, const uint8_t *end) {
  for (size_t depth = 1; end - p >= 2;) {
    if (p[0] == '*' && p[1] == '/') {
      p += 2;
      if (--depth == 0) return p;
    } else if (p[0] == '/' && p[1] == '*') {
      p += 2;
      depth++;
    } else {
      p++;
    }
  }
  return NULL;
}

const uint8_t *sql_skip_digits(const uint8_t *p, const uint8_t *end) {
  while (p < end && (sql_class[*p] == C_DIGIT || *p == '_')) p++;
  return p;
}

const uint8_t *sql_skip_number(const uint8_t *p, const uint8_t *end) {
  if (*p == '0' && end - p >= 3 && sql_in_word[p[2]]) {
    uint8_t base = p[1] | 0x20;
    if (base == 'x' || base == 'o' || base == 'b') {
      p += 2;
      while (p < end && sql_in_word[*p]) p++;
      return p;
    }
  }
  p = sql_skip_digits(p, end);
  if (p < end && *p == '.' && !(end - p >= 2 && p[1] == '.')) p = sql_skip_digits(p + 1, end);
  if (p < end && (*p | 0x20) == 'e') {
    const uint8_t *digits = p + 1;
    if (digits < end && (*digits == '+' || *digits == '-')) digits++;
    if (digits < end && sql_class[*digits] == C_DIGIT) p = sql_skip_digits(digits, end);
  }
  return p;
}

const uint8_t *sql_skip_signed(const uint8_t *p, const uint8_t *end) {
  while (p < end && sql_class[*p] == C_SPACE) p++;
  if (p == end) return NULL;
  if (sql_class[*p] != C_DIGIT && !(*p == '.' && end - p >= 2 && sql_class[p[1]] == C_DIGIT)) return NULL;
  p = sql_skip_number(p, end);
  const uint8_t *next = p;
  while (next < end && sql_class[*next] == C_SPACE) next++;
  /* A cast binds closer than the sign. */
  return end - next >= 2 && next[0] == ':' && next[1] == ':' ? NULL : p;
}

const uint8_t *sql_skip_operator(const uint8_t *p, const uint8_t *end) {
  const uint8_t *from = p;
  int special = 0;
  if (!sql_in_operator[*p]) return p + 1;
  for (; p < end && sql_in_operator[*p]; p++) {
    if (p > from && end - p >= 2 && ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))) break;
    special |= memchr("~!@#%^&|`?", *p, 10) != NULL;
  }
  if (!special)
    while (p - from > 1 && (p[-1] == '+' || p[-1] == '-')) p--;
  return p;
}

const uint8_t *sql_skip_dollars(const uint8_t *p, const uint8_t *end, const uint8_t **inside,
                                const uint8_t **inside_end) {
  const uint8_t *tag = p + 1;
  while (tag < end && sql_in_word[*tag] && *tag != '$') tag++;
  if (tag == end || *tag != '$') return NULL;
  size_t n = (size_t)(tag + 1 - p);
  *inside = tag + 1;
  for (const uint8_t *at = tag + 1; (size_t)(end - at) >= n; at++) {
    at = memchr(at, '$', (size_t)(end - at));
    if (at == NULL || (size_t)(end - at) < n) break;
    if (memcmp(at, p, n) != 0) continue;
    *inside_end = at;
    return at + n;
  }
  *inside_end = end;
  return end;
}

