/*-------------------------------------------------------------------------
 *
 * tl_http.c
 *	  HTTP(S) for backends: libcurl in the core's wait.
 *
 * libcurl's multi-socket interface tells us which sockets it wants to hear
 * of, and core->wait waits for them together with the process's latch.  So a
 * request can be given up at any time, and nothing else in the server ever
 * waits for a store (CURLOPT_XFERINFOFUNCTION, for one, is called once a
 * second only).
 *
 * Invariants:
 *
 *	- Callbacks of libcurl neither throw nor palloc: they write into malloc'd
 *	  buffers of bounded size, or note a failure.
 *	- All signals are blocked while libcurl runs, for it may start a thread
 *	  (its resolver), which inherits the mask: no handler of the server's
 *	  ever runs on a foreign thread.
 *	- Handles hang on a reset callback of session->mcxt which is registered
 *	  before they exist.
 *	- A request's body is read once.  There is no CURLOPT_SEEKFUNCTION, so
 *	  libcurl cannot rewind it and send it again when a connection that was
 *	  kept open turns out to be dead: the server may have acted on it.
 *	- After a request that failed the easy handle is another one: libcurl 8
 *	  goes on trying to rewind, with every request of that handle, what it
 *	  could not rewind once.  Connections belong to the multi handle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>
#include <time.h>

#include "storage/fd.h"
#include "storage/latch.h"
#include "tl_http.h"

#define MAX_SOCKETS			6	/* core->wait takes this many and more */
#define MAX_HEADERS			32768

/* Reports libcurl's refusal of an option, which is a fault of its build. */
#define SETOPT(easy, option, value)											\
	do {																	\
		if (curl_easy_setopt(easy, option, value) != CURLE_OK)				\
			return "libcurl does not take " #option;						\
	} while (0)

#define SETMOPT(multi, option, value)										\
	do {																	\
		if (curl_multi_setopt(multi, option, value) != CURLM_OK)			\
			return "libcurl does not take " #option;						\
	} while (0)

typedef struct Socket
{
	curl_socket_t fd;
	int			want;			/* CURL_POLL_... */
} Socket;

typedef struct Buffer			/* malloc'd */
{
	char	   *data;
	Size		len;
	Size		size;
	Size		limit;
	bool		full;			/* more came than the limit allows */
} Buffer;

struct TlHttp
{
	const TlCore *core;
	TlSession  *session;
	MemoryContextCallback reset;
	CURLM	   *multi;
	CURL	   *easy;
	TlHttpSettings settings;	/* of the easy handle */
	bool		stale;			/* its last request has failed */
	bool		fd_reserved;

	/* What libcurl waits for. */
	Socket		sockets[MAX_SOCKETS];
	int			nsockets;
	bool		too_many;		/* sockets */
	int64		timer_at;		/* -1: none */

	/* The request that is on its way. */
	struct curl_slist *headers;
	const char *body;
	Size		body_len;
	Size		body_sent;
	bool		sent;

	/* The answer. */
	Buffer		reply_headers;
	Buffer		reply_body;
	char		error[CURL_ERROR_SIZE];
};

static const char *create_handles(TlHttp *http);
static const char *renew_easy(TlHttp *http);
static const char *set_up_multi(TlHttp *http);
static const char *set_up_easy(TlHttp *http);
static const char *set_up_version(CURL *easy,
								  const TlHttpSettings *settings);
static const char *set_up_tls(CURL *easy, const TlHttpSettings *settings);
static const char *restrict_protocols(CURL *easy);
static const char *set_up_request(TlHttp *http,
								  const TlHttpRequest *request);
static const char *choose_version(CURL *easy, const char *url);
static bool add_headers(TlHttp *http, const TlHttpRequest *request);
static bool add_header(TlHttp *http, const char *header);
static void release(void *arg);
static TlHttpEnd drive(TlHttp *http, const TlHttpRequest *request);
static bool act(TlHttp *http, curl_socket_t fd, int events, bool *done);
static void hand_over(TlHttp *http, const TlHttpRequest *request);
static TlWake wait_sockets(TlHttp *http, TlWaitFd *fds, int *nfds,
						   int64 deadline);
static bool still_wanted(const TlHttp *http, curl_socket_t fd);
static TlHttpEnd finish(TlHttp *http, TlHttpReply *reply);
static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
					  void *unused);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static size_t on_read(char *to, size_t size, size_t n, void *arg);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);
