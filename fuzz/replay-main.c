/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gives files to a fuzz target, one after the other, without libFuzzer: the
 * corpus as a test, built with gcc and any sanitizer.
 *
 *     replay FILE|FOLDER...
 */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

static unsigned replayed;

/* Called for each file below the folders that were named. */
static int replay(const char *path, const struct stat *st, int type,
		  struct FTW *ftw)
{
	unsigned char *bytes;
	size_t size;

	(void)st;
	(void)ftw;
	if (type == FTW_D)
		return 0;
	bytes = read_file(path, &size);
	if (!bytes) {
		fprintf(stderr, "replay: cannot read %s\n", path);
		return -1;
	}
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	replayed++;
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], replay, 8, FTW_PHYS))
			return 2;
	printf("%u inputs\n", replayed);
	return replayed ? 0 : 2;
}
