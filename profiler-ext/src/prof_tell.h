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

extern char prof_tell_text[PROF_TELL_BYTES];
extern int prof_tell_length;
extern char prof_tell_application[NAMEDATALEN];
extern char prof_tell_backend[16];
extern int prof_tell_backend_length;
extern void prof_tell_again(void);

/* pid to encoding, each with its ','. Comes behind prof_tell_vxid. */
static inline char *prof_tell_session(char *p) {
  memcpy(p, prof_tell_text, prof_tell_length);
  return p + prof_tell_length;
}

/* The virtual transaction id up to and with its '/'. */
static inline char *prof_tell_vxid(char *p) {
  if (unlikely(prof_tell_length == 0 || strcmp(application_name, prof_tell_application) != 0)) prof_tell_again();
  memcpy(p, prof_tell_backend, sizeof prof_tell_backend);
  return p + prof_tell_backend_length;
}

#endif
