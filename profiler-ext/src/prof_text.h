/*
 * Texts and names of statements. In: what PostgreSQL hands to the hooks. Out: pointers into it, lengths, static names.
 * Nothing is allocated, nothing throws.
 */
#ifndef PROF_TEXT_H
#define PROF_TEXT_H

#include "postgres.h"

#include "prof_frame.h"

/* Puts the tag of a planned statement into frame. */
extern void prof_text_tag(ProfFrame *frame, CmdType operation);

/* The statement's own part of its text, without spaces around it and semicolons behind it. NULL: none. */
extern const char *prof_text_of(const ProfFrame *frame, size_t *length);

/* The largest length <= limit that splits no character of text. */
extern size_t prof_text_cut(const char *text, size_t n, size_t limit);

/* PROF_KIND_* of a text that may not even parse, by its first word. */
extern uint32 prof_text_guess_kind(const char *text);

#endif
