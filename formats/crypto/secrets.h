/* SPDX-License-Identifier: BSD-3-Clause */
/* Which of the caller's secrets is meant. */
#ifndef CRYPTO_SECRETS_H
#define CRYPTO_SECRETS_H

#include "formats/crypto/luks.h"

/*
 * The secrets of a policy that may open something: the one of that id, or all
 * of them where id is NULL. GILD_ERR_DENIED where there is none. The secrets
 * stay the policy's.
 */
int secrets_find(const struct gild_policy *policy, const char *id,
		 const struct gild_secret **secrets, size_t *count,
		 struct gild_error *err);

/* The one secret that is meant: of that id, or the only one there is. For what
 * cannot tell a right secret from a wrong one. NULL with GILD_ERR_DENIED. */
const struct gild_secret *secrets_find_one(const struct gild_policy *policy,
					   const char *id,
					   struct gild_error *err);

/* Unlock with whichever of the secrets fits, in their order; see luks_unlock.
 * The header need not be checked before. */
struct cipher *secrets_unlock(const struct luks_area *area,
			      const struct luks_header *header,
			      const struct gild_policy *policy, const char *id,
			      struct gild_error *err);

#endif
