/*
 * The one check of core's test programs. In: a condition that must hold. Out: nothing; where it does not hold the program ends
 * with exit status 1 and its file, line and text on stderr.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                      \
  do {                                                                   \
    if (!(what)) {                                                       \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);         \
      exit(1);                                                           \
    }                                                                    \
  } while (0)

#endif
