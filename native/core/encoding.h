/*
 * Text of a database's own encoding -> UTF-8 that any PostgreSQL takes: no NUL, nothing ill-formed.
 *
 * In: bytes the caller owns, and the encoding's name as PostgreSQL writes it (server_encoding). Out: UTF-8 in memory the
 * caller owns. UTF8 and SQL_ASCII: what is well-formed stays. Encodings of one byte a character: by their tables, which are
 * PostgreSQL's (a test asks a server). All others: ASCII stays; those of EUC_* are for whoever has the C library's iconv
 * (addon/csv_multibyte.h). Bytes that mean nothing in their encoding, and NUL, come out as \xNN.
 */
#ifndef ENCODING_H
#define ENCODING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct enc_encoding {
  const char *name;
  int kind;              /* 0 UTF-8, 1 a table, 2 ASCII alone, 3 several bytes a character: here as 2 */
  const uint16_t *table; /* characters 0x80 .. 0xff, 0: none */
  const char *libc_name; /* of kind 3: as iconv knows it */
} enc_encoding;

/* The encoding of that name, never NULL; an empty name is UTF8. */
const enc_encoding *enc_by_name(const uint8_t *name, size_t n);

typedef struct enc_made {
  size_t size;   /* bytes written */
  int escaped;   /* 1: some bytes came out as \xNN */
  int cut;       /* 1: not all fitted */
} enc_made;

/*
 * Converts p[0..n) to out, which holds `limit` bytes; never more than 4 * n are needed. What does not fit is left out at the
 * boundary of a character or of a \xNN.
 */
enc_made enc_to_utf8(const enc_encoding *encoding, const uint8_t *p, size_t n, uint8_t *out, size_t limit);

/* The encodings with tables, for tests: the i-th, NULL behind the last. */
const enc_encoding *enc_single_byte(size_t i);

#ifdef __cplusplus
}
#endif
#endif
