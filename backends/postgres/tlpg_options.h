/*-------------------------------------------------------------------------
 *
 * tlpg_options.h
 *	  The options that all libpq backends have.
 *
 * Not a header of declarations: the elements of a module's TlOption array,
 * included in the midst of it.  Their names and meanings are libpq's where
 * libpq has such a parameter.
 *
 *-------------------------------------------------------------------------
 */
{
	"host", TL_STRING_OPT, TL_OPT_DESTINATION,
	.description = "socket directory or host, where the URL names none"
},
{
	"port", TL_INT_OPT, TL_OPT_DESTINATION, "5432", 1, 65535,
	.description = "port of the hosts for which the URL names none"
},
{
	"hostaddr", TL_STRING_OPT, 0,
	.description = "address of the host, which saves looking its name up"
},
{
	"password", TL_STRING_OPT, TL_OPT_SECRET,
	.description = "password of the user"
},
{
	"passfile", TL_STRING_OPT, 0,
	.description = "libpq password file; its mode must be 0600"
},
{
	"connect_timeout", TL_MS_OPT, 0, "10s", 100, 600000,
	.description = "time limit of a connection attempt to one host"
},
{
	"application_name", TL_STRING_OPT, 0,
	.description = "shown in the remote pg_stat_activity; default: \"tokenledger target/lane\""
},
{
	"target_session_attrs", TL_ENUM_OPT, 0, NULL, 0, 0, tlpg_session_attrs,
	.description = "which of several hosts to choose; default: read-write if there are several"
},
{
	"sslmode", TL_ENUM_OPT, 0, NULL, 0, 0, tlpg_ssl_modes,
	.description = "default: verify-full, but prefer for local sockets and loopback addresses"
},
{
	"sslrootcert", TL_STRING_OPT, 0,
	.description = "file of trusted certificates, or \"system\" (libpq 16 and later)"
},
{
	"sslcert", TL_STRING_OPT, 0,
	.description = "file of the client's certificate"
},
{
	"sslkey", TL_STRING_OPT, 0,
	.description = "file of the client's key; its mode must be 0600"
},
{
	"sslcrl", TL_STRING_OPT, 0,
	.description = "file of revoked certificates"
},
{
	"krbsrvname", TL_STRING_OPT, 0,
	.description = "Kerberos service name"
},
{
	"gssencmode", TL_ENUM_OPT, 0, "disable", 0, 0, tlpg_gss_modes,
	.description = "encryption by GSSAPI"
},
{
	"channel_binding", TL_ENUM_OPT, 0, NULL, 0, 0, tlpg_gss_modes,
	.description = "channel binding of SCRAM authentication"
},
{
	"require_auth", TL_STRING_OPT, 0,
	.description = "authentication methods that are acceptable (libpq 16 and later)"
},
