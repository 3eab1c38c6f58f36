/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "-o" for qcow2: qemu-img's names, values and defaults, and one of our own
 * (compression_level). What contradicts itself is refused here, once, for
 * create, clone, convert and measure; what depends on a backing file is
 * create.c's to judge.
 *
 * backing_file, backing_fmt and size may stand among the options, as in
 * qemu-img. Their values come to a driver by struct gild_create_options.
 */
#include "formats/qcow2/qcow2.h"

#include <string.h>

#include "util/bytes.h"

const struct gild_option_help qcow2_option_help[] = {
	{ "backing_file", "string", NULL,
	  "name of the image that this one builds on" },
	{ "backing_fmt", "string", NULL, "format of the backing file" },
	{ "cluster_size", "size", "65536",
	  "unit of allocation, 512 to 2M, a power of two" },
	{ "compat", "string", "1.1",
	  "version of the format: 0.10 (v2) or 1.1 (v3)" },
	{ "compression_level", "number", NULL,
	  "how hard to compress: 1 to 9 (zlib), 1 to 19 (zstd); fast if not given" },
	{ "compression_type", "string", "zlib",
	  "method for compressed clusters: zlib or zstd" },
	{ "data_file", "string", NULL,
	  "name of another file that holds the data" },
	{ "data_file_raw", "bool", "off",
	  "keep the data file readable as a raw image" },
	{ "encrypt.format", "string", NULL,
	  "encrypt the data: luks, or aes, which is old and weak" },
	LUKS_OPTION_ROWS("encrypt."),
	{ "encryption", "bool", "off", "the same as encrypt.format=aes" },
	{ "extended_l2", "bool", "off",
	  "allocate 1/32 of a cluster at a time" },
	FILE_HINT_ROWS,
	{ "keep_data_file", "bool", NULL,
	  "the data file is there already, and keeps what is in it" },
	{ "lazy_refcounts", "bool", "off", "write reference counts late" },
	{ "preallocation", "string", "off", "off, metadata, falloc or full" },
	{ "refcount_bits", "number", "16",
	  "width of a reference count, 1 to 64, a power of two" },
	{ "size", "size", NULL, "size of the virtual disk" },
	{ NULL, NULL, NULL, NULL },
};

/* A word and what it stands for; a list ends with NULL. */
struct choice {
	const char *word;
	int value;
};

static const struct choice versions[] = {
	{ "0.10", 2 }, { "v2", 2 }, { "1.1", 3 }, { "v3", 3 }, { NULL, 0 },
};

static const struct choice compressions[] = {
	{ "zlib", QCOW2_COMPRESSION_ZLIB },
	{ "zstd", QCOW2_COMPRESSION_ZSTD },
	{ NULL, 0 },
};

static const struct choice methods[] = {
	{ "luks", QCOW2_CRYPT_LUKS },
	{ "aes", QCOW2_CRYPT_AES },
	{ NULL, 0 },
};

static const struct choice preallocations[] = {
	{ "off", QCOW2_PREALLOC_OFF },
	{ "metadata", QCOW2_PREALLOC_METADATA },
	{ "falloc", QCOW2_PREALLOC_FALLOC },
	{ "full", QCOW2_PREALLOC_FULL },
	{ NULL, 0 },
};

/* The options under way, so that every reader takes three arguments. */
struct given {
	const struct gild_option *options;
	size_t count;
	struct gild_error *err;
};

/* An absent option leaves *value. allowed: the words, for the message. */
static int read_choice(const struct given *given, const char *name,
		       const struct choice *choices, const char *allowed,
		       int *value)
{
	const char *text = option_get(given->options, given->count, name);

	if (!text)
		return 0;
	for (; choices->word; choices++) {
		if (strcmp(text, choices->word) == 0) {
			*value = choices->value;
			return 0;
		}
	}
	return fail(given->err, GILD_ERR_INVALID, 0,
		    "option \"%s\" is %s, not \"%s\"", name, allowed, text);
}

