/*-------------------------------------------------------------------------
 *
 * tl_columns.h
 *	  The columns of an events table, and what is said of one that differs.
 *
 * Pure text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_COLUMNS_H
#define TL_COLUMNS_H

#include "tokenledger_backend.h"

typedef struct TlExpected		/* a column as our own table has it */
{
	const char *name;
	TlType		type;
	bool		required;
	int32		since;			/* version of the table */
} TlExpected;

extern const TlExpected tl_expected[];	/* ends with name NULL */
extern const TlExpected *tl_find_expected(const char *name);

/*
 * A table is described for people in two lists of differences: all that it
 * has otherwise, and of that what makes it impossible to fill it.
 */
extern void tl_note(StringInfo list, const char *fmt,...)
			pg_attribute_printf(2, 3);

/* is and instead are types; fits: it can be filled all the same. */
extern void tl_note_type(const char *column, const char *is,
						 const char *instead, bool fits, StringInfo all,
						 StringInfo fatal);
extern void tl_note_missing(const char *column, StringInfo all,
							StringInfo fatal);

#endif							/* TL_COLUMNS_H */
