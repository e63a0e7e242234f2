/*-------------------------------------------------------------------------
 *
 * queue_target.c
 *	  What a lane says of its target, in the target's row, and asks of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "lane_transaction.h"
#include "queue_internal.h"

void
queue_report_error(Queue *queue, const char *cause, const char *code,
				   const char *message)
{
	QueueArgs	args = {0};

	lane_begin();
	target_key(queue, &args);
	arg_add_text(&args, cause);
	arg_add_text(&args, code);
	arg_add_text(&args, message);
	queue_run_at(Q_TARGET_ERROR, &queue->target_tid, &args);
	lane_commit();
}

void
queue_report_recovery(Queue *queue)
{
	QueueArgs	args = {0};

	lane_begin();
	target_key(queue, &args);
	queue_run_at(Q_TARGET_RECOVERY, &queue->target_tid, &args);
	lane_commit();
}

void
queue_report_remote(Queue *queue, const RemoteReport *report)
{
	QueueArgs	args = {0};

	lane_begin();
	target_key(queue, &args);
	if (report->version == 0)
		arg_add_null(&args);
	else
		arg_add(&args, Int32GetDatum(report->version));
	arg_add_text(&args, report->guarantee);
	arg_add_text(&args, report->differences);
	arg_add_text(&args, report->hint);
	if (report->keeps_from == DT_NOBEGIN)
		arg_add_null(&args);
	else
		arg_add(&args, TimestampTzGetDatum(report->keeps_from));
	queue_run_at(Q_TARGET_REMOTE, &queue->target_tid, &args);
	lane_commit();
}

void
queue_retire(Queue *queue)
{
	QueueArgs	args = {0};

	lane_begin();
	lane_key(queue, &args);
	queue_run_at(Q_RETIRE_LANE, &queue->lane_tid, &args);
	lane_commit();
}

int32
queue_lanes_needed(Queue *queue)
{
	QueueArgs	args = {0};
	int32		needed;

	lane_begin();
	arg_add(&args, Int32GetDatum(queue->target_id));
	queue_run(Q_LANES_NEEDED, &args);
	needed = (int32) queue_int64(1, 0);
	lane_commit();
	return needed;
}

bool
queue_has_forwarded(Queue *queue)
{
	QueueArgs	args = {0};
	bool		forwarded;

	lane_begin();
	arg_add(&args, Int32GetDatum(queue->target_id));
	forwarded = queue_run(Q_HAS_FORWARDED, &args) > 0;
	lane_commit();
	return forwarded;
}
