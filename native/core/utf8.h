/*
 * UTF-8 as PostgreSQL takes it: no NUL, no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * In: bytes the caller owns. Out: verdicts, and repaired text in memory the caller owns. Prefix col_: part of the
 * column types.
 */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Length of the longest prefix that is ASCII without NUL (found in steps of words: may stop up to 31 bytes early). */
size_t col_ascii_prefix(const uint8_t *p, size_t n);

/* Length of the longest valid prefix; n when all is valid. */
size_t col_utf8_prefix(const uint8_t *p, size_t n);

/* Largest cut <= limit that does not split a character of valid UTF-8 p[0..n). */
size_t col_utf8_cut(const uint8_t *p, size_t n, size_t limit);

/*
 * Copies p[0..n) to out with each maximal ill-formed piece and each NUL replaced by U+FFFD. out must hold 3 * n bytes.
 * Returns the bytes written.
 */
size_t col_utf8_repair(const uint8_t *p, size_t n, uint8_t *out);

#ifdef __cplusplus
}
#endif
#endif