/* A number or size within bounds; absent: *value stays. */
static int read_number(const struct given *given, const char *name,
		       uint64_t least, uint64_t most, bool power_of_2,
		       uint32_t *value)
{
	uint64_t number = *value;

	if (!option_get(given->options, given->count, name))
		return 0;
	if (option_size(given->options, given->count, name, &number,
			given->err) < 0)
		return -1;
	if (number < least || number > most ||
	    (power_of_2 && !is_power_of_2(number)))
		return fail(given->err, GILD_ERR_INVALID, 0,
			    "option \"%s\" is %s%ju to %ju, not %ju", name,
			    power_of_2 ? "a power of two from " : "",
			    (uintmax_t)least, (uintmax_t)most,
			    (uintmax_t)number);
	*value = (uint32_t)number;
	return 0;
}

static int read_bool(const struct given *given, const char *name, bool *value)
{
	return option_bool(given->options, given->count, name, value,
			   given->err);
}

static int read_words(const struct given *given, struct qcow2_options *parsed)
{
	int version = 3, compression = QCOW2_COMPRESSION_ZLIB;
	int preallocation = QCOW2_PREALLOC_OFF;

	if (read_choice(given, "compat", versions, "0.10, 1.1, v2 or v3",
			&version) < 0 ||
	    read_choice(given, "compression_type", compressions, "zlib or zstd",
			&compression) < 0 ||
	    read_choice(given, "preallocation", preallocations,
			"off, metadata, falloc or full", &preallocation) < 0)
		return -1;
	parsed->version = (uint32_t)version;
	parsed->compression = (uint8_t)compression;
	parsed->preallocation = (enum qcow2_prealloc)preallocation;
	parsed->data_file =
		option_get(given->options, given->count, "data_file");
	return 0;
}

static int read_numbers(const struct given *given, struct qcow2_options *parsed)
{
	uint64_t hardest = parsed->compression == QCOW2_COMPRESSION_ZSTD ? 19 :
									   9;
	uint32_t level = 0;

	parsed->cluster_size = 65536;
	parsed->refcount_bits = 16;
	if (read_number(given, "cluster_size", 1U << QCOW2_MIN_CLUSTER_BITS,
			1U << QCOW2_MAX_CLUSTER_BITS, true,
			&parsed->cluster_size) < 0 ||
	    read_number(given, "refcount_bits", 1, 64, true,
			&parsed->refcount_bits) < 0 ||
	    read_number(given, "compression_level", 1, hardest, false, &level) <
		    0)
		return -1;
	parsed->level = (int)level;
	return 0;
}

/* encrypt.format, or the old encryption=on. */
static int read_method(const struct given *given, int *method)
{
	bool old = false;

	if (read_choice(given, "encrypt.format", methods, "luks or aes",
			method) < 0 ||
	    read_bool(given, "encryption", &old) < 0)
		return -1;
	if (!old)
		return 0;
	if (*method != QCOW2_CRYPT_NONE)
		return fail(given->err, GILD_ERR_INVALID, 0,
			    "options \"encryption\" and \"encrypt.format\" "
			    "exclude each other");
	*method = QCOW2_CRYPT_AES;
	return 0;
}

/* What says how to encrypt says nothing where nothing is to be. */
static int check_encryption(const struct given *given, int method)
{
	for (size_t i = 0; i < given->count; i++) {
		const char *name = given->options[i].name;

		if (strncmp(name, "encrypt.", 8) != 0 ||
		    strcmp(name, "encrypt.format") == 0 ||
		    (method == QCOW2_CRYPT_AES &&
		     strcmp(name, "encrypt.key-secret") == 0))
			continue;
		return fail(given->err, GILD_ERR_INVALID, 0,
			    "option \"%s\" needs encrypt.format=luks", name);
	}
	return 0;
}

static int read_encryption(const struct given *given,
			   struct qcow2_options *parsed)
{
	int method = QCOW2_CRYPT_NONE;

	if (read_method(given, &method) < 0)
		return -1;
	parsed->crypt_method = (uint32_t)method;
	parsed->secret_id =
		option_get(given->options, given->count, "encrypt.key-secret");
	if (method != QCOW2_CRYPT_LUKS)
		return check_encryption(given, method);
	return luks_options_parse(given->options, given->count, "encrypt.",
				  &parsed->luks, given->err);
}

