/*-------------------------------------------------------------------------
 *
 * lane_migrate.c
 *	  The jobs migrate and rollback: a store's table to another version.
 *
 * Each step looks at the store first: what it says of its version decides
 * which of the backend's migrations comes next, whoever applied the last one.
 * So a job that was cut off goes on, one that somebody else has done finds
 * nothing left, and after an unknown outcome the store is simply asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "lane.h"
#include "registry.h"

/* So often a step fails for a reason that may pass, within seconds. */
#define MAX_FAILURES	5

typedef struct Move
{
	bool		up;
	int32		from;			/* the store's version; 0: no table, or one
								 * without a record of its version */
	int32		to;
	const TlMigration *next;	/* NULL: it is there */
	int			left;			/* steps, this one included */
} Move;

static JobResult look(Lane *lane, QueueJob *job, TlRemote *remote,
					  JobReport *report);
static JobResult trouble(const QueueJob *job, JobReport *report);
static JobResult cannot(JobReport *report, TlCause cause,
						const char *fmt,...) pg_attribute_printf(3, 4);
static void plan(const TlBackend *backend, Move *move);
static JobResult wrong_way(const Move *move, const Lane *lane,
						   JobReport *report);
static JobResult apply(Lane *lane, QueueJob *job, const Move *move,
					   JobReport *report);
static void explain_failure(const Move *move, JobReport *report);

/* JobStepCB */
JobResult
lane_migrate(Lane *lane, QueueJob *job, JobReport *report)
{
	const TlBackend *backend = lane->target->backend;
	TlRemote	remote;
	Move		move = {.up = strcmp(job->kind, "migrate") == 0};
	JobResult	result;

	if (backend->migrations == NULL || backend->migrate == NULL ||
		backend->inspect == NULL)
		return cannot(report, TL_CAUSE_CONFIG,
					  "backend \"%s\" has no schema to change",
					  backend->name);
	if (job->automatic && lane->target->auto_migrate == AUTO_MIGRATE_OFF)
	{
		(void) cannot(report, TL_CAUSE_CONFIG, "auto_migrate is off by now");
		return JOB_CANCELLED;
	}
	result = look(lane, job, &remote, report);
	if (result != JOB_GOES_ON)
		return result;
	move.from = remote.exists ? remote.version : 0;
	move.to = job->version;
	if (move.to == 0)
		move.to = registry_newest_version(backend);
	if (move.up ? move.from > move.to : move.from < move.to)
		return wrong_way(&move, lane, report);
	plan(backend, &move);
	if (move.next == NULL)
	{
		snprintf(report->message, sizeof(report->message),
				 "the table is at version %d.%d", move.from / 100,
				 move.from % 100);
		return JOB_DONE;
	}
	return apply(lane, job, &move, report);
}

/* JOB_GOES_ON: the store has been asked, and it is ours to change. */
static JobResult
look(Lane *lane, QueueJob *job, TlRemote *remote, JobReport *report)
{
	TlVerdict  *verdict = &report->verdict;
	TlOutcome	outcome;
	bool		dropped;

	if (!lane_target_open(lane, verdict))
		return JOB_FAILED;
	outcome = session_inspect(lane->session, remote, verdict, &dropped);
	if (dropped)
		lane->session = NULL;
	lane->inspected = false;	/* of what there will be afterwards */
	report->no_table = !remote->exists;
	if (outcome != TL_OK && !(outcome == TL_REFUSED && remote->exists))
		return trouble(job, report);

	/* What makes it impossible to fill may be what the step adds. */
	verdict->message[0] = '\0';
	if (!lane_remote_ours(lane, remote, verdict))
		return JOB_FAILED;
	return JOB_GOES_ON;
}

/* What the store said, or the network. */
static JobResult
trouble(const QueueJob *job, JobReport *report)
{
	switch (report->verdict.cause)
	{
		case TL_CAUSE_NONE:
		case TL_CAUSE_NETWORK:
		case TL_CAUSE_OVERLOAD:
			return job->attempts < MAX_FAILURES ? JOB_AGAIN : JOB_FAILED;
		default:
			return JOB_FAILED;
	}
}

static JobResult
cannot(JobReport *report, TlCause cause, const char *fmt,...)
{
	va_list		args;

	report->verdict.cause = cause;
	va_start(args, fmt);
	vsnprintf(report->verdict.message, sizeof(report->verdict.message), fmt,
			  args);
	va_end(args);
	return JOB_FAILED;
}

/* The next step up, or the last one to undo. */
static void
plan(const TlBackend *backend, Move *move)
{
	for (const TlMigration *m = backend->migrations; m->version != 0; m++)
	{
		if (move->up ? m->version <= move->from || m->version > move->to :
			m->version <= move->to || m->version > move->from)
			continue;
		if (move->next == NULL || !move->up)
			move->next = m;
		move->left++;
	}
}

static JobResult
wrong_way(const Move *move, const Lane *lane, JobReport *report)
{
	if (!move->up && move->from == 0)
		return cannot(report, TL_CAUSE_SCHEMA,
					  "the store has no table whose version is known");
	return cannot(report, TL_CAUSE_CONFIG,
				  "the table is at version %d.%d: token_ledger.%s('%s', %d)"
				  " leads to %d.%d", move->from / 100, move->from % 100,
				  move->up ? "rollback" : "migrate", lane->target->name,
				  move->to, move->to / 100, move->to % 100);
}

static JobResult
apply(Lane *lane, QueueJob *job, const Move *move, JobReport *report)
{
	const TlMigration *step = move->next;
	TlOutcome	outcome;
	bool		dropped;

	if (!move->up && step->down == NULL)
		return cannot(report, TL_CAUSE_CONFIG,
					  "version %d.%d cannot be undone", step->version / 100,
					  step->version % 100);
	if (lane->job_step == step)
		return cannot(report, TL_CAUSE_SCHEMA,
					  "the store does not show that version %d.%d was %s",
					  step->version / 100, step->version % 100,
					  move->up ? "applied" : "undone");
	outcome = session_migrate(lane->session, step, move->up,
							  &report->verdict, &dropped);
	if (dropped)
		lane->session = NULL;
	tell_remote_changed(MyDatabaseId, lane->target->name);
	if (outcome != TL_OK)
	{
		JobResult	result = trouble(job, report);

		if (result == JOB_FAILED)
			explain_failure(move, report);
		return result;
	}
	lane->job_step = step;
	job->total = job->done + move->left;
	job->done++;
	snprintf(report->message, sizeof(report->message),
			 "version %d.%d %s: %s", step->version / 100, step->version % 100,
			 move->up ? "applied" : "undone", step->description);
	return JOB_GOES_ON;
}

/* Where the table stands now, and that the job can be repeated. */
static void
explain_failure(const Move *move, JobReport *report)
{
	char		words[sizeof(report->verdict.message)];
	const TlMigration *step = move->next;

	strlcpy(words, report->verdict.message, sizeof(words));
	snprintf(report->verdict.message, sizeof(report->verdict.message),
			 "version %d.%d could not be %s, the table stays at %d.%d and the"
			 " request can be repeated: %s", step->version / 100,
			 step->version % 100, move->up ? "applied" : "undone",
			 move->from / 100, move->from % 100, words);
}
