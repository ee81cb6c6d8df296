/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Compatibility strings. A string is read through struct text, whose length was found within
 * its bounds once; nothing here looks beyond it.
 *
 *	part	"NAME-vNUMBER", or with "?" behind it; also used of the base
 */
#include "mem.h"

/* ---- one part ----------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool name_ok(const char *name, size_t len)
{
	if (!len || len > KHO_ABI_COMPAT_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char_ok(name[i]) && name[i] != ',')
			return false;
	return true;
}

/* One way to write each number: 1 to 2^32 - 1, no zeros in front. */
static bool parse_number(const char *text, size_t len, u32 *number)
{
	u64 value = 0;

	if (!len || len > 10 || text[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(text[i]))
			return false;
		value = value * 10 + (u64)(text[i] - '0');
	}
	*number = (u32)value;
	return value == *number;
}

static bool parse_part(const char *text, size_t len, struct khoc_compat_part *part)
{
	size_t digits = len;

	part->optional = len && text[len - 1] == '?';
	if (part->optional)
		digits = --len;
	while (digits && is_digit(text[digits - 1]))
		digits--;
	if (digits < 2 || text[digits - 1] != 'v' || text[digits - 2] != '-')
		return false;
	part->name = text;
	part->name_len = (u32)digits - 2;
	return name_ok(text, digits - 2) &&
	       parse_number(text + digits, len - digits, &part->version);
}

static bool same_name(const struct khoc_compat_part *a, const struct khoc_compat_part *b)
{
	return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len);
}

static bool is_named(const struct khoc_compat_part *part, const char *name)
{
	return strnlen(name, KHO_ABI_COMPAT_NAME_MAX + 1) == part->name_len &&
	       !memcmp(part->name, name, part->name_len);
}

/* ---- reports ------------------------------------------------------------ */

static void copy_text(char *to, const char *from, size_t len)
{
	if (len > KHOC_COMPAT_PART_TEXT - 1)
		len = KHOC_COMPAT_PART_TEXT - 1;
	for (size_t i = 0; i < len; i++)
		to[i] = from[i] > 0x20 && from[i] < 0x7f ? from[i] : '.';
	to[len] = '\0';
}

static const int errors[] = {
	[KHOC_COMPAT_LENGTH] = -KHO_E_FORMAT,	     [KHOC_COMPAT_SYNTAX] = -KHO_E_FORMAT,
	[KHOC_COMPAT_TOO_MANY] = -KHO_E_RANGE,	     [KHOC_COMPAT_UNSORTED] = -KHO_E_FORMAT,
	[KHOC_COMPAT_TWICE] = -KHO_E_DUPLICATE,	     [KHOC_COMPAT_BASE] = -KHO_E_INCOMPATIBLE,
	[KHOC_COMPAT_UNKNOWN] = -KHO_E_INCOMPATIBLE, [KHOC_COMPAT_VERSION] = -KHO_E_INCOMPATIBLE,
	[KHOC_COMPAT_MISSING] = -KHO_E_INCOMPATIBLE,
};

static int refuse(struct khoc_compat_why *why, enum khoc_compat_verdict verdict, size_t at,
		  const char *part, size_t len)
{
	if (why) {
		memset(why, 0, sizeof(*why));
		why->verdict = verdict;
		why->at = (u32)at;
		copy_text(why->part, part, len);
	}
	return errors[verdict];
}

static int refuse_with(struct khoc_compat_why *why, enum khoc_compat_verdict verdict, size_t at,
		       const char *part, size_t len, const char *other, size_t other_len)
{
	int err = refuse(why, verdict, at, part, len);

	if (why)
		copy_text(why->other, other, other_len);
	return err;
}

/* ---- a whole string ----------------------------------------------------- */

struct text {
	const char *at;
	size_t len;
};

/* Return: false: empty, or does not end. */
static bool find_end(const char *string, size_t size, struct text *text)
{
	size_t most = size < KHO_ABI_COMPAT_MAX ? size : KHO_ABI_COMPAT_MAX;

	text->at = string;
	text->len = strnlen(string, most);
	return text->len && text->len < most;
}

/* Bytes of the part at @pos. */
static size_t part_len(const struct text *text, size_t pos)
{
	const char *end = memchr(text->at + pos, ';', text->len - pos);

	return end ? (size_t)(end - text->at) - pos : text->len - pos;
}

/* strcmp order of two parts that end at ';' or the string's end. */
static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : a_len < b_len ? -1 : a_len > b_len;
}

/* Is a part of the same name before @pos, behind the base? All there was checked. */
static bool find_twin(const struct text *text, size_t pos, const struct khoc_compat_part *part,
		      struct khoc_compat_part *twin)
{
	for (size_t at = part_len(text, 0) + 1; at < pos;) {
		size_t len = part_len(text, at);

		if (parse_part(text->at + at, len, twin) && same_name(part, twin))
			return true;
		at += len + 1;
	}
	return false;
}

static int check_part(const struct text *text, size_t pos, size_t len, size_t before,
		      struct khoc_compat_why *why)
{
	struct khoc_compat_part part, twin;
	const char *at = text->at + pos;