static int read_all(const struct given *given, struct qcow2_options *parsed)
{
	if (read_words(given, parsed) < 0 || read_numbers(given, parsed) < 0 ||
	    read_encryption(given, parsed) < 0)
		return -1;
	if (read_bool(given, "lazy_refcounts", &parsed->lazy_refcounts) < 0 ||
	    read_bool(given, "extended_l2", &parsed->extended_l2) < 0)
		return -1;
	if (read_bool(given, "keep_data_file", &parsed->keep_data_file) < 0)
		return -1;
	return read_bool(given, "data_file_raw", &parsed->data_file_raw);
}

/* The first of the options that version 2 has no place for, or NULL. */
static const char *needs_v3(const struct qcow2_options *parsed)
{
	if (parsed->refcount_bits != 16)
		return "refcount_bits other than 16";
	if (parsed->lazy_refcounts)
		return "lazy_refcounts";
	if (parsed->extended_l2)
		return "extended_l2";
	if (parsed->data_file)
		return "data_file";
	if (parsed->compression != QCOW2_COMPRESSION_ZLIB)
		return "compression_type other than zlib";
	return NULL;
}

static int check_encrypted(const struct qcow2_options *parsed,
			   struct gild_error *err)
{
	if (!parsed->crypt_method)
		return 0;
	if (parsed->data_file_raw)
		return fail(err, GILD_ERR_INVALID, 0,
			    "data_file_raw and encryption exclude each other: "
			    "as a raw image the file would make no sense");
	if (parsed->preallocation != QCOW2_PREALLOC_OFF && parsed->version < 3)
		return fail(err, GILD_ERR_INVALID, 0,
			    "preallocation with encryption needs compatibility "
			    "level 1.1 (compat=v3)");
	return 0;
}

/* What a file holds shows where a table says that it is there. */
static int check_kept(const struct qcow2_options *parsed,
		      struct gild_error *err)
{
	if (!parsed->keep_data_file)
		return 0;
	if (!parsed->data_file)
		return fail(err, GILD_ERR_INVALID, 0,
			    "keep_data_file needs data_file");
	if (parsed->crypt_method)
		return fail(err, GILD_ERR_INVALID, 0,
			    "keep_data_file and encryption exclude each other: "
			    "the file would have to be encrypted already");
	if (parsed->preallocation > QCOW2_PREALLOC_METADATA)
		return fail(err, GILD_ERR_INVALID, 0,
			    "keep_data_file goes with preallocation off or "
			    "metadata: more would overwrite the file");
	if (parsed->preallocation == QCOW2_PREALLOC_OFF &&
	    !parsed->data_file_raw)
		return fail(err, GILD_ERR_INVALID, 0,
			    "keep_data_file needs preallocation=metadata or "
			    "data_file_raw=on, or what is in the file would "
			    "not show");
	return 0;
}

static int check_together(const struct qcow2_options *parsed,
			  struct gild_error *err)
{
	const char *v3_only = parsed->version < 3 ? needs_v3(parsed) : NULL;

	if (v3_only)
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s needs compatibility level 1.1 (compat=v3)",
			    v3_only);
	if (parsed->extended_l2 &&
	    parsed->cluster_size < 1U << QCOW2_EXT_L2_MIN_CLUSTER_BITS)
		return fail(err, GILD_ERR_INVALID, 0,
			    "extended_l2 needs a cluster_size of at least %u",
			    1U << QCOW2_EXT_L2_MIN_CLUSTER_BITS);
	if (check_kept(parsed, err) < 0)
		return -1;
	if (parsed->data_file_raw && !parsed->data_file)
		return fail(err, GILD_ERR_INVALID, 0,
			    "data_file_raw needs data_file");
	if (parsed->data_file && !*parsed->data_file)
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"data_file\" is empty");
	return check_encrypted(parsed, err);
}

int qcow2_options_parse(const struct gild_option *options, size_t count,
			struct qcow2_options *parsed, struct gild_error *err)
{
	const struct given given = { options, count, err };

	memset(parsed, 0, sizeof(*parsed));
	if (option_check(qcow2_option_help, options, count, err) < 0 ||
	    read_all(&given, parsed) < 0)
		return -1;
	return check_together(parsed, err);
}
