/*
 * Utility commands: one row for each that a client or a function gave. In: calls of the ProcessUtility hook. Out: rows.
 * Owner of the memory: the frames' pool. Parts of a command (PROCESS_UTILITY_SUBCOMMAND) are no rows, EXPLAIN without ANALYZE
 * is one only when it fails.
 */
#ifndef PROF_UTILITY_H
#define PROF_UTILITY_H

extern void prof_utility_install(void);

#endif
