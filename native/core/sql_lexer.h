/*
 * PostgreSQL's lexical rules as far as a normal form needs them: what kind a character begins, where a literal, number,
 * operator or comment ends, and the few words that matter. Only fingerprint.c uses it.
 *
 * In: bytes between p and end, owned by the caller, none of them trusted. Out: places in them; nothing is read at end or
 * behind it. standard_conforming_strings is taken to be on. Each function is linear in what it passes over.
 */
#ifndef SQL_LEXER_H
#define SQL_LEXER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(FPR_PORTABLE)
#include <emmintrin.h>
#define SQL_VECTORS 1
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- characters ---- */

/* What a character begins. C_WORD: or a literal with a letter before its quote. */
enum character {
  C_SPACE,
  C_WORD,
  C_DIGIT,
  C_QUOTE,
  C_NAME,
  C_DOLLAR,
  C_DOT,
  C_COMMA,
  C_OPEN,
  C_CLOSE,
  C_SQUARE,
  C_UNSQUARE,
  C_SEMI,
  C_COLON,
  C_OPERATOR
};

extern uint8_t sql_class[256];
/* Letters, digits, _, $ and everything above ASCII. */
extern uint8_t sql_in_word[256];
/* Operators are runs of these; any other character that begins nothing is an operator of its own. */
extern uint8_t sql_in_operator[256];

static inline uint8_t sql_fold(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c; }

#ifdef SQL_VECTORS
/* Copies 16 bytes of a word, folded; how many of them belong to it. */
static inline uint32_t sql_fold16(const uint8_t *p, uint8_t *out) {
  __m128i v = _mm_loadu_si128((const __m128i *)p);
  __m128i low = _mm_or_si128(v, _mm_set1_epi8(0x20));
  __m128i letter = _mm_cmplt_epi8(_mm_add_epi8(low, _mm_set1_epi8(128 - 'a')), _mm_set1_epi8(-128 + 26));
  __m128i digit = _mm_cmplt_epi8(_mm_add_epi8(v, _mm_set1_epi8(128 - '0')), _mm_set1_epi8(-128 + 10));
  __m128i other = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('_')), _mm_cmpeq_epi8(v, _mm_set1_epi8('$')));
  __m128i high = _mm_cmplt_epi8(v, _mm_setzero_si128());
  __m128i all = _mm_or_si128(_mm_or_si128(letter, digit), _mm_or_si128(other, high));
  _mm_storeu_si128((__m128i *)out, _mm_or_si128(v, _mm_and_si128(letter, _mm_set1_epi8(0x20))));
  return (uint32_t)__builtin_ctz(~(uint32_t)_mm_movemask_epi8(all) | 0x10000u);
}
#endif

/* ---- words ---- */

/* The words that are looked at by number; from WORD_ACTS on they are replaced where they stand. */
enum word {
  WORD_ANY,
  WORD_IN,
  WORD_VALUES,
  WORD_ARRAY,
  WORD_IS,
  WORD_NOT,
  WORD_UNICODE, /* no word: a U&'' literal, which UESCAPE may follow */
  WORD_TRUE,
  WORD_FALSE,
  WORD_NULL,
  WORD_UESCAPE
};
#define WORD_ACTS WORD_TRUE
/* An operand follows: a minus behind the word is a sign, a bracket no call. */
#define WORD_LEADS 0x80u

/* No two words of the table meet under this multiplier; filling the table proves it. */
#define SQL_WORD_FACTOR 0x84546026d5a7eb2full
extern uint64_t sql_word_key[256];
extern uint8_t sql_word_what[256];

/* What is known of a folded word of n > 0 bytes that begins with these eight (or fewer): enum word | WORD_LEADS. */
static inline uint8_t sql_word(uint64_t key, size_t n) {
  /* A longer word becomes 0, which is no word. */
  key &= n <= 8 ? ~0ull >> ((64 - 8 * n) & 63) : 0;
  uint32_t slot = (uint32_t)((key * SQL_WORD_FACTOR) >> 56);
  return sql_word_key[slot] == key ? sql_word_what[slot] : 0;
}

/* What the first word of a statement says of the names in the rest: kept, the next one replaced, all replaced. */
enum names { NAMES_KEPT, NAMES_ONE, NAMES_ALL };
enum names sql_names_after(const uint8_t *p, size_t n);
/* Whether dollar-quoted literals of the statement are program texts. */
int sql_bodies_after(const uint8_t *p, size_t n);
/* Words that are no names where names are replaced, beside those of the table. */
int sql_is_plain(const uint8_t *p, size_t n);

/* ---- pieces of the text: each function answers the place behind one ---- */

/* A literal whose opening quote stands before p, with those that go on with it on further lines. NULL: it has no end. */
const uint8_t *sql_skip_literal(const uint8_t *p, const uint8_t *end, int escapes);

/* A comment whose opening stands before p; comments nest. NULL: it has no end. */
const uint8_t *sql_skip_comment(const uint8_t *p, const uint8_t *end);

/* Digits and underscores. */
const uint8_t *sql_skip_digits(const uint8_t *p, const uint8_t *end);

/* A number; p is at its first digit, or at a point with a digit behind it. */
const uint8_t *sql_skip_number(const uint8_t *p, const uint8_t *end);

/* A number that follows the minus before p and belongs to it as its sign. NULL: there is none. */
const uint8_t *sql_skip_signed(const uint8_t *p, const uint8_t *end);

/*
 * An operator; it stops at a comment, and has + or - at its end only by PostgreSQL's rule, so that "=-" is an operator and
 * a sign.
 */
const uint8_t *sql_skip_operator(const uint8_t *p, const uint8_t *end);

/*
 * The literal that the '$' at p opens; *inside and *inside_end are its text. NULL: it opens none. A literal without an end
 * has *inside_end == end.
 */
const uint8_t *sql_skip_dollars(const uint8_t *p, const uint8_t *end, const uint8_t **inside,
                                const uint8_t **inside_end);

#endif
