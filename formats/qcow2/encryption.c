/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The key of an encrypted image. With LUKS it comes out of the header that the
 * qcow2 header points to; a sector's number is that of its place in the file.
 * With the old AES method it is the passphrase itself, and a sector's number
 * that of its place on the disk; nothing tells a right passphrase from a wrong
 * one.
 *
 * Specification: "Full disk encryption header pointer", "Data encryption"; but
 * AES keys have 128 bits.
 */
#include "formats/crypto/secrets.h"
#include "formats/qcow2/qcow2.h"

#include <openssl/crypto.h>

#include "util/bytes.h"

#define AES_KEY 16

int qcow2_luks_read(struct qcow2 *q, struct luks_area *area,
		    struct luks_header *header, struct gild_error *err)
{
	*area = (struct luks_area){
		.storage = q->image.storage,
		.offset = q->header.crypto_offset,
		.length = q->header.crypto_length,
	};
	if (luks_read(area, header, err) == 0)
		return 0;
	/* There should be one: it is not the caller who is wrong. */
	if (err && err->kind == GILD_ERR_FORMAT)
		err->kind = GILD_ERR_CORRUPT;
	return error_prefix(err, "the encryption header: ");
}

static const struct cipher *open_luks(struct qcow2 *q, struct gild_error *err)
{
	struct luks_header header;
	struct luks_area area;

	if (qcow2_luks_read(q, &area, &header, err) < 0)
		return NULL;
	return secrets_unlock(&area, &header, &q->image.policy,
			      q->image.key_secret, err);
}

static const struct cipher *open_aes(struct qcow2 *q, struct gild_error *err)
{
	const struct gild_secret *secret =
		secrets_find_one(&q->image.policy, q->image.key_secret, err);
	unsigned char key[AES_KEY] = { 0 };
	const struct cipher *cipher;

	if (!secret)
		return NULL;
	memcpy(key, secret->bytes, min_u64(secret->length, AES_KEY));
	cipher = cipher_new("aes", "cbc-plain64", key, AES_KEY, err);
	OPENSSL_cleanse(key, sizeof(key));
	return cipher;
}

int qcow2_encryption_open(struct qcow2 *q, struct gild_error *err)
{
	bool aes = q->header.crypt_method == QCOW2_CRYPT_AES;
	struct image *image = &q->image;

	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return 0;
	image->encryption = aes ? "aes" : "luks";
	q->cipher_by_guest = aes;
	if (image->flags & GILD_OPEN_INSPECT)
		return 0;
	if (!is_aligned(image->size, CIPHER_SECTOR))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "an encrypted disk consists of sectors of %u bytes,"
			    " and this one has %ju bytes",
			    CIPHER_SECTOR, (uintmax_t)image->size);
	if (image->flags & GILD_OPEN_LOCKED && !image->policy.secret_count)
		q->cipher = &cipher_locked;
	else
		q->cipher = aes ? open_aes(q, err) : open_luks(q, err);
	return q->cipher ? 0 : -1;
}

int qcow2_key_area(struct image *image, struct luks_area *area,
		   const struct cipher **cipher, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct luks_header header;
	int ret;

	*cipher = q->cipher;
	/* What vouches for the image's state does so no more. */
	pthread_rwlock_wrlock(&q->lock);
	ret = qcow2_begin_metadata(q, err);
	pthread_rwlock_unlock(&q->lock);
	return ret < 0 ? -1 : qcow2_luks_read(q, area, &header, err);
}