	if (!parse_part(at, len, &part) || (!pos && part.optional))
		return refuse(why, KHOC_COMPAT_SYNTAX, pos, at, len);
	if (!pos)
		return 0;
	if (find_twin(text, pos, &part, &twin))
		return refuse_with(why, KHOC_COMPAT_TWICE, pos, at, len, twin.name,
				   part_len(text, (size_t)(twin.name - text->at)));
	if (before && compare(text->at + before, pos - 1 - before, at, len) > 0)
		return refuse_with(why, KHOC_COMPAT_UNSORTED, pos, at, len, text->at + before,
				   pos - 1 - before);
	return 0;
}

int khoc_compat_check(const char *string, size_t size, struct khoc_compat_why *why)
{
	size_t pos = 0, before = 0;
	struct text text;

	if (why)
		memset(why, 0, sizeof(*why));
	if (!find_end(string, size, &text))
		return refuse(why, KHOC_COMPAT_LENGTH, 0, string, text.len);
	for (unsigned int nr = 0;; nr++) {
		size_t len = part_len(&text, pos);
		int err;

		if (nr > KHO_ABI_COMPAT_PARTS_MAX)
			return refuse(why, KHOC_COMPAT_TOO_MANY, pos, text.at + pos, len);
		err = check_part(&text, pos, len, before, why);
		if (err || pos + len == text.len)
			return err;
		before = pos;
		pos += len + 1; /* behind a ';' that ends the string: an empty part */
	}
}

int khoc_compat_next(const char *string, size_t size, size_t *pos, struct khoc_compat_part *part)
{
	struct text text;
	size_t len;

	if (!find_end(string, size, &text))
		return -KHO_E_FORMAT;
	if (*pos > text.len)
		return -ENOENT;
	len = part_len(&text, *pos);
	if (!parse_part(string + *pos, len, part))
		return -KHO_E_FORMAT;
	*pos += len + 1;
	return 0;
}

/* ---- matching ----------------------------------------------------------- */

static int wrong_version(const struct khoc_compat_part *part, size_t at,
			 const struct khoc_compat_reads *reads, struct khoc_compat_why *why)
{
	int err = refuse(why, KHOC_COMPAT_VERSION, at, part->name, part->name_len);

	if (why) {
		why->version = part->version;
		why->min = reads->min;
		why->max = reads->max;
	}
	return err;
}

static bool takes(const struct khoc_compat_reads *reads, const struct khoc_compat_part *part)
{
	return part->version >= reads->min && part->version <= reads->max;
}

/* A part of a checked string at @at, behind the base. */
static int match_part(const struct text *text, size_t at, const struct khoc_compat_part *part,
		      const struct khoc_compat_reads *reads, unsigned int nr,
		      struct khoc_compat_why *why)
{
	for (unsigned int i = 1; i < nr; i++) {
		if (!is_named(part, reads[i].name))
			continue;
		if (takes(&reads[i], part) || (part->optional && !reads[i].required))
			return 0;
		return wrong_version(part, at, &reads[i], why);
	}
	if (part->optional)
		return 0;
	return refuse(why, KHOC_COMPAT_UNKNOWN, at, part->name, part_len(text, at));
}

static bool has_part(const struct text *text, const char *name)
{
	size_t pos = part_len(text, 0) + 1;
	struct khoc_compat_part part;

	while (!khoc_compat_next(text->at, text->len + 1, &pos, &part))
		if (is_named(&part, name))
			return true;
	return false;
}

static int match_required(const struct text *text, const struct khoc_compat_reads *reads,
			  unsigned int nr, struct khoc_compat_why *why)
{
	for (unsigned int i = 1; i < nr; i++) {
		int err;

		if (!reads[i].required || has_part(text, reads[i].name))
			continue;
		err = refuse(why, KHOC_COMPAT_MISSING, 0, reads[i].name, strlen(reads[i].name));
		if (why) {
			why->min = reads[i].min;
			why->max = reads[i].max;
		}
		return err;
	}
	return 0;
}

int khoc_compat_match(const char *string, size_t size, const struct khoc_compat_reads *reads,
		      unsigned int nr, struct khoc_compat_why *why)
{
	int err = khoc_compat_check(string, size, why);
	struct khoc_compat_part part;
	struct text text;
	size_t pos = 0, at = 0;

	if (err)
		return err;
	find_end(string, size, &text);
	khoc_compat_next(string, size, &pos, &part);
	if (!is_named(&part, reads[0].name))
		return refuse_with(why, KHOC_COMPAT_BASE, 0, part.name, part_len(&text, 0),
				   reads[0].name, strlen(reads[0].name));
	if (!takes(&reads[0], &part))
		return wrong_version(&part, 0, &reads[0], why);
	for (at = pos; !khoc_compat_next(string, size, &pos, &part); at = pos) {
		err = match_part(&text, at, &part, reads, nr, why);
		if (err)
			return err;
	}
	return match_required(&text, reads, nr, why);
}

/* ---- writing ------------------------------------------------------------ */

/* Text that grows as far as there is room; @len says how long it would be. */
struct out {
	char *to;
	size_t size;
	size_t len;
};

