/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  Checks for the unit tests of pure C code, reported as TAP.
 *
 * A test is one program, test_<what>.c, which includes postgres.h (or
 * postgres_fe.h), then this header, defines main() with plain calls of its
 * own functions, and ends with "return unit_done();".  A comment within its
 * first twelve lines names what the Makefile links to it:
 *
 *		sources: src/window.c backends/postgres/encode.c
 *		libs: -lpq
 *		flags: -DFRONTEND
 *
 * Code compiled for the backend finds palloc, StringInfo, psprintf and the
 * like in libpgcommon, and ereport, PG_TRY, memory contexts and lappend in
 * stubs.c.  What throws is tested with unit_error().
 *
 * A check that fails is printed with its values and counted; the program
 * goes on.  A program without any check fails.
 *
 *-------------------------------------------------------------------------
 */
#ifndef UNIT_H
#define UNIT_H

/* Names the checks that follow. */
extern void unit_test(const char *name);

/* Plan line; the exit status: 0 if every check held and there was one. */
extern int	unit_done(void);

/* The rest cannot be tested here; why is printed and counted as skipped. */
extern void unit_skip(const char *reason);

#define CHECK(cond) \
	unit_check((cond), #cond, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) \
	unit_check_int((long long) (actual), (long long) (expected), \
				   #actual, __FILE__, __LINE__)
#define CHECK_STR(actual, expected) \
	unit_check_str((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_MEM(actual, expected, len) \
	unit_check_mem((actual), (expected), (len), #actual, __FILE__, __LINE__)

/* ereport(ERROR) while fn(arg) ran: its message; NULL if it returned. */
extern const char *unit_error(void (*fn) (void *arg), void *arg);

/* Runs the reset callbacks registered since, the last one first. */
extern void unit_reset(void);

/* SQLSTATE, as MAKE_SQLSTATE packs it, of the error caught last. */
extern int	unit_error_code(void);

extern bool unit_check(bool ok, const char *what, const char *file, int line);
extern bool unit_check_int(long long actual, long long expected,
						   const char *what, const char *file, int line);
extern bool unit_check_str(const char *actual, const char *expected,
						   const char *what, const char *file, int line);
extern bool unit_check_mem(const void *actual, const void *expected,
						   size_t len, const char *what, const char *file,
						   int line);

#endif							/* UNIT_H */
