/*
 * Options of the sanitizer's library in a server: its environment's place is PostgreSQL's process title by the time it looks
 * there. In: PEM_SANITIZER_REPORTS, a folder. Out: a file there for each process that finds something, and its end.
 */
#include <stdio.h>
#include <stdlib.h>

extern const char *__ubsan_default_options(void) __attribute__((visibility("default")));

const char *__ubsan_default_options(void) {
  static char options[512];
  const char *folder = getenv("PEM_SANITIZER_REPORTS");
  snprintf(options, sizeof options, "abort_on_error=1:print_stacktrace=1:log_path=%s/found", folder != NULL ? folder : ".");
  return options;
}
