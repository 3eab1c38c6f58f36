/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options that change key slots, by qemu-img's names:
 *
 *     state=active    new-secret, where wanted keyslot and iter-time
 *     state=inactive  old-secret, or keyslot, or both (then they must fit)
 */
#include <stdio.h>
#include <string.h>

#include "formats/crypto/luks.h"

static const char *const names[] = { "iter-time", "keyslot", "new-secret",
				     "old-secret", "state" };

#define NAMES (sizeof(names) / sizeof(names[0]))

/* The options under way. */
struct given {
	const struct gild_option *options;
	size_t count;
	const char *prefix;
	struct gild_error *err;
};

/* "encrypt.state", in text. */
static const char *full_name(const struct given *given, const char *name,
			     char text[static 64])
{
	snprintf(text, 64, "%s%s", given->prefix, name);
	return text;
}

static const char *get(const struct given *given, const char *name)
{
	char text[64];

	return option_get(given->options, given->count,
			  full_name(given, name, text));
}

static int refuse(const struct given *given, const char *name, const char *why)
{
	return fail(given->err, GILD_ERR_INVALID, 0, "option \"%s%s\" %s",
		    given->prefix, name, why);
}

static int read_state(const struct given *given, bool *active)
{
	const char *state = get(given, "state");

	if (!state)
		return refuse(given, "state", "is missing (active, inactive)");
	*active = strcmp(state, "active") == 0;
	if (*active || strcmp(state, "inactive") == 0)
		return 0;
	return fail(given->err, GILD_ERR_INVALID, 0,
		    "option \"%sstate\" is active or inactive, not \"%s\"",
		    given->prefix, state);
}

static int read_slot(const struct given *given, int *slot)
{
	char text[64];
	uint64_t number = 0;

	*slot = -1;
	if (!get(given, "keyslot"))
		return 0;
	if (option_size(given->options, given->count,
			full_name(given, "keyslot", text), &number,
			given->err) < 0)
		return -1;
	if (number >= LUKS_SLOTS)
		return fail(given->err, GILD_ERR_INVALID, 0,
			    "option \"%s\" is 0 to %d, not %ju", text,
			    LUKS_SLOTS - 1, (uintmax_t)number);
	*slot = (int)number;
	return 0;
}

static int read_activation(const struct given *given,
			   struct gild_key_change *change)
{
	char text[64];

	if (get(given, "old-secret"))
		return refuse(given, "old-secret", "goes with state=inactive");
	change->secret = get(given, "new-secret");
	if (!change->secret)
		return refuse(given, "new-secret",
			      "is missing: the id of the passphrase to add");
	change->milliseconds = GILD_KEY_TIME;
	return luks_time_parse(given->options, given->count,
			       full_name(given, "iter-time", text),
			       &change->milliseconds, given->err);
}

static int read_erasure(const struct given *given,
			struct gild_key_change *change)
{
	if (get(given, "new-secret"))
		return refuse(given, "new-secret", "goes with state=active");
	if (get(given, "iter-time"))
		return refuse(given, "iter-time", "goes with state=active");
	change->secret = get(given, "old-secret");
	change->remove = true;
	if (change->secret || change->slot >= 0)
		return 0;
	return refuse(given, "state",
		      "is inactive, and neither a keyslot nor an old-secret "
		      "says of which");
}

int luks_amend_parse(const struct gild_option *options, size_t count,
		     const char *prefix, bool *wanted,
		     struct gild_key_change *change, struct gild_error *err)
{
	const struct given given = { options, count, prefix, err };
	bool active;

	*change = (struct gild_key_change){ .slot = -1 };
	*wanted = false;
	for (size_t i = 0; i < NAMES; i++)
		*wanted = *wanted || get(&given, names[i]);
	if (!*wanted)
		return 0;
	if (read_state(&given, &active) < 0 ||
	    read_slot(&given, &change->slot) < 0)
		return -1;
	return active ? read_activation(&given, change) :
			read_erasure(&given, change);
}
