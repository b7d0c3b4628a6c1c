/*
 * Secrets in SQL texts: finds the literals that are passwords or connection strings and writes the text with "***" in
 * their place, before it reaches any file.
 *
 * In: a text of any bytes in a server encoding (ASCII bytes are never part of a longer character). Out: a masked copy in
 * the caller's memory, never longer than the text. Nothing is allocated, nothing throws, no PostgreSQL header is used, so
 * that the whole of it is fuzzed outside of a server. More secrets in a text than PROF_MASK_SPANS: all behind the last
 * one is one secret.
 *
 * What is a secret: literals (and misplaced words) behind PASSWORD; all literals of CREATE/ALTER ROLE, USER, GROUP up to
 * SET, VALID UNTIL's excepted; OPTIONS of servers, user mappings and foreign data wrappers; literals of CREATE/ALTER
 * SUBSCRIPTION up to PUBLICATION or WITH; values of primary_conninfo and ssl_passphrase_command; inside any literal, the
 * value of password= and the password of a URI. Literals are looked into (DO and function bodies, dynamic SQL), comments too.
 * Reading is lexical: a text that does not parse is masked as well.
 */
#ifndef PROF_MASK_H
#define PROF_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROF_MASK_SPANS 64

typedef struct ProfSecret {
  uint32_t start;
  uint32_t end;
} ProfSecret;

typedef struct ProfSecrets {
  int count;
  bool escaped;                   /* a secret is written with escapes: a message may show it in another form */
  ProfSecret at[PROF_MASK_SPANS]; /* ascending, apart, not empty */
} ProfSecrets;

/* Plans: text outside of single quotes has no quoted identifiers that matter (JSON quotes all of it). */
#define PROF_MASK_PLAN 1u
/* standard_conforming_strings is off: a backslash escapes in every literal. */
#define PROF_MASK_BACKSLASH 2u
/* A message: connection strings may stand anywhere. */
#define PROF_MASK_MESSAGE 4u

/* May text hold a secret? One pass; false is certain for statements that are planned, utility commands are to be searched. */
extern bool prof_mask_suspect(const char *text, size_t n);

/* Finds the secrets of text; n below 4 GiB. False: there are none. */
extern bool prof_mask_find(ProfSecrets *secrets, const char *text, size_t n, unsigned mode);

/* Writes text with its secrets replaced to out, which holds n bytes; returns the bytes written. */
extern size_t prof_mask_write(char *out, const char *text, size_t n, const ProfSecrets *secrets);

/* May message repeat (a part of) a secret of text? Compared word by word; long ones are taken to. */
extern bool prof_mask_repeats(const char *message, size_t n, const char *text, const ProfSecrets *secrets);

#endif
