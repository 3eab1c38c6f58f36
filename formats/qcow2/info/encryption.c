/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be said about an encrypted image without a key: "encrypt" in
 * qemu-img's JSON. */
#include "formats/qcow2/info/parts.h"

static int add_aes(struct gild_value *to, struct gild_error *err)
{
	return value_add_string(to, "format", "aes") < 0 ? fail_nomem(err) : 0;
}

int qcow2_info_encryption(struct qcow2 *q, struct gild_value *specific,
			  struct gild_error *err)
{
	struct luks_header header;
	struct luks_area area;
	struct gild_value *to;

	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return 0;
	to = value_add_tree(specific, "encrypt", GILD_VALUE_OBJECT);
	if (!to)
		return fail_nomem(err);
	if (q->header.crypt_method == QCOW2_CRYPT_AES)
		return add_aes(to, err);
	if (qcow2_luks_read(q, &area, &header, err) < 0)
		return -1;
	return luks_info(&header, true, to) < 0 ? fail_nomem(err) : 0;
}
