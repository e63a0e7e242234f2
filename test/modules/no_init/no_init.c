/*-------------------------------------------------------------------------
 *
 * no_init.c
 *	  A library whose name is a backend's, without its init function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
