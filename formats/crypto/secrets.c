/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing among secrets; see secrets.h. */
#include "formats/crypto/secrets.h"

#include <string.h>

static int fail_unknown(const char *id, struct gild_error *err)
{
	fail(err, GILD_ERR_DENIED, 0, "there is no secret with id \"%s\"", id);
	return error_hint(err, "give it with --object secret,id=%s,file=FILE",
			  id);
}

int secrets_find(const struct gild_policy *policy, const char *id,
		 const struct gild_secret **secrets, size_t *count,
		 struct gild_error *err)
{
	*secrets = policy->secrets;
	*count = policy->secret_count;
	if (*count == 0 && !id) {
		fail(err, GILD_ERR_DENIED, 0,
		     "the image is encrypted, and no secret was given");
		return error_hint(err, "give it with --secret-file FILE, or "
				       "--object secret,id=ID,file=FILE");
	}
	if (!id)
		return 0;
	for (; *count; (*secrets)++, (*count)--) {
		if (!(*secrets)->id || strcmp((*secrets)->id, id) != 0)
			continue;
		*count = 1;
		return 0;
	}
	return fail_unknown(id, err);
}

const struct gild_secret *secrets_find_one(const struct gild_policy *policy,
					   const char *id,
					   struct gild_error *err)
{
	const struct gild_secret *secrets;
	size_t count;

	if (secrets_find(policy, id, &secrets, &count, err) < 0)
		return NULL;
	if (count == 1)
		return secrets;
	return fail_null(err, GILD_ERR_DENIED, 0,
			 "which of the %zu secrets is meant has to be said, by "
			 "its id",
			 count);
}

/* A cipher that libcrypto lacks is known before minutes are spent on keys. */
static int check_cipher(const struct luks_header *header,
			struct gild_error *err)
{
	struct luks_key nothing = { .length = header->key_length };
	struct cipher *cipher = luks_cipher(header, &nothing, err);

	cipher_free(cipher);
	return cipher ? 0 : -1;
}

static int unlock_any(const struct luks_area *area,
		      const struct luks_header *header,
		      const struct gild_secret *secrets, size_t count,
		      struct luks_key *key, struct gild_error *err)
{
	struct gild_error reason = { .kind = GILD_ERR_NONE }, now;

	for (size_t i = 0; i < count; i++) {
		if (luks_unlock(area, header, &secrets[i], key, &now) >= 0)
			return 0;
		/* That a slot could not be tried says more. */
		if (!i || now.kind != GILD_ERR_DENIED)
			reason = now;
	}
	if (reason.kind == GILD_ERR_DENIED && count > 1)
		return fail(err, GILD_ERR_DENIED, 0,
			    "wrong passphrases: none of the %zu secrets opens "
			    "a key slot",
			    count);
	if (err)
		*err = reason;
	return -1;
}

struct cipher *secrets_unlock(const struct luks_area *area,
			      const struct luks_header *header,
			      const struct gild_policy *policy, const char *id,
			      struct gild_error *err)
{
	const struct gild_secret *secrets;
	struct cipher *cipher;
	struct luks_key key;
	size_t count;

	if (luks_check(header, area->length, err) < 0 ||
	    check_cipher(header, err) < 0 ||
	    secrets_find(policy, id, &secrets, &count, err) < 0 ||
	    unlock_any(area, header, secrets, count, &key, err) < 0)
		return NULL;
	cipher = luks_cipher(header, &key, err);
	luks_key_wipe(&key);
	return cipher;
}
