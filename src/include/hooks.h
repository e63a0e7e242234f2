/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  Commands that lanes must make way for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_HOOKS_H
#define TL_HOOKS_H

/* From _PG_init while preloading. */
extern void hooks_init(void);

#endif							/* TL_HOOKS_H */
