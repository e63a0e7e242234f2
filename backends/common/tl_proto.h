/*-------------------------------------------------------------------------
 *
 * tl_proto.h
 *	  Protocol buffers on the wire (protobuf.dev, "Encoding").
 *
 * For whoever writes messages straight from columns: a general library would
 * allocate for every field of every event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_PROTO_H
#define TL_PROTO_H

typedef enum TlWireType
{
	TL_WIRE_VARINT = 0,
	TL_WIRE_FIXED64 = 1,
	TL_WIRE_DELIMITED = 2
} TlWireType;

#define TL_MAX_VARINT		10	/* bytes */

static inline char *
tl_put_varint(char *p, uint64 value)
{
	while (value >= 0x80)
	{
		*p++ = (char) (value | 0x80);
		value >>= 7;
	}
	*p++ = (char) value;
	return p;
}

static inline char *
tl_put_tag(char *p, int number, TlWireType wire_type)
{
	return tl_put_varint(p, (uint64) number << 3 | wire_type);
}

static inline char *
tl_put_double(char *p, double value)
{
	uint64		bits;

	memcpy(&bits, &value, sizeof(bits));
	for (int i = 0; i < 8; i++)
		*p++ = (char) (bits >> 8 * i);
	return p;
}

#endif							/* TL_PROTO_H */
