/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  The settings tokenledger.*.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_GUC_H
#define TL_GUC_H

#define GUC_PREFIX				"tokenledger"

/* A store's good batch size applies while this is the setting's value. */
#define GUC_BATCH_ROWS_DEFAULT	10000

/* What lanes may do to the table in a store by themselves. */
typedef enum AutoMigrate
{
	AUTO_MIGRATE_OFF,
	AUTO_MIGRATE_CREATE,		/* make it if it is missing */
	AUTO_MIGRATE_ON				/* also bring an existing one up to date */
} AutoMigrate;

/* What a server that has been promoted does. */
typedef enum AfterPromotion
{
	AFTER_PROMOTION_CONTINUE,
	AFTER_PROMOTION_SUSPEND
} AfterPromotion;

/* What forwards where; never NULL. */
extern char *guc_targets;
extern char *guc_databases;

/* Defaults of the targets' options of the same name. */
extern int	guc_lanes;
extern int	guc_batch_rows;
extern int	guc_batch_kb;		/* batch_bytes, in kB */
extern int	guc_max_event_kb;	/* max_event_bytes, in kB */
extern int	guc_claim_rows;
extern int	guc_flush_interval; /* ms, as the next three are */
extern int	guc_timeout;
extern int	guc_retry_min;
extern int	guc_retry_max;
extern int	guc_auto_migrate;	/* AutoMigrate */

/* Of the server. */
extern int	guc_poll_interval;	/* ms */
extern int	guc_max_lanes;		/* slots in shared memory */
extern bool guc_allow_ledger_edits;
extern int	guc_retention;		/* days; 0: off */
extern char *guc_cluster_id;	/* never NULL; empty: not told */
extern int	guc_after_promotion;	/* AfterPromotion */

/* Ranges, also of the options that override a setting. */
#define LANES_MAX				64
#define BATCH_ROWS_MAX			1000000
#define BATCH_KB_MIN			64
#define BATCH_KB_MAX			(512 * 1024)
#define EVENT_KB_MIN			1
#define EVENT_KB_MAX			(512 * 1024)
#define CLAIM_ROWS_MAX			10000000
#define FLUSH_INTERVAL_MAX		(60 * 60 * 1000)
#define TIMEOUT_MIN				100
#define TIMEOUT_MAX				(24 * 60 * 60 * 1000)
#define RETENTION_MAX			36500
#define RETRY_MAX				(24 * 60 * 60 * 1000)

/* Defines them; called from _PG_init. */
extern void guc_init(void);

#endif							/* TL_GUC_H */
