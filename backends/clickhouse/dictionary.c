/*-------------------------------------------------------------------------
 *
 * dictionary.c
 *	  A text column in the Native form of LowCardinality.
 *
 * Each distinct text once, then a number for each row.  The first keys are
 * fixed: for LowCardinality(String) the empty text, for
 * LowCardinality(Nullable(String)) a place for NULL and then the empty text.
 *
 * The hash table is open-addressed and starts small: the columns that are
 * sent this way have few distinct values, and a table that fits the cache is
 * what makes it fast.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "tlch.h"

#define FIRST_SLOTS			256
#define VERSION				1	/* SharedDictionariesWithAdditionalKeys */
#define OWN_KEYS			0x600	/* HasAdditionalKeys,
									 * NeedUpdateDictionary */

typedef struct Key
{
	const char *text;
	int32		len;
	uint32		hash;
} Key;

typedef struct Dictionary
{
	Key		   *keys;
	uint32		nkeys;
	uint32	   *slots;			/* index into keys plus 1; 0: free */
	uint32		mask;			/* number of slots, a power of 2, minus 1 */
	int64		bytes;			/* of the keys' texts */
} Dictionary;

static void dictionary_init(Dictionary *dictionary, int32 nrows);
static uint32 dictionary_find(Dictionary *dictionary, const char *text,
							  int32 len);
static uint32 *find_slot(const Dictionary *dictionary, const Key *key);
static void dictionary_grow(Dictionary *dictionary);
static void number_rows(Dictionary *dictionary, const TlColumn *column,
						int32 nrows, bool nullable, uint32 *numbers);
static void put_keys(StringInfo out, const Dictionary *dictionary,
					 int width_code);
static void put_numbers(StringInfo out, const uint32 *numbers, int32 nrows,
						int width_code);

static inline void
put64(StringInfo out, uint64 value)
{
	appendBinaryStringInfo(out, (const char *) &value, sizeof(value));
}

void
tlch_encode_dictionary(StringInfo out, const TlColumn *column, int32 nrows,
					   bool nullable)
{
	Dictionary	dictionary;
	uint32	   *numbers = palloc(Max(nrows, 1) * sizeof(uint32));
	int			width_code;

	dictionary_init(&dictionary, nrows);
	if (nullable)
		dictionary.keys[dictionary.nkeys++] = (Key) {"", 0, 0};
	(void) dictionary_find(&dictionary, "", 0);
	number_rows(&dictionary, column, nrows, nullable, numbers);

	width_code = dictionary.nkeys <= 0x100 ? 0 :
		dictionary.nkeys <= 0x10000 ? 1 : 2;
	put_keys(out, &dictionary, width_code);
	put64(out, nrows);
	put_numbers(out, numbers, nrows, width_code);
	pfree(dictionary.slots);
	pfree(dictionary.keys);
	pfree(numbers);
}

static void
dictionary_init(Dictionary *dictionary, int32 nrows)
{
	dictionary->keys = palloc((nrows + 2) * sizeof(Key));
	dictionary->nkeys = 0;
	dictionary->slots = palloc0(FIRST_SLOTS * sizeof(uint32));
	dictionary->mask = FIRST_SLOTS - 1;
	dictionary->bytes = 0;
}

/* The number of a text, a new one if need be. */
static uint32
dictionary_find(Dictionary *dictionary, const char *text, int32 len)
{
	Key			key = {.text = text, .len = len};
	uint32	   *slot;

	key.hash = hash_bytes((const unsigned char *) text, len);
	slot = find_slot(dictionary, &key);
	if (*slot != 0)
		return *slot - 1;
	if (dictionary->nkeys >= dictionary->mask / 2)
	{
		dictionary_grow(dictionary);
		slot = find_slot(dictionary, &key);
	}
	dictionary->keys[dictionary->nkeys] = key;
	dictionary->bytes += len;
	*slot = ++dictionary->nkeys;
	return *slot - 1;
}

static uint32 *
find_slot(const Dictionary *dictionary, const Key *key)
{
	uint32		i = key->hash & dictionary->mask;

	for (;; i = (i + 1) & dictionary->mask)
	{
		uint32	   *slot = &dictionary->slots[i];
		const Key  *there;

		if (*slot == 0)
			return slot;
		there = &dictionary->keys[*slot - 1];
		if (there->hash == key->hash && there->len == key->len &&
			memcmp(there->text, key->text, key->len) == 0)
			return slot;
	}
}

static void
dictionary_grow(Dictionary *dictionary)
{
	uint32		size = (dictionary->mask + 1) * 4;
	uint32	   *before = dictionary->slots;

	dictionary->slots = palloc0(size * sizeof(uint32));
	for (uint32 i = 0; i <= dictionary->mask; i++)
	{
		uint32		j;

		if (before[i] == 0)
			continue;
		j = dictionary->keys[before[i] - 1].hash & (size - 1);
		while (dictionary->slots[j] != 0)
			j = (j + 1) & (size - 1);
		dictionary->slots[j] = before[i];
	}
	dictionary->mask = size - 1;
	pfree(before);
}

/* Neighbours are often alike: then nothing is looked up. */
static void
number_rows(Dictionary *dictionary, const TlColumn *column, int32 nrows,
			bool nullable, uint32 *numbers)
{
	const char *last = "";
	int32		last_len = -1;
	uint32		last_number = 0;

	for (int32 row = 0; row < nrows; row++)
	{
		int32		len;
		const char *text;

		if (column->null_count > 0 && tl_isnull(column, row))
		{
			numbers[row] = 0;
			continue;
		}
		text = tl_text(column, row, &len);
		if (len == 0)
			text = "";			/* a column may have no data at all */
		if (len != last_len || memcmp(text, last, len) != 0)
			last_number = dictionary_find(dictionary, text, len);
		last = text;
		last_len = len;
		numbers[row] = last_number;
	}
}

static void
put_keys(StringInfo out, const Dictionary *dictionary, int width_code)
{
	char	   *p;

	put64(out, VERSION);
	put64(out, OWN_KEYS | width_code);
	put64(out, dictionary->nkeys);
	enlargeStringInfo(out, dictionary->bytes + dictionary->nkeys * 5);
	p = out->data + out->len;
	for (uint32 i = 0; i < dictionary->nkeys; i++)
	{
		const Key  *key = &dictionary->keys[i];

		p = tlch_put_varint(p, key->len);
		memcpy(p, key->text, key->len);
		p += key->len;
	}
	out->len = p - out->data;
}

static void
put_numbers(StringInfo out, const uint32 *numbers, int32 nrows,
			int width_code)
{
	char	   *p;

	enlargeStringInfo(out, (int) (nrows << width_code));
	p = out->data + out->len;
	for (int32 row = 0; row < nrows; row++)
	{
		memcpy(p, &numbers[row], (Size) 1 << width_code);
		p += (Size) 1 << width_code;
	}
	out->len = p - out->data;
}
