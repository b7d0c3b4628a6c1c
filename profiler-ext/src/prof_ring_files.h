/*
 * The files of a slot one by one, for prof_ring.c: named, created, written, removed. In: a trace's folder, a slot, a
 * position. Out: descriptors that the caller closes; a negative errno where there is none. A path is always made anew and
 * links are not followed.
 */
#ifndef PROF_RING_FILES_H
#define PROF_RING_FILES_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#pragma GCC visibility push(hidden)

/* The CSV file of a position, to write; -ENOENT where it is gone, -ESTALE where it is shorter than the position. */
extern int prof_csv_open(const char *folder, int32_t slot, uint64_t position);

/* Writes pieces at offset. On failure the file ends at offset again: a reason (PROF_LOST_*, errno). Changes pieces. */
extern int prof_csv_write(int fd, struct iovec *pieces, int count, uint64_t offset);

/* Makes CSV file *file with its header line, or the first after those that are there. 0, or a reason. */
extern int prof_csv_create(const char *folder, int32_t slot, uint64_t *file);

/* The highest number of the slot's CSV files, 0 where it has none. Reads the whole folder. */
extern uint64_t prof_csv_last(const char *folder, int32_t slot);

/* The ring file: a new one with all its room taken, the one that is there (-EINVAL: not of its length), none any more. */
extern int prof_ring_create(const char *folder, int32_t slot);
extern int prof_ring_open(const char *folder, int32_t slot);
extern void prof_ring_remove(const char *folder, int32_t slot);

/* Gives back the room of the rows if it still is this file; its length stays, it may be mapped. */
extern void prof_ring_punch(const char *folder, int32_t slot, ino_t inode);

#pragma GCC visibility pop

#endif