static bool append(Buffer *buffer, const char *data, Size len);

static inline void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, before);
}

static inline void
restore_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

int64
tl_http_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

TlHttp *
tl_http_create(const TlCore *core, TlSession *session,
			   const TlHttpSettings *settings, const char **error)
{
	TlHttp	   *http = MemoryContextAllocZero(session->mcxt, sizeof(TlHttp));
	sigset_t	before;

	http->core = core;
	http->session = session;
	http->timer_at = -1;
	http->settings = *settings;
	http->reply_headers.limit = MAX_HEADERS;
	http->reset.func = release;
	http->reset.arg = http;
	MemoryContextRegisterResetCallback(session->mcxt, &http->reset);
	http->fd_reserved = AcquireExternalFD();
	if (!http->fd_reserved)
	{
		*error = "too many open files";
		return NULL;
	}
	block_signals(&before);
	*error = create_handles(http);
	restore_signals(&before);
	return *error == NULL ? http : NULL;
}

/* NULL, or what libcurl cannot do. */
static const char *
create_handles(TlHttp *http)
{
	static bool initialized = false;
	const char *error;

	if (!initialized && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return "curl_global_init() failed";
	initialized = true;
	http->multi = curl_multi_init();
	if (http->multi == NULL)
		return "libcurl is out of memory";
	error = set_up_multi(http);
	return error ? error : renew_easy(http);
}

/* NULL, or what libcurl cannot do. */
static const char *
renew_easy(TlHttp *http)
{
	const char *error;

	if (http->easy != NULL)
		curl_easy_cleanup(http->easy);
	http->easy = curl_easy_init();
	error = http->easy ? set_up_easy(http) : "libcurl is out of memory";
	http->stale = error != NULL;
	return error;
}

static const char *
set_up_multi(TlHttp *http)
{
	SETMOPT(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	SETMOPT(http->multi, CURLMOPT_SOCKETDATA, http);
	SETMOPT(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	SETMOPT(http->multi, CURLMOPT_TIMERDATA, http);
	SETMOPT(http->multi, CURLMOPT_MAXCONNECTS, 1L);
	return NULL;
}

/* What is the same for every request. */
static const char *
set_up_easy(TlHttp *http)
{
	CURL	   *easy = http->easy;
	const TlHttpSettings *settings = &http->settings;
	const char *error;

	SETOPT(easy, CURLOPT_NOSIGNAL, 1L);
	SETOPT(easy, CURLOPT_ERRORBUFFER, http->error);
	SETOPT(easy, CURLOPT_FOLLOWLOCATION, 0L);
	SETOPT(easy, CURLOPT_PROXY, "");
	SETOPT(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	SETOPT(easy, CURLOPT_BUFFERSIZE, 131072L);
	SETOPT(easy, CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
	SETOPT(easy, CURLOPT_CONNECTTIMEOUT_MS,
		   (long) settings->connect_timeout_ms);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Giving up does not wait for the thread that looks a name up. */
	SETOPT(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	SETOPT(easy, CURLOPT_READFUNCTION, on_read);
	SETOPT(easy, CURLOPT_READDATA, http);
	SETOPT(easy, CURLOPT_WRITEFUNCTION, on_body);
	SETOPT(easy, CURLOPT_WRITEDATA, http);
	SETOPT(easy, CURLOPT_HEADERFUNCTION, on_header);
	SETOPT(easy, CURLOPT_HEADERDATA, http);
	error = restrict_protocols(easy);
	if (error == NULL)
		error = set_up_version(easy, settings);
	return error ? error : set_up_tls(easy, settings);
}

static const char *
set_up_version(CURL *easy, const TlHttpSettings *settings)
{
	if (!settings->http2)
		SETOPT(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	return NULL;
}

static const char *
restrict_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	SETOPT(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SETOPT(easy, CURLOPT_PROTOCOLS,
		   (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	return NULL;
}

static const char *
set_up_tls(CURL *easy, const TlHttpSettings *settings)
{
	SETOPT(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SETOPT(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	SETOPT(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (settings->ca_file != NULL)
		SETOPT(easy, CURLOPT_CAINFO, settings->ca_file);
	if (settings->cert_file != NULL)
		SETOPT(easy, CURLOPT_SSLCERT, settings->cert_file);
	if (settings->key_file != NULL)
		SETOPT(easy, CURLOPT_SSLKEY, settings->key_file);
	return NULL;
}

static void
release(void *arg)
{
	TlHttp	   *http = arg;
	sigset_t	before;

	block_signals(&before);
	if (http->easy != NULL && http->multi != NULL)
		(void) curl_multi_remove_handle(http->multi, http->easy);
	if (http->easy != NULL)
		curl_easy_cleanup(http->easy);
	if (http->multi != NULL)
		(void) curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->headers);
	restore_signals(&before);
	free(http->reply_headers.data);
	free(http->reply_body.data);
	if (http->fd_reserved)
		ReleaseExternalFD();
}

void
tl_http_perform(TlHttp *http, const TlHttpRequest *request,
				TlHttpReply *reply)
{
	const char *error = NULL;
	sigset_t	before;

	memset(reply, 0, sizeof(*reply));
	http->error[0] = '\0';
	http->sent = http->too_many = false;
	http->body = request->body;
	http->body_len = request->body_len;
	http->body_sent = 0;
	http->reply_headers.len = http->reply_body.len = 0;
	http->reply_headers.full = http->reply_body.full = false;
	http->reply_body.limit = request->max_reply;
	block_signals(&before);
	if (http->stale)
		error = renew_easy(http);
	restore_signals(&before);
	if (error == NULL)
		error = set_up_request(http, request);
	if (error == NULL)
	{
		block_signals(&before);
		if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
			error = "libcurl takes no request";
		restore_signals(&before);
	}
	if (error != NULL)
	{
		reply->end = TL_HTTP_FAILED;
		strlcpy(reply->error, error, sizeof(reply->error));
		return;
	}

	reply->end = drive(http, request);
	if (reply->end == TL_HTTP_ANSWERED)
		reply->end = finish(http, reply);
	else
		strlcpy(reply->error, http->error, sizeof(reply->error));
	block_signals(&before);
	(void) curl_multi_remove_handle(http->multi, http->easy);
	restore_signals(&before);
	http->stale = reply->end != TL_HTTP_ANSWERED;
	reply->sent = http->sent;
	reply->body = http->reply_body.data;
	reply->body_len = http->reply_body.len;
	http->body = NULL;
}

/* NULL, or what libcurl cannot do. */
static const char *
set_up_request(TlHttp *http, const TlHttpRequest *request)
{
	CURL	   *easy = http->easy;
	int64		left = request->deadline - tl_http_now_ms();

	if (!add_headers(http, request))
		return "libcurl is out of memory";
	SETOPT(easy, CURLOPT_URL, request->url);
	SETOPT(easy, CURLOPT_HTTPHEADER, http->headers);
	SETOPT(easy, CURLOPT_TIMEOUT_MS, (long) Max(left, 1));
	SETOPT(easy, CURLOPT_CUSTOMREQUEST, request->method);
	SETOPT(easy, CURLOPT_ACCEPT_ENCODING, request->decode ? "" : NULL);
	if (http->settings.http2)
	{
		const char *error = choose_version(easy, request->url);

		if (error != NULL)
			return error;
	}
	if (request->body == NULL)
	{
		SETOPT(easy, CURLOPT_HTTPGET, 1L);
		return NULL;
	}
	SETOPT(easy, CURLOPT_POST, 1L);
	SETOPT(easy, CURLOPT_POSTFIELDS, NULL);
	SETOPT(easy, CURLOPT_POSTFIELDSIZE_LARGE,
		   (curl_off_t) request->body_len);
	return NULL;
}

/*
 * In clear text a connection is used once: libcurl before 8.5 fails with
 * CURLE_HTTP2 when it uses one again that began by prior knowledge.
 */
static const char *
choose_version(CURL *easy, const char *url)
{
	bool		tls = strncmp(url, "https:", 6) == 0;

	SETOPT(easy, CURLOPT_HTTP_VERSION, (long)
		   (tls ? CURL_HTTP_VERSION_2TLS :
			CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
	SETOPT(easy, CURLOPT_FRESH_CONNECT, tls ? 0L : 1L);
	SETOPT(easy, CURLOPT_FORBID_REUSE, tls ? 0L : 1L);
	return NULL;
}

/*
 * libcurl would wait a second for leave to send a body (Expect), and call it
 * a form (Content-Type).
 */
static bool
add_headers(TlHttp *http, const TlHttpRequest *request)
{
	const char *type = request->content_type;

	curl_slist_free_all(http->headers);
	http->headers = NULL;
	if (!add_header(http, "Expect:") ||
		!add_header(http, psprintf("Content-Type: %s", type ? type :
								   "application/octet-stream")))
		return false;
	if (request->headers == NULL)
		return true;
	for (const char *const *h = request->headers; *h != NULL; h++)
		if (!add_header(http, *h))
			return false;
	return true;
}

static bool
add_header(TlHttp *http, const char *header)
{
	struct curl_slist *longer = curl_slist_append(http->headers, header);

	if (longer == NULL)
		return false;
	http->headers = longer;
	return true;
}

/* Until libcurl is done, time is up, or the core says stop. */
static TlHttpEnd
drive(TlHttp *http, const TlHttpRequest *request)
{
	bool		done = false;

	if (!act(http, CURL_SOCKET_TIMEOUT, 0, &done))
		return TL_HTTP_FAILED;
	for (;;)
	{
		TlWaitFd	fds[MAX_SOCKETS];
		int			nfds;

		hand_over(http, request);
		if (done)
			return TL_HTTP_ANSWERED;
		switch (wait_sockets(http, fds, &nfds, request->deadline))
		{
			case TL_WAKE_STOP:
				return TL_HTTP_STOPPED;
			case TL_WAKE_TIMEOUT:
				if (tl_http_now_ms() >= request->deadline)
					return TL_HTTP_TIMEOUT;
				if (!act(http, CURL_SOCKET_TIMEOUT, 0, &done))
					return TL_HTTP_FAILED;
				break;
			case TL_WAKE_FD:
				for (int i = 0; i < nfds && !done; i++)
				{
					int			events = 0;

					if (fds[i].fired & WL_SOCKET_READABLE)
						events |= CURL_CSELECT_IN;
					if (fds[i].fired & WL_SOCKET_WRITEABLE)
						events |= CURL_CSELECT_OUT;
					if (events != 0 && still_wanted(http, fds[i].fd) &&
						!act(http, fds[i].fd, events, &done))
						return TL_HTTP_FAILED;
				}
				break;
		}
	}
}

static bool
act(TlHttp *http, curl_socket_t fd, int events, bool *done)
{
	int			running = 0;
	sigset_t	before;
	CURLMcode	rc;

	if (fd == CURL_SOCKET_TIMEOUT)
		http->timer_at = -1;
	block_signals(&before);
	rc = curl_multi_socket_action(http->multi, fd, events, &running);
	restore_signals(&before);
	*done = (running == 0);
	if (rc == CURLM_OK && !http->too_many)
		return true;
	strlcpy(http->error, rc == CURLM_OK ? "too many sockets" :
			curl_multi_strerror(rc), sizeof(http->error));
	return false;
}

/* Offers what has arrived of the answer. */
static void
hand_over(TlHttp *http, const TlHttpRequest *request)
{
	Buffer	   *buffer = &http->reply_body;
	long		status = 0;
	Size		used;

	if (request->consume == NULL || buffer->len == 0)
		return;
	(void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return;
	used = request->consume(request->arg, buffer->data, buffer->len);
	memmove(buffer->data, buffer->data + used, buffer->len - used);
	buffer->len -= used;
}

static TlWake
wait_sockets(TlHttp *http, TlWaitFd *fds, int *nfds, int64 deadline)
{
	int64		now = tl_http_now_ms();
	int64		until = deadline;

	*nfds = 0;
	for (int i = 0; i < http->nsockets; i++)
	{
		TlWaitFd	fd = {.fd = http->sockets[i].fd};

		if (http->sockets[i].want & CURL_POLL_IN)
			fd.events |= WL_SOCKET_READABLE;
		if (http->sockets[i].want & CURL_POLL_OUT)
			fd.events |= WL_SOCKET_WRITEABLE;
		if (fd.events != 0)
			fds[(*nfds)++] = fd;
	}
	if (http->timer_at >= 0)
		until = Min(until, http->timer_at);
	return http->core->wait(http->session, fds, *nfds,
							(long) Max(until - now, 0));
}

/* An earlier event may have made libcurl close it. */
static bool
still_wanted(const TlHttp *http, curl_socket_t fd)
{
	for (int i = 0; i < http->nsockets; i++)
		if (http->sockets[i].fd == fd)
			return true;
	return false;
}

/* libcurl is done with the request: with an answer? */
static TlHttpEnd
finish(TlHttp *http, TlHttpReply *reply)
{
	CURLMsg    *message;
	int			left;
	long		status = 0;
	CURLcode	rc = CURLE_GOT_NOTHING;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
			rc = message->data.result;
	if (rc == CURLE_OK)
	{
		(void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
		reply->status = (int) status;
		return TL_HTTP_ANSWERED;
	}
	if (http->reply_body.full || http->reply_headers.full)
		strlcpy(reply->error, "the answer is too long",
				sizeof(reply->error));
	else
		strlcpy(reply->error, http->error[0] ? http->error :
				curl_easy_strerror(rc), sizeof(reply->error));
	reply->bad_file = rc == CURLE_SSL_CERTPROBLEM ||
		rc == CURLE_SSL_CACERT_BADFILE;
	return rc == CURLE_OPERATION_TIMEDOUT ? TL_HTTP_TIMEOUT : TL_HTTP_FAILED;
}

bool
tl_http_header(const TlHttp *http, const char *name, StringInfo value)
{
	const char *line = http->reply_headers.data;
	const char *end = line + http->reply_headers.len;
	Size		len = strlen(name);

	while (line < end)
	{
		const char *eol = memchr(line, '\n', end - line);
		const char *next = eol ? eol + 1 : end;

		if (next - line > len && line[len] == ':' &&
			pg_strncasecmp(line, name, len) == 0)
		{
			line += len + 1;
			while (line < next && strchr(" \t", *line) != NULL)
				line++;
			while (next > line && strchr(" \t\r\n", next[-1]) != NULL)
				next--;
			appendBinaryStringInfo(value, line, next - line);
			return true;
		}
		line = next;
	}
	return false;
}

void
tl_http_escape(StringInfo out, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *text != '\0'; text++)
	{
		unsigned char c = *text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || strchr("-._~", c) != NULL)
			appendStringInfoChar(out, c);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, digits[c >> 4]);
			appendStringInfoChar(out, digits[c & 15]);
		}
	}
}

/* Callbacks of libcurl: no palloc, nothing that throws. */

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	TlHttp	   *http = arg;
	int			i = 0;

	while (i < http->nsockets && http->sockets[i].fd != fd)
		i++;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < http->nsockets)
			http->sockets[i] = http->sockets[--http->nsockets];
		return 0;
	}
	if (i == MAX_SOCKETS)
	{
		http->too_many = true;
		return 0;
	}
	http->sockets[i].fd = fd;
	http->sockets[i].want = what;
	http->nsockets = Max(http->nsockets, i + 1);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	TlHttp	   *http = arg;

	http->timer_at = timeout_ms < 0 ? -1 : tl_http_now_ms() + timeout_ms;
	return 0;
}

static size_t
on_read(char *to, size_t size, size_t n, void *arg)
{
	TlHttp	   *http = arg;
	Size		len = Min(size * n, http->body_len - http->body_sent);

	http->sent = true;
	memcpy(to, http->body + http->body_sent, len);
	http->body_sent += len;
	return len;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	TlHttp	   *http = arg;

	return append(&http->reply_body, data, size * n) ? size * n : 0;
}

/* NB: of an answer that follows another (100 Continue) only the last. */
static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	TlHttp	   *http = arg;

	if (size * n > 5 && memcmp(data, "HTTP/", 5) == 0)
		http->reply_headers.len = 0;
	return append(&http->reply_headers, data, size * n) ? size * n : 0;
}

static bool
append(Buffer *buffer, const char *data, Size len)
{
	if (buffer->len + len > buffer->limit)
	{
		buffer->full = true;
		return false;
	}
	if (buffer->len + len > buffer->size)
	{
		Size		size = Max(2 * buffer->size, buffer->len + len);
		char	   *larger = realloc(buffer->data, size);

		if (larger == NULL)
			return false;
		buffer->data = larger;
		buffer->size = size;
	}
	memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	return true;
}
