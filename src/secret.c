/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Reads secrets from files and environment variables.
 *
 * A file is held to the rule that the server has for ssl_key_file: it belongs
 * to the server's user and nobody else can read it (0600 or less), or to root
 * and only its group can (0640 or less).  The rule is checked on the file
 * that was opened, so that nothing can be exchanged in between, and at every
 * reading: secrets are rotated under a running server.
 *
 * Messages name the option and the file, and never hold what was read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "storage/fd.h"

#define MAX_SECRET		65536	/* bytes */

static bool check_file(const char *option, const char *name,
					   const struct stat *st, char **error);
static bool read_contents(const char *option, const char *name, int fd,
						  StringInfo out, char **error);
static bool take_secret(const char *option, const char *source, char *data,
						ssize_t len, StringInfo out, char **error);
static char *printable(const char *path);

bool
secret_read_file(const char *option, const char *path, StringInfo out,
				 char **error)
{
	char	   *name = printable(path);
	int			fd;
	struct stat st;
	bool		ok;

	*error = NULL;
	if (!is_absolute_path(path))
	{
		*error = psprintf("option \"%s\" is not an absolute path", option);
		return false;
	}

	/* NB: not blocking, for a path that is a named pipe. */
	fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | PG_BINARY);
	if (fd < 0)
	{
		*error = psprintf("option \"%s\": could not open file \"%s\": %m",
						  option, name);
		return false;
	}
	if (fstat(fd, &st) != 0)
	{
		*error = psprintf("option \"%s\": could not stat file \"%s\": %m",
						  option, name);
		ok = false;
	}
	else
		ok = check_file(option, name, &st, error) &&
			read_contents(option, name, fd, out, error);
	close(fd);
	return ok;
}

static bool
check_file(const char *option, const char *name, const struct stat *st,
		   char **error)
{
	const char *wrong = NULL;

	if (!S_ISREG(st->st_mode))
		wrong = "is not a regular file";
	else if (st->st_uid != geteuid() && st->st_uid != 0)
		wrong = "must be owned by the server's user or root";
	else if (st->st_uid == geteuid() && (st->st_mode & (S_IRWXG | S_IRWXO)))
		wrong = "can be accessed by group or others; it must have mode 0600 or less";
	else if (st->st_uid == 0 &&
			 (st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)))
		wrong = "belongs to root and can be accessed by others; it must have mode 0640 or less";
	else if (st->st_size > MAX_SECRET)
		wrong = "is too large for a secret";

	if (wrong != NULL)
		*error = psprintf("option \"%s\": file \"%s\" %s", option, name, wrong);
	return wrong == NULL;
}

static bool
read_contents(const char *option, const char *name, int fd, StringInfo out,
			  char **error)
{
	char		data[MAX_SECRET + 1];
	ssize_t		len = 0;
	ssize_t		n;
	bool		ok;

	while ((n = read(fd, data + len, sizeof(data) - len)) > 0 ||
		   (n < 0 && errno == EINTR))
		len += Max(n, 0);
	if (n < 0)
	{
		*error = psprintf("option \"%s\": could not read file \"%s\": %m",
						  option, name);
		ok = false;
	}
	else
		ok = take_secret(option, psprintf("file \"%s\"", name), data,
						 len, out, error);
	explicit_bzero(data, sizeof(data));
	return ok;
}

/* NB: the variable's name is not shown: it may be a secret in its place. */
bool
secret_read_env(const char *option, const char *variable, StringInfo out,
				char **error)
{
	char	   *value;

	*error = NULL;
	value = getenv(variable);
	if (value == NULL)
	{
		*error = psprintf("option \"%s\" names no environment variable of the server",
						  option);
		return false;
	}
	return take_secret(option, "the environment variable", value,
					   strlen(value), out, error);
}

/* Appends it without the newline that editors put at the end. */
static bool
take_secret(const char *option, const char *source, char *data, ssize_t len,
			StringInfo out, char **error)
{
	const char *wrong = NULL;

	if (len > 0 && data[len - 1] == '\n')
		len--;
	if (len > 0 && data[len - 1] == '\r')
		len--;

	/* Libraries take secrets as C strings and would cut them. */
	if (len == 0)
		wrong = "is empty";
	else if (len > MAX_SECRET)
		wrong = "is too large for a secret";
	else if (memchr(data, '\0', len) != NULL)
		wrong = "contains a zero byte";

	if (wrong != NULL)
		*error = psprintf("option \"%s\": %s %s", option, source, wrong);
	else if (out != NULL)
		appendBinaryStringInfo(out, data, len);
	return wrong == NULL;
}

/* A path for a message: ASCII, for every encoding. */
static char *
printable(const char *path)
{
	char	   *copy = pnstrdup(path, MAXPGPATH);

	for (char *c = copy; *c != '\0'; c++)
		if (*c < ' ' || *c >= 0x7f)
			*c = '?';
	return copy;
}