static void put(struct out *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++, out->len++)
		if (out->len < out->size)
			out->to[out->len] = text[i];
}

static void put_text(struct out *out, const char *text)
{
	put(out, text, strlen(text));
}

static void put_number(struct out *out, u32 number)
{
	char digits[10];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	put(out, digits + at, sizeof(digits) - at);
}

static void put_part(struct out *out, const struct khoc_compat_part *part)
{
	put(out, part->name, part->name_len);
	put_text(out, "-v");
	put_number(out, part->version);
	if (part->optional)
		put_text(out, "?");
}

static size_t write_part(char *to, const struct khoc_compat_part *part)
{
	struct out out = {to, KHOC_COMPAT_PART_TEXT, 0};

	put_part(&out, part);
	return out.len;
}

/* strcmp order of two parts as they are written. */
static int compare_parts(const struct khoc_compat_part *a, const struct khoc_compat_part *b)
{
	char text[2][KHOC_COMPAT_PART_TEXT];
	size_t a_len = write_part(text[0], a);

	return compare(text[0], a_len, text[1], write_part(text[1], b));
}

static bool part_ok(const struct khoc_compat_part *part)
{
	return part->version && name_ok(part->name, part->name_len);
}

/* The smallest part above @above, NULL for any; or NULL. At most 32 parts: no room to sort is needed. */
static const struct khoc_compat_part *smallest_above(const struct khoc_compat_part *parts,
						     unsigned int nr,
						     const struct khoc_compat_part *above)
{
	const struct khoc_compat_part *best = NULL;

	for (unsigned int i = 0; i < nr; i++) {
		if (above && compare_parts(&parts[i], above) <= 0)
			continue;
		if (!best || compare_parts(&parts[i], best) < 0)
			best = &parts[i];
	}
	return best;
}

int khoc_compat_compose(char *to, size_t size, const struct khoc_compat_part *base,
			const struct khoc_compat_part *parts, unsigned int nr)
{
	struct out out = {to, size, 0};
	const struct khoc_compat_part *part = NULL;

	if (!part_ok(base) || base->optional || nr > KHO_ABI_COMPAT_PARTS_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < nr; i++) {
		if (!part_ok(&parts[i]))
			return -EINVAL;
		for (unsigned int j = 0; j < i; j++)
			if (same_name(&parts[i], &parts[j]))
				return -EINVAL;
	}
	put_part(&out, base);
	while ((part = smallest_above(parts, nr, part))) {
		put_text(&out, ";");
		put_part(&out, part);
	}
	do {
		put(&out, "", 1);
	} while (out.len & 7);
	return out.len > size || out.len > KHO_ABI_COMPAT_MAX ? -ENOSPC : (int)out.len;
}

/* ---- words -------------------------------------------------------------- */

static void put_range(struct out *out, const struct khoc_compat_why *why)
{
	put_text(out, why->min == why->max ? "version " : "versions ");
	put_number(out, why->min);
	if (why->min != why->max) {
		put_text(out, " to ");
		put_number(out, why->max);
	}
}

static void put_quoted(struct out *out, const char *text)
{
	put_text(out, "\"");
	put_text(out, text);
	put_text(out, "\"");
}

/* Around @part and @other: before, between, behind. */
static const char *const words[][3] = {
	[KHOC_COMPAT_OK] = {"compatible"},
	[KHOC_COMPAT_LENGTH] =
		{"a compatibility string that is empty, or does not end in 512 bytes"},
	[KHOC_COMPAT_SYNTAX] = {"part ", NULL, " is not NAME-vNUMBER"},
	[KHOC_COMPAT_TOO_MANY] = {"part ", NULL, " is one too many: 32 are possible"},
	[KHOC_COMPAT_UNSORTED] = {"part ", " comes behind ", ", before which it belongs"},
	[KHOC_COMPAT_TWICE] = {"part ", " has the name of ", ", which is there already"},
	[KHOC_COMPAT_BASE] = {"base ", " is not a ", ""},
	[KHOC_COMPAT_UNKNOWN] = {"part ", NULL, " is mandatory, and this reader does not know it"},
	[KHOC_COMPAT_VERSION] = {"part ", NULL, ": it is version "},
	[KHOC_COMPAT_MISSING] = {"part ", NULL, " is missing: this reader needs it in "},
};

const char *khoc_compat_text(const struct khoc_compat_why *why, char *text, size_t size)
{
	struct out out = {text, size ? size - 1 : 0, 0};
	const char *const *w = words[why->verdict];

	put_text(&out, w[0]);
	if (w[2]) {
		put_quoted(&out, why->part);
		if (w[1]) {
			put_text(&out, w[1]);
			put_quoted(&out, why->other);
		}
		put_text(&out, w[2]);
	}
	if (why->verdict == KHOC_COMPAT_VERSION) {
		put_number(&out, why->version);
		put_text(&out, ", this reader takes ");
	}
	if (why->verdict == KHOC_COMPAT_VERSION || why->verdict == KHOC_COMPAT_MISSING)
		put_range(&out, why);
	if (size)
		text[out.len < size ? out.len : size - 1] = '\0';
	return text;
}
