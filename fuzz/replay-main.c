/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gives files to a fuzz target, one after the other, without libFuzzer: the
 * corpus as a test, built with gcc and any sanitizer.
 *
 *     replay FILE|FOLDER...
 *
 * A file that is named should-fail-* must be refused, one that is named
 * should-pass-* must not.
 */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static unsigned char *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	unsigned char *bytes;
	long length;

	if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0)
		return NULL;
	rewind(file);
	bytes = malloc(length ? (size_t)length : 1);
	*size = bytes ? fread(bytes, 1, (size_t)length, file) : 0;
	fclose(file);
	if (bytes && *size == (size_t)length)
		return bytes;
	free(bytes);
	return NULL;
}

static unsigned replayed, wrong;

static void judge(const char *path, const char *name)
{
	bool must_fail = !strncmp(name, "should-fail-", 12);
	bool must_pass = !strncmp(name, "should-pass-", 12);

	if (!(must_fail && fuzz_accepted) && !(must_pass && !fuzz_accepted))
		return;
	printf("%s: was %s\n", path, fuzz_accepted ? "accepted" : "refused");
	wrong++;
}

/* Called for each file below the folders that were named. */
static int replay(const char *path, const struct stat *st, int type,
		  struct FTW *ftw)
{
	unsigned char *bytes;
	size_t size;

	(void)st;
	if (type == FTW_D)
		return 0;
	bytes = read_file(path, &size);
	if (!bytes) {
		fprintf(stderr, "replay: cannot read %s\n", path);
		return -1;
	}
	LLVMFuzzerTestOneInput(bytes, size);
	judge(path, path + ftw->base);
	free(bytes);
	replayed++;
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], replay, 8, 0))
			return 2;
	printf("%u inputs, %u not as they should be\n", replayed, wrong);
	return !replayed ? 2 : wrong > 0;
}
