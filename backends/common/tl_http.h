/*-------------------------------------------------------------------------
 *
 * tl_http.h
 *	  HTTP(S) for backends: libcurl in the core's wait.
 *
 * Compiled into each backend that needs it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_HTTP_H
#define TL_HTTP_H

#include "tokenledger_backend.h"

typedef struct TlHttp TlHttp;

typedef struct TlHttpSettings	/* strings outlive the TlHttp */
{
	int32		connect_timeout_ms;
	const char *ca_file;		/* NULL: libcurl's own */
	const char *cert_file;		/* the client's; NULL: none */
	const char *key_file;
	bool		http2;			/* gRPC needs it: negotiated in TLS, taken for
								 * granted in clear text */
} TlHttpSettings;

/*
 * Takes what has arrived of the body of an answer with status 200 and returns
 * how much of it was used; the rest is offered again with what follows.
 * Called outside of libcurl, so it may throw.
 */
typedef Size (*TlHttpConsumeCB) (void *arg, const char *data, Size len);

typedef struct TlHttpRequest
{
	const char *url;
	const char *method;			/* NULL: GET without a body, else POST */
	const char *content_type;	/* NULL: application/octet-stream */
	const char *const *headers; /* "Name: value"; ends with NULL */
	const char *body;			/* NULL: none */
	Size		body_len;
	Size		max_reply;		/* bytes of the answer's body held at once */
	int64		deadline;		/* of tl_http_now_ms() */
	TlHttpConsumeCB consume;	/* NULL: the whole body is kept */
	void	   *arg;
	bool		decode;			/* the answer's body may come compressed */
} TlHttpRequest;

typedef enum TlHttpEnd
{
	TL_HTTP_ANSWERED,			/* completely, whatever the status */
	TL_HTTP_FAILED,				/* no connection, or it broke */
	TL_HTTP_TIMEOUT,
	TL_HTTP_STOPPED				/* the core wants its process back */
} TlHttpEnd;

/* Valid until the next request of the same TlHttp. */
typedef struct TlHttpReply
{
	TlHttpEnd	end;
	bool		sent;			/* some of the body was handed to libcurl: the
								 * server may have acted on it */
	int			status;			/* of TL_HTTP_ANSWERED */
	bool		bad_file;		/* of TL_HTTP_FAILED: a certificate's or key's
								 * file cannot be used */
	const char *body;			/* what was not consumed */
	Size		body_len;
	char		error[256];		/* libcurl's words, unless answered */
} TlHttpReply;

/* Milliseconds of a clock that only goes forward. */
extern int64 tl_http_now_ms(void);

/*
 * A client with one connection, kept open between requests, that lives as
 * long as session->mcxt.  Connects to nothing.  NULL: libcurl cannot do what
 * the settings ask for, *error says what.
 */
extern TlHttp *tl_http_create(const TlCore *core, TlSession *session,
							  const TlHttpSettings *settings,
							  const char **error);

/*
 * Sends one request and waits for its answer.  A request is sent once: where
 * libcurl would send its body a second time over another connection, it
 * fails.  Neither redirects nor proxies of the environment are followed.
 */
extern void tl_http_perform(TlHttp *http, const TlHttpRequest *request,
							TlHttpReply *reply);

/* The value of a header, or of a trailer, of the last answer; false: none. */
extern bool tl_http_header(const TlHttp *http, const char *name,
						   StringInfo value);

/* Percent-encodes everything but unreserved characters. */
extern void tl_http_escape(StringInfo out, const char *text);

#endif							/* TL_HTTP_H */
