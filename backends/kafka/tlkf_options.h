/*-------------------------------------------------------------------------
 *
 * tlkf_options.h
 *	  The options that all backends on Kafka have.
 *
 * Not a header of declarations: the elements of a module's TlOption array,
 * included in the midst of it.
 *
 *-------------------------------------------------------------------------
 */
{
	"format", TL_STRING_OPT, 0, "json",
	.description = "of a message's value: json, or protobuf (event.proto)"
},
{
	"partition_by", TL_STRING_OPT, 0,
	.description = "column whose value chooses the partition; default: the key, which is event_id"
},
{
	"compression", TL_ENUM_OPT, 0, "zstd", 0, 0, tlkf_compressions,
	.description = "of what is sent"
},
{
	"tls", TL_BOOL_OPT, 0,
	.description = "TLS with the brokers' certificates verified; default: on, but off if all hosts are loopback addresses"
},
{
	"ca_file", TL_STRING_OPT, 0,
	.description = "file of trusted certificates; default: the system's"
},
{
	"cert_file", TL_STRING_OPT, 0,
	.description = "file of the client's certificate"
},
{
	"key_file", TL_STRING_OPT, 0,
	.description = "file of the client's key"
},
{
	"key_password", TL_STRING_OPT, TL_OPT_SECRET,
	.description = "password of the client's key"
},
{
	"sasl", TL_ENUM_OPT, 0, NULL, 0, 0, tlkf_mechanisms,
	.description = "how the user proves who it is; default: SCRAM-SHA-512 if there is a password, OAUTHBEARER if there is a token"
},
{
	"password", TL_STRING_OPT, TL_OPT_SECRET,
	.description = "password of the user"
},
{
	"token", TL_STRING_OPT, TL_OPT_SECRET,
	.description = "token for OAUTHBEARER, read anew before it expires"
},
{
	"connect_timeout", TL_MS_OPT, 0, "10s", 1000, 600000,
	.description = "time limit of a connection attempt"
},
{
	"partitions", TL_INT_OPT, 0, NULL, 1, 100000,
	.description = "of a topic that is made; default: the broker's"
},
{
	"replication_factor", TL_INT_OPT, 0, NULL, 1, 1000,
	.description = "of a topic that is made; default: the broker's"
},
{
	"rdkafka.", TL_STRING_OPT, TL_OPT_PREFIX,
	.description = "any property of librdkafka that does not change what is promised"
},
