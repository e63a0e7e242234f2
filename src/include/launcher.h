/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The worker that keeps the lanes equal to the settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_LAUNCHER_H
#define TL_LAUNCHER_H

/* From _PG_init while preloading. */
extern void launcher_register(void);
extern PGDLLEXPORT void tl_launcher_main(Datum main_arg);

#endif							/* TL_LAUNCHER_H */
