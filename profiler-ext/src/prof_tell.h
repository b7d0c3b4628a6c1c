/*
 * What a row tells of its session, as text made once: pid to encoding, and the first half of the virtual transaction id.
 *
 * In: the backend's globals. Out: bytes, copied to the caller's place (which has FIXED_BYTES of prof_row.c). Static
 * storage; made again when application_name changes. Names of a process without a connection are looked up once, under
 * guard, and unknown where that fails.
 */
#ifndef PROF_TELL_H
#define PROF_TELL_H

#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#define PROF_TELL_BYTES 1024
#define PROF_STEP 32

extern char prof_tell_text[PROF_TELL_BYTES + PROF_STEP];
extern int prof_tell_length;
extern char prof_tell_application[NAMEDATALEN];
extern char prof_tell_backend[16];
extern int prof_tell_backend_length;
extern void prof_tell_again(void);

/*
 * Copies length bytes in steps of PROF_STEP, up to PROF_STEP - 1 too many: both places have them. In place, for the texts of
 * a row are shorter than what a call costs.
 */
static inline char *prof_tell_copy(char *p, const char *from, int length) {
#pragma GCC unroll 1
  for (int at = 0; at < length; at += PROF_STEP) memcpy(p + at, from + at, PROF_STEP);
  return p + length;
}

/* pid to encoding, each with its ','. Comes behind prof_tell_vxid. */
static inline char *prof_tell_session(char *p) {
  return prof_tell_copy(p, prof_tell_text, prof_tell_length);
}

/* The virtual transaction id up to and with its '/'. */
static inline char *prof_tell_vxid(char *p) {
  if (unlikely(prof_tell_length == 0 || strcmp(application_name, prof_tell_application) != 0)) prof_tell_again();
  memcpy(p, prof_tell_backend, sizeof prof_tell_backend);
  return p + prof_tell_backend_length;
}

#endif
